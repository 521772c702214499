//! Pages of a kdump-compressed dump.

use super::bitmap::Bitmap;
use super::header::Header;
use crate::cache::{BlockCache, CachedSource};
use crate::codec::Codec;
use crate::contents::{DumpMemory, PageCounts};
use crate::field::{u32_at, u64_at};
use crate::source::{Source, read_exact};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes of a [`Descriptor`] in the file.
const DESCRIPTOR_SIZE: u64 = 24;
/// The part of the cache that bitmaps and descriptors get: one part in this many.
const INDEX_SHARE: usize = 8;
/// A read of so many pages is a scan.
const SCAN_PAGES: usize = 16;
/// Descriptors that are looked at to see whether the file is whole.
const LAST_DESCRIPTORS: u64 = 4096;

/// The physical memory of a kdump-compressed dump.
pub(crate) struct KdumpMemory {
    /// Bitmaps and descriptors.
    index: CachedSource,
    pages: BlockCache,
    existing: Bitmap,
    dumped: Bitmap,
    descriptors: u64,
    page_size: u64,
    max_mapnr: u64,
    /// Pages that this file holds, of a split set, and the rank of the first of them.
    split: Option<(u64, u64)>,
}

/// `struct page_desc` (makedumpfile's diskdump_mod.h) but for its `page_flags`, which are zero.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    offset: u64,
    size: u32,
    flags: u32,
}

impl Descriptor {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { offset: u64_at(bytes, 0)?, size: u32_at(bytes, 8)?, flags: u32_at(bytes, 12)? })
    }

    fn end(self) -> Option<u64> {
        self.offset.checked_add(u64::from(self.size))
    }
}

/// Where the data of one page is, and how it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) size: usize,
    pub(super) codec: Option<Codec>,
}

