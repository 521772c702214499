/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The applets of the one static program that a lab guest runs. */
#ifndef MORTIS_GUEST_H
#define MORTIS_GUEST_H

int life(int argc, char **argv);
int services(void);
int truth(int argc, char **argv);

#endif
