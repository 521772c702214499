//! The kernel's own symbol table, read out of its memory.
//!
//! scripts/kallsyms.c writes the table at build time and kernel/kallsyms.c reads it at run time.
//! It has changed its form several times, mostly without a mark:
//!
//! | what | forms |
//! | --- | --- |
//! | lengths of names | one byte; ULEB128 of up to two bytes since 6.1 (73bbb94466fd) |
//! | addresses | 64-bit numbers (`kallsyms_addresses`); 32 bits from `kallsyms_relative_base`; the same with per-CPU symbols as they are and all others negative (`--absolute-percpu`, until 01157ddc58dc in 6.15); 32 bits from their own place (since a081b5789255 in 7.0) |
//! | order of the tables | names, markers, tokens behind the addresses; before them since 6.4 (404bad70fcf7) |
//!
//! Distributions carry such changes back to older versions, so [`Kallsyms::read`] does not ask
//! for the version: it takes the form in which every name is well-formed and the kernel's own
//! anchors (`_stext` and others, whose addresses VMCOREINFO tells) come out where they are.
//!
//! Where the tables stand is in VMCOREINFO since 6.0; for kernels before, [`KallsymsTables::search`]
//! finds them in the kernel's image.
//!
//! Names stay compressed in memory and are expanded one at a time; the index by name is built
//! when the first name is looked up.

mod addresses;
mod names;
mod search;
mod tables;

pub use tables::{KallsymsError, KallsymsTables};

use crate::name_slots::{NameSlots, hash};
use crate::symbols::{Symbol, preferred_alias};
use addresses::Addresses;
use mortis_memory::{VirtAddr, VirtualMemory};
use names::{NameBuffer, Names};
use rayon::prelude::*;
use std::sync::OnceLock;

/// More symbols than any kernel has; the largest distribution kernels have 300,000.
const MAX_SYMBOLS: u32 = 4 << 20;

/// The symbols of a kernel, at their run-time addresses, in the kernel's own order.
#[derive(Debug)]
pub struct Kallsyms {
    names: Names,
    addresses: Vec<u64>,
    /// Where in the stream of names each symbol stands.
    positions: Vec<u32>,
    /// Indices whose predecessor in the kernel's table could not be read.
    gaps: Vec<u32>,
    /// How many symbols could not be read.
    missing: usize,
    /// The indices in the order of addresses, where that is not the order of the table.
    order: Option<Vec<u32>>,
    /// Symbols below this are per-CPU offsets and other numbers, not addresses.
    floor: u64,
    by_name: OnceLock<NameSlots>,
}

impl Kallsyms {
    /// Reads the table that stands at `tables`. `anchors` are symbols whose run-time addresses
    /// are known, from VMCOREINFO: at least one of them must be in the table, at its address.
    /// Those that the kernel leaves out of its table (data, without `CONFIG_KALLSYMS_ALL`) do no
    /// harm.
    ///
    /// Symbols whose page is not in the dump are left out and counted in
    /// [`Kallsyms::missing`].
    ///
    /// # Errors
    /// [`KallsymsError`] when a small table cannot be read or no known form fits.
    pub fn read(
        memory: &dyn VirtualMemory,
        tables: &KallsymsTables,
        anchors: &[(&str, VirtAddr)],
    ) -> Result<Self, KallsymsError> {
        let count = memory
            .read_u32(tables.num_syms)
            .map_err(|error| KallsymsError::Read { table: "kallsyms_num_syms", error })?;
        if count == 0 || count > MAX_SYMBOLS {
            return Err(KallsymsError::Count(count));
        }
        let (names, positions) = Names::read(memory, tables, count)?;
        let raw = Addresses::read(memory, tables, count)?;
        // The kernel's half of the address space on every 64-bit architecture but s390.
        let floor = anchors.iter().map(|(_, address)| address.0 & (1 << 63)).min().unwrap_or(0);
        for encoding in raw.encodings() {
            let symbols =
                Self::assemble(names.clone(), &positions, |index| raw.get(encoding, index), floor);
            if symbols.agrees_with(anchors) {
                return Ok(symbols);
            }
        }
        Err(KallsymsError::Anchors)
    }

