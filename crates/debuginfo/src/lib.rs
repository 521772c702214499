//! Symbols, types, lines and locals from kallsyms, BTF, ELF and DWARF behind one interface.
//!
//! Reads what it is handed (bytes, or a [`mortis_memory::VirtualMemory`]) and does no I/O.

pub mod types;
