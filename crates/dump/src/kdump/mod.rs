//! kdump-compressed dumps: makedumpfile's own format (its diskdump_mod.h), also written by QEMU.
//!
//! A header block, a sub header with the notes, bitmap 1 (pages the machine had), bitmap 2 (pages
//! in the dump), an array of page descriptors, one for each set bit of bitmap 2, and page data.
//! Finding a page is: its bit, its rank among the set bits, its descriptor, its data.

mod bitmap;
mod header;
mod memory;
mod scan;

pub use header::HeaderError;
pub(crate) use header::{Header, SIGNATURE};
pub(crate) use memory::KdumpMemory;
