//! The address ranges of an entry: `DW_AT_low_pc` with `DW_AT_high_pc`, or `DW_AT_ranges`.
//!
//! gimli has this too, but adds the length of a range unchecked.

use gimli::{AttributeValue, DebuggingInformationEntry, Unit, constants};

use super::Slice;

/// Ranges a single entry may have. A unit of a kernel has a few hundred.
const MAX_RANGES: usize = 1 << 20;

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

/// The ranges of `entry`; empty where it has none.
pub(super) fn entry_ranges(
    sections: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<Slice<'_>>,
) -> gimli::Result<Vec<CodeRange>> {
    let mut found = Vec::new();
    if let Some(list) = entry.attr_value(constants::DW_AT_ranges) {
        let Some(mut ranges) = sections.attr_ranges(unit, list)? else { return Ok(found) };
        while let Some(range) = ranges.next()? {
            add(&mut found, range.begin, range.end);
            if found.len() > MAX_RANGES {
                break;
            }
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
