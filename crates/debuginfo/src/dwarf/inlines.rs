//! Inlined calls: the functions whose source an address belongs to, though it lies in the code of
//! another.

use std::sync::Arc;

use gimli::{AttributeValue, DebuggingInformationEntry, Unit, UnitOffset, constants};
use mortis_memory::LinkAddr;

use super::functions::name_of;
use super::lines::LineTable;
use super::ranges::{MAX_RANGES_OF_CODE, entry_ranges};
use super::unit::LoadedUnit;
use super::{Dwarf, DwarfError, Slice, SourceLine};

/// A function that an address is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFrame {
    /// Its name, as in the source.
    pub function: Arc<str>,
    /// The line that was being executed in it: for the innermost function that of the address,
    /// for the others that of the call which was inlined.
    pub line: Option<SourceLine>,
    /// Whether it was inlined into the function of the next frame.
    pub inlined: bool,
}

/// An inlined call around the address.
struct InlinedCall {
    entry: UnitOffset,
    depth: isize,
    call: Option<SourceLine>,
}

pub(super) fn frames_at(
    dwarf: &Dwarf,
    unit: &LoadedUnit,
    sections: &gimli::Dwarf<Slice<'_>>,
    address: LinkAddr,
) -> Result<Vec<SourceFrame>, DwarfError> {
    let Some(function) = unit.functions(sections)?.at(address.0) else { return Ok(Vec::new()) };
    let lines = unit.lines(sections)?;
    let opened = unit.open(sections)?;
    let calls = inlined_calls(sections, &opened, lines, function.entry, address.0)
        .map_err(|error| unit.damaged(error))?;

    let unknown = || Arc::from("??");
    let mut line = lines.line_at(address);
    let mut frames = Vec::with_capacity(calls.len() + 1);
    for inlined in calls.into_iter().rev() {
        let name = name_of(dwarf, sections, unit, &opened, inlined.entry)?;
        frames.push(SourceFrame { function: name.unwrap_or_else(unknown), line, inlined: true });
        line = inlined.call;
    }
    let name = name_of(dwarf, sections, unit, &opened, function.entry)?;
    frames.push(SourceFrame { function: name.unwrap_or_else(unknown), line, inlined: false });
    Ok(frames)
}

/// The inlined calls around `address` in the function at `entry`, outermost first.
fn inlined_calls<'a>(
    sections: &gimli::Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    lines: &LineTable,
    function: UnitOffset,
    address: u64,
) -> gimli::Result<Vec<InlinedCall>> {
    let mut calls: Vec<InlinedCall> = Vec::new();
    let mut cursor = unit.entries_at_offset(function)?;
    cursor.next_entry()?;
    while cursor.next_dfs()?.is_some() {
        let Some(entry) = cursor.current() else { break };
        let depth = entry.depth();
        // Behind the function, or behind the inlined call that holds the address: any further
        // one lies within.
        if depth <= calls.last().map_or(0, |outer| outer.depth) {
            break;
        }
        if entry.tag() != constants::DW_TAG_inlined_subroutine {
            continue;
        }
        let ranges = entry_ranges(sections, unit, entry, MAX_RANGES_OF_CODE)?;
        if ranges.iter().any(|range| range.contains(address)) {
            calls.push(InlinedCall { entry: entry.offset(), depth, call: call_site(lines, entry) });
        }
    }
    Ok(calls)
}

/// Where the call that was inlined stands.
fn call_site(
    lines: &LineTable,
    entry: &DebuggingInformationEntry<Slice<'_>>,
) -> Option<SourceLine> {
    let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
    let file = match entry.attr_value(constants::DW_AT_call_file)? {
        AttributeValue::FileIndex(index) => index,
        value => value.udata_value()?,
    };
    let small = |value: Option<u64>| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    Some(SourceLine {
        file: lines.file(file)?,
        line: small(number(constants::DW_AT_call_line)),
        column: small(number(constants::DW_AT_call_column)),
    })
}
