//! The parts of memory that a search goes through, as [`Run`]s in the order it goes through them.

use crate::arch::x86_64::mapped::Mapped;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::memory_search::Run;
use crate::tasks::Task;
use crate::user_memory::UserMemory;
use crate::vmalloc::VmapArea;
use mortis_memory::{Pfn, PhysAddr, PhysicalMemory};
use std::ops::Range;

/// A part of the kernel's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelPart {
    /// The map of all physical memory.
    DirectMap,
    /// What vmalloc mapped, modules among it.
    Vmalloc,
    /// The `struct page`s.
    MemoryMap,
    /// The kernel's own text and data.
    Image,
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Runs of memory, one behind the other.
pub type Runs<'a> = Box<dyn Iterator<Item = Run> + 'a>;

/// Joins neighbours.
struct Joined<I: Iterator<Item = Run>> {
    runs: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Run>> Iterator for Joined<I> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let mut run = self.runs.next()?;
        let follows = |run: &Run, next: &Run| {
            next.address == run.address.wrapping_add(run.len)
                && next.physical == run.physical.map(|physical| physical.offset(run.len))
        };
        while let Some(next) = self.runs.next_if(|next| follows(&run, next)) {
            run.len = run.len.saturating_add(next.len);
        }
        Some(run)
    }
}

fn joined<'a>(runs: impl Iterator<Item = Run> + 'a) -> Runs<'a> {
    Box::new(Joined { runs: runs.peekable() })
}

impl Kernel {
    /// Physical memory from `range.start` to `range.end`.
    pub fn physical_runs(&self, range: Range<u64>) -> Runs<'_> {
        let ranges = self.memory().physical().ranges().into_iter();
        let runs = ranges.map(|part| Run {
            address: part.start.0,
            physical: Some(part.start),
            len: part.end.0.saturating_sub(part.start.0),
        });
        Box::new(runs.filter_map(move |run| run.clipped(&range)))
    }

    /// Where physical memory starts and ends, by the nodes.
    ///
    /// # Errors
    /// When the nodes are out of reach.
    pub fn physical_span(&self) -> Result<Range<u64>> {
        let nodes = self.nodes()?;
        let page_size = self.memory().physical().page_size();
        let none = || KernelError::Unsupported("this kernel has no nodes".to_owned());
        let (first, last) = nodes.first().zip(nodes.last()).ok_or_else(none)?;
        let end = last.start.0.saturating_add(last.spanned);
        Ok(first.start.0.saturating_mul(page_size)..end.saturating_mul(page_size))
    }

    /// The parts of the kernel's address space with the addresses that they span, in the order
    /// that crash searches them. A part that cannot be found is left out.
    pub fn kernel_parts(&self, areas: &[VmapArea]) -> Vec<(KernelPart, Range<u64>)> {
        let mut parts = Vec::new();
        let physical = self.memory().physical();
        // Symbols tell where the linear map is.
        let symbols = self.symbols().is_ok();
        if let (true, Some(base), Some(last)) = (
            symbols,
            self.memory().direct_address(PhysAddr(0)),
            physical.ranges().last().map(|range| range.end),
        ) {
            let high = self.read_symbol::<8>("high_memory").ok().filter(|high| *high > base.0);
            parts.push((KernelPart::DirectMap, base.0..high.unwrap_or(base.offset(last.0).0)));
        }
        if let Some((first, last)) = areas.first().zip(areas.last()) {
            parts.push((KernelPart::Vmalloc, first.start.0..last.end.0));
        }
        if let (Ok(map), Ok(span)) = (self.memory_map(), self.physical_span()) {
            let last = Pfn(span.end / physical.page_size().max(1));
            parts.push((KernelPart::MemoryMap, map.vmemmap.0..map.page(last).0));
        }
        if let (Ok(start), Ok(end)) = (self.symbol("_text"), self.symbol("_end")) {
            parts.push((KernelPart::Image, start.0..end.0));
        }
        parts.sort_by_key(|(_, range)| range.start);
        parts
    }

    /// The memory that `part` maps within `range`.
    pub fn kernel_runs<'a>(
        &'a self,
        part: KernelPart,
        areas: &'a [VmapArea],
        range: Range<u64>,
    ) -> Runs<'a> {
        match part {
            KernelPart::DirectMap => {
                let ranges = self.memory().physical().ranges().into_iter();
                let runs = ranges.filter_map(|part| {
                    let address = self.memory().direct_address(part.start)?.0;
                    let len = part.end.0.saturating_sub(part.start.0);
                    Some(Run { address, physical: Some(part.start), len })
                });
                Box::new(runs.filter_map(move |run| run.clipped(&range)))
            }
            KernelPart::Vmalloc => {
                // An area's size comes out of the dump: none is larger than the machine's memory
                // by far.
                let frames = self.memory_map().map_or(1 << 20, |map| map.end.0);
                let most = frames.saturating_mul(4).saturating_mul(PAGE);
                let runs = areas.iter().map(move |area| Run {
                    address: area.start.0,
                    physical: None,
                    len: area.end.0.saturating_sub(area.start.0).min(most),
                });
                Box::new(runs.filter_map(move |run| run.clipped(&range)))
            }
            KernelPart::MemoryMap | KernelPart::Image => {
                let len = range.end.saturating_sub(range.start);
                Box::new(std::iter::once(Run { address: range.start, physical: None, len }))
            }
        }
    }

    /// The user memory of `task` within `range`.
    ///
    /// # Errors
    /// As [`UserMemory::of`].
    pub fn user_runs(&self, task: Task, range: Range<u64>) -> Result<Runs<'_>> {
        let memory = UserMemory::of(self, task)?;
        let frames = self.memory_map().map_or(1 << 20, |map| map.end.0);
        let mapped: Mapped<'_> = memory.page_table().mapped(
            &**self.memory().physical(),
            range.start,
            range.end,
            frames.saturating_add(1024),
        );
        let runs = mapped.map(|page| Run {
            address: page.address,
            physical: Some(page.physical),
            len: page.size,
        });
        Ok(joined(runs.filter_map(move |run| run.clipped(&range))))
    }

    /// The kernel stack of `task`, where it has one.
    pub fn stack_run(&self, task: Task) -> Option<Run> {
        let stack = self.task_stack(task).ok()??;
        let len = stack.high.0.saturating_sub(stack.low.0);
        Some(Run { address: stack.low.0, physical: None, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(address: u64, physical: u64, len: u64) -> Run {
        Run { address, physical: Some(PhysAddr(physical)), len }
    }

    #[test]
    fn neighbours_by_both_addresses_are_one_run() {
        let runs = [
            run(0x1000, 0x5000, 0x1000),
            run(0x2000, 0x6000, 0x1000),
            run(0x3000, 0x9000, 0x1000),
            run(0x5000, 0xa000, 0x1000),
        ];
        let joined: Vec<Run> = joined(runs.into_iter()).collect();
        assert_eq!(
            joined,
            [run(0x1000, 0x5000, 0x2000), run(0x3000, 0x9000, 0x1000), run(0x5000, 0xa000, 0x1000)]
        );
    }
}
