//! ELF64 vmcores: copies of `/proc/vmcore`, `makedumpfile -E`, QEMU's `dump-guest-memory`.

use crate::contents::Contents;
use crate::field::{u16_at, u32_at, u64_at};
use crate::foreign::Foreign;
use crate::format::{Format, Machine};
use crate::notes::{self, Notes};
use crate::open::{OpenError, Opening};
use crate::region::{Region, RegionMemory, Regions};
use crate::sniff::FileKind;
use crate::source::{Source, read_up_to};
use crate::vmcoreinfo::Vmcoreinfo;
use mortis_memory::Unavailable;
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"\x7fELF";
pub(crate) const HEADER_SIZE: usize = 64;
pub(crate) const ELFCLASS64: u8 = 2;
pub(crate) const ELFDATA2LSB: u8 = 1;
pub(crate) const ET_CORE: u16 = 4;

const PROGRAM_HEADER_SIZE: u64 = 56;
const PT_NULL: u32 = 0;
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_NOTE: u32 = 4;
/// `e_phnum` when there are too many to fit: the number is in section header 0's `sh_info`.
const PN_XNUM: u16 = 0xffff;
const SECTION_INFO: u64 = 44;
/// makedumpfile sets this in `e_flags` when it ran out of space (`DUMP_ELF_INCOMPLETE`).
pub(crate) const INCOMPLETE: u32 = 1;
/// `p_paddr` of segments that are no physical memory, and `p_offset` of those that QEMU could not
/// find in RAM.
const NOWHERE: u64 = u64::MAX;
/// Physical addresses have at most 52 bits, on x86_64 as on arm64.
const MAX_ADDRESS: u64 = 1 << 52;
/// A note a possible CPU: the largest machines have a few megabytes.
const MAX_NOTES: u64 = 16 << 20;

/// Opens an ELF core.
pub(crate) fn open(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Contents, OpenError> {
    const PAGE_SIZE: u64 = 4096;
    let path = || opening.path.to_owned();
    let mut core = ElfCore::parse(&*source).ok_or_else(|| OpenError::Elf { path: path() })?;
    if notes::are_of_a_process(Notes::new(&core.notes)) {
        let kind = FileKind::Foreign(Foreign::UserCore);
        return Err(OpenError::NotADump { path: path(), kind });
    }
    if !core.has_memory() {
        if is_xen_core(&*source) {
            let kind = FileKind::Foreign(Foreign::XenCore);
            return Err(OpenError::NotADump { path: path(), kind });
        }
        return Err(OpenError::NoMemory { path: path() });
    }
    let notes = std::mem::take(&mut core.notes);
    let vmcoreinfo = notes::vmcoreinfo_text(Notes::new(&notes)).map(Vmcoreinfo::parse);
    let page_size = vmcoreinfo
        .as_ref()
        .and_then(Vmcoreinfo::page_size)
        .filter(|size| size.is_power_of_two() && (PAGE_SIZE..=65536).contains(size))
        .unwrap_or(PAGE_SIZE);
    let format = Format::ElfCore { filtered: core.is_filtered() };
    let machine = core.machine.clone();
    let incomplete = core.incomplete;
    let is_truncated = core.announced_end > source.len();
    let cache_bytes = opening.options.cache_bytes;
    let memory =
        RegionMemory::new(vec![source], core.regions, page_size, cache_bytes, is_truncated);
    let contents = Contents { incomplete, vmcoreinfo, ..Contents::of(format, Arc::new(memory)) };
    Ok(contents.with_notes(machine, notes))
}

/// Whether the first section is `.note.Xen`: a domain's core has sections and no segments (Xen's
/// docs/misc/dump-core-format.txt).
fn is_xen_core(source: &dyn Source) -> bool {
    const SECTION_SIZE: u64 = 64;
    const SHT_NOTE: u32 = 7;
    let header = read_up_to(source, 0, HEADER_SIZE as u64);
    let (Some(table), Some(count)) = (u64_at(&header, 40), u16_at(&header, 60)) else {
        return false;
    };
    let table = read_up_to(source, table, u64::from(count.min(64)) * SECTION_SIZE);
    table.chunks_exact(SECTION_SIZE as usize).any(|section| {
        let note = u64_at(section, 24).map(|offset| read_up_to(source, offset, 16));
        u32_at(section, 4) == Some(SHT_NOTE)
            && note.is_some_and(|note| note.get(12..16) == Some(b"Xen\0"))
    })
}

/// What the headers of an ELF core say.
struct ElfCore {
    machine: Machine,
    incomplete: bool,
    notes: Vec<u8>,
    regions: Regions,
    /// Where the last segment that the headers announce ends in the file.
    announced_end: u64,
}

impl ElfCore {
    /// Reads the headers and notes. `None` if they do not fit the file at all.
    fn parse(source: &dyn Source) -> Option<Self> {
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
            regions: Regions::default(),
            announced_end: 0,
        };
        let headers = read_up_to(source, table, count.checked_mul(entry_size)?);
        for header in headers.chunks_exact(entry_size as usize) {
            core.program_header(source, header)?;
        }
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
                    self.regions.present.push(Region { start: address, end, offset, source: 0 });
                }
                let memory_end = address.saturating_add(memory_size).min(MAX_ADDRESS);
                if memory_end > end {
                    self.regions.excluded.push(Region {
                        start: end,
                        end: memory_end,
                        ..Region::default()
                    });
                }
            }
            PT_NULL if self.incomplete => self.regions.elsewhere = Unavailable::Truncated,
            _ => {}
        }
        Some(())
    }

    fn is_filtered(&self) -> bool {
        !self.regions.excluded.is_empty()
    }

    fn has_memory(&self) -> bool {
        !self.regions.present.is_empty() || !self.regions.excluded.is_empty()
    }
}
