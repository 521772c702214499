//! The words every other crate of Mortis speaks: address types, page reads, registers, and why a
//! read failed.
//!
//! A dump is bytes of physical memory ([`PhysicalMemory`]); a kernel sees them through page tables
//! ([`VirtualMemory`]). Both traits are `Send + Sync` and object safe, do no allocation on the
//! path of a successful read, and fail with a [`ReadError`] that names the first address that
//! could not be had and [why](Unavailable). Nothing here knows a file format or a kernel.

mod address;
mod physical;
mod read_error;
mod registers;
mod virtual_memory;

pub use address::{LinkAddr, Pfn, PhysAddr, UserAddr, VirtAddr};
pub use physical::{PhysicalMemory, PhysicalRange};
pub use read_error::{Address, ReadError, Unavailable};
pub use registers::{CpuRegisters, X86_64Registers};
pub use virtual_memory::{MAX_ALLOCATION, VirtualMemory};
