//! Memory in a few long pieces: an ELF core's segments, LiME's ranges, the regions of a raw image.

use crate::cache::BlockCache;
use crate::contents::{DumpMemory, PageCounts};
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

/// Physical memory from `start` to `end`, and where it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Where in the source the byte at `start` is.
    pub(crate) offset: u64,
    /// Which of the sources.
    pub(crate) source: usize,
}

impl Region {
    /// Where in its source the byte at `address` is.
    fn offset_of(&self, address: u64) -> u64 {
        self.offset.saturating_add(address.saturating_sub(self.start))
    }
}

/// All that headers say of memory, in any order.
pub(crate) struct Regions {
    /// Where two overlap, the one that starts first counts.
    pub(crate) present: Vec<Region>,
    /// Left out on purpose; may overlap `present`, which goes first.
    pub(crate) excluded: Vec<Region>,
    /// What an address in neither is. makedumpfile writes a segment's header when it starts the
    /// segment: in an incomplete dump the headers of the rest stay zero, and nobody knows which
    /// memory they would have been.
    pub(crate) elsewhere: Unavailable,
}

impl Default for Regions {
    fn default() -> Self {
        Self { present: Vec::new(), excluded: Vec::new(), elsewhere: Unavailable::Unmapped }
    }
}

/// Sorts regions and cuts from each what an earlier one covers. `/proc/vmcore` has the kernel's
/// own image twice, at its text mapping and in the direct map; the bytes are the same.
fn disjoint(regions: &mut Vec<Region>) {
    regions.sort_by_key(|region| (region.start, region.end));
    let mut covered = 0;
    regions.retain_mut(|region| {
        let cut = covered.max(region.start) - region.start;
        region.start += cut;
        region.offset = region.offset.saturating_add(cut);
        covered = covered.max(region.end);
        region.start < region.end
    });
}

/// Memory in regions of one or more sources. What is cached are pages of memory and not blocks of
/// the file, because regions may start at odd offsets.
pub(crate) struct RegionMemory {
    sources: Vec<Arc<dyn Source>>,
    pages: BlockCache,
    regions: Regions,
    page_size: u64,
    is_truncated: bool,
}

impl RegionMemory {
    /// A region whose source is not among `sources` reads as truncated.
    pub(crate) fn new(
        sources: Vec<Arc<dyn Source>>,
        mut regions: Regions,
        page_size: u64,
        cache_bytes: usize,
        is_truncated: bool,
    ) -> Self {
        disjoint(&mut regions.present);
        disjoint(&mut regions.excluded);
        let pages = BlockCache::new(cache_bytes, PAGE as usize);
        Self { sources, pages, regions, page_size, is_truncated }
    }

    fn find(regions: &[Region], address: u64) -> Option<&Region> {
        let after = regions.partition_point(|region| region.start <= address);
        regions.get(after.checked_sub(1)?).filter(|region| address < region.end)
    }

    fn locate(&self, address: u64) -> Result<&Region, Unavailable> {
        let Regions { present, excluded, elsewhere } = &self.regions;
        match Self::find(present, address) {
            Some(region) => Ok(region),
            None if Self::find(excluded, address).is_some() => Err(Unavailable::Excluded),
            None => Err(*elsewhere),
        }
    }

    fn read_region(&self, region: &Region, address: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        match self.sources.get(region.source) {
            Some(source) => read_exact(&**source, region.offset_of(address), buf),
            None => Err(ShortRead { filled: 0, why: Unavailable::Truncated }),
        }
    }

    /// Reads a piece of one page, by way of the cache.
    fn read_within_page(
        &self,
        region: &Region,
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
        if region.start <= start && start + PAGE <= region.end {
            let mut page = SPARE.take();
            page.resize(PAGE as usize, 0);
            let whole = self.read_region(region, start, &mut page).is_ok() && copy(&page);
            let spare = if whole { self.pages.insert(number, page) } else { Some(page) };
            SPARE.set(spare.unwrap_or_default());
            if whole {
                return Ok(());
            }
        }
        // A part of a page, or a page cut short whose first bytes may still be there.
        self.read_region(region, address, piece)
    }
}

impl PhysicalMemory for RegionMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut filled = 0;
        while filled < buf.len() {
            let Some(at) = address.0.checked_add(filled as u64) else {
                return Err(ReadError::new(PhysAddr(u64::MAX), Unavailable::Unmapped));
            };
            let region = self.locate(at).map_err(|why| ReadError::new(PhysAddr(at), why))?;
            let rest = &mut buf[filled..];
            let within = usize::try_from(region.end - at).unwrap_or(usize::MAX).min(rest.len());
            let (len, read) = if within >= DIRECT {
                (within, self.read_region(region, at, &mut rest[..within]))
            } else {
                let len = within.min((PAGE - at % PAGE) as usize);
                (len, self.read_within_page(region, at, &mut rest[..len]))
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
        let region = self.locate(address.0).map_err(error)?;
        let len = self.sources.get(region.source).map_or(0, |source| source.len());
        match region.offset_of(address.0) < len {
            true => Ok(()),
            false => Err(error(Unavailable::Truncated)),
        }
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        let Regions { present, excluded, .. } = &self.regions;
        let mut all: Vec<Region> = present.iter().chain(excluded).copied().collect();
        all.sort_by_key(|region| region.start);
        let mut ranges: Vec<PhysicalRange> = Vec::new();
        for region in all {
            match ranges.last_mut() {
                Some(last) if region.start <= last.end.0 => {
                    last.end.0 = last.end.0.max(region.end);
                }
                _ => ranges.push(PhysicalRange {
                    start: PhysAddr(region.start),
                    end: PhysAddr(region.end),
                }),
            }
        }
        ranges
    }
}

impl DumpMemory for RegionMemory {
    fn page_counts(&self) -> PageCounts {
        let pages = |ranges: &mut dyn Iterator<Item = (u64, u64)>| {
            let bytes = ranges.fold(0u64, |sum, (start, end)| sum.saturating_add(end - start));
            bytes.div_ceil(self.page_size)
        };
        let present = &self.regions.present;
        PageCounts {
            total: pages(&mut self.ranges().iter().map(|range| (range.start.0, range.end.0))),
            present: pages(&mut present.iter().map(|region| (region.start, region.end))),
        }
    }

    fn is_truncated(&self) -> bool {
        self.is_truncated
    }
}
