//! Line tables: from an address to file and line.

use std::sync::Arc;

use gimli::{FileEntry, IncompleteLineProgram, LineProgramHeader, Unit};
use mortis_memory::LinkAddr;

use super::Slice;

/// A source file as the compiler was told of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceFile {
    /// `DW_AT_comp_dir`, where the compiler ran. Distributions rewrite it
    /// (`-fdebug-prefix-map`), so it need not be absolute.
    pub directory: Arc<str>,
    /// Its path: absolute, or from [`SourceFile::directory`].
    pub path: Arc<str>,
}

impl SourceFile {
    /// The whole path, joined and nothing else: neither `..` nor symbolic links are resolved.
    pub fn full_path(&self) -> String {
        if self.path.starts_with('/') || self.directory.is_empty() {
            self.path.to_string()
        } else {
            format!("{}/{}", self.directory.trim_end_matches('/'), self.path)
        }
    }
}

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// The file.
    pub file: Arc<SourceFile>,
    /// The line from 1, or 0 for instructions that belong to no line.
    pub line: u32,
    /// The column from 1, or 0 where it is not known.
    pub column: u32,
}

/// Where the instructions of a line start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRow {
    /// The first instruction.
    pub address: LinkAddr,
    /// Its line.
    pub line: SourceLine,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    address: u64,
    file: u32,
    line: u32,
    column: u32,
}

/// Rows without a gap: `rows[first..first + count]` describe `start..end`.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    start: u64,
    end: u64,
    first: usize,
    count: usize,
}

/// The line table of one unit.
#[derive(Default)]
pub(super) struct LineTable {
    /// By the number that rows use.
    files: Vec<Arc<SourceFile>>,
    rows: Vec<Row>,
    /// Ascending.
    sequences: Vec<Sequence>,
}

/// Rows that a line program may have. Those of a kernel have some ten thousand, and none a million.
const MAX_ROWS: usize = 1 << 22;

