//! Symbols, types, lines and locals from kallsyms, BTF, ELF and DWARF behind one interface.
//!
//! Reads what it is handed (bytes, or a [`mortis_memory::VirtualMemory`]) and does no I/O.

pub mod btf;
pub mod kallsyms;
pub mod symbols;
pub mod elf;
pub mod dwarf;
mod image;
mod mapped_file;
pub mod types;

pub use image::Image;
pub use mapped_file::MappedFile;
