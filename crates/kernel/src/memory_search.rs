//! Searching memory for values and strings: over all cores, each page once, in the order of
//! addresses.
//!
//! What is searched is a list of [`Run`]s of addresses. The dump is asked which of a run's pages it
//! holds before any is read, so pages that were left out cost next to nothing, and pages that
//! follow each other in physical memory are one read.

use crate::error::{KernelError, Result};
use crate::scan::{Progress, in_order};
use memchr::memmem;
use mortis_memory::{PhysAddr, PhysicalMemory};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are read and searched at a time.
const PIECE: u64 = 128 << 10;

/// Bytes of text that are kept of a hit.
pub const TEXT_LEN: usize = 56;

/// A stretch of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first address as the user sees it: a kernel, user or physical address.
    pub address: u64,
    /// Where that lies, when all of it is contiguous in physical memory, too; `None` when each
    /// page is to be translated.
    pub physical: Option<PhysAddr>,
    /// Bytes.
    pub len: u64,
}

impl Run {
    /// The part of it that lies in `range`.
    pub fn clipped(self, range: &Range<u64>) -> Option<Run> {
        let start = self.address.max(range.start);
        // The last address of all has none behind it.
        let end = self.address.saturating_add(self.len).min(range.end);
        (start < end).then(|| self.part(start - self.address, end - start))
    }

    fn part(self, offset: u64, len: u64) -> Run {
        let physical = self.physical.map(|physical| physical.offset(offset));
        Run { address: self.address.wrapping_add(offset), physical, len }
    }
}

/// The memory that is searched.
pub struct Searched<'m> {
    /// The dump's.
    pub physical: &'m dyn PhysicalMemory,
    /// Translates an address of a run that is not contiguous.
    pub translate: &'m (dyn Fn(u64) -> Option<PhysAddr> + Sync),
}

impl Searched<'_> {
    /// Where the byte at `offset` of `run` lies, if the dump holds it and it need be searched.
    fn held(&self, run: Run, offset: u64, barren: &BarrenPages) -> Option<PhysAddr> {
        let at = match run.physical {
            Some(physical) => physical.offset(offset),
            None => (self.translate)(run.address.wrapping_add(offset))?,
        };
        (!barren.contains(at) && self.physical.probe(at).is_ok()).then_some(at)
    }
}

/// Pages of physical memory that were searched in vain. Most of the kernel's memory is mapped
/// twice, in the map of all memory and where it is used, and need be read only once.
#[derive(Debug, Default)]
struct BarrenPages {
    page_size: u64,
    /// A bit for each page frame; none of those beyond is remembered.
    frames: Vec<AtomicU64>,
}

/// The frames that [`BarrenPages`] remembers at most: a terabyte's.
const MAX_BARREN_FRAMES: u64 = 1 << 28;

