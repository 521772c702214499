//! Physical memory out of a migration stream.

use super::machine::Extent;
use super::mapped_ram::Mapped;
use super::page_index::Stored;
use super::ram::{Block, MAX_COMPRESSED, Ram};
use super::sections::Walk;
use super::xbzrle;
use crate::cache::{BlockCache, CachedSource};
use crate::codec::Codec;
use crate::contents::{DumpMemory, PageCounts};
use crate::source::{Source, read_exact, read_up_to};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::cell::RefCell;
use std::sync::Arc;

/// The page size of a kernel, below which that of a stream may be.
const KERNEL_PAGE: u64 = 4096;
/// Bytes of bitmaps that stay in memory.
const BITMAP_CACHE: usize = 1 << 20;

thread_local! {
    /// The block that the last insertion into a cache pushed out.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The RAM of a stream.
pub(super) struct QemuMemory {
    source: Arc<dyn Source>,
    bitmaps: CachedSource,
    ram: Ram,
    extents: Vec<Extent>,
    pages: BlockCache,
    /// Why a page is missing that no record is of.
    absent: Unavailable,
    is_truncated: bool,
}

/// What is known of a page without reading it.
enum Found {
    Stored(Stored),
    /// At a place of its own.
    InPlace(u64),
}

impl QemuMemory {
    pub(super) fn new(
        source: Arc<dyn Source>,
        walk: Walk,
        extents: Vec<Extent>,
        cache_bytes: usize,
    ) -> Self {
        let is_truncated = !walk.ended || !walk.ram.complete;
        let absent = if walk.ram.complete { Unavailable::Excluded } else { Unavailable::Truncated };
        let page_size = walk.ram.page_size as usize;
        Self {
            bitmaps: CachedSource::new(Arc::clone(&source), BITMAP_CACHE),
            source,
            ram: walk.ram,
            extents,
            pages: BlockCache::new(cache_bytes, page_size),
            absent,
            is_truncated,
        }
    }

    fn locate(&self, address: u64) -> Result<(&Extent, &Block), Unavailable> {
        let after = self.extents.partition_point(|extent| extent.start <= address);
        after
            .checked_sub(1)
            .and_then(|index| self.extents.get(index))
            .filter(|extent| address < extent.end)
            .and_then(|extent| Some((extent, self.ram.blocks.get(extent.block)?)))
            .ok_or(Unavailable::Unmapped)
    }

    fn find(&self, block: &Block, page: u64) -> Result<Found, Unavailable> {
        let Some(Mapped { sent, bitmap, pages }) = block.mapped else {
            return match block.pages.get(page, self.ram.page_size) {
                Stored::Absent => Err(self.absent),
                stored => Ok(Found::Stored(stored)),
            };
        };
        if !sent {
            return Err(Unavailable::Excluded);
        }
        let mut byte = [0];
        let at = bitmap.checked_add(page / 8).ok_or(Unavailable::Truncated)?;
        self.bitmaps.read(at, &mut byte).map_err(|short| short.why)?;
        let [byte] = byte;
        if byte >> (page % 8) & 1 != 0 {
            let at = page.checked_mul(self.ram.page_size).and_then(|at| at.checked_add(pages));
            return Ok(Found::InPlace(at.ok_or(Unavailable::Truncated)?));
        }
        // Bitmaps are written when all pages are.
        match self.ram.complete {
            true => Ok(Found::Stored(Stored::Fill(0))),
            false => Err(Unavailable::Truncated),
        }
    }

    /// Fills `page`.
    fn load(&self, block: &Block, found: Found, page: &mut [u8]) -> Result<(), Unavailable> {
        let stored = match found {
            Found::InPlace(at) => Stored::Page(at),
            Found::Stored(stored) => stored,
        };
        let (first, deltas) = block.pages.chain(stored).ok_or(Unavailable::Unreadable)?;
        match first {
            // The destination's memory is zeroes before anything arrives.
            Stored::Absent | Stored::Delta(_) => page.fill(0),
            Stored::Fill(byte) => page.fill(byte),
            Stored::Page(at) => read_exact(&*self.source, at, page).map_err(|short| short.why)?,
            Stored::Zlib(at) => {
                let mut len = [0; 4];
                read_exact(&*self.source, at, &mut len).map_err(|short| short.why)?;
                let len = u64::from(u32::from_be_bytes(len)).min(MAX_COMPRESSED);
                let data = read_up_to(&*self.source, at.saturating_add(4), len);
                Codec::Zlib.decompress(&data, page).map_err(|_| Unavailable::Unreadable)?;
            }
        }
        for at in deltas.into_iter().rev() {
            // The encoding, and the length.
            let mut header = [0; 3];
            read_exact(&*self.source, at, &mut header).map_err(|short| short.why)?;
            let [_, high, low] = header;
            let len = u16::from_be_bytes([high, low]);
            let mut delta = vec![0; len.into()];
            read_exact(&*self.source, at.saturating_add(3), &mut delta)
                .map_err(|short| short.why)?;
            xbzrle::apply(&delta, page).map_err(|_| Unavailable::Unreadable)?;
        }
        Ok(())
    }

    /// Reads a piece of one page.
    fn read_within_page(
        &self,
        address: u64,
        piece: &mut [u8],
        keep: bool,
    ) -> Result<(), Unavailable> {
        let (extent, block) = self.locate(address)?;
        let offset = extent.offset + (address - extent.start);
        let page_size = self.ram.page_size;
        let (number, skip) = (offset / page_size, (offset % page_size) as usize);
        let key = address / page_size;
        let copy = |page: &[u8], piece: &mut [u8]| {
            let there = page.get(skip..).and_then(|rest| rest.get(..piece.len()));
            there.map(|bytes| piece.copy_from_slice(bytes)).is_some()
        };
        if self.pages.with(key, |page| copy(page, piece)) == Some(true) {
            return Ok(());
        }
        let found = self.find(block, number)?;
        if let Found::Stored(Stored::Fill(byte)) = found {
            piece.fill(byte);
            return Ok(());
        }
        if piece.len() as u64 == page_size && !keep {
            return self.load(block, found, piece);
        }
        let mut page = SPARE.take();
        page.resize(page_size as usize, 0);
        let loaded = self.load(block, found, &mut page);
        let mut spare = Some(page);
        if loaded.is_ok()
            && let Some(page) = spare.take()
        {
            copy(&page, piece);
            spare = self.pages.insert(key, page);
        }
        SPARE.set(spare.unwrap_or_default());
        loaded
    }

    fn read_pages(&self, address: PhysAddr, buf: &mut [u8], keep: bool) -> Result<(), ReadError> {
        let page_size = self.ram.page_size;
        let mut filled = 0;
        while filled < buf.len() {
            let Some(at) = address.0.checked_add(filled as u64) else {
                return Err(ReadError::new(PhysAddr(u64::MAX), Unavailable::Unmapped));
            };
            let len = (buf.len() - filled).min((page_size - at % page_size) as usize);
            let piece = buf.get_mut(filled..filled + len).unwrap_or_default();
            self.read_within_page(at, piece, keep)
                .map_err(|why| ReadError::new(PhysAddr(at), why))?;
            filled += len;
        }
        Ok(())
    }
}

impl PhysicalMemory for QemuMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_pages(address, buf, true)
    }

    fn read_once(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_pages(address, buf, false)
    }

    fn page_size(&self) -> u64 {
        self.ram.page_size.max(KERNEL_PAGE)
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        let error = |why| ReadError::new(address, why);
        let (extent, block) = self.locate(address.0).map_err(error)?;
        let offset = extent.offset + (address.0 - extent.start);
        match self.find(block, offset / self.ram.page_size).map_err(error)? {
            Found::InPlace(at) if at.saturating_add(self.ram.page_size) > self.source.len() => {
                Err(error(Unavailable::Truncated))
            }
            _ => Ok(()),
        }
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        let mut ranges: Vec<PhysicalRange> = Vec::new();
        for extent in &self.extents {
            match ranges.last_mut() {
                Some(last) if last.end.0 == extent.start => last.end.0 = extent.end,
                _ => ranges.push(PhysicalRange {
                    start: PhysAddr(extent.start),
                    end: PhysAddr(extent.end),
                }),
            }
        }
        ranges
    }
}

impl DumpMemory for QemuMemory {
    fn page_counts(&self) -> PageCounts {
        let page_size = self.ram.page_size;
        let mut counts = PageCounts { total: 0, present: 0 };
        let mut blocks: Vec<usize> = self.extents.iter().map(|extent| extent.block).collect();
        blocks.dedup();
        for block in blocks.iter().filter_map(|block| self.ram.blocks.get(*block)) {
            let pages = block.len / page_size;
            counts.total += pages;
            counts.present += match block.mapped {
                Some(mapped) if mapped.sent => pages,
                Some(_) => 0,
                None => block.pages.count(),
            };
        }
        counts
    }

    fn is_truncated(&self) -> bool {
        self.is_truncated
    }
}
