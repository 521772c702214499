//! One unit of `.debug_info`, and the few that are kept.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use gimli::{
    AttributeValue, DebugAddrBase, DebugInfoOffset, DebugLocListsBase, DebugRngListsBase,
    DebugStrOffsetsBase, DwLang, UnitHeader, constants,
};

use super::functions::FunctionTable;
use super::lines::LineTable;
use super::{Dwarf, DwarfError, Slice};

/// What is kept of a unit: everything but the borrowed sections.
pub(super) struct LoadedUnit {
    /// Where it starts in `.debug_info`.
    pub offset: u64,
    /// Where the next one starts.
    pub end: u64,
    pub language: Option<DwLang>,
    abbreviations: Arc<gimli::Abbreviations>,
    bases: Bases,
    lines: OnceLock<Result<LineTable, DwarfError>>,
    functions: OnceLock<Result<FunctionTable, DwarfError>>,
}

/// What a unit's first entry says of where the unit's parts of other sections start.
#[derive(Clone, Copy)]
struct Bases {
    low_pc: u64,
    str_offsets: DebugStrOffsetsBase,
    addr: DebugAddrBase,
    loclists: DebugLocListsBase,
    rnglists: DebugRngListsBase,
}

impl LoadedUnit {
    pub fn load(sections: &gimli::Dwarf<Slice<'_>>, offset: u64) -> Result<Self, DwarfError> {
        let damaged = |error| DwarfError::Damaged { unit: offset, error };
        let header = header_at(sections, offset).map_err(damaged)?;
        let abbreviations = header.abbreviations(&sections.debug_abbrev).map_err(damaged)?;
        let mut unit = Self {
            offset,
            end: offset.saturating_add(header.length_including_self() as u64),
            language: None,
            abbreviations: Arc::new(abbreviations),
            bases: Bases::of_encoding(header.encoding()),
            lines: OnceLock::new(),
            functions: OnceLock::new(),
        };
        let mut opened = unit.open(sections)?;
        let root = opened.entry(opened.header.root_offset()).map_err(damaged)?;
        unit.language = match root.attr_value(constants::DW_AT_language) {
            Some(AttributeValue::Language(language)) => Some(language),
            _ => None,
        };
        for attribute in root.attrs() {
            unit.bases.read(attribute);
        }
        // The address may itself be an index into what `addr` points at.
        opened.addr_base = unit.bases.addr;
        if let Some(low_pc) = root.attr_value(constants::DW_AT_low_pc) {
            let low_pc = sections.attr_address(&opened, low_pc).map_err(damaged)?;
            unit.bases.low_pc = low_pc.unwrap_or(0);
        }
        Ok(unit)
    }

    /// The unit as gimli sees it, over `sections`, but for its line program: reading the header
    /// of that takes longer than what is mostly asked of a unit.
    pub fn open<'a>(
        &self,
        sections: &gimli::Dwarf<Slice<'a>>,
    ) -> Result<gimli::Unit<Slice<'a>>, DwarfError> {
        let header = header_at(sections, self.offset).map_err(|error| self.damaged(error))?;
        Ok(gimli::Unit {
            header,
            abbreviations: self.abbreviations.clone(),
            name: None,
            comp_dir: None,
            low_pc: self.bases.low_pc,
            str_offsets_base: self.bases.str_offsets,
            addr_base: self.bases.addr,
            loclists_base: self.bases.loclists,
            rnglists_base: self.bases.rnglists,
            line_program: None,
            dwo_id: None,
        })
    }

    fn open_with_lines<'a>(
        &self,
        sections: &gimli::Dwarf<Slice<'a>>,
    ) -> gimli::Result<gimli::Unit<Slice<'a>>> {
        let header = header_at(sections, self.offset)?;
        gimli::Unit::new_with_abbreviations(sections, header, self.abbreviations.clone())
    }

    pub fn lines(&self, sections: &gimli::Dwarf<Slice<'_>>) -> Result<&LineTable, DwarfError> {
        self.lines
            .get_or_init(|| {
                self.open_with_lines(sections)
                    .map(|unit| LineTable::of_unit(sections, &unit))
                    .map_err(|error| self.damaged(error))
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

impl Bases {
    /// Where they start if the unit does not say.
    fn of_encoding(encoding: gimli::Encoding) -> Self {
        let file = gimli::DwarfFileType::Main;
        Self {
            low_pc: 0,
            str_offsets: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, file),
            addr: DebugAddrBase(0),
            loclists: DebugLocListsBase::default_for_encoding_and_file(encoding, file),
            rnglists: DebugRngListsBase::default_for_encoding_and_file(encoding, file),
        }
    }

    fn read(&mut self, attribute: &gimli::Attribute<Slice<'_>>) {
        match attribute.value() {
            AttributeValue::DebugStrOffsetsBase(base) => self.str_offsets = base,
            AttributeValue::DebugAddrBase(base) => self.addr = base,
            AttributeValue::DebugLocListsBase(base) => self.loclists = base,
            AttributeValue::DebugRngListsBase(base) => self.rnglists = base,
            _ => {}
        }
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
    /// One for each source file: a kernel with everything in it has some 30,000.
    const MAX_UNITS: usize = 1 << 18;
    let sections = dwarf.sections()?;
    let mut units = Vec::new();
    let mut released = 0;
    let mut headers = sections.units();
    // Behind a damaged header nothing more can be found.
    while let (true, Ok(Some(header))) = (units.len() < MAX_UNITS, headers.next()) {
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

    /// Keeps `unit`, and gives the one back that was not used for longest if there is no room.
    pub fn insert(&mut self, unit: Arc<LoadedUnit>) -> Option<Arc<LoadedUnit>> {
        self.units.push_back(unit);
        if self.units.len() > Self::CAPACITY { self.units.pop_front() } else { None }
    }
}