impl BarrenPages {
    /// None so far. A string may go on in the page behind it, which is another one at another
    /// address: for strings no page is ever remembered.
    fn new(memory: &dyn PhysicalMemory, needle: &Needle) -> Self {
        let page_size = memory.page_size().max(1);
        let end = match needle {
            Needle::Numbers { .. } => memory.ranges().last().map_or(0, |range| range.end.0),
            Needle::Strings(_) => 0,
        };
        let words = (end / page_size).min(MAX_BARREN_FRAMES).div_ceil(64);
        Self { page_size, frames: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The word and the bit of the frame at `address`.
    fn bit(&self, address: PhysAddr) -> Option<(&AtomicU64, u64)> {
        let frame = address.0.checked_div(self.page_size)?;
        Some((self.frames.get((frame / 64) as usize)?, 1 << (frame % 64)))
    }

    fn contains(&self, address: PhysAddr) -> bool {
        self.bit(address).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Remembers the pages that lie wholly within the `len` bytes from `start` on.
    fn insert(&self, start: PhysAddr, len: u64) {
        let end = start.0.saturating_add(len);
        let mut at = start.0.checked_next_multiple_of(self.page_size);
        while let Some(page) = at
            && end.saturating_sub(page) >= self.page_size
            && let Some((word, bit)) = self.bit(PhysAddr(page))
        {
            word.fetch_or(bit, Ordering::Relaxed);
            at = page.checked_add(self.page_size);
        }
    }
}

thread_local! {
    /// The bytes that the thread searched last: a large buffer is costly to make anew each time.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is searched for.
#[derive(Clone, Debug)]
pub enum Needle {
    /// Any of these numbers of `size` bytes (2, 4 or 8), at addresses that are multiples of it,
    /// whatever the bits of `mask` are.
    Numbers {
        /// Bytes of each.
        size: usize,
        /// The numbers.
        values: Vec<u64>,
        /// The bits that do not count.
        mask: u64,
    },
    /// Any of these strings, wherever they begin.
    Strings(Vec<Vec<u8>>),
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The address as the user sees it.
    pub address: u64,
    /// The number there; 0 for a string.
    pub value: u64,
    /// Which of the needle's values or strings.
    pub which: usize,
    /// The bytes from there on, up to [`TEXT_LEN`] and no further than the string's last page;
    /// empty for a number.
    pub text: Vec<u8>,
}

/// Searches `runs`, which ascend, for `needle`, and hands every hit to `each` in order. Pages that
/// are not in the dump are passed over.
///
/// # Errors
/// [`KernelError::Interrupted`] (as `E`), or the first error of `each`.
pub fn search<E: From<KernelError> + Send>(
    memory: &Searched<'_>,
    runs: impl IntoIterator<Item = Run>,
    needle: &Needle,
    progress: &Progress,
    mut each: impl FnMut(Hit) -> Result<(), E>,
) -> Result<(), E> {
    let finders = Finders::new(needle);
    let barren = BarrenPages::new(memory.physical, needle);
    in_order(
        Pieces::of(runs.into_iter()),
        |piece| {
            progress.advance(piece.run.len)?;
            Ok::<_, E>(piece.search(memory, &finders, &barren))
        },
        |hits| hits?.into_iter().try_for_each(&mut each),
    )
}

/// The hits in `runs`, which ascend: for memory so small that it is one item of a larger scan.
pub fn hits(
    memory: &Searched<'_>,
    runs: impl IntoIterator<Item = Run>,
    needle: &Needle,
) -> Vec<Hit> {
    let finders = Finders::new(needle);
    let barren = BarrenPages::default();
    let pieces = Pieces::of(runs.into_iter());
    pieces.flat_map(|piece| piece.search(memory, &finders, &barren)).collect()
}

/// A part of a run, for one core.
struct Piece {
    run: Run,
    /// What follows it at the next address, for strings that go on there.
    next: Option<Run>,
}

/// Cuts runs into pieces.
struct Pieces<I> {
    runs: I,
    /// The rest of the run at hand.
    left: Option<Run>,
    /// The run behind that, looked at already.
    behind: Option<Run>,
}

impl<I: Iterator<Item = Run>> Pieces<I> {
    fn of(runs: I) -> Self {
        Self { runs, left: None, behind: None }
    }
}

impl<I: Iterator<Item = Run>> Iterator for Pieces<I> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let run = match self.left.take() {
            Some(run) => run,
            None => self.behind.take().or_else(|| self.runs.next())?,
        };
        // Pieces end at multiples of their size, so that they hold whole pages.
        let len = (PIECE - run.address % PIECE).min(run.len);
        let piece = run.part(0, len);
        if len < run.len {
            let rest = run.part(len, run.len - len);
            self.left = Some(rest);
            return Some(Piece { run: piece, next: Some(rest) });
        }
        self.behind = self.runs.next();
        let end = run.address.wrapping_add(len);
        Some(Piece { run: piece, next: self.behind.filter(|behind| behind.address == end) })
    }
}

impl Piece {
    fn search(
        &self,
        memory: &Searched<'_>,
        finders: &Finders<'_>,
        barren: &BarrenPages,
    ) -> Vec<Hit> {
        let page_size = memory.physical.page_size().max(1);
        let page_left = |offset: u64| page_size - self.run.address.wrapping_add(offset) % page_size;
        let mut hits = Vec::new();
        let mut bytes = BYTES.take();
        let held =
            |at: u64| (at < self.run.len).then(|| memory.held(self.run, at, barren)).flatten();
        let mut at = 0;
        // The dump is asked for each page once.
        let mut here = held(at);
        while at < self.run.len {
            let Some(physical) = here else {
                at += page_left(at);
                here = held(at);
                continue;
            };
            // As many pages as follow each other in the dump are one read.
            let start = at;
            while at < self.run.len && here == Some(physical.offset(at - start)) {
                at += page_left(at);
                here = held(at);
            }
            let end = at.min(self.run.len);
            let hits_before = hits.len();
            if self.search_pages(memory, finders, physical, start..end, &mut bytes, &mut hits)
                && hits.len() == hits_before
            {
                barren.insert(physical, end - start);
            }
        }
        BYTES.set(bytes);
        hits
    }

    /// Searches pages that follow each other from `physical` on, and that the dump should hold;
    /// false when it does not hold them all.
    fn search_pages(
        &self,
        memory: &Searched<'_>,
        finders: &Finders<'_>,
        physical: PhysAddr,
        part: Range<u64>,
        bytes: &mut Vec<u8>,
        hits: &mut Vec<Hit>,
    ) -> bool {
        let len = part.end - part.start;
        let page_size = memory.physical.page_size().max(1);
        let address = self.run.address.wrapping_add(part.start);
        bytes.resize(len as usize, 0);
        if memory.physical.read_once(physical, bytes).is_err() {
            // A page is damaged: each by itself.
            let first = page_size - address % page_size;
            if len > first {
                let middle = part.start + first;
                self.search_pages(memory, finders, physical, part.start..middle, bytes, hits);
                let behind = physical.offset(first);
                self.search_pages(memory, finders, behind, middle..part.end, bytes, hits);
            }
            return false;
        }
        // A string may go on behind the pages.
        let tail = finders.overhang() as u64;
        if tail > 0 {
            let next = match part.end < self.run.len {
                true => memory.held(self.run, part.end, &BarrenPages::default()),
                false => self.next.and_then(|next| memory.held(next, 0, &BarrenPages::default())),
            };
            if let Some(next) = next {
                let more = tail.min(page_size - next.0 % page_size) as usize;
                bytes.resize(len as usize + more, 0);
                if memory.physical.read(next, &mut bytes[len as usize..]).is_err() {
                    bytes.truncate(len as usize);
                }
            }
        }
        finders.search(bytes, len as usize, address, page_size, hits);
        true
    }
}

/// A needle made ready.
enum Finders<'n> {
    Numbers { size: usize, values: &'n [u64], mask: u64 },
    Strings(Vec<memmem::Finder<'n>>),
}

/// Numbers that are compared at once: the compiler makes vector instructions of it.
const BLOCK: usize = 64;

impl<'n> Finders<'n> {
    fn new(needle: &'n Needle) -> Self {
        match needle {
            Needle::Numbers { size, values, mask } => {
                Finders::Numbers { size: *size, values, mask: *mask }
            }
            Needle::Strings(strings) => {
                Finders::Strings(strings.iter().map(memmem::Finder::new).collect())
            }
        }
    }

    /// Bytes behind a piece that a hit in it may need.
    fn overhang(&self) -> usize {
        match self {
            Finders::Numbers { .. } => 0,
            Finders::Strings(finders) => {
                let longest = finders.iter().map(|finder| finder.needle().len()).max();
                longest.unwrap_or(0).max(TEXT_LEN)
            }
        }
    }

    /// Finds what begins in the first `len` of `bytes`, which lie at `address`.
    fn search(&self, bytes: &[u8], len: usize, address: u64, page_size: u64, hits: &mut Vec<Hit>) {
        match self {
            Finders::Numbers { size: 2, values, mask } => numbers(
                &bytes[..len],
                address,
                hits,
                &narrow::<u16>(values),
                *mask as u16,
                u16::from_le_bytes,
            ),
            Finders::Numbers { size: 4, values, mask } => numbers(
                &bytes[..len],
                address,
                hits,
                &narrow::<u32>(values),
                *mask as u32,
                u32::from_le_bytes,
            ),
            Finders::Numbers { values, mask, .. } => {
                numbers(&bytes[..len], address, hits, values, *mask, u64::from_le_bytes);
            }
            Finders::Strings(finders) => {
                let first = hits.len();
                for (which, finder) in finders.iter().enumerate() {
                    // Occurrences may overlap: `aa` is in `aaa` twice.
                    let mut from = 0;
                    while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
                        let at = from + at;
                        if at >= len {
                            break;
                        }
                        // Text ends with the page, unless the string itself goes on behind it.
                        let start = address.wrapping_add(at as u64);
                        let page_end = at + (page_size - start % page_size) as usize;
                        let string_end = at + finder.needle().len();
                        let end = (at + TEXT_LEN).min(bytes.len());
                        let end = if string_end <= page_end { end.min(page_end) } else { end };
                        let end = end.max(string_end.min(bytes.len()));
                        hits.push(Hit {
                            address: address.wrapping_add(at as u64),
                            value: 0,
                            which,
                            text: bytes[at..end].to_vec(),
                        });
                        from = at + 1;
                    }
                }
                hits[first..].sort_by_key(|hit| (hit.address, hit.which));
            }
        }
    }
}

/// The numbers in the width they are searched in.
fn narrow<T: TryFrom<u64>>(values: &[u64]) -> Vec<T> {
    values.iter().filter_map(|value| T::try_from(*value).ok()).collect()
}

fn numbers<T, const N: usize>(
    bytes: &[u8],
    address: u64,
    hits: &mut Vec<Hit>,
    values: &[T],
    mask: T,
    decode: impl Fn([u8; N]) -> T,
) where
    T: Copy + Eq + std::ops::BitOr<Output = T> + Into<u64> + Default,
{
    let wanted: Vec<T> = values.iter().map(|value| *value | mask).collect();
    let (words, _) = bytes.as_chunks::<N>();
    for (index, block) in words.chunks(BLOCK).enumerate() {
        let mut any = false;
        for value in &wanted {
            any |= block.iter().fold(false, |any, word| any | (decode(*word) | mask == *value));
        }
        if !any {
            continue;
        }
        for (within, word) in block.iter().enumerate() {
            let number = decode(*word);
            for (which, value) in wanted.iter().enumerate() {
                if number | mask == *value {
                    let at = (index * BLOCK + within) * N;
                    hits.push(Hit {
                        address: address.wrapping_add(at as u64),
                        value: number.into(),
                        which,
                        text: Vec::new(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_memory::{PhysicalRange, ReadError, Unavailable};

    /// Pages of 4096 bytes, some of them left out.
    struct Pages(Vec<Option<Vec<u8>>>);

    impl PhysicalMemory for Pages {
        fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
            for (index, byte) in buf.iter_mut().enumerate() {
                let at = address.0 as usize + index;
                let page = self.0.get(at / 4096).and_then(Option::as_ref);
                let page = page.ok_or(ReadError::new(address, Unavailable::Excluded))?;
                *byte = page[at % 4096];
            }
            Ok(())
        }

        fn page_size(&self) -> u64 {
            4096
        }

        fn ranges(&self) -> Vec<PhysicalRange> {
            Vec::new()
        }
    }

    fn hits(memory: &Pages, runs: &[Run], needle: &Needle) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        let runs = runs.iter().copied();
        let searched = Searched { physical: memory, translate: &|_| None };
        let ended = search(&searched, runs, needle, &Progress::default(), |hit| {
            found.push((hit.address, hit.which));
            Ok::<(), KernelError>(())
        });
        assert_eq!(ended, Ok(()));
        found
    }

    fn run(address: u64, physical: u64, len: u64) -> Run {
        Run { address, physical: Some(PhysAddr(physical)), len }
    }

    #[test]
    fn pages_are_translated_one_by_one_where_they_lie_scattered() {
        let mut page = vec![0; 4096];
        page[0] = 7;
        let memory = Pages(vec![Some(page.clone()), None, Some(page.clone()), Some(page)]);
        let places = [Some(0x3000), None, Some(0x1000), Some(0), Some(0x2000)];
        let translate = |address: u64| {
            let place = places.get((address / 4096) as usize).copied().flatten();
            place.map(|place: u64| PhysAddr(place + address % 4096))
        };
        let searched = Searched { physical: &memory, translate: &translate };
        let needle = Needle::Numbers { size: 8, values: vec![7], mask: 0 };
        let found =
            super::hits(&searched, [Run { address: 0, physical: None, len: 0x5000 }], &needle);
        let found: Vec<u64> = found.iter().map(|hit| hit.address).collect();
        assert_eq!(found, [0, 0x3000, 0x4000]);
    }

    #[test]
    fn pages_mapped_twice_are_searched_again_only_where_something_was_found() {
        struct Counted(Pages, AtomicU64);

        impl PhysicalMemory for Counted {
            fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
                // Probes are of one byte.
                self.1.fetch_add(buf.len() as u64 / 4096, Ordering::Relaxed);
                self.0.read(address, buf)
            }

            fn page_size(&self) -> u64 {
                4096
            }

            fn ranges(&self) -> Vec<PhysicalRange> {
                vec![PhysicalRange { start: PhysAddr(0), end: PhysAddr(3 * 4096) }]
            }
        }

        let mut page = vec![0; 4096];
        page[4088] = 7;
        let pages = Pages(vec![Some(vec![0; 4096]), Some(page), Some(vec![0; 4096])]);
        let memory = Counted(pages, AtomicU64::new(0));
        let runs = [
            run(0x1_0000, 0, 0x1000),
            run(0x2_0000, 0x1000, 0x1000),
            // Half a page says nothing of all of it.
            run(0x3_0000, 0x2000, 0x800),
            run(0x4_0000, 0, 0x3000),
        ];
        let search = |needle| {
            let mut found = Vec::new();
            memory.1.store(0, Ordering::Relaxed);
            let searched = Searched { physical: &memory, translate: &|_| None };
            // One piece after the other, so that each knows of those before it.
            let barren = BarrenPages::new(&memory, &needle);
            for piece in Pieces::of(runs.into_iter()) {
                let hits = piece.search(&searched, &Finders::new(&needle), &barren);
                found.extend(hits.into_iter().map(|hit| hit.address));
            }
            (found, memory.1.load(Ordering::Relaxed))
        };
        let numbers = Needle::Numbers { size: 8, values: vec![7], mask: 0 };
        assert_eq!(search(numbers), (vec![0x2_0ff8, 0x4_1ff8], 4));
        let strings = Needle::Strings(vec![vec![7]]);
        assert_eq!(search(strings), (vec![0x2_0ff8, 0x4_1ff8], 5));
    }

    #[test]
    fn numbers_of_each_width_are_found_in_order() {
        let mut page = vec![0; 4096];
        page[8..16].copy_from_slice(&0x1122_3344_5566_7788u64.to_le_bytes());
        page[4088..].copy_from_slice(&0x1122_3344_5566_7799u64.to_le_bytes());
        let memory = Pages(vec![None, Some(page.clone()), None, Some(page)]);
        let runs = [run(0xf000_0000, 0, 4 * 4096)];
        let numbers =
            |size, values: &[u64], mask| Needle::Numbers { size, values: values.to_vec(), mask };
        let wide = numbers(8, &[0x1122_3344_5566_7799, 0x1122_3344_5566_7788], 0);
        assert_eq!(
            hits(&memory, &runs, &wide),
            [(0xf000_1008, 1), (0xf000_1ff8, 0), (0xf000_3008, 1), (0xf000_3ff8, 0)]
        );
        assert_eq!(
            hits(&memory, &runs, &numbers(8, &[0x1122_3344_5566_7700], 0xff)),
            [(0xf000_1008, 0), (0xf000_1ff8, 0), (0xf000_3008, 0), (0xf000_3ff8, 0)]
        );
        assert_eq!(
            hits(&memory, &runs, &numbers(4, &[0x1122_3344], 0)),
            [(0xf000_100c, 0), (0xf000_1ffc, 0), (0xf000_300c, 0), (0xf000_3ffc, 0)]
        );
        assert_eq!(
            hits(&memory, &runs, &numbers(2, &[0x7799], 0)),
            [(0xf000_1ff8, 0), (0xf000_3ff8, 0)]
        );
    }

    #[test]
    fn strings_are_found_across_pages_and_runs_that_follow_each_other() {
        let mut first = vec![b'-'; 4096];
        let mut second = vec![b'-'; 4096];
        first[4094..].copy_from_slice(b"cr");
        second[..3].copy_from_slice(b"ash");
        second[100..105].copy_from_slice(b"crash");
        // In physical memory they lie the other way around.
        let memory = Pages(vec![Some(second), Some(first)]);
        let needle = Needle::Strings(vec![b"crash".to_vec(), b"as".to_vec()]);
        let runs = [run(0x10000, 0x1000, 4096), run(0x11000, 0, 4096)];
        assert_eq!(
            hits(&memory, &runs, &needle),
            [(0x10ffe, 0), (0x11000, 1), (0x11064, 0), (0x11066, 1)]
        );
        let apart = [run(0x10000, 0x1000, 4096), run(0x12000, 0, 4096)];
        assert_eq!(hits(&memory, &apart, &needle), [(0x12000, 1), (0x12064, 0), (0x12066, 1)]);
    }

    #[test]
    fn a_user_may_end_a_search() {
        let memory = Pages(vec![Some(vec![0; 4096])]);
        let interrupted = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let needle = Needle::Numbers { size: 8, values: vec![0], mask: 0 };
        let progress = Progress::new(interrupted);
        let searched = Searched { physical: &memory, translate: &|_| None };
        let ended = search(&searched, [run(0, 0, 4096)], &needle, &progress, |_| Ok(()));
        assert_eq!(ended, Err(KernelError::Interrupted));
    }

    #[test]
    fn pieces_cover_runs_exactly() {
        let runs = [run(0x1000, 0x5000, 3 * PIECE), run(0x1000 + 3 * PIECE, 0x100_0000, 0x1000)];
        let pieces: Vec<Piece> = Pieces::of(runs.into_iter()).collect();
        assert_eq!(pieces.iter().map(|piece| piece.run.len).sum::<u64>(), 3 * PIECE + 0x1000);
        for pair in pieces.windows(2) {
            assert_eq!(pair[0].run.address + pair[0].run.len, pair[1].run.address);
            let next = pair[0].next.map(|next| (next.address, next.physical));
            assert_eq!(next, Some((pair[1].run.address, pair[1].run.physical)));
        }
        assert_eq!(pieces.last().and_then(|piece| piece.next), None);
        let whole = run(0x1000, 0x5000, 0x2000);
        assert_eq!(whole.clipped(&(0..u64::MAX)), Some(whole));
        assert_eq!(whole.clipped(&(0x1800..0x2000)), Some(run(0x1800, 0x5800, 0x800)));
        assert_eq!(whole.clipped(&(0x3000..0x4000)), None);
    }
}
