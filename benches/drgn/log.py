# The kernel log.
from drgn.helpers.linux.printk import print_dmesg

print_dmesg(prog)
