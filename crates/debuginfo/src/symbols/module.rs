//! The symbols of a loaded module.

use super::{Symbol, SymbolList};
use mortis_memory::VirtAddr;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of an `Elf64_Sym`.
const SYM_SIZE: usize = 24;

/// `SHN_UNDEF`: a symbol that the module takes from elsewhere.
const SHN_UNDEF: u16 = 0;

/// The symbols of one module and the stretches of memory it occupies.
#[derive(Debug)]
pub struct ModuleSymbols {
    name: Arc<str>,
    ranges: Vec<Range<u64>>,
    symbols: SymbolList,
}

impl ModuleSymbols {
    /// A module called `name` that occupies `ranges`, with symbols `(name, address, letter)`.
    pub fn new<'a>(
        name: &str,
        ranges: impl IntoIterator<Item = Range<VirtAddr>>,
        symbols: impl Iterator<Item = (&'a str, VirtAddr, char)>,
    ) -> Self {
        let name: Arc<str> = name.into();
        Self {
            symbols: SymbolList::new(
                Some(name.clone()),
                symbols.map(|(symbol, address, letter)| (symbol, address, None, letter)),
            ),
            name,
            ranges: ranges.into_iter().map(|range| range.start.0..range.end.0).collect(),
        }
    }

    /// The module's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its symbols.
    pub fn symbols(&self) -> &SymbolList {
        &self.symbols
    }

    /// Whether `address` lies in the module's memory.
    pub fn contains(&self, address: VirtAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address.0))
    }

    /// The module's symbol that `address` lies in. A symbol does not reach over the end of the
    /// memory that it starts in.
    pub fn lookup_address(&self, address: VirtAddr) -> Option<(Symbol, u64)> {
        let range = self.ranges.iter().find(|range| range.contains(&address.0))?;
        let (symbol, offset) = match self.symbols.lookup_address(address) {
            Some(found) => found,
            // Nothing follows the last symbol, so its end is that of the memory it lies in.
            None => {
                let last = self.symbols.get(self.symbols.len().checked_sub(1)?)?;
                let offset = address.0.checked_sub(last.address.0)?;
                (last, offset)
            }
        };
        range.contains(&symbol.address.0).then_some((symbol, offset))
    }
}

/// Decodes what `struct mod_kallsyms` points to (include/linux/module.h): `symtab`, an array of
/// `Elf64_Sym`; `typetab`, one letter each (since 1c7651f43777; before, the kernel kept the letter
/// in `st_info`, and `typetab` is empty here); `strtab`. Calls `visit` with name, address and
/// letter of each symbol that the module defines.
///
/// Names that reach out of `strtab` or are not UTF-8 are left out, as the kernel's own list
/// leaves out undefined symbols and those without a name.
pub fn decode_mod_kallsyms(
    symtab: &[u8],
    typetab: &[u8],
    strtab: &[u8],
    mut visit: impl FnMut(&str, VirtAddr, char),
) {
    for (index, sym) in symtab.chunks_exact(SYM_SIZE).enumerate() {
        let (Some(name_offset), Some(&info), Some(section), Some(value)) =
            (u32_at(sym, 0), sym.get(4), u16_at(sym, 6), u64_at(sym, 8))
        else {
            continue;
        };
        if section == SHN_UNDEF {
            continue;
        }
        let letter = typetab.get(index).copied().unwrap_or(info);
        let name = strtab.get(name_offset as usize..).and_then(|rest| {
            let end = rest.iter().position(|&byte| byte == 0)?;
            std::str::from_utf8(rest.get(..end)?).ok()
        });
        match name {
            Some(name) if !name.is_empty() => {
                let letter = if letter.is_ascii_graphic() { char::from(letter) } else { '?' };
                visit(name, VirtAddr(value), letter);
            }
            _ => {}
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sym(name: u32, section: u16, value: u64) -> Vec<u8> {
        let mut sym = vec![0; SYM_SIZE];
        sym[..4].copy_from_slice(&name.to_le_bytes());
        sym[4] = b'T';
        sym[6..8].copy_from_slice(&section.to_le_bytes());
        sym[8..16].copy_from_slice(&value.to_le_bytes());
        sym
    }

    #[test]
    fn mod_kallsyms_gives_what_the_module_defines() {
        let symtab = [sym(0, 0, 0), sym(1, 1, 0x100), sym(5, 0, 0x200), sym(99, 1, 0x300)].concat();
        let strtab = b"\0foo\0printk\0";
        let mut seen = Vec::new();
        decode_mod_kallsyms(&symtab, b"?tUd", strtab, |name, address, letter| {
            seen.push((name.to_owned(), address.0, letter));
        });
        assert_eq!(seen, [("foo".to_owned(), 0x100, 't')]);
        seen.clear();
        decode_mod_kallsyms(&symtab, b"", strtab, |name, address, letter| {
            seen.push((name.to_owned(), address.0, letter));
        });
        assert_eq!(seen, [("foo".to_owned(), 0x100, 'T')]);
    }

    #[test]
    fn symbols_end_with_the_memory_they_are_in() {
        let module = ModuleSymbols::new(
            "m",
            [VirtAddr(0x1000)..VirtAddr(0x2000), VirtAddr(0x5000)..VirtAddr(0x6000)],
            [("f", VirtAddr(0x1800), 't'), ("d", VirtAddr(0x5000), 'd')].into_iter(),
        );
        let name = |address| {
            module.lookup_address(VirtAddr(address)).map(|(symbol, _)| symbol.name.to_string())
        };
        assert_eq!(name(0x1fff), Some("f".into()));
        assert_eq!(name(0x3000), None);
        assert_eq!(name(0x5fff), Some("d".into()));
        assert_eq!(name(0x6000), None);
        assert_eq!(name(0x1000), None);
    }
}
