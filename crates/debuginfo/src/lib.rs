//! Symbols, types, lines and locals from kallsyms, BTF, ELF and DWARF behind one interface.
//!
//! Reads what it is handed (bytes, or a [`mortis_memory::VirtualMemory`]) and does no I/O.

pub mod btf;
pub mod dwarf;
pub mod elf;
mod image;
pub mod kallsyms;
mod mapped_file;
mod name_slots;
mod region;
pub mod symbols;
pub mod types;
pub mod value;

pub use image::Image;
pub use mapped_file::MappedFile;
