//! Which pages of a dump are to be written: looked up once, before the first byte of a header.
//!
//! Two bits a page, and one value for a stretch of pages that are all alike: 64 MiB for a terabyte
//! of memory at the very most, and usually next to nothing.

use super::{Step, WriteError};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, Unavailable};
use rayon::prelude::*;

/// Pages in a chunk.
const CHUNK: u64 = 1 << 16;
/// Chunks that are looked up before somebody is told of it.
const WINDOW: usize = 64;
/// The most chunks: 256 TiB in pages of 4 KiB. More is damage, and would take hours.
const MAX_CHUNKS: u64 = 1 << 20;

/// What the dump has of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageState {
    /// The machine had no such page.
    Absent,
    /// Left out on purpose.
    Excluded,
    /// There.
    Present,
    /// It should be there, and is not.
    Lost,
}

impl PageState {
    const ALL: [PageState; 4] =
        [PageState::Absent, PageState::Excluded, PageState::Present, PageState::Lost];

    fn of(probed: Result<(), Unavailable>) -> Self {
        match probed {
            Ok(()) => PageState::Present,
            Err(Unavailable::Excluded) => PageState::Excluded,
            Err(Unavailable::Unmapped) => PageState::Absent,
            Err(Unavailable::Truncated | Unavailable::Unreadable) => PageState::Lost,
        }
    }
}

/// Neighbouring pages of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) pfn: u64,
    pub(super) pages: u64,
    pub(super) state: PageState,
}

impl Run {
    pub(super) fn end(self) -> u64 {
        self.pfn + self.pages
    }
}

enum Chunk {
    Uniform(PageState),
    /// Four pages a byte, the first in the lowest bits.
    Mixed(Box<[u8]>),
}

impl Chunk {
    fn from_states(states: &[u8]) -> Self {
        let first = states.first().map_or(0, |byte| byte & 3);
        if states.iter().all(|&byte| byte == first * 0b0101_0101) {
            return Chunk::Uniform(PageState::ALL[usize::from(first)]);
        }
        Chunk::Mixed(states.into())
    }

    fn get(&self, index: u64) -> PageState {
        match self {
            Chunk::Uniform(state) => *state,
            Chunk::Mixed(states) => {
                let byte = states.get((index / 4) as usize).copied().unwrap_or(0);
                PageState::ALL[usize::from(byte >> (index % 4 * 2) & 3)]
            }
        }
    }
}

fn set(states: &mut [u8], index: u64, state: PageState) {
    if let Some(byte) = states.get_mut((index / 4) as usize) {
        let shift = index % 4 * 2;
        *byte = *byte & !(3 << shift) | (state as u8) << shift;
    }
}

/// The state of every page.
pub(super) struct PageMap {
    pub(super) page_size: u64,
    /// Ascending by number; a chunk that is not there is of absent pages.
    chunks: Vec<(u64, Chunk)>,
    pub(super) present: u64,
    pub(super) excluded: u64,
    pub(super) lost: u64,
}

impl PageMap {
    /// Looks every page of `memory` up.
    pub(super) fn read(memory: &dyn PhysicalMemory, step: &Step<'_>) -> Result<Self, WriteError> {
        let page_size = memory.page_size();
        let ranges = memory.ranges();
        let mut numbers: Vec<u64> = Vec::new();
        for range in &ranges {
            let first = range.start.0 / page_size / CHUNK;
            let end = range.end.0.div_ceil(page_size).div_ceil(CHUNK);
            let first = numbers.last().map_or(first, |last| first.max(last + 1));
            if end.saturating_sub(first) + numbers.len() as u64 > MAX_CHUNKS {
                return Err(WriteError::TooMuchMemory);
            }
            numbers.extend(first..end);
        }
        let mut map = Self { page_size, chunks: Vec::new(), present: 0, excluded: 0, lost: 0 };
        let total = numbers.len() as u64 * CHUNK * page_size;
        for window in numbers.chunks(WINDOW) {
            step.reach(map.chunks.len() as u64 * CHUNK * page_size, total)?;
            let chunk = |&number: &u64| (number, read_chunk(memory, &ranges, page_size, number));
            map.chunks.par_extend(window.par_iter().map(chunk));
        }
        map.count();
        Ok(map)
    }

    fn count(&mut self) {
        let of = |state| {
            let runs = self.runs().filter(move |run: &Run| run.state == state);
            runs.map(|run| run.pages).sum()
        };
        let counts = (of(PageState::Present), of(PageState::Excluded), of(PageState::Lost));
        (self.present, self.excluded, self.lost) = counts;
    }

