//! Writing an ELF core file.

use mortis_kernel::error::KernelError;
use mortis_kernel::process_core::{CoreSegment, ProcessCore, SegmentContent};
use mortis_kernel::process_memory::ProcessMemory;
use mortis_kernel::scan::Progress;
use mortis_kernel::vma::area_flags;
use mortis_memory::PhysicalMemory;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// Why there is no core file.
pub(super) enum Failure {
    /// The user wanted no more of it.
    Kernel(KernelError),
    /// It cannot be written.
    File(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::File(error)
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        Failure::Kernel(error)
    }
}

const PAGE_SIZE: u64 = 4096;
const EHDR_SIZE: u64 = 64;
const PHDR_SIZE: u64 = 56;
const SHDR_SIZE: u64 = 64;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `e_phnum` where there are more segments than it can say; section header 0 says it then.
const PN_XNUM: u64 = 0xffff;

/// `PF_R`, `PF_W`, `PF_X` of flags of an area.
const fn segment_flags(area: u64) -> u32 {
    let mut flags = 0;
    if area & area_flags::READ != 0 {
        flags |= 4;
    }
    if area & area_flags::WRITE != 0 {
        flags |= 2;
    }
    if area & area_flags::EXEC != 0 {
        flags |= 1;
    }
    flags
}

/// `r-x`.
pub(super) fn flag_letters(area: u64) -> String {
    let letters = [(area_flags::READ, 'r'), (area_flags::WRITE, 'w'), (area_flags::EXEC, 'x')];
    letters.iter().map(|(bit, letter)| if area & bit != 0 { *letter } else { '-' }).collect()
}

/// Writes the file, which must not exist yet, and says how long it is. What was begun and not
/// finished is taken away again.
pub(super) fn write(
    path: &Path,
    core: &ProcessCore,
    memory: &ProcessMemory<'_>,
    physical: &dyn PhysicalMemory,
    progress: &Progress,
) -> Result<u64, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = write_to(file, core, memory, physical, progress);
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn write_to(
    file: File,
    core: &ProcessCore,
    memory: &ProcessMemory<'_>,
    physical: &dyn PhysicalMemory,
    progress: &Progress,
) -> Result<u64, Failure> {
    let headers = headers(core);
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&headers)?;
    out.write_all(&core.notes)?;
    let mut position = (headers.len() + core.notes.len()) as u64;
    let mut end = data_offset(core);
    progress.expect(core.pages.saved);
    for segment in core.segments.iter().filter(|segment| has_memory(segment)) {
        memory.each_page(segment.start, segment.end, |address, place| {
            progress.advance(1)?;
            let mut page = [0; PAGE_SIZE as usize];
            // What could be probed and not be read, a damaged page of the dump, stays a hole,
            // which reads as zeros.
            if physical.read(place, &mut page).is_err() {
                return Ok(());
            }
            let at = end.saturating_add(address.0.saturating_sub(segment.start.0));
            if at != position {
                out.seek(SeekFrom::Start(at))?;
            }
            out.write_all(&page)?;
            position = at + PAGE_SIZE;
            Ok::<(), Failure>(())
        })?;
        end = end.saturating_add(len(segment));
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.set_len(end)?;
    Ok(end)
}

fn has_memory(segment: &CoreSegment) -> bool {
    segment.content == SegmentContent::Memory
}

fn len(segment: &CoreSegment) -> u64 {
    segment.end.0.saturating_sub(segment.start.0)
}

fn is_extended(core: &ProcessCore) -> bool {
    core.segments.len() as u64 + 1 >= PN_XNUM
}

fn notes_offset(core: &ProcessCore) -> u64 {
    let sections = if is_extended(core) { SHDR_SIZE } else { 0 };
    EHDR_SIZE + PHDR_SIZE * (core.segments.len() as u64 + 1) + sections
}

/// Where the memory begins.
fn data_offset(core: &ProcessCore) -> u64 {
    (notes_offset(core) + core.notes.len() as u64).next_multiple_of(PAGE_SIZE)
}

/// The ELF header, the program headers and, where there are very many of those, the one section
/// header that counts them.
fn headers(core: &ProcessCore) -> Vec<u8> {
    let count = core.segments.len() as u64 + 1;
    let extended = is_extended(core);
    let section_offset = if extended { EHDR_SIZE + PHDR_SIZE * count } else { 0 };
    let mut bytes = Vec::with_capacity(notes_offset(core) as usize);
    // 64 bits, little-endian, version 1.
    bytes.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // ET_CORE of EM_X86_64.
    bytes.extend(4u16.to_le_bytes());
    bytes.extend(62u16.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(EHDR_SIZE.to_le_bytes());
    bytes.extend(section_offset.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    let section = u16::from(extended);
    let section_size = if extended { SHDR_SIZE as u16 } else { 0 };
    let in_header = count.min(PN_XNUM) as u16;
    for half in [EHDR_SIZE as u16, PHDR_SIZE as u16, in_header, section_size, section, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let notes = core.notes.len() as u64;
    program_header(&mut bytes, PT_NOTE, 0, notes_offset(core), 0, [notes, 0], 4);
    let mut offset = data_offset(core);
    for segment in &core.segments {
        let in_file = if has_memory(segment) { len(segment) } else { 0 };
        let flags = segment_flags(segment.flags);
        let sizes = [in_file, len(segment)];
        program_header(&mut bytes, PT_LOAD, flags, offset, segment.start.0, sizes, PAGE_SIZE);
        offset = offset.saturating_add(in_file);
    }
    if extended {
        // A null section; `sh_info` is the number of segments.
        bytes.extend([0; 44]);
        bytes.extend((count as u32).to_le_bytes());
        bytes.extend([0; 16]);
    }
    bytes
}

fn program_header(
    bytes: &mut Vec<u8>,
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    [in_file, in_memory]: [u64; 2],
    alignment: u64,
) {
    bytes.extend(kind.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    for word in [offset, address, 0, in_file, in_memory, alignment] {
        bytes.extend(word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_kernel::process_core::PageCounts;
    use mortis_memory::UserAddr;

    fn core(segments: usize) -> ProcessCore {
        let segment = |number: u64| CoreSegment {
            start: UserAddr(number << 13),
            end: UserAddr((number << 13) + PAGE_SIZE),
            flags: area_flags::READ,
            content: if number.is_multiple_of(2) {
                SegmentContent::Memory
            } else {
                SegmentContent::Nothing
            },
        };
        ProcessCore {
            notes: vec![0; 20],
            segments: (0..segments as u64).map(segment).collect(),
            threads: 1,
            threads_without_registers: 0,
            areas: segments,
            pages: PageCounts::default(),
            damage: None,
        }
    }

    #[test]
    fn headers_are_as_long_as_they_say() {
        for segments in [0, 3, 65_534, 70_000] {
            let core = core(segments);
            let headers = headers(&core);
            assert_eq!(headers.len() as u64, notes_offset(&core), "{segments} segments");
            let in_header = u16::from_le_bytes([headers[56], headers[57]]);
            assert_eq!(u64::from(in_header), (segments as u64 + 1).min(PN_XNUM));
        }
    }
}
