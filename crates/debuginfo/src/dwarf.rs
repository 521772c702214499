//! DWARF: what only a vmlinux (or a module's debug file) knows. Lines, inlined calls, and types
//! where there is no BTF.
//!
//! A kernel has hundreds of megabytes of DWARF in some 2,500 units, one for each C file, and a
//! question concerns one of them. So nothing is read at open, and then one unit at a time:
//!
//! * An address leads to its unit through `.debug_aranges`, or, where the compiler wrote none
//!   (clang), through the address ranges of the units' first entries.
//! * A name leads to its entry through an index of names and offsets, built once on all cores
//!   when the first name is asked for ([`DwarfTypes`]).
//!
//! Units that were decoded are kept in a small cache; what is kept is owned, and the sections are
//! borrowed from the [`ElfFile`] anew for every question, which costs nothing.

mod address_map;
mod decode;
mod functions;
mod inlines;
mod line_search;
mod lines;
mod names;
mod ranges;
mod shape;
#[cfg(test)]
mod tests;
mod types;
mod unit;

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use gimli::{EndianSlice, LittleEndian, SectionId};
use mortis_memory::LinkAddr;

use crate::elf::{ElfError, ElfFile};
use address_map::AddressMap;
use names::NameIndex;
use unit::{LoadedUnit, UnitCache};

pub use functions::FunctionAt;
pub use inlines::SourceFrame;
pub use lines::{LineRow, SourceFile, SourceLine};
pub use types::DwarfTypes;

/// The bytes of a section while a question is answered.
pub(crate) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Why DWARF could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DwarfError {
    /// The file has no `.debug_info`.
    #[error("no DWARF debug information in the file")]
    Missing,
    /// A section cannot be had.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A section can be had and is damaged.
    #[error("damaged DWARF: unit at .debug_info offset {unit:#x}: {error}")]
    Damaged {
        /// The unit in question, as an offset in `.debug_info`.
        unit: u64,
        /// What is wrong with it.
        error: gimli::Error,
    },
}

/// The DWARF of one ELF file.
pub struct Dwarf {
    elf: Arc<ElfFile>,
    addresses: OnceLock<Result<AddressMap, DwarfError>>,
    unit_offsets: OnceLock<Result<Vec<u64>, DwarfError>>,
    units: Mutex<UnitCache>,
    names: OnceLock<Result<NameIndex, DwarfError>>,
}

impl Dwarf {
    /// Takes the DWARF of `elf`. Reads nothing of it yet.
    ///
    /// # Errors
    /// [`DwarfError::Missing`] when there is none.
    pub fn new(elf: Arc<ElfFile>) -> Result<Self, DwarfError> {
        let named = |name: &str| elf.section(name).is_some_and(|section| section.has_content());
        if !named(".debug_info") && !named(".zdebug_info") {
            return Err(DwarfError::Missing);
        }
        Ok(Self {
            elf,
            addresses: OnceLock::new(),
            unit_offsets: OnceLock::new(),
            units: Mutex::default(),
            names: OnceLock::new(),
        })
    }

    /// The file it is in.
    pub fn elf(&self) -> &Arc<ElfFile> {
        &self.elf
    }

    /// The source line of the instruction at `address`. For a return address, ask for the byte
    /// before it.
    ///
    /// # Errors
    /// [`DwarfError`] when the DWARF is damaged; an address it does not know is `None`.
    pub fn line_at(&self, address: LinkAddr) -> Result<Option<SourceLine>, DwarfError> {
        match self.unit_at(address)? {
            Some(unit) => Ok(unit.lines(&self.sections()?)?.line_at(address)),
            None => Ok(None),
        }
    }

    /// All rows of the line table for addresses in `start..end`, ascending: where each line's
    /// instructions start.
    ///
    /// # Errors
    /// As [`Dwarf::line_at`].
    pub fn lines_in(&self, start: LinkAddr, end: LinkAddr) -> Result<Vec<LineRow>, DwarfError> {
        match self.unit_at(start)? {
            Some(unit) => Ok(unit.lines(&self.sections()?)?.rows_in(start, end)),
            None => Ok(Vec::new()),
        }
    }

    /// Where the code of a line starts: each place that was compiled from it, ascending. `file` is
    /// a path or its last parts (`panic.c`, `kernel/panic.c`). Where the line has no code, the
    /// next line of the file that has.
    ///
    /// Runs the line programs of all units that the file is part of.
    ///
    /// # Errors
    /// As [`Dwarf::line_at`].
    pub fn addresses_of_line(&self, file: &str, line: u32) -> Result<Vec<LineRow>, DwarfError> {
        line_search::addresses_of_line(self, file, line)
    }

