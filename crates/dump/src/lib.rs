//! Every kernel dump format as one [`PhysicalMemory`], with the notes, registers and VMCOREINFO
//! that came along.
//!
//! [`Dump::open`] reads headers and notes only; a page is found, read and decompressed when
//! somebody asks for it. A format is a module that turns a [`Source`] (a file, or bytes in memory)
//! into a [`PhysicalMemory`] and what its headers say: [`elf`](Format::ElfCore) and
//! [`kdump`](Format::Kdump) today.
//!
//! # What a page that is not there means
//! * A page that the machine had and that the collector left out is [`Excluded`]. Its bytes are
//!   never made up, also not as zeroes. In kdump files that is exact: makedumpfile stores a page
//!   of zeroes as a page (all of them share one data block). In ELF files written by
//!   `makedumpfile -E` it is what `p_memsz` covers beyond `p_filesz`: runs of 256 or more pages
//!   that were filtered *or* were zero (`-d 1`); the file does not tell which, nor the level, so
//!   Mortis says excluded where other readers show zeroes. Shorter runs are in the file for real.
//! * A page that the file should hold and is too short for, or that an incomplete dump gave up on,
//!   is [`Truncated`].
//! * A page whose data is there and does not decompress to a page is [`Unreadable`].
//! * Everything else is [`Unmapped`]: the machine had no such memory.
//!
//! [`PhysicalMemory`]: mortis_memory::PhysicalMemory
//! [`Excluded`]: mortis_memory::Unavailable::Excluded
//! [`Truncated`]: mortis_memory::Unavailable::Truncated
//! [`Unreadable`]: mortis_memory::Unavailable::Unreadable
//! [`Unmapped`]: mortis_memory::Unavailable::Unmapped

mod big_endian;
mod cache;
mod codec;
mod container;
mod contents;
mod cpu_state;
mod dump;
mod elf;
mod field;
mod foreign;
mod format;
mod index_file;
mod kdump;
mod lzo;
mod lzo_encoder;
mod note_search;
mod notes;
mod open;
mod qemu;
mod raw;
mod region;
mod sniff;
mod source;
mod virtualbox;
mod vmcoreinfo;
mod vmware;
pub mod write;

pub use contents::PageCounts;
pub use cpu_state::{CpuState, Segment};
pub use dump::Dump;
pub use foreign::Foreign;
pub use format::{Compression, Format, Machine, Timestamp, Utsname};
pub use kdump::HeaderError;
pub use notes::{Note, Notes};
pub use open::{OpenError, OpenOptions, OpenProgress};
pub use raw::{Layout, LayoutError, LayoutPiece};
pub use sniff::{ContainerKind, DumpKind, FileKind, sniff, sniff_at, sniff_source};
pub use source::{FileSource, Source};
pub use vmcoreinfo::Vmcoreinfo;
