//! What a core file of a process takes, out of a dump of the whole machine: notes as the kernel
//! writes them when a process dies (fs/binfmt_elf.c), and where the memory is.

mod notes;

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::process_memory::ProcessMemory;
use crate::tasks::Task;
use crate::user_memory::UserMemory;
use crate::user_pages::{PagePlace, SwapEntry};
use crate::vfs::inode::InodeStruct;
use crate::vma::{Area, area_flags};
use mortis_memory::{PhysicalMemory, UserAddr, VirtAddr, VirtualMemory};

layout! {
    /// The file behind an open file.
    struct FileInode = "file" {
        inode: "f_inode",
    }
}

layout! {
    /// The pages that an area shares with nobody.
    struct AreaPages = "vm_area_struct" {
        anonymous: "anon_vma",
    }
}

/// Which areas' memory is wanted: the bits of `/proc/PID/coredump_filter` (core(5)), and one more
/// for areas that asked not to be dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreFilter(pub u64);

impl CoreFilter {
    const ANONYMOUS_PRIVATE: u64 = 0x1;
    const ANONYMOUS_SHARED: u64 = 0x2;
    const MAPPED_PRIVATE: u64 = 0x4;
    const MAPPED_SHARED: u64 = 0x8;
    const ELF_HEADERS: u64 = 0x10;
    const HUGE_PRIVATE: u64 = 0x20;
    const HUGE_SHARED: u64 = 0x40;
    const DONTDUMP: u64 = 0x80;

    /// Everything but what asked not to be dumped.
    pub const DEFAULT: Self = Self(0x7f);
    /// All bits.
    pub const ALL: Self = Self(0xff);

    fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}

/// What is in a segment of a core file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentContent {
    /// Memory; pages that the process never touched are zeros.
    Memory,
    /// Nothing: it is not in the dump, or was not wanted.
    Nothing,
}

/// A segment: part of an area, with all or nothing of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreSegment {
    /// Its first byte.
    pub start: UserAddr,
    /// One past its last.
    pub end: UserAddr,
    /// `VM_READ`, `VM_WRITE`, `VM_EXEC` of the area.
    pub flags: u64,
    /// What is in it.
    pub content: SegmentContent,
}

/// Pages that are wanted, and where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// In the dump.
    pub saved: u64,
    /// Never touched: they read as zeros.
    pub untouched: u64,
    /// Swapped out.
    pub swapped: u64,
    /// To be had from the mapped file, which was not in memory there.
    pub in_file: u64,
    /// In memory, and left out of the dump; or the page table was.
    pub excluded: u64,
}

impl PageCounts {
    /// Those that are wanted and cannot be had.
    pub const fn missing(&self) -> u64 {
        self.swapped + self.in_file + self.excluded
    }
}

/// A core file to be.
#[derive(Clone, Debug)]
pub struct ProcessCore {
    /// The content of its `PT_NOTE`.
    pub notes: Vec<u8>,
    /// Its memory, ascending.
    pub segments: Vec<CoreSegment>,
    /// How many threads have registers in it.
    pub threads: usize,
    /// Threads whose registers are not in the dump.
    pub threads_without_registers: usize,
    /// How many areas the process has.
    pub areas: usize,
    /// The pages.
    pub pages: PageCounts,
    /// What is wrong with the process's areas.
    pub damage: Option<KernelError>,
}

const PAGE_SIZE: u64 = 4096;

/// More segments than any process leaves; what is beyond is counted as one without memory.
const MAX_SEGMENTS: usize = 1 << 20;

