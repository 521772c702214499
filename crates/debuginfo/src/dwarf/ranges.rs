//! The address ranges of an entry: `DW_AT_low_pc` with `DW_AT_high_pc`, or `DW_AT_ranges`.
//!
//! gimli has this too, but adds the length of a range unchecked.

use gimli::{AttributeValue, DebuggingInformationEntry, Unit, constants};

use super::Slice;

/// Ranges that one function or inlined call may have; the compiler makes a handful. (Entries may
/// share a list, so that a small file could ask for a great many.)
pub(super) const MAX_RANGES_OF_CODE: usize = 1 << 12;

/// Ranges that a unit may have: one for each function where each has a section of its own.
pub(super) const MAX_RANGES_OF_UNIT: usize = 1 << 20;

/// Where code lies: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeRange {
    pub start: u64,
    pub end: u64,
}

impl CodeRange {
    pub fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }
}

/// The ranges of `entry`, at most `max`; empty where it has none.
pub(super) fn entry_ranges(
    sections: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<Slice<'_>>,
    max: usize,
) -> gimli::Result<Vec<CodeRange>> {
    let mut found = Vec::new();
    if let Some(list) = entry.attr_value(constants::DW_AT_ranges) {
        let Some(mut ranges) = sections.attr_ranges(unit, list)? else { return Ok(found) };
        for _ in 0..max {
            let Some(range) = ranges.next()? else { break };
            add(&mut found, range.begin, range.end);
        }
        return Ok(found);
    }
    let Some(low) = entry.attr_value(constants::DW_AT_low_pc) else { return Ok(found) };
    let Some(start) = sections.attr_address(unit, low)? else { return Ok(found) };
    let end = match entry.attr_value(constants::DW_AT_high_pc) {
        // DWARF 4 made it a length; before that it was an address.
        Some(AttributeValue::Udata(length)) => start.checked_add(length),
        Some(high) => sections.attr_address(unit, high)?,
        None => None,
    };
    add(&mut found, start, end.unwrap_or(start));
    Ok(found)
}

/// The linker marks what it threw away with an address of 0 (GNU ld) or near -1 (lld). No code of
/// a kernel is there.
fn add(found: &mut Vec<CodeRange>, start: u64, end: u64) {
    if start != 0 && start < end {
        found.push(CodeRange { start, end });
    }
}
