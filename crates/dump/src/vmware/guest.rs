//! `debug.guest`: what ESXi keeps of a guest that panicked, beside its memory in `debug.vmem`
//! (`monitor.mini-suspend_on_panic`, `monitor.suspend_on_triplefault`).
//!
//! There is no signature. What there is, is a version, the number of CPUs, the memory with at most
//! two holes, and 4 KiB and some for each CPU; the size of the file follows from these, and the end
//! of memory from its size and holes. A file in which both agree is one. (The facts are those of
//! crash's vmware_guestdump.c, by VMware.)

use super::{PAGE_SIZE, Piece, sibling};
use crate::contents::Contents;
use crate::cpu_state::{CpuState, Segment};
use crate::field::{u32_at, u64_at};
use crate::format::Format;
use crate::open::{OpenError, Opening};
use crate::region::Region;
use crate::source::{Source, read_up_to};
use mortis_memory::X86_64Registers;
use std::sync::Arc;

/// Enough for the header of every version.
const HEADER: u64 = 128;
/// `cr0` to `idt_base`.
const CONTROL_SIZE: usize = 4 + 3 * 8 + 10 * 8 + 8;
const IDT_BASE: usize = CONTROL_SIZE - 8;
/// General registers in the order of `user_regs_struct`, and 17 bytes of which nothing is known.
const GENERAL_SIZE: usize = X86_64Registers::USER_REGS_SIZE + 17;
/// Behind each CPU.
const RESERVED: u64 = 4096;
const MAX_CPUS: u32 = 4096;

/// Where things are in one version.
struct Version {
    /// Where the description of memory starts.
    memory: usize,
    /// Page numbers are 32 bits wide.
    narrow: bool,
    /// Between the description of memory and the first CPU.
    behind_memory: usize,
    /// Between the two halves of a CPU.
    gap: usize,
    /// Where the processor's architecture is, if it is told.
    architecture: Option<usize>,
}

impl Version {
    fn of(number: u32) -> Option<Self> {
        let version = |memory, gap| {
            Some(Self { memory, narrow: false, behind_memory: 0, gap, architecture: None })
        };
        match number {
            // ESXi 6.7 and before; a word for each hole and one more follow the memory.
            1 => Some(Self { narrow: true, ..version(21, 45)? }),
            // 6.8.
            3 => version(22, 45),
            // 7.0 and 8.0.
            4 | 5 => version(22, 42),
            // 8.0u2.
            6 => version(23, 42),
            // 9.0.
            7 => Some(Self { behind_memory: 11, architecture: Some(16 + 56), ..version(16, 42)? }),
            _ => None,
        }
    }
}

/// The header of a guest dump.
struct Guest {
    version: u32,
    cpus: u32,
    pages: u64,
    /// First page and number of pages.
    holes: Vec<(u64, u64)>,
    cpus_offset: u64,
    gap: usize,
}

impl Guest {
    /// Reads the header. `None` unless everything agrees.
    fn parse(source: &dyn Source) -> Option<Self> {
        const X86: u32 = 1;
        let header = read_up_to(source, 0, HEADER);
        let number = u32_at(&header, 0)?;
        let version = Version::of(number)?;
        let cpus = u32_at(&header, 4).filter(|cpus| (1..=MAX_CPUS).contains(cpus))?;
        if let Some(at) = version.architecture
            && u32_at(&header, at)? != X86
        {
            return None;
        }
        let at = version.memory;
        let word = |index: usize| Some(u64::from(u32_at(&header, at + index * 4)?));
        let long = |index: usize| u64_at(&header, at + index * 8);
        let last_address = long(0)?;
        let (pages, count, first_hole, hole_size, size) = match version.narrow {
            true => (word(2)?, word(4)?, 20, 8, 36),
            false => (long(1)?, word(5)?, 24, 16, 56),
        };
        if count > 2 {
            return None;
        }
        let hole = |index: u64| {
            let at = at + first_hole + index as usize * hole_size;
            match version.narrow {
                true => Some((u32_at(&header, at)?.into(), u32_at(&header, at + 4)?.into())),
                false => Some((u64_at(&header, at)?, u64_at(&header, at + 8)?)),
            }
        };
        let holes = (0..count).map(hole).collect::<Option<Vec<(u64, u64)>>>()?;
        let missing = holes.iter().try_fold(0u64, |sum, hole| sum.checked_add(hole.1))?;
        let end = pages.checked_add(missing)?.checked_mul(PAGE_SIZE)?;
        if pages == 0 || last_address.checked_add(1)? != end {
            return None;
        }
        let mut cpus_offset = (at + size + version.behind_memory) as u64;
        if version.narrow {
            cpus_offset += 8 * count + 4;
        }
        let guest = Self { version: number, cpus, pages, holes, cpus_offset, gap: version.gap };
        let len = cpus_offset + u64::from(cpus) * guest.cpu_size();
        (source.len() == len).then_some(guest)
    }

    fn cpu_size(&self) -> u64 {
        (CONTROL_SIZE + self.gap + GENERAL_SIZE) as u64 + RESERVED
    }

    fn cpu(&self, source: &dyn Source, number: u32) -> CpuState {
        let at = self.cpus_offset + u64::from(number) * self.cpu_size();
        let bytes = read_up_to(source, at, self.cpu_size() - RESERVED);
        let control = |index: usize| u64_at(&bytes, 4 + index * 8).unwrap_or(0);
        let general = bytes.get(CONTROL_SIZE + self.gap..).unwrap_or_default();
        CpuState {
            registers: X86_64Registers::from_user_regs(general),
            idt: Segment { base: u64_at(&bytes, IDT_BASE).unwrap_or(0), ..Segment::default() },
            cr: [u32_at(&bytes, 0).unwrap_or(0).into(), 0, control(0), control(1), control(2)],
            ..CpuState::default()
        }
    }

    /// Memory around the holes; the file has none.
    fn regions(&self) -> Vec<Region> {
        let mut holes = self.holes.clone();
        holes.sort_unstable();
        let mut regions = Vec::new();
        let (mut page, mut ppn) = (0u64, 0u64);
        for (hole, len) in holes.into_iter().chain([(u64::MAX, 0)]) {
            let pages = hole.saturating_sub(ppn).min(self.pages.saturating_sub(page));
            if pages > 0 {
                regions.push(Region {
                    start: ppn.saturating_mul(PAGE_SIZE),
                    end: ppn.saturating_add(pages).saturating_mul(PAGE_SIZE),
                    offset: page.saturating_mul(PAGE_SIZE),
                    source: 0,
                });
            }
            page = page.saturating_add(pages);
            ppn = hole.saturating_add(len);
        }
        regions
    }
}

/// Whether everything in `source` agrees that it is a guest dump.
pub(crate) fn is_guest(source: &dyn Source) -> bool {
    Guest::parse(source).is_some()
}

/// Opens a `debug.guest`.
pub(crate) fn open(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Contents, OpenError> {
    let not_one = || {
        opening
            .damaged("by its name a VMware guest dump, but version, memory and size do not agree")
    };
    let guest = Guest::parse(&*source).ok_or_else(not_one)?;
    let (path, memory) = sibling::memory_of(opening, guest.pages.checked_mul(PAGE_SIZE))?;
    let cpu_states = (0..guest.cpus).map(|number| guest.cpu(&*source, number)).collect();
    let pieces = vec![Piece { offset: 0, len: memory.len(), source: memory }];
    let format = Format::VmwareGuest { version: guest.version };
    let contents = super::contents(format, guest.regions(), pieces, vec![path], opening)?;
    Ok(contents.with_cpu_states(cpu_states))
}