    fn assemble(
        names: Names,
        positions: &[Option<u32>],
        address: impl Fn(usize) -> Option<u64>,
        floor: u64,
    ) -> Self {
        let mut symbols = Self {
            names,
            addresses: Vec::with_capacity(positions.len()),
            positions: Vec::with_capacity(positions.len()),
            gaps: Vec::new(),
            missing: 0,
            order: None,
            floor,
            by_name: OnceLock::new(),
        };
        for (index, position) in positions.iter().enumerate() {
            match (position, address(index)) {
                (&Some(position), Some(address)) => {
                    symbols.addresses.push(address);
                    symbols.positions.push(position);
                }
                _ => {
                    symbols.missing += 1;
                    let next = symbols.addresses.len() as u32;
                    if symbols.gaps.last() != Some(&next) {
                        symbols.gaps.push(next);
                    }
                }
            }
        }
        if !symbols.addresses.is_sorted() {
            let mut order: Vec<u32> = (0..symbols.addresses.len() as u32).collect();
            order.sort_by_key(|&index| symbols.addresses.get(index as usize));
            symbols.order = Some(order);
        }
        symbols
    }

    /// Whether at least one anchor stands at its address.
    fn agrees_with(&self, anchors: &[(&str, VirtAddr)]) -> bool {
        let mut buffer = NameBuffer::default();
        anchors.iter().any(|(anchor, address)| {
            self.at(*address)
                .any(|index| self.expand(index, &mut buffer).get(1..) == Some(anchor.as_bytes()))
        })
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// How many symbols the kernel has besides, whose names or addresses are not in the dump.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Bytes of memory that the table occupies.
    pub fn memory_usage(&self) -> usize {
        self.names.memory_usage()
            + self.addresses.capacity() * 8
            + (self.positions.capacity() + self.gaps.capacity()) * 4
            + self.order.as_ref().map_or(0, |order| order.capacity() * 4)
            + self.by_name.get().map_or(0, NameSlots::memory_usage)
    }

    /// The symbol at `index` in the kernel's own order, which is that of addresses.
    pub fn get(&self, index: usize) -> Option<Symbol> {
        let address = *self.addresses.get(index)?;
        let mut buffer = NameBuffer::default();
        let (letter, name) = split_letter(self.expand(index, &mut buffer))?;
        Some(Symbol {
            name: String::from_utf8_lossy(name).into(),
            address: VirtAddr(address),
            size: self.size(index),
            letter,
            module: None,
        })
    }

    /// Every symbol in the kernel's own order, that of `/proc/kallsyms`.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Calls `visit` with name, address and letter of every symbol, in the kernel's own order,
    /// without an allocation for each.
    pub fn for_each(&self, mut visit: impl FnMut(&str, VirtAddr, char)) {
        let mut buffer = NameBuffer::default();
        for (index, &address) in self.addresses.iter().enumerate() {
            if let Some((letter, name)) = split_letter(self.expand(index, &mut buffer)) {
                visit(&String::from_utf8_lossy(name), VirtAddr(address), letter);
            }
        }
    }

    /// Every symbol called `name`: local ones of several files may share one.
    pub fn lookup_name(&self, name: &str) -> impl Iterator<Item = Symbol> + '_ {
        self.indices_of(name).into_iter().filter_map(|index| self.get(index as usize))
    }

    /// The address of the first symbol called `name`.
    pub fn address(&self, name: &str) -> Option<VirtAddr> {
        let index = *self.indices_of(name).first()?;
        self.addresses.get(index as usize).copied().map(VirtAddr)
    }

