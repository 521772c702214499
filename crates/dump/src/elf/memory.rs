//! Pages of an ELF core.

use super::{Segment, Segments};
use crate::cache::BlockCache;
use crate::source::{ShortRead, Source, read_exact};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::cell::RefCell;
use std::sync::Arc;

/// The unit of the cache.
const PAGE: u64 = 4096;
/// From here on a read goes straight to the caller's buffer.
const DIRECT: usize = 16 * PAGE as usize;

thread_local! {
    /// The block that the last insertion into a cache pushed out.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The physical memory of an ELF core. What is cached are pages of memory and not blocks of the
/// file, because makedumpfile starts segments at odd offsets.
pub(crate) struct ElfMemory {
    source: Arc<dyn Source>,
    pages: BlockCache,
    segments: Segments,
    page_size: u64,
}

impl ElfMemory {
    pub(super) fn new(
        source: Arc<dyn Source>,
        segments: Segments,
        page_size: u64,
        cache_bytes: usize,
    ) -> Self {
        let pages = BlockCache::new(cache_bytes, PAGE as usize);
        Self { source, pages, segments, page_size }
    }

    fn find(segments: &[Segment], address: u64) -> Option<&Segment> {
        let after = segments.partition_point(|segment| segment.start <= address);
        segments.get(after.checked_sub(1)?).filter(|segment| address < segment.end)
    }

    fn locate(&self, address: u64) -> Result<&Segment, Unavailable> {
        let Segments { present, excluded, elsewhere } = &self.segments;
        match Self::find(present, address) {
            Some(segment) => Ok(segment),
            None if Self::find(excluded, address).is_some() => Err(Unavailable::Excluded),
            None => Err(*elsewhere),
        }
    }

    /// Bytes that the dump speaks of, and those of them that it holds.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let sum = |ranges: &mut dyn Iterator<Item = (u64, u64)>| {
            ranges.fold(0u64, |sum, (start, end)| sum.saturating_add(end - start))
        };
        (
            sum(&mut self.ranges().iter().map(|range| (range.start.0, range.end.0))),
            sum(&mut self.segments.present.iter().map(|segment| (segment.start, segment.end))),
        )
    }

    fn read_segment(
        &self,
        segment: &Segment,
        address: u64,
        buf: &mut [u8],
    ) -> Result<(), ShortRead> {
        read_exact(&*self.source, segment.offset_of(address), buf)
    }

    /// Reads a piece of one page, by way of the cache.
    fn read_within_page(
        &self,
        segment: &Segment,
        address: u64,
        piece: &mut [u8],
    ) -> Result<(), ShortRead> {
        let number = address / PAGE;
        let skip = (address % PAGE) as usize;
        let start = number * PAGE;
        let mut copy = |page: &[u8]| {
            let there = page.get(skip..).and_then(|rest| rest.get(..piece.len()));
            there.map(|bytes| piece.copy_from_slice(bytes)).is_some()
        };
        if self.pages.with(number, &mut copy) == Some(true) {
            return Ok(());
        }
        if segment.start <= start && start + PAGE <= segment.end {
            let mut page = SPARE.take();
            page.resize(PAGE as usize, 0);
            let whole = self.read_segment(segment, start, &mut page).is_ok() && copy(&page);
            let spare = if whole { self.pages.insert(number, page) } else { Some(page) };
            SPARE.set(spare.unwrap_or_default());
            if whole {
                return Ok(());
            }
        }
        // A part of a page, or a page cut short whose first bytes may still be there.
        self.read_segment(segment, address, piece)
    }
}

impl PhysicalMemory for ElfMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut filled = 0;
        while filled < buf.len() {
            let Some(at) = address.0.checked_add(filled as u64) else {
                return Err(ReadError::new(PhysAddr(u64::MAX), Unavailable::Unmapped));
            };
            let segment = self.locate(at).map_err(|why| ReadError::new(PhysAddr(at), why))?;
            let rest = &mut buf[filled..];
            let within = usize::try_from(segment.end - at).unwrap_or(usize::MAX).min(rest.len());
            let (len, read) = if within >= DIRECT {
                (within, self.read_segment(segment, at, &mut rest[..within]))
            } else {
                let len = within.min((PAGE - at % PAGE) as usize);
                (len, self.read_within_page(segment, at, &mut rest[..len]))
            };
            read.map_err(|short| {
                ReadError::new(PhysAddr(at).offset(short.filled as u64), short.why)
            })?;
            filled += len;
        }
        Ok(())
    }

    fn page_size(&self) -> u64 {
        self.page_size
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        let error = |why| ReadError::new(address, why);
        let segment = self.locate(address.0).map_err(error)?;
        match segment.offset_of(address.0) < self.source.len() {
            true => Ok(()),
            false => Err(error(Unavailable::Truncated)),
        }
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        let Segments { present, excluded, .. } = &self.segments;
        let mut all: Vec<Segment> = present.iter().chain(excluded).copied().collect();
        all.sort_by_key(|segment| segment.start);
        let mut ranges: Vec<PhysicalRange> = Vec::new();
        for segment in all {
            match ranges.last_mut() {
                Some(last) if segment.start <= last.end.0 => {
                    last.end.0 = last.end.0.max(segment.end);
                }
                _ => ranges.push(PhysicalRange {
                    start: PhysAddr(segment.start),
                    end: PhysAddr(segment.end),
                }),
            }
        }
        ranges
    }
}