thread_local! {
    /// The compressed bytes of the page at hand.
    static COMPRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The block that the last insertion into the cache pushed out.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl KdumpMemory {
    pub(crate) fn new(source: Arc<dyn Source>, header: &Header, cache_bytes: usize) -> Self {
        let page_size = u64::from(header.block_size);
        let index_bytes = cache_bytes / INDEX_SHARE;
        Self {
            index: CachedSource::new(source, index_bytes),
            pages: BlockCache::new(cache_bytes - index_bytes, header.block_size as usize),
            existing: Bitmap::new(header.bitmap1, header.max_mapnr),
            dumped: Bitmap::new(header.bitmap2, header.max_mapnr),
            descriptors: header.descriptors,
            page_size,
            max_mapnr: header.max_mapnr,
            split: header.split,
        }
    }

    /// How many pages from `start` to `end` are in the dump, in this file or in another of its set.
    pub(super) fn pages_between(&self, start: u64, end: u64) -> u64 {
        let rank = |pfn| self.dumped.rank_of_position(&self.index, pfn).unwrap_or(0);
        rank(end).saturating_sub(rank(start))
    }

    pub(super) fn source(&self) -> &dyn Source {
        self.index.source()
    }

    pub(super) fn page_size_in_memory(&self) -> usize {
        self.page_size as usize
    }

    pub(super) fn locate(&self, pfn: u64) -> Result<Stored, Unavailable> {
        if pfn >= self.max_mapnr {
            return Err(Unavailable::Unmapped);
        }
        let Some(rank) = self.dumped.rank(&self.index, pfn)? else {
            return Err(match self.existing.contains(&self.index, pfn)? {
                true => Unavailable::Excluded,
                false => Unavailable::Unmapped,
            });
        };
        let first = match self.split {
            Some((start, end)) if (start..end).contains(&pfn) => {
                self.dumped.rank_of_position(&self.index, start)?
            }
            // The page is in another file of the set.
            Some(_) => return Err(Unavailable::Truncated),
            None => 0,
        };
        self.stored(rank.saturating_sub(first))
    }

    fn descriptor(&self, index: u64) -> Result<Descriptor, Unavailable> {
        let at = index
            .checked_mul(DESCRIPTOR_SIZE)
            .and_then(|at| self.descriptors.checked_add(at))
            .ok_or(Unavailable::Truncated)?;
        let mut bytes = [0; DESCRIPTOR_SIZE as usize];
        self.index.read(at, &mut bytes).map_err(|short| short.why)?;
        Descriptor::parse(&bytes).ok_or(Unavailable::Unreadable)
    }

    /// What descriptor number `index` says, checked against the file.
    fn stored(&self, index: u64) -> Result<Stored, Unavailable> {
        let descriptor = self.descriptor(index)?;
        // makedumpfile leaves descriptors empty that it could not write any more.
        if descriptor.offset == 0 {
            return Err(Unavailable::Truncated);
        }
        let codec = match descriptor.flags {
            0 => None,
            0x1 => Some(Codec::Zlib),
            0x2 => Some(Codec::Lzo),
            0x4 => Some(Codec::Snappy),
            0x20 => Some(Codec::Zstd),
            _ => return Err(Unavailable::Unreadable),
        };
        // A page that does not shrink is stored as it is, so none is larger than a page.
        let size = u64::from(descriptor.size);
        let size_fits = match codec {
            None => size == self.page_size,
            Some(_) => size <= self.page_size,
        };
        if !size_fits {
            return Err(Unavailable::Unreadable);
        }
        match descriptor.end() {
            Some(end) if end <= self.index.len() => {
                Ok(Stored { offset: descriptor.offset, size: size as usize, codec })
            }
            _ => Err(Unavailable::Truncated),
        }
    }

    /// Reads and decompresses a page.
    pub(super) fn load(&self, stored: Stored, page: &mut [u8]) -> Result<(), Unavailable> {
        let source = self.index.source();
        let Some(codec) = stored.codec else {
            return read_exact(source, stored.offset, page).map_err(|short| short.why);
        };
        COMPRESSED.with_borrow_mut(|data| {
            data.resize(stored.size, 0);
            read_exact(source, stored.offset, data).map_err(|short| short.why)?;
            codec.decompress(data, page).map_err(|_| Unavailable::Unreadable)
        })
    }

    /// Copies the bytes of one page from `skip` on.
    fn read_within_page(&self, pfn: u64, skip: usize, piece: &mut [u8]) -> Result<(), Unavailable> {
        if let Some(copied) = self.pages.with(pfn, |page| copy_from(page, skip, piece)) {
            return copied;
        }
        let stored = self.locate(pfn)?;
        let mut page = SPARE.take();
        page.resize(self.page_size_in_memory(), 0);
        if let Err(why) = self.load(stored, &mut page) {
            SPARE.set(page);
            return Err(why);
        }
        let copied = copy_from(&page, skip, piece);
        if let Some(spare) = self.pages.insert(pfn, page) {
            SPARE.set(spare);
        }
        copied
    }
}

fn copy_from(page: &[u8], skip: usize, piece: &mut [u8]) -> Result<(), Unavailable> {
    let there = page.get(skip..).and_then(|rest| rest.get(..piece.len()));
    piece.copy_from_slice(there.ok_or(Unavailable::Unreadable)?);
    Ok(())
}

impl KdumpMemory {
    /// Fills `buf` from `address` on; from `scan_pages` whole pages on without the cache.
    fn read_pages(
        &self,
        address: PhysAddr,
        buf: &mut [u8],
        scan_pages: usize,
    ) -> Result<(), ReadError> {
        let page_size = self.page_size_in_memory();
        let mut at = address.0;
        let mut rest = buf;
        while !rest.is_empty() {
            let pfn = at / self.page_size;
            let skip = (at % self.page_size) as usize;
            let whole = rest.len() / page_size;
            let (len, behind) = if skip == 0 && whole >= scan_pages {
                let (piece, behind) = rest.split_at_mut(whole * page_size);
                self.scan(pfn, piece).map_err(|(index, why)| {
                    ReadError::new(PhysAddr(at).offset((index * page_size) as u64), why)
                })?;
                (piece.len(), behind)
            } else {
                let (piece, behind) = rest.split_at_mut(rest.len().min(page_size - skip));
                self.read_within_page(pfn, skip, piece)
                    .map_err(|why| ReadError::new(PhysAddr(at), why))?;
                (piece.len(), behind)
            };
            rest = behind;
            at = match at.checked_add(len as u64) {
                Some(at) => at,
                None if rest.is_empty() => return Ok(()),
                None => return Err(ReadError::new(PhysAddr(at), Unavailable::Unmapped)),
            };
        }
        Ok(())
    }
}

impl PhysicalMemory for KdumpMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_pages(address, buf, SCAN_PAGES)
    }

    fn read_once(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_pages(address, buf, 1)
    }

    fn page_size(&self) -> u64 {
        self.page_size
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        let pfn = address.0 / self.page_size;
        self.locate(pfn).map(|_| ()).map_err(|why| ReadError::new(address, why))
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        let address = |pfn: u64| PhysAddr(pfn.saturating_mul(self.page_size));
        let runs = self.existing.runs(&self.index);
        runs.into_iter()
            .map(|(start, end)| PhysicalRange { start: address(start), end: address(end) })
            .collect()
    }
}

impl DumpMemory for KdumpMemory {
    fn page_counts(&self) -> PageCounts {
        PageCounts {
            total: self.existing.count(&self.index),
            present: self.dumped.count(&self.index),
        }
    }

    fn is_truncated(&self) -> bool {
        if self.index.len() < self.descriptors {
            return true;
        }
        let rank = |pfn| self.dumped.rank_of_position(&self.index, pfn);
        let count = match self.split {
            Some((start, end)) => match (rank(start), rank(end)) {
                (Ok(first), Ok(last)) => last.saturating_sub(first),
                _ => return true,
            },
            None => self.dumped.count(&self.index),
        };
        // Data follow in page order, but pages of zeroes share one block at the start.
        (count.saturating_sub(LAST_DESCRIPTORS)..count).any(|index| match self.descriptor(index) {
            Ok(descriptor) => descriptor.end().is_none_or(|end| end > self.index.len()),
            Err(why) => why == Unavailable::Truncated,
        })
    }
}