    /// The symbol that `address` lies in and how far in. Of several at one address it is the
    /// first that marks no section's edge, as the kernel prints it. Nothing lies behind the last
    /// symbol, nor where symbols that could not be read may stand.
    pub fn lookup_address(&self, address: VirtAddr) -> Option<(Symbol, u64)> {
        if address.0 < self.floor {
            return None;
        }
        let end = self.rank_above(address.0);
        let last = self.nth(end.checked_sub(1)?)?;
        let start = VirtAddr(*self.addresses.get(last)?);
        if start.0 < self.floor {
            return None;
        }
        let offset = address.0 - start.0;
        if offset > 0 && self.size(last).is_none() {
            return None;
        }
        let aliases: Vec<Symbol> = self.at(start).filter_map(|index| self.get(index)).collect();
        let chosen = preferred_alias(aliases.iter().map(|symbol| &*symbol.name));
        aliases.into_iter().nth(chosen).map(|symbol| (symbol, offset))
    }

    /// The indices of every symbol at exactly `address`.
    fn at(&self, address: VirtAddr) -> impl Iterator<Item = usize> + '_ {
        let end = self.rank_above(address.0);
        let start = match address.0.checked_sub(1) {
            Some(below) => self.rank_above(below),
            None => 0,
        };
        (start..end).filter_map(|rank| self.nth(rank))
    }

    /// How many symbols have an address of at most `address`.
    fn rank_above(&self, address: u64) -> usize {
        match &self.order {
            None => self.addresses.partition_point(|&other| other <= address),
            Some(order) => order.partition_point(|&index| {
                self.addresses.get(index as usize).is_some_and(|&other| other <= address)
            }),
        }
    }

    /// The index of the symbol of rank `rank` in the order of addresses.
    fn nth(&self, rank: usize) -> Option<usize> {
        match &self.order {
            None => Some(rank),
            Some(order) => order.get(rank).map(|&index| index as usize),
        }
    }

    fn size(&self, index: usize) -> Option<u64> {
        let address = *self.addresses.get(index)?;
        let next = self.nth(self.rank_above(address))?;
        let end = *self.addresses.get(next)?;
        let gap = self.gaps.partition_point(|&gap| gap as usize <= index);
        if self.gaps.get(gap).is_some_and(|&gap| gap as usize <= next) {
            return None;
        }
        // The last of the numbers is not as large as the way to the kernel's first address.
        (address >= self.floor || end < self.floor).then(|| end - address)
    }

    /// The letter and the name of the symbol at `index`.
    fn expand<'a>(&self, index: usize, buffer: &'a mut NameBuffer) -> &'a [u8] {
        match self.positions.get(index) {
            Some(&position) => self.names.expand(position, buffer),
            None => &[],
        }
    }

    fn indices_of(&self, name: &str) -> Vec<u32> {
        let slots = self.by_name.get_or_init(|| self.index_names());
        let mut buffer = NameBuffer::default();
        slots
            .candidates(hash(name.as_bytes()))
            .filter(|&index| {
                self.expand(index as usize, &mut buffer).get(1..) == Some(name.as_bytes())
            })
            .collect()
    }

    fn index_names(&self) -> NameSlots {
        const BLOCK: usize = 4096;
        let mut hashes = vec![0u64; self.len()];
        hashes.par_chunks_mut(BLOCK).enumerate().for_each(|(block, hashes)| {
            let mut buffer = NameBuffer::default();
            for (at, slot) in hashes.iter_mut().enumerate() {
                let text = self.expand(block * BLOCK + at, &mut buffer);
                *slot = hash(text.get(1..).unwrap_or(&[]));
            }
        });
        NameSlots::new(self.len(), hashes.into_iter().zip(0..))
    }
}

/// The first character of what is compressed is the symbol's `nm` letter.
fn split_letter(text: &[u8]) -> Option<(char, &[u8])> {
    let (&letter, name) = text.split_first()?;
    Some((char::from(letter), name))
}

#[cfg(test)]
mod tests;