impl Kernel {
    /// What a core file of the process of `task` takes: its memory as far as `filter` wants it, and
    /// the registers of its threads, those of `task` first; and the memory to take it from. `check`
    /// ends it early.
    ///
    /// # Errors
    /// When the task has no memory of its own, or that cannot be found; what `check` fails with.
    pub fn process_core(
        &self,
        task: Task,
        filter: CoreFilter,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<(ProcessCore, ProcessMemory<'_>)> {
        // Says so where the task has none.
        UserMemory::of(self, task)?;
        let mm = task.mm(self)?;
        let (areas, damage) = self.areas(mm);
        let memory = ProcessMemory::new(self, mm, areas)?;
        let areas = memory.areas();
        let (notes, threads, threads_without_registers) = self.core_notes(task, mm, areas)?;
        let mut core = ProcessCore {
            notes,
            segments: Vec::new(),
            threads,
            threads_without_registers,
            areas: areas.len(),
            pages: PageCounts::default(),
            damage,
        };
        for area in areas {
            check()?;
            self.add_area(&memory, area, filter, check, &mut core)?;
        }
        Ok((core, memory))
    }

    fn add_area(
        &self,
        memory: &ProcessMemory<'_>,
        area: &Area,
        filter: CoreFilter,
        check: &dyn Fn() -> Result<()>,
        core: &mut ProcessCore,
    ) -> Result<()> {
        let flags = area.flags.clone().unwrap_or(0);
        let wanted = self.wanted_bytes(memory, area, flags, filter);
        let end = UserAddr(area.start.0.saturating_add(wanted).min(area.end.0));
        let is_in_dump = |at| self.memory().physical().probe(at).is_ok();
        let mut pages = memory.mapped().pages(area.start, end);
        let (mut looked, mut no_pages) = (0u64, 0u64);
        while let Some((address, place)) = pages.next() {
            looked += 1;
            if looked.is_multiple_of(4096) {
                check()?;
            }
            let mut len = PAGE_SIZE;
            let (content, counter) = match place {
                PagePlace::Memory(at) if is_in_dump(at) => {
                    (SegmentContent::Memory, &mut core.pages.saved)
                }
                PagePlace::Memory(_) | PagePlace::Unknown(_) => {
                    (SegmentContent::Nothing, &mut core.pages.excluded)
                }
                // Nobody may touch it.
                PagePlace::Entry(entry) if SwapEntry::decode(entry).marker().is_some() => {
                    (SegmentContent::Nothing, &mut no_pages)
                }
                PagePlace::Entry(_) => (SegmentContent::Nothing, &mut core.pages.swapped),
                PagePlace::Nowhere => match memory.next_unmapped_page(area, address) {
                    Some((next, at)) if next == address => match is_in_dump(at) {
                        true => (SegmentContent::Memory, &mut core.pages.saved),
                        false => (SegmentContent::Nothing, &mut core.pages.excluded),
                    },
                    next => {
                        len += pages.skip_hole(next.map_or(end, |(next, _)| next));
                        match area.is_anonymous == Ok(true) {
                            true => (SegmentContent::Memory, &mut core.pages.untouched),
                            false => (SegmentContent::Nothing, &mut core.pages.in_file),
                        }
                    }
                },
            };
            *counter = counter.saturating_add(len / PAGE_SIZE);
            core.add(address, len, flags, content, area.start);
        }
        // What the filter leaves out still is part of the process.
        if end < area.end {
            let rest = area.end.0.saturating_sub(end.0);
            core.add(end, rest, flags, SegmentContent::Nothing, area.start);
        }
        Ok(())
    }

    /// How much of an area is wanted, from its start (`vma_dump_size()` of fs/coredump.c).
    fn wanted_bytes(
        &self,
        memory: &ProcessMemory<'_>,
        area: &Area,
        flags: u64,
        filter: CoreFilter,
    ) -> u64 {
        let whole = area.end.0.saturating_sub(area.start.0);
        let chosen = |bit: u64| if filter.has(bit) { whole } else { 0 };
        let is_shared = flags & area_flags::SHARED != 0;
        let file = area.file.clone().unwrap_or(VirtAddr(0));
        if flags & area_flags::IO != 0
            || flags & area_flags::DONTDUMP != 0 && !filter.has(CoreFilter::DONTDUMP)
        {
            return 0;
        }
        if flags & area_flags::HUGETLB != 0 {
            let bit = if is_shared { CoreFilter::HUGE_SHARED } else { CoreFilter::HUGE_PRIVATE };
            return chosen(bit);
        }
        if is_shared {
            // Shared memory is a file that has no name any more.
            return match self.file_links(file) {
                Ok(0) => chosen(CoreFilter::ANONYMOUS_SHARED),
                _ => chosen(CoreFilter::MAPPED_SHARED),
            };
        }
        let has_own_pages = self
            .layout::<AreaPages>()
            .and_then(|layout| layout.anonymous.pointer(self, area.address))
            .is_ok_and(|anonymous| !anonymous.is_null());
        if (has_own_pages || file.is_null()) && filter.has(CoreFilter::ANONYMOUS_PRIVATE) {
            return whole;
        }
        if file.is_null() {
            return 0;
        }
        if filter.has(CoreFilter::MAPPED_PRIVATE) {
            return whole;
        }
        let mut magic = [0; 4];
        let is_elf = filter.has(CoreFilter::ELF_HEADERS)
            && area.page_offset == Ok(0)
            && memory.read(VirtAddr(area.start.0), &mut magic).is_ok()
            && magic == *b"\x7fELF";
        if is_elf { PAGE_SIZE.min(whole) } else { 0 }
    }

    fn file_links(&self, file: VirtAddr) -> Result<u64> {
        let inode = self.layout::<FileInode>()?.inode.pointer(self, file)?;
        self.layout::<InodeStruct>()?.links.u64(self, inode)
    }
}

impl ProcessCore {
    /// Adds memory behind that which is there: to the last segment where it is like it.
    fn add(
        &mut self,
        start: UserAddr,
        len: u64,
        flags: u64,
        content: SegmentContent,
        area_start: UserAddr,
    ) {
        let flags = flags & (area_flags::READ | area_flags::WRITE | area_flags::EXEC);
        let end = UserAddr(start.0.saturating_add(len));
        let full = self.segments.len() >= MAX_SEGMENTS;
        match self.segments.last_mut() {
            Some(last)
                if last.end == start
                    && start != area_start
                    && (last.content == content
                        || full && last.content == SegmentContent::Nothing) =>
            {
                last.end = end;
            }
            _ if full => {}
            _ => self.segments.push(CoreSegment { start, end, flags, content }),
        }
    }
}
