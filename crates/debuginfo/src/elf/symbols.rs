//! `.symtab`, read as it is walked.

use mortis_memory::LinkAddr;

use super::layout::{string_at, u16_at, u32_at, u64_at};
use super::{ElfError, ElfFile, ElfKind, abi};

const SYMBOL_SIZE: usize = 24;

/// What a symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfSymbolKind {
    /// Code: `STT_FUNC`, or a label of assembly code in an executable section.
    Function,
    /// Data: `STT_OBJECT`, or a label elsewhere.
    Object,
}

/// A defined symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfSymbol<'a> {
    /// Its name. Never empty.
    pub name: &'a [u8],
    /// Its address. For a per-CPU variable whose section starts at 0, its offset there.
    pub address: LinkAddr,
    /// Bytes, or 0 where the assembler was not told.
    pub size: u64,
    /// Code or data.
    pub kind: ElfSymbolKind,
    /// Visible to other files.
    pub global: bool,
    /// Gives way to a global symbol of that name.
    pub weak: bool,
    /// `STT_FUNC` or `STT_OBJECT`, not a bare label.
    pub typed: bool,
    /// Index in [`ElfFile::sections`]; `None` for absolute symbols.
    pub section: Option<usize>,
}

/// Walks the symbol table, leaving out what names nothing: undefined symbols, files, sections.
pub struct ElfSymbols<'a> {
    file: &'a ElfFile,
    table: std::slice::ChunksExact<'a, u8>,
    names: &'a [u8],
}

impl ElfFile {
    /// The symbols of `.symtab`; empty where it was stripped.
    ///
    /// # Errors
    /// [`ElfError`] when the table or its strings lie outside the file.
    pub fn symbols(&self) -> Result<ElfSymbols<'_>, ElfError> {
        let (table, names) = self.symbol_table()?;
        Ok(ElfSymbols { file: self, table: table.chunks_exact(SYMBOL_SIZE), names })
    }

    /// The bytes of `.symtab` and of its string table.
    fn symbol_table(&self) -> Result<(&[u8], &[u8]), ElfError> {
        let Some(section) = self.sections().iter().find(|s| s.sh_type == abi::SHT_SYMTAB) else {
            return Ok(Default::default());
        };
        let names = match self.sections().get(section.sh_link as usize) {
            Some(names) => self.raw_section_data(names)?,
            None => &[],
        };
        Ok((self.raw_section_data(section)?, names))
    }

    /// The value of symbol `index` of a relocatable file: what a relocation adds to. Undefined
    /// symbols are 0.
    pub(super) fn symbol_value(&self, table: &[u8], index: u32) -> Option<u64> {
        let start = (index as usize).checked_mul(SYMBOL_SIZE)?;
        let symbol = table.get(start..)?.get(..SYMBOL_SIZE)?;
        let value = u64_at(symbol, 8)?;
        let base = match u16_at(symbol, 6)? {
            abi::SHN_UNDEF => return Some(0),
            abi::SHN_LORESERVE.. => 0,
            section => self.sections().get(usize::from(section))?.address.0,
        };
        Some(value.wrapping_add(base))
    }

    pub(super) fn symbol_table_bytes(&self) -> Result<&[u8], ElfError> {
        self.symbol_table().map(|(table, _)| table)
    }
}

impl<'a> Iterator for ElfSymbols<'a> {
    type Item = ElfSymbol<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let symbol = self.table.next()?;
            if let Some(symbol) = self.decode(symbol) {
                return Some(symbol);
            }
        }
    }
}

impl<'a> ElfSymbols<'a> {
    fn decode(&self, symbol: &[u8]) -> Option<ElfSymbol<'a>> {
        let info = *symbol.get(4)?;
        let (symbol_type, binding) = (info & 0xf, info >> 4);
        if symbol_type > abi::STT_FUNC {
            return None;
        }
        let section = match u16_at(symbol, 6)? {
            abi::SHN_UNDEF => return None,
            abi::SHN_LORESERVE.. => None,
            index => Some((usize::from(index), self.file.sections().get(usize::from(index))?)),
        };
        let base = match (self.file.kind(), section) {
            (ElfKind::Relocatable, Some((_, section))) => section.address,
            _ => LinkAddr(0),
        };
        let in_code = section.is_some_and(|(_, section)| section.executable);
        let name = string_at(self.names, u32_at(symbol, 0)?).filter(|name| !name.is_empty())?;
        Some(ElfSymbol {
            name,
            address: base.offset(u64_at(symbol, 8)?),
            size: u64_at(symbol, 16)?,
            kind: match symbol_type {
                abi::STT_FUNC => ElfSymbolKind::Function,
                abi::STT_OBJECT => ElfSymbolKind::Object,
                _ if in_code => ElfSymbolKind::Function,
                _ => ElfSymbolKind::Object,
            },
            global: binding != abi::STB_LOCAL,
            weak: binding == abi::STB_WEAK,
            typed: symbol_type != abi::STT_NOTYPE,
            section: section.map(|(index, _)| index),
        })
    }
}
