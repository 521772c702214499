//! Pages in order through all cores: while a window of batches is written, the next one is read
//! and compressed. What is in memory at a time is two windows.

use super::page_map::{PageMap, PageState, Run};
use super::{Step, WriteError};
use mortis_memory::{PhysAddr, PhysicalMemory};
use rayon::prelude::*;

/// Bytes of memory in a batch.
const BATCH_BYTES: u64 = 256 << 10;
/// The most batches in a window, whatever the number of cores: 16 MiB.
const MAX_WINDOW: usize = 64;

/// Neighbouring pages, read.
pub(super) struct Pages<'a> {
    pub(super) pfn: u64,
    /// Their bytes one after the other; zeroes for a page that is not to be had.
    pub(super) bytes: &'a [u8],
    pub(super) page_size: usize,
    /// Those of `bytes` that are not to be had, from the first on, ascending.
    pub(super) missing: &'a [usize],
}

impl Pages<'_> {
    /// Each page, or `None` for one that is not to be had.
    pub(super) fn each(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let pages = self.bytes.chunks_exact(self.page_size).enumerate();
        pages.map(|(index, page)| self.missing.binary_search(&index).is_err().then_some(page))
    }
}

/// A batch that was worked on.
struct Batch<T> {
    /// What `work` made of each run.
    results: Vec<T>,
    pages: u64,
    /// Pages that the map says are present and that are not.
    unreadable: Vec<u64>,
}

/// Reads all pages that are present or, with `with_lost`, lost; hands neighbours to `work` on any
/// core, and its results to `write` in order. Returns the pages that could not be read although
/// the map has them.
pub(super) fn each_run<T: Send>(
    memory: &dyn PhysicalMemory,
    map: &PageMap,
    with_lost: bool,
    step: &Step<'_>,
    work: impl Fn(&Pages<'_>) -> T + Sync,
    mut write: impl FnMut(T) -> Result<(), WriteError> + Send,
) -> Result<Vec<u64>, WriteError> {
    let wanted = |state| state == PageState::Present || with_lost && state == PageState::Lost;
    let total = (map.present + if with_lost { map.lost } else { 0 }) * map.page_size;
    let batch_pages = (BATCH_BYTES / map.page_size).max(1);
    let window_len = (rayon::current_num_threads() * 2).clamp(4, MAX_WINDOW);
    let mut batches = Batches { runs: map.runs(), rest: None, batch_pages };
    let mut next_window = || -> Vec<Vec<Run>> {
        std::iter::from_fn(|| batches.next(wanted)).take(window_len).collect()
    };
    let read = |batch: &Vec<Run>| read_batch(memory, map.page_size, batch, &work);
    let mut done: Vec<Batch<T>> = next_window().par_iter().map(read).collect();
    let mut unreadable = Vec::new();
    let mut pages = 0;
    while !done.is_empty() {
        step.reach(pages * map.page_size, total)?;
        let window = next_window();
        let (written, next) = rayon::join(
            || -> Result<(), WriteError> {
                for batch in done {
                    pages += batch.pages;
                    unreadable.extend(batch.unreadable);
                    batch.results.into_iter().try_for_each(&mut write)?;
                }
                Ok(())
            },
            || window.par_iter().map(read).collect(),
        );
        written?;
        done = next;
    }
    step.reach(total, total)?;
    Ok(unreadable)
}

/// Cuts runs into batches of some pages.
struct Batches<I> {
    runs: I,
    rest: Option<Run>,
    batch_pages: u64,
}

impl<I: Iterator<Item = Run>> Batches<I> {
    fn next(&mut self, wanted: impl Fn(PageState) -> bool) -> Option<Vec<Run>> {
        let mut batch = Vec::new();
        let mut room = self.batch_pages;
        while room > 0 {
            let Some(run) = self.rest.take().or_else(|| self.runs.next()) else { break };
            if !wanted(run.state) {
                continue;
            }
            let pages = run.pages.min(room);
            if pages < run.pages {
                self.rest = Some(Run { pfn: run.pfn + pages, pages: run.pages - pages, ..run });
            }
            batch.push(Run { pages, ..run });
            room -= pages;
        }
        (!batch.is_empty()).then_some(batch)
    }
}

fn read_batch<T>(
    memory: &dyn PhysicalMemory,
    page_size: u64,
    runs: &[Run],
    work: &impl Fn(&Pages<'_>) -> T,
) -> Batch<T> {
    let mut batch =
        Batch { results: Vec::with_capacity(runs.len()), pages: 0, unreadable: Vec::new() };
    let mut bytes = Vec::new();
    for run in runs {
        let page_bytes = page_size as usize;
        bytes.clear();
        bytes.resize(run.pages as usize * page_bytes, 0);
        let mut missing = Vec::new();
        if run.state == PageState::Lost {
            missing.extend(0..run.pages as usize);
        } else if memory.read_once(PhysAddr(run.pfn * page_size), &mut bytes).is_err() {
            for (index, page) in bytes.chunks_exact_mut(page_bytes).enumerate() {
                let pfn = run.pfn + index as u64;
                if !read_page(memory, pfn * page_size, page) {
                    page.fill(0);
                    missing.push(index);
                    batch.unreadable.push(pfn);
                }
            }
        }
        let pages = Pages { pfn: run.pfn, bytes: &bytes, page_size: page_bytes, missing: &missing };
        batch.results.push(work(&pages));
        batch.pages += run.pages;
    }
    batch
}

/// Reads one page. Where memory begins or ends within it, the rest is zeroes, as makedumpfile has
/// it.
fn read_page(memory: &dyn PhysicalMemory, address: u64, page: &mut [u8]) -> bool {
    if memory.read_once(PhysAddr(address), page).is_ok() {
        return true;
    }
    page.fill(0);
    let end = address + page.len() as u64;
    let mut pieces = 0;
    let mut whole = true;
    let ranges = memory.ranges();
    let from = ranges.partition_point(|range| range.end.0 <= address);
    for range in ranges.iter().skip(from).take_while(|range| range.start.0 < end) {
        let (from, to) = (range.start.0.max(address), range.end.0.min(end));
        if to - from == page.len() as u64 {
            return false;
        }
        let piece = page.get_mut((from - address) as usize..(to - address) as usize);
        let read = piece.is_some_and(|piece| memory.read_once(PhysAddr(from), piece).is_ok());
        pieces += 1;
        whole &= read;
    }
    pieces > 0 && whole
}
