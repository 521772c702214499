//! One unit of `.debug_info`, and the few that are kept.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use gimli::{DebugInfoOffset, UnitHeader};

use super::functions::FunctionTable;
use super::lines::LineTable;
use super::{Dwarf, DwarfError, Slice};

/// What is kept of a unit: everything but the borrowed sections.
pub(super) struct LoadedUnit {
    /// Where it starts in `.debug_info`.
    pub offset: u64,
    abbreviations: Arc<gimli::Abbreviations>,
    lines: OnceLock<Result<LineTable, DwarfError>>,
    functions: OnceLock<Result<FunctionTable, DwarfError>>,
}

impl LoadedUnit {
    pub fn load(sections: &gimli::Dwarf<Slice<'_>>, offset: u64) -> Result<Self, DwarfError> {
        let damaged = |error| DwarfError::Damaged { unit: offset, error };
        let header = header_at(sections, offset).map_err(damaged)?;
        let abbreviations = header.abbreviations(&sections.debug_abbrev).map_err(damaged)?;
        Ok(Self {
            offset,
            abbreviations: Arc::new(abbreviations),
            lines: OnceLock::new(),
            functions: OnceLock::new(),
        })
    }

    /// The unit as gimli sees it, over `sections`.
    pub fn open<'a>(
        &self,
        sections: &gimli::Dwarf<Slice<'a>>,
    ) -> Result<gimli::Unit<Slice<'a>>, DwarfError> {
        header_at(sections, self.offset)
            .and_then(|header| {
                gimli::Unit::new_with_abbreviations(sections, header, self.abbreviations.clone())
            })
            .map_err(|error| self.damaged(error))
    }

    pub fn lines(&self, sections: &gimli::Dwarf<Slice<'_>>) -> Result<&LineTable, DwarfError> {
        self.lines
            .get_or_init(|| {
                let unit = self.open(sections)?;
                LineTable::read(sections, &unit).map_err(|error| self.damaged(error))
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    pub fn functions(
        &self,
        sections: &gimli::Dwarf<Slice<'_>>,
    ) -> Result<&FunctionTable, DwarfError> {
        self.functions
            .get_or_init(|| {
                let unit = self.open(sections)?;
                FunctionTable::read(sections, &unit).map_err(|error| self.damaged(error))
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    pub fn damaged(&self, error: gimli::Error) -> DwarfError {
        DwarfError::Damaged { unit: self.offset, error }
    }
}

pub(super) fn header_at<'a>(
    sections: &gimli::Dwarf<Slice<'a>>,
    offset: u64,
) -> gimli::Result<UnitHeader<Slice<'a>>> {
    let offset = usize::try_from(offset).map_err(|_| gimli::Error::UnsupportedOffset)?;
    sections.debug_info.header_from_offset(DebugInfoOffset(offset))
}

/// Where the units start. Reads every unit's header: a page of each, and the pages that the
/// system maps around it.
pub(super) fn list_units(dwarf: &Dwarf) -> Result<Vec<u64>, DwarfError> {
    /// Pages are given back after so many bytes were walked over.
    const STEP: u64 = 32 << 20;
    let sections = dwarf.sections()?;
    let mut units = Vec::new();
    let mut released = 0;
    let mut headers = sections.units();
    // Behind a damaged header nothing more can be found.
    while let Ok(Some(header)) = headers.next() {
        let Some(offset) = header.debug_info_offset() else { continue };
        let offset = offset.0 as u64;
        units.push(offset);
        if offset - released > STEP {
            dwarf.release_info(released..offset);
            released = offset;
        }
    }
    dwarf.release_info(released..u64::MAX);
    Ok(units)
}

/// The units used last. A backtrace touches a dozen, and comes back to the same ones.
#[derive(Default)]
pub(super) struct UnitCache {
    /// Most recent last.
    units: VecDeque<Arc<LoadedUnit>>,
}

impl UnitCache {
    /// A loaded unit with lines and functions takes some 200 KB.
    const CAPACITY: usize = 32;

    pub fn get(&mut self, offset: u64) -> Option<Arc<LoadedUnit>> {
        let at = self.units.iter().rposition(|unit| unit.offset == offset)?;
        let unit = self.units.remove(at)?;
        self.units.push_back(unit.clone());
        Some(unit)
    }

    pub fn insert(&mut self, unit: Arc<LoadedUnit>) {
        if self.units.len() >= Self::CAPACITY {
            self.units.pop_front();
        }
        self.units.push_back(unit);
    }
}
