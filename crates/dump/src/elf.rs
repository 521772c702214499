//! ELF64 vmcores: copies of `/proc/vmcore`, `makedumpfile -E`, QEMU's `dump-guest-memory`.

use crate::field::{u16_at, u32_at, u64_at};
use crate::format::Machine;
use crate::source::{Source, read_up_to};
use mortis_memory::Unavailable;
use std::sync::Arc;

mod memory;

pub(crate) use memory::ElfMemory;

pub(crate) const MAGIC: &[u8] = b"\x7fELF";
pub(crate) const HEADER_SIZE: usize = 64;
pub(crate) const ELFCLASS64: u8 = 2;
pub(crate) const ELFDATA2LSB: u8 = 1;
pub(crate) const ET_CORE: u16 = 4;

const PROGRAM_HEADER_SIZE: u64 = 56;
const PT_NULL: u32 = 0;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `e_phnum` when there are too many to fit: the number is in section header 0's `sh_info`.
const PN_XNUM: u16 = 0xffff;
const SECTION_INFO: u64 = 44;
/// makedumpfile sets this in `e_flags` when it ran out of space (`DUMP_ELF_INCOMPLETE`).
const INCOMPLETE: u32 = 1;
/// `p_paddr` of segments that are no physical memory, and `p_offset` of those that QEMU could not
/// find in RAM.
const NOWHERE: u64 = u64::MAX;
/// Physical addresses have at most 52 bits, on x86_64 as on arm64.
const MAX_ADDRESS: u64 = 1 << 52;
/// A note a possible CPU: the largest machines have a few megabytes.
const MAX_NOTES: u64 = 16 << 20;

/// What the headers of an ELF core say.
pub(crate) struct ElfCore {
    pub(crate) machine: Machine,
    pub(crate) incomplete: bool,
    pub(crate) notes: Vec<u8>,
    segments: Segments,
    /// Where the last segment that the headers announce ends in the file.
    announced_end: u64,
}

/// All that the program headers say of memory. Each list is disjoint and ascending.
struct Segments {
    present: Vec<Segment>,
    /// Left out on purpose; may overlap `present`, which goes first.
    excluded: Vec<Segment>,
    /// What an address in neither is. makedumpfile writes a segment's header when it starts the
    /// segment: in an incomplete dump the headers of the rest stay zero, and nobody knows which
    /// memory they would have been.
    elsewhere: Unavailable,
}

/// Physical memory from `start` to `end`, and where it is in the file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    end: u64,
    offset: u64,
}

impl Segment {
    /// Where in the file the byte at `address` is.
    fn offset_of(&self, address: u64) -> u64 {
        self.offset.saturating_add(address.saturating_sub(self.start))
    }
}

impl ElfCore {
    /// Reads the headers and notes. `None` if they do not fit the file at all.
    pub(crate) fn parse(source: &dyn Source) -> Option<Self> {
        let header = read_up_to(source, 0, HEADER_SIZE as u64);
        let machine = match u16_at(&header, 18)? {
            62 => Machine::X86_64,
            183 => Machine::Aarch64,
            other => Machine::Other(format!("ELF machine {other}")),
        };
        let table = u64_at(&header, 32)?;
        let entry_size = u64::from(u16_at(&header, 54)?);
        let count = match u16_at(&header, 56)? {
            PN_XNUM => {
                let section_table = u64_at(&header, 40)?;
                let info = read_up_to(source, section_table.checked_add(SECTION_INFO)?, 4);
                u64::from(u32_at(&info, 0)?)
            }
            count => u64::from(count),
        };
        if entry_size < PROGRAM_HEADER_SIZE {
            return None;
        }
        let mut core = Self {
            machine,
            incomplete: u32_at(&header, 48)? & INCOMPLETE != 0,
            notes: Vec::new(),
            segments: Segments {
                present: Vec::new(),
                excluded: Vec::new(),
                elsewhere: Unavailable::Unmapped,
            },
            announced_end: 0,
        };
        let headers = read_up_to(source, table, count.checked_mul(entry_size)?);
        for header in headers.chunks_exact(entry_size as usize) {
            core.program_header(source, header)?;
        }
        disjoint(&mut core.segments.present);
        disjoint(&mut core.segments.excluded);
        Some(core)
    }

    fn program_header(&mut self, source: &dyn Source, header: &[u8]) -> Option<()> {
        let offset = u64_at(header, 8)?;
        let address = u64_at(header, 24)?;
        let file_size = u64_at(header, 32)?;
        let memory_size = u64_at(header, 40)?;
        match u32_at(header, 0)? {
            PT_NOTE => {
                self.announced_end = self.announced_end.max(offset.saturating_add(file_size));
                let room = MAX_NOTES.saturating_sub(self.notes.len() as u64);
                self.notes.extend(read_up_to(source, offset, file_size.min(room)));
            }
            // QEMU's paging dumps map memory that is no RAM with p_offset -1.
            PT_LOAD if address != NOWHERE && !(offset == NOWHERE && file_size == 0) => {
                let end = address.saturating_add(file_size).min(MAX_ADDRESS);
                if file_size > 0 {
                    self.announced_end = self.announced_end.max(offset.saturating_add(file_size));
                    self.segments.present.push(Segment { start: address, end, offset });
                }
                let memory_end = address.saturating_add(memory_size).min(MAX_ADDRESS);
                if memory_end > end {
                    self.segments.excluded.push(Segment { start: end, end: memory_end, offset: 0 });
                }
            }
            PT_NULL if self.incomplete => self.segments.elsewhere = Unavailable::Truncated,
            _ => {}
        }
        Some(())
    }

    pub(crate) fn is_filtered(&self) -> bool {
        !self.segments.excluded.is_empty()
    }

    pub(crate) fn has_memory(&self) -> bool {
        !self.segments.present.is_empty() || !self.segments.excluded.is_empty()
    }

    /// Whether the file ends before what its headers announce.
    pub(crate) fn is_truncated(&self, len: u64) -> bool {
        self.announced_end > len
    }

    pub(crate) fn into_memory(
        self,
        source: Arc<dyn Source>,
        page_size: u64,
        cache_bytes: usize,
    ) -> ElfMemory {
        ElfMemory::new(source, self.segments, page_size, cache_bytes)
    }
}

/// Sorts segments and cuts from each what an earlier one covers. `/proc/vmcore` has the kernel's
/// own image twice, at its text mapping and in the direct map; the bytes are the same.
fn disjoint(segments: &mut Vec<Segment>) {
    segments.sort_by_key(|segment| (segment.start, segment.end));
    let mut covered = 0;
    segments.retain_mut(|segment| {
        let cut = covered.max(segment.start) - segment.start;
        segment.start += cut;
        segment.offset = segment.offset.saturating_add(cut);
        covered = covered.max(segment.end);
        segment.start < segment.end
    });
}