impl LineTable {
    /// Runs the line program of `unit`.
    pub fn of_unit<'a>(sections: &gimli::Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>) -> Self {
        let Some(program) = unit.line_program.clone() else { return Self::default() };
        let text =
            |text: Option<Slice<'a>>| text.unwrap_or_default().to_string_lossy().into_owned();
        let (directory, name) = (text(unit.comp_dir), text(unit.name));
        Self::read(sections, program, &directory, &name)
    }

    /// Runs a line program. A damaged one keeps what came before the damage.
    pub fn read<'a>(
        sections: &gimli::Dwarf<Slice<'a>>,
        program: IncompleteLineProgram<Slice<'a>>,
        directory: &str,
        name: &str,
    ) -> Self {
        let files = read_files(sections, program.header(), directory, name);
        let mut table = Self { files, ..Self::default() };
        let mut first = 0;
        let mut rows = program.rows();
        while let Ok(Some((_, row))) = rows.next_row() {
            if row.end_sequence() {
                table.end_sequence(first, row.address());
                first = table.rows.len();
            } else {
                table.add_row(first, row);
            }
            if table.rows.len() > MAX_ROWS {
                break;
            }
        }
        table.rows.truncate(first);
        table.rows.shrink_to_fit();
        table.sequences.sort_unstable_by_key(|sequence| sequence.start);
        table
    }

    fn add_row(&mut self, first: usize, row: &gimli::LineRow) {
        let row = Row {
            address: row.address(),
            file: u32::try_from(row.file_index()).unwrap_or(u32::MAX),
            line: row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0)),
            column: match row.column() {
                gimli::ColumnType::LeftEdge => 0,
                gimli::ColumnType::Column(column) => u32::try_from(column.get()).unwrap_or(0),
            },
        };
        // Of rows with the same address all but the last describe no instruction.
        match self.rows.get_mut(first..).and_then(<[Row]>::last_mut) {
            Some(last) if last.address == row.address => *last = row,
            _ => self.rows.push(row),
        }
    }

    fn end_sequence(&mut self, first: usize, end: u64) {
        let rows = self.rows.get(first..).unwrap_or_default();
        let start = rows.first().map_or(0, |row| row.address);
        // Address 0 is how the linker marks code that it threw away.
        if start != 0 && start < end && rows.is_sorted_by_key(|row| row.address) {
            let count = rows.len();
            self.sequences.push(Sequence { start, end, first, count });
        } else {
            self.rows.truncate(first);
        }
    }

    pub fn line_at(&self, address: LinkAddr) -> Option<SourceLine> {
        let sequence = self.sequence_at(address.0)?;
        let rows = self.rows_of(sequence);
        let after = rows.partition_point(|row| row.address <= address.0);
        self.source_line(rows.get(after.checked_sub(1)?)?)
    }

    pub fn rows_in(&self, start: LinkAddr, end: LinkAddr) -> Vec<LineRow> {
        let reaches = |sequence: &&Sequence| sequence.start < end.0 && start.0 < sequence.end;
        let mut found = Vec::new();
        for sequence in self.sequences.iter().filter(reaches) {
            let rows = self.rows_of(sequence);
            let first = rows.partition_point(|row| row.address <= start.0).saturating_sub(1);
            found.extend(rows.iter().skip(first).take_while(|row| row.address < end.0).filter_map(
                |row| {
                    let line = self.source_line(row)?;
                    Some(LineRow { address: LinkAddr(row.address.max(start.0)), line })
                },
            ));
        }
        found
    }

    /// The file with the number that `DW_AT_call_file` or `DW_AT_decl_file` gives.
    pub fn file(&self, number: u64) -> Option<Arc<SourceFile>> {
        self.files.get(usize::try_from(number).ok()?).cloned()
    }

    /// The rows that start a line of one of `files`, by number: the line, and the address.
    pub fn starts<'a>(&'a self, files: &'a [u64]) -> impl Iterator<Item = (u32, u64)> + 'a {
        self.sequences.iter().flat_map(move |sequence| {
            let mut before = None;
            self.rows_of(sequence).iter().filter_map(move |row| {
                let here = (row.file, row.line);
                let starts = before.replace(here) != Some(here);
                (starts && row.line != 0 && files.contains(&row.file.into()))
                    .then_some((row.line, row.address))
            })
        })
    }

    fn sequence_at(&self, address: u64) -> Option<&Sequence> {
        let after = self.sequences.partition_point(|sequence| sequence.start <= address);
        let sequence = self.sequences.get(after.checked_sub(1)?)?;
        (address < sequence.end).then_some(sequence)
    }

    fn rows_of(&self, sequence: &Sequence) -> &[Row] {
        self.rows.get(sequence.first..).and_then(|rows| rows.get(..sequence.count)).unwrap_or(&[])
    }

    fn source_line(&self, row: &Row) -> Option<SourceLine> {
        let file = self.file(row.file.into())?;
        Some(SourceLine { file, line: row.line, column: row.column })
    }
}

/// All files of the line program, placed by their numbers, which start at 1 before DWARF 5.
fn read_files<'a>(
    sections: &gimli::Dwarf<Slice<'a>>,
    header: &LineProgramHeader<Slice<'a>>,
    directory: &str,
    name: &str,
) -> Vec<Arc<SourceFile>> {
    let directory: Arc<str> = directory.into();
    let mut files = Vec::with_capacity(header.file_names().len() + 1);
    if header.version() < 5 {
        files.push(Arc::new(SourceFile { directory: directory.clone(), path: name.into() }));
    }
    files.extend(header.file_names().iter().map(|file| {
        let path = file_path(sections, header, file).unwrap_or_default().into();
        Arc::new(SourceFile { directory: directory.clone(), path })
    }));
    files
}

/// The path of a file from `DW_AT_comp_dir`, the way gdb puts it together.
pub(super) fn file_path<'a>(
    sections: &gimli::Dwarf<Slice<'a>>,
    header: &LineProgramHeader<Slice<'a>>,
    file: &FileEntry<Slice<'a>>,
) -> gimli::Result<String> {
    let name = sections.attr_line_string(file.path_name())?.to_string_lossy().into_owned();
    // Directory 0 is DW_AT_comp_dir itself.
    if name.starts_with('/') || file.directory_index() == 0 {
        return Ok(name);
    }
    let Some(directory) = file.directory(header) else { return Ok(name) };
    let directory = sections.attr_line_string(directory)?;
    Ok(format!("{}/{name}", directory.to_string_lossy().trim_end_matches('/')))
}
