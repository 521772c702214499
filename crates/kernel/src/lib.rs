//! What a Linux kernel's memory means.
