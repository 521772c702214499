// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * guest APPLET ARGS...
 *   life CROWD user|kernel     start the processes (life.c)
 *   services                   start what lab_services=1 adds (services.c)
 *   truth DIR                  write what /proc says into DIR (truth.c)
 *   kexec KERNEL INITRD LINE   load the kernel that captures the dump
 *   put NAME FILE TEXT         as a process called NAME, write TEXT to FILE
 */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEXEC_FILE_ON_CRASH 2UL

static int load_crash_kernel(char **argv)
{
	int kernel = open(argv[1], O_RDONLY), initrd = open(argv[2], O_RDONLY);

	if (kernel < 0 || initrd < 0 ||
	    syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], KEXEC_FILE_ON_CRASH)) {
		perror("kexec_file_load");
		return 1;
	}
	return 0;
}

static int put(char **argv)
{
	int file = open(argv[2], O_WRONLY);

	prctl(PR_SET_NAME, argv[1]);
	if (file < 0 || write(file, argv[3], strlen(argv[3])) < 0) {
		perror(argv[2]);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "life"))
		return life(argc - 1, argv + 1);
	if (argc == 2 && !strcmp(argv[1], "services"))
		return services();
	if (argc >= 3 && !strcmp(argv[1], "truth"))
		return truth(argc - 1, argv + 1);
	if (argc == 5 && !strcmp(argv[1], "kexec"))
		return load_crash_kernel(argv + 1);
	if (argc == 5 && !strcmp(argv[1], "put"))
		return put(argv + 1);
	fprintf(stderr, "guest: unknown applet\n");
	return 2;
}
