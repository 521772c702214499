//! A plain list of symbols: what a module or an ELF file has.

use super::{Symbol, preferred_alias};
use crate::name_slots::{NameSlots, hash};
use mortis_memory::VirtAddr;
use std::sync::{Arc, OnceLock};

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    /// 0 where nothing said.
    size: u64,
    name_start: u32,
    name_len: u16,
    letter: u8,
}

/// Symbols in the order of their addresses, names in one arena.
#[derive(Debug, Default)]
pub struct SymbolList {
    entries: Vec<Entry>,
    names: String,
    module: Option<Arc<str>>,
    by_name: OnceLock<NameSlots>,
}

impl SymbolList {
    /// Collects `(name, address, size, letter)`; a size of `None` is the distance to the next
    /// symbol. Names longer than 65,535 bytes are left out: the kernel's limit is 512.
    pub fn new<'a>(
        module: Option<Arc<str>>,
        symbols: impl Iterator<Item = (&'a str, VirtAddr, Option<u64>, char)>,
    ) -> Self {
        let mut list = SymbolList { module, ..SymbolList::default() };
        for (name, address, size, letter) in symbols {
            let (Ok(name_start), Ok(name_len)) =
                (u32::try_from(list.names.len()), u16::try_from(name.len()))
            else {
                continue;
            };
            list.names.push_str(name);
            list.entries.push(Entry {
                address: address.0,
                size: size.unwrap_or(0),
                name_start,
                name_len,
                letter: u8::try_from(letter).unwrap_or(b'?'),
            });
        }
        list.entries.sort_by_key(|entry| entry.address);
        list
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The symbol at `index` in the order of addresses.
    pub fn get(&self, index: usize) -> Option<Symbol> {
        let entry = self.entries.get(index)?;
        Some(Symbol {
            name: self.name(entry).into(),
            address: VirtAddr(entry.address),
            size: self.size(index),
            letter: char::from(entry.letter),
            module: self.module.clone(),
        })
    }

    /// Every symbol in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Every symbol called `name`.
    pub fn lookup_name(&self, name: &str) -> impl Iterator<Item = Symbol> + '_ {
        let slots = self.by_name.get_or_init(|| {
            let hashes = self.entries.iter().map(|entry| hash(self.name(entry).as_bytes()));
            NameSlots::new(self.len(), hashes.zip(0..))
        });
        let is_it = |index: usize| self.entries.get(index).is_some_and(|it| self.name(it) == name);
        let indices = slots.candidates(hash(name.as_bytes())).map(|index| index as usize);
        let found: Vec<usize> = indices.filter(|&index| is_it(index)).collect();
        found.into_iter().filter_map(|index| self.get(index))
    }

    /// The symbol whose extent holds `address`, and how far in it lies. A symbol without a size,
    /// the last one, holds its own address only.
    pub fn lookup_address(&self, address: VirtAddr) -> Option<(Symbol, u64)> {
        let end = self.entries.partition_point(|entry| entry.address <= address.0);
        let last = end.checked_sub(1)?;
        let start_address = self.entries.get(last)?.address;
        let start = self.entries.partition_point(|entry| entry.address < start_address);
        let offset = address.0 - start_address;
        let aliases = self.entries.get(start..end)?;
        if offset > 0 && self.size(last).is_none_or(|size| offset >= size) {
            return None;
        }
        let chosen = preferred_alias(aliases.iter().map(|entry| self.name(entry)));
        self.get(start + chosen).map(|symbol| (symbol, offset))
    }

    /// Calls `visit` with the name, address and letter of every symbol, in the order of addresses.
    pub fn for_each(&self, mut visit: impl FnMut(&str, VirtAddr, char)) {
        for entry in &self.entries {
            visit(self.name(entry), VirtAddr(entry.address), char::from(entry.letter));
        }
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name_start as usize;
        self.names.get(start..start + usize::from(entry.name_len)).unwrap_or("")
    }

    fn size(&self, index: usize) -> Option<u64> {
        let entry = self.entries.get(index)?;
        if entry.size != 0 {
            return Some(entry.size);
        }
        let next = self.entries.partition_point(|other| other.address <= entry.address);
        self.entries.get(next).map(|next| next.address - entry.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> SymbolList {
        SymbolList::new(
            Some("m".into()),
            [
                ("b", VirtAddr(0x2000), None, 't'),
                ("__b_text_start", VirtAddr(0x2000), None, 'T'),
                ("a", VirtAddr(0x1000), Some(0x10), 'T'),
                ("end", VirtAddr(0x3000), None, 'b'),
            ]
            .into_iter(),
        )
    }

    #[test]
    fn addresses_find_the_symbol_they_lie_in() {
        let list = list();
        let find = |address| {
            list.lookup_address(VirtAddr(address)).map(|(symbol, at)| (symbol.name.to_string(), at))
        };
        assert_eq!(find(0xfff), None);
        assert_eq!(find(0x100f), Some(("a".into(), 0xf)));
        assert_eq!(find(0x1010), None);
        assert_eq!(find(0x2fff), Some(("b".into(), 0xfff)));
        assert_eq!(find(0x3000), Some(("end".into(), 0)));
        assert_eq!(find(0x3001), None);
    }

    #[test]
    fn names_find_their_symbols() {
        let list = list();
        let found: Vec<_> = list.lookup_name("b").collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "2000 (t) b [m]");
        assert_eq!(list.lookup_name("c").count(), 0);
    }
}
