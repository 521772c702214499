//! The functions of a unit, by address.

use std::sync::Arc;

use gimli::{AttributeValue, Unit, UnitOffset, constants};
use mortis_memory::LinkAddr;

use super::ranges::{CodeRange, MAX_RANGES_OF_CODE, MAX_RANGES_OF_UNIT, entry_ranges};
use super::unit::LoadedUnit;
use super::{Dwarf, DwarfError, Slice};

/// A function and where its code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionAt {
    /// Its name, as in the source.
    pub name: Arc<str>,
    /// The first byte of the stretch of its code that was asked for. A function that the
    /// compiler split (`foo` and `foo.cold`) has several.
    pub start: LinkAddr,
    /// One past the last byte of that stretch.
    pub end: LinkAddr,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FunctionRange {
    pub range: CodeRange,
    pub entry: UnitOffset,
}

/// The code of a unit's functions, ascending.
#[derive(Default)]
pub(super) struct FunctionTable(Vec<FunctionRange>);

impl FunctionTable {
    pub fn read<'a>(
        sections: &gimli::Dwarf<Slice<'a>>,
        unit: &Unit<Slice<'a>>,
    ) -> gimli::Result<Self> {
        let mut functions = Vec::new();
        let mut cursor = unit.entries();
        cursor.next_dfs()?;
        // Into the unit; from then on from sibling to sibling, and into name spaces (Rust).
        let mut enter = true;
        while functions.len() < MAX_RANGES_OF_UNIT {
            if enter {
                if !cursor.next_entry()? {
                    break;
                }
            } else {
                cursor.next_sibling()?;
            }
            // Behind the last sibling the way on is out of the parent: the next entry.
            let Some(entry) = cursor.current() else {
                enter = true;
                continue;
            };
            enter = matches!(entry.tag(), constants::DW_TAG_namespace | constants::DW_TAG_module);
            if entry.tag() == constants::DW_TAG_subprogram {
                let entry_offset = entry.offset();
                functions.extend(
                    entry_ranges(sections, unit, entry, MAX_RANGES_OF_CODE)?
                        .into_iter()
                        .map(|range| FunctionRange { range, entry: entry_offset }),
                );
            }
        }
        functions.sort_unstable_by_key(|function| function.range.start);
        Ok(Self(functions))
    }

    pub fn at(&self, address: u64) -> Option<FunctionRange> {
        let after = self.0.partition_point(|function| function.range.start <= address);
        let function = self.0.get(after.checked_sub(1)?)?;
        function.range.contains(address).then_some(*function)
    }
}

pub(super) fn function_at(
    dwarf: &Dwarf,
    unit: &LoadedUnit,
    sections: &gimli::Dwarf<Slice<'_>>,
    address: LinkAddr,
) -> Result<Option<FunctionAt>, DwarfError> {
    let Some(function) = unit.functions(sections)?.at(address.0) else { return Ok(None) };
    let opened = unit.open(sections)?;
    let Some(name) = name_of(dwarf, sections, unit, &opened, function.entry)? else {
        return Ok(None);
    };
    let CodeRange { start, end } = function.range;
    Ok(Some(FunctionAt { name, start: LinkAddr(start), end: LinkAddr(end) }))
}

/// The name of a function. The entry of its code, or of a place where it was inlined, may have
/// none and refer to the entry of its declaration.
pub(super) fn name_of<'a>(
    dwarf: &Dwarf,
    sections: &gimli::Dwarf<Slice<'a>>,
    unit: &LoadedUnit,
    opened: &Unit<Slice<'a>>,
    entry: UnitOffset,
) -> Result<Option<Arc<str>>, DwarfError> {
    /// Inlined copy → abstract instance → declaration, and one to spare.
    const MAX_HOPS: usize = 4;
    let mut other_unit;
    let (mut opened, mut offset) = (opened, entry);
    for _ in 0..MAX_HOPS {
        let entry = opened.entry(offset).map_err(|error| unit.damaged(error))?;
        if let Some(name) = entry.attr_value(constants::DW_AT_name) {
            let name = sections.attr_string(opened, name).map_err(|error| unit.damaged(error))?;
            return Ok(Some(name.to_string_lossy().into()));
        }
        let reference = entry
            .attr_value(constants::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(constants::DW_AT_specification));
        match reference {
            Some(AttributeValue::UnitRef(to)) => offset = to,
            // With link-time optimisation what was inlined comes from another unit.
            Some(AttributeValue::DebugInfoRef(to)) => {
                let Some(unit) = dwarf.unit_of_entry(to.0 as u64)? else { return Ok(None) };
                other_unit = unit.open(sections)?;
                let Some(to) = to.to_unit_offset(&other_unit.header) else { return Ok(None) };
                (opened, offset) = (&other_unit, to);
            }
            _ => break,
        }
    }
    Ok(None)
}