    /// Runs of pages that the machine had, ascending; neighbours differ in their state.
    pub(super) fn runs(&self) -> Runs<'_> {
        Runs { chunks: &self.chunks, index: 0 }
    }

    /// One past the last page that the machine had.
    pub(super) fn end(&self) -> u64 {
        self.runs().last().map_or(0, Run::end)
    }

    /// Notes that pages cannot be had.
    pub(super) fn lose(&mut self, pages: &[u64]) {
        for &pfn in pages {
            let found = self.chunks.binary_search_by_key(&(pfn / CHUNK), |(number, _)| *number);
            let Some((_, chunk)) = found.ok().and_then(|at| self.chunks.get_mut(at)) else {
                continue;
            };
            if let Chunk::Uniform(state) = *chunk {
                *chunk = Chunk::Mixed(vec![state as u8 * 0b0101_0101; CHUNK as usize / 4].into());
            }
            if let Chunk::Mixed(states) = chunk {
                set(states, pfn % CHUNK, PageState::Lost);
            }
        }
        self.count();
    }
}

/// See [`PageMap::runs`].
pub(super) struct Runs<'a> {
    chunks: &'a [(u64, Chunk)],
    /// Within the first of them.
    index: u64,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let mut run: Option<Run> = None;
        while let Some((number, chunk)) = self.chunks.first() {
            while self.index < CHUNK {
                let pfn = number * CHUNK + self.index;
                let pages = match chunk {
                    Chunk::Uniform(_) => CHUNK - self.index,
                    Chunk::Mixed(_) => 1,
                };
                let state = chunk.get(self.index);
                match &mut run {
                    Some(run) if run.state == state && run.end() == pfn => run.pages += pages,
                    Some(_) => return run,
                    None if state == PageState::Absent => {}
                    None => run = Some(Run { pfn, pages, state }),
                }
                self.index += pages;
            }
            self.chunks = &self.chunks[1..];
            self.index = 0;
        }
        run
    }
}

fn read_chunk(
    memory: &dyn PhysicalMemory,
    ranges: &[PhysicalRange],
    page_size: u64,
    number: u64,
) -> Chunk {
    let mut states = vec![0; CHUNK as usize / 4];
    let (first, end) = (number * CHUNK, (number + 1) * CHUNK);
    let from = ranges.partition_point(|range| range.end.0 <= first * page_size);
    let probe =
        |address: u64| PageState::of(memory.probe(PhysAddr(address)).map_err(|error| error.why));
    for pfn in pages_of(&ranges[from..], page_size, first, end) {
        let start = pfn * page_size;
        let state = match probe(start) {
            // The page may begin or end within a range, or the file end within the page.
            PageState::Present => match probe(start + page_size - 1) {
                state @ (PageState::Lost | PageState::Excluded) => state,
                PageState::Present | PageState::Absent => PageState::Present,
            },
            PageState::Absent => probe_pieces(ranges, start, page_size, probe),
            state => state,
        };
        set(&mut states, pfn - first, state);
    }
    Chunk::from_states(&states)
}

/// The pages from `first` to `end` that `ranges` touch, each once.
fn pages_of(
    ranges: &[PhysicalRange],
    page_size: u64,
    first: u64,
    end: u64,
) -> impl Iterator<Item = u64> {
    let mut next = first;
    ranges.iter().take_while(move |range| range.start.0 < end * page_size).flat_map(move |range| {
        let start = (range.start.0 / page_size).max(next);
        next = range.end.0.div_ceil(page_size).min(end).max(start);
        start..next
    })
}

/// The state of a page that does not begin with memory.
fn probe_pieces(
    ranges: &[PhysicalRange],
    start: u64,
    page_size: u64,
    probe: impl Fn(u64) -> PageState,
) -> PageState {
    let end = start + page_size;
    let from = ranges.partition_point(|range| range.end.0 <= start);
    let mut state = PageState::Absent;
    for range in ranges[from..].iter().take_while(|range| range.start.0 < end) {
        if range.start.0 > start {
            state = match (state, probe(range.start.0)) {
                (PageState::Lost, _) | (_, PageState::Lost) => PageState::Lost,
                (PageState::Present, _) | (_, PageState::Present) => PageState::Present,
                (_, other) => other,
            };
        }
    }
    state
}