    /// The function whose code holds `address`, as the compiler emitted it: not one that was
    /// inlined there.
    ///
    /// # Errors
    /// As [`Dwarf::line_at`].
    pub fn function_at(&self, address: LinkAddr) -> Result<Option<FunctionAt>, DwarfError> {
        let Some(unit) = self.unit_at(address)? else { return Ok(None) };
        functions::function_at(self, &unit, &self.sections()?, address)
    }

    /// The functions that `address` is in, innermost first: the inlined ones, then the one whose
    /// code it is. Each with the line that was being executed in it. Empty where no function is
    /// known.
    ///
    /// # Errors
    /// As [`Dwarf::line_at`].
    pub fn frames_at(&self, address: LinkAddr) -> Result<Vec<SourceFrame>, DwarfError> {
        let Some(unit) = self.unit_at(address)? else { return Ok(Vec::new()) };
        inlines::frames_at(self, &unit, &self.sections()?, address)
    }

    /// The sections that lines, functions and types are in. (Locations of variables are apart:
    /// they are large, and compressed ones would be decompressed for nothing.)
    fn sections(&self) -> Result<gimli::Dwarf<Slice<'_>>, DwarfError> {
        gimli::Dwarf::load(|id| {
            let wanted = !matches!(
                id,
                SectionId::DebugLoc
                    | SectionId::DebugLocLists
                    | SectionId::DebugAranges
                    | SectionId::DebugTypes
                    | SectionId::DebugMacinfo
                    | SectionId::DebugMacro
            );
            self.section(if wanted { id.name() } else { "" })
        })
    }

    /// A section, empty where the file has none.
    fn section(&self, name: &str) -> Result<Slice<'_>, DwarfError> {
        let bytes = self.elf.section_data(name)?.unwrap_or_default();
        Ok(EndianSlice::new(bytes, LittleEndian))
    }

    /// The unit that describes the code at `address`.
    fn unit_at(&self, address: LinkAddr) -> Result<Option<Arc<LoadedUnit>>, DwarfError> {
        let map = self.addresses.get_or_init(|| AddressMap::read(self)).as_ref();
        match map.map_err(Clone::clone)?.unit_at(self, address)? {
            Some(offset) => self.unit(offset).map(Some),
            None => Ok(None),
        }
    }

    /// The unit that starts at `offset` of `.debug_info`.
    fn unit(&self, offset: u64) -> Result<Arc<LoadedUnit>, DwarfError> {
        let mut cache = self.units.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(unit) = cache.get(offset) {
            return Ok(unit);
        }
        drop(cache);
        let unit = Arc::new(LoadedUnit::load(&self.sections()?, offset)?);
        cache = self.units.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let forgotten = cache.insert(unit.clone());
        drop(cache);
        // Mapped pages count as memory of the process for as long as they stay mapped.
        if let Some(forgotten) = forgotten {
            self.release_info(forgotten.offset..forgotten.end);
        }
        Ok(unit)
    }

    /// Where all units start in `.debug_info`, ascending.
    fn unit_offsets(&self) -> Result<&[u64], DwarfError> {
        let offsets = self.unit_offsets.get_or_init(|| unit::list_units(self)).as_ref();
        offsets.map(Vec::as_slice).map_err(Clone::clone)
    }

    /// The unit with the entry at `offset` of `.debug_info`.
    fn unit_of_entry(&self, offset: u64) -> Result<Option<Arc<LoadedUnit>>, DwarfError> {
        let offsets = self.unit_offsets()?;
        let after = offsets.partition_point(|&unit| unit <= offset);
        match after.checked_sub(1).and_then(|index| offsets.get(index)) {
            Some(&unit) => self.unit(unit).map(Some),
            None => Ok(None),
        }
    }

    /// The index by name, built by the first who asks.
    fn names(&self) -> Result<&NameIndex, DwarfError> {
        self.names.get_or_init(|| NameIndex::build(self)).as_ref().map_err(Clone::clone)
    }

    /// A range of `.debug_info` was read once and is not needed for now.
    fn release_info(&self, range: Range<u64>) {
        if let Ok(Some(info)) = self.elf.section_data(".debug_info") {
            let end = info.len().min(usize::try_from(range.end).unwrap_or(usize::MAX));
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            if let Some(part) = info.get(start..end) {
                self.elf.release(part);
            }
        }
    }
}
