//! From file and line to addresses.

use gimli::{DebugLineOffset, IncompleteLineProgram, LineProgramHeader, Section};
use mortis_memory::LinkAddr;
use rayon::prelude::*;

use super::lines::{LineRow, LineTable, file_path};
use super::{Dwarf, DwarfError, Slice};

/// Before DWARF 5 a line program does not say how large addresses are.
const ADDRESS_SIZE: u8 = 8;

pub(super) fn addresses_of_line(
    dwarf: &Dwarf,
    file: &str,
    line: u32,
) -> Result<Vec<LineRow>, DwarfError> {
    let sections = dwarf.sections()?;
    let mut starts: Vec<(u32, u64)> = programs(&sections)
        .par_iter()
        .flat_map_iter(|&program| starts_from(&sections, program, file, line))
        .collect();
    let Some(nearest) = starts.iter().map(|&(line, _)| line).min() else { return Ok(Vec::new()) };
    starts.retain(|&(line, _)| line == nearest);
    starts.sort_unstable();
    starts.dedup();
    let mut rows = Vec::with_capacity(starts.len());
    for (_, address) in starts {
        let address = LinkAddr(address);
        // The unit, unlike its line program, says where the compiler ran. One that is damaged
        // does not hide the others.
        if let Ok(Some(line)) = dwarf.line_at(address) {
            rows.push(LineRow { address, line });
        }
    }
    Ok(rows)
}

/// Where the line programs are in `.debug_line`: one behind the other.
fn programs(sections: &gimli::Dwarf<Slice<'_>>) -> Vec<usize> {
    let bytes = sections.debug_line.reader().slice();
    let mut programs = Vec::new();
    let mut at = 0usize;
    while let Some(header) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let mut reader = gimli::EndianSlice::new(header, gimli::LittleEndian);
        let Ok((length, format)) = gimli::Reader::read_initial_length(&mut reader) else { break };
        programs.push(at);
        let size = length.checked_add(usize::from(format.initial_length_size()));
        match size.and_then(|size| at.checked_add(size)) {
            Some(next) => at = next,
            None => break,
        }
    }
    programs
}

/// Where the lines of `file` from `line` on start, in one program.
fn starts_from(
    sections: &gimli::Dwarf<Slice<'_>>,
    program: usize,
    file: &str,
    line: u32,
) -> Vec<(u32, u64)> {
    let offset = DebugLineOffset(program);
    let Ok(program) = sections.debug_line.program(offset, ADDRESS_SIZE, None, None) else {
        return Vec::new();
    };
    let files = numbers_of(sections, program.header(), file);
    if files.is_empty() {
        return Vec::new();
    }
    nearest_starts(sections, program, &files, line)
}

fn nearest_starts<'a>(
    sections: &gimli::Dwarf<Slice<'a>>,
    program: IncompleteLineProgram<Slice<'a>>,
    files: &[u64],
    line: u32,
) -> Vec<(u32, u64)> {
    let table = LineTable::read(sections, program, "", "");
    let mut starts: Vec<_> = table.starts(files).filter(|&(at, _)| at >= line).collect();
    let nearest = starts.iter().map(|&(line, _)| line).min();
    starts.retain(|&(line, _)| Some(line) == nearest);
    starts
}

/// The numbers by which the rows of a program name `file`.
fn numbers_of<'a>(
    sections: &gimli::Dwarf<Slice<'a>>,
    header: &LineProgramHeader<Slice<'a>>,
    file: &str,
) -> Vec<u64> {
    let last_part = file.rsplit('/').next().unwrap_or(file);
    let first = u64::from(header.version() < 5);
    (first..)
        .zip(header.file_names())
        .filter(|(_, entry)| {
            // Most files are told apart by their last part, without joining a path.
            sections
                .attr_line_string(entry.path_name())
                .is_ok_and(|name| name.slice().ends_with(last_part.as_bytes()))
        })
        .filter(|(_, entry)| {
            file_path(sections, header, entry).is_ok_and(|path| ends_with_path(&path, file))
        })
        .map(|(number, _)| number)
        .collect()
}

/// Whether `path` is `end`, or ends in `/` and `end`.
fn ends_with_path(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('/'))
}
