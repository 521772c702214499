//! From an address to the unit that describes its code.

use std::sync::OnceLock;

use gimli::DebugAranges;
use mortis_memory::LinkAddr;
use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::ranges::{MAX_RANGES_OF_UNIT, entry_ranges};
use super::unit::LoadedUnit;
use super::{Dwarf, DwarfError, Slice};

/// A stretch of code and its unit.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    end: u64,
    unit: u64,
}

/// Ascending stretches of code with their units.
#[derive(Default)]
struct Stretches(Vec<Entry>);

impl Stretches {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| (entry.start, entry.end, entry.unit));
        Self(entries)
    }

    fn unit_at(&self, address: u64) -> Option<u64> {
        /// Stretches do not overlap in a sound file; in an odd one, look a little further.
        const MAX_OVERLAP: usize = 8;
        let after = self.0.partition_point(|entry| entry.start <= address);
        let before = self.0.get(..after)?;
        before.iter().rev().take(MAX_OVERLAP).find(|entry| address < entry.end).map(|e| e.unit)
    }
}

/// Units that are read before their pages are given back.
const UNITS_AT_ONCE: usize = 64;

/// Which unit an address belongs to.
pub(super) struct AddressMap {
    aranges: Stretches,
    /// The units that `.debug_aranges` has.
    covered: FxHashSet<u64>,
    /// Those it has not: clang writes no `.debug_aranges`, and a kernel may be linked from
    /// objects of both. Found out when `.debug_aranges` did not know an address of code.
    others: OnceLock<Result<Stretches, DwarfError>>,
}

impl AddressMap {
    /// Reads `.debug_aranges`. What is damaged in there is left out, and its units are found
    /// as if they had never been listed.
    pub fn read(dwarf: &Dwarf) -> Result<Self, DwarfError> {
        let section = dwarf.section(".debug_aranges")?;
        let aranges = DebugAranges::from(section);
        let mut entries = Vec::new();
        let mut covered = FxHashSet::default();
        let mut headers = aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let unit = header.debug_info_offset().0 as u64;
            let mut unit_entries = header.entries();
            let mut any = false;
            while let Ok(Some(entry)) = unit_entries.next_raw() {
                let (start, len) = (entry.address(), entry.length());
                if let Some(end) = start.checked_add(len).filter(|_| start != 0 && len != 0) {
                    entries.push(Entry { start, end, unit });
                    any = true;
                }
            }
            if any {
                covered.insert(unit);
            }
        }
        Ok(Self { aranges: Stretches::new(entries), covered, others: OnceLock::new() })
    }

    /// Where the unit of `address` starts in `.debug_info`.
    pub fn unit_at(&self, dwarf: &Dwarf, address: LinkAddr) -> Result<Option<u64>, DwarfError> {
        if let Some(unit) = self.aranges.unit_at(address.0) {
            return Ok(Some(unit));
        }
        if !dwarf.elf.section_at(address).is_some_and(|section| section.executable) {
            return Ok(None);
        }
        let others = self.others.get_or_init(|| self.read_others(dwarf)).as_ref();
        Ok(others.map_err(Clone::clone)?.unit_at(address.0))
    }

    /// The ranges of the first entries of all units that `.debug_aranges` has not.
    fn read_others(&self, dwarf: &Dwarf) -> Result<Stretches, DwarfError> {
        let sections = dwarf.sections()?;
        let units = dwarf.unit_offsets()?;
        let entries = units
            .par_chunks(UNITS_AT_ONCE)
            .flat_map_iter(|chunk| {
                let others = chunk.iter().filter(|unit| !self.covered.contains(unit));
                let entries: Vec<_> = others
                    .flat_map(|&unit| unit_ranges(&sections, unit).unwrap_or_default())
                    .collect();
                if let Some((&first, &last)) = chunk.first().zip(chunk.last()) {
                    dwarf.release_info(first..last);
                }
                entries
            })
            .collect();
        Ok(Stretches::new(entries))
    }
}

fn unit_ranges(sections: &gimli::Dwarf<Slice<'_>>, offset: u64) -> Result<Vec<Entry>, DwarfError> {
    let loaded = LoadedUnit::load(sections, offset)?;
    let unit = loaded.open(sections)?;
    let mut cursor = unit.entries();
    cursor.next_dfs().map_err(|error| loaded.damaged(error))?;
    let Some(root) = cursor.current() else { return Ok(Vec::new()) };
    let ranges = entry_ranges(sections, &unit, root, MAX_RANGES_OF_UNIT)
        .map_err(|error| loaded.damaged(error))?;
    Ok(ranges
        .into_iter()
        .map(|range| Entry { start: range.start, end: range.end, unit: offset })
        .collect())
}
