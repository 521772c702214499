//! Symbols: names of addresses, wherever they come from.
//!
//! A kernel's own symbols come from its [`Kallsyms`](crate::kallsyms::Kallsyms), a module's from
//! the `mod_kallsyms` in its `struct module`, and a vmlinux has an ELF symbol table besides.
//! [`SymbolTable`] joins them.

mod list;
mod module;
mod table;

pub use list::SymbolList;
pub use module::{ModuleSymbols, decode_mod_kallsyms};
pub use table::SymbolTable;

use mortis_memory::VirtAddr;
use std::fmt;
use std::sync::Arc;

/// What a symbol names, after its `nm` letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    /// Code: `t`, `T`.
    Text,
    /// Initialised data: `d`, `D`, `g`, `G`.
    Data,
    /// Zeroed data: `b`, `B`, `s`, `S`, `c`, `C`.
    Bss,
    /// Read-only data: `r`, `R`.
    ReadOnly,
    /// A number rather than an address: `a`, `A`.
    Absolute,
    /// A weak symbol, code (`w`, `W`) or object (`v`, `V`).
    Weak,
    /// Anything else.
    Other,
}

impl SymbolKind {
    /// The kind that the `nm` letter `letter` stands for.
    pub const fn from_letter(letter: u8) -> Self {
        match letter.to_ascii_lowercase() {
            b't' => SymbolKind::Text,
            b'd' | b'g' => SymbolKind::Data,
            b'b' | b's' | b'c' => SymbolKind::Bss,
            b'r' => SymbolKind::ReadOnly,
            b'a' => SymbolKind::Absolute,
            b'w' | b'v' => SymbolKind::Weak,
            _ => SymbolKind::Other,
        }
    }
}

/// One symbol, at its run-time address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name, without a module's.
    pub name: Arc<str>,
    /// Where it is.
    pub address: VirtAddr,
    /// Bytes up to the next symbol at a higher address, or what an ELF symbol table says; `None`
    /// for the last symbol and where the symbols behind it could not be read.
    pub size: Option<u64>,
    /// Its `nm` letter; upper case for a global symbol.
    pub letter: char,
    /// The module it belongs to; `None` for the kernel proper.
    pub module: Option<Arc<str>>,
}

impl Symbol {
    /// What it names.
    pub fn kind(&self) -> SymbolKind {
        SymbolKind::from_letter(self.letter as u8)
    }

    /// Whether it is code: text, or a weak function.
    pub fn is_text(&self) -> bool {
        is_text_letter(self.letter as u8)
    }

    /// `symbol+offset`, `symbol` for an offset of 0, with the module's name behind it in brackets.
    /// The offset is in decimal, as crash shows it.
    pub fn with_offset(&self, offset: u64) -> String {
        let mut text = self.name.to_string();
        if offset != 0 {
            text.push_str(&format!("+{offset}"));
        }
        if let Some(module) = &self.module {
            text.push_str(&format!(" [{module}]"));
        }
        text
    }

    /// Whether it is visible outside its object file.
    pub fn is_global(&self) -> bool {
        self.letter.is_ascii_uppercase()
    }
}

/// The symbol as crash's `sym` shows it: `ffffffff81000000 (T) _stext` and a module's name in
/// brackets.
impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} ({}) {}", self.address.0, self.letter, self.name)?;
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

pub(crate) const fn is_text_letter(letter: u8) -> bool {
    matches!(letter.to_ascii_lowercase(), b't' | b'w')
}

/// Whether `name` marks the edge of a section rather than something in it. At an address that
/// has another name as well, the other name is the one to show: crash's `value_search()` steps
/// over `*_text_start` and `.text.*` in the same way.
pub(crate) fn is_section_edge(name: &str) -> bool {
    name.starts_with(".text.")
        || name.contains("_text_start")
        || name.contains("_text_end")
        || matches!(name, "_text" | "_stext" | "_etext" | "_sinittext" | "_einittext")
        || name.starts_with("__start_")
        || name.starts_with("__stop_")
}

/// The name to show among those of one address: the first that is no section's edge, or else the
/// first. Kallsyms is sorted so that weak and linker-made names come last and those with fewer
/// underscores first (scripts/kallsyms.c, `compare_symbols()`), and the kernel prints the first
/// in its oopses.
pub(crate) fn preferred_alias<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.enumerate().find(|(_, name)| !is_section_edge(name)).map_or(0, |(index, _)| index)
}
