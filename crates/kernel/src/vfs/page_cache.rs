//! Pages of files that are in memory.

use super::inode::AddressSpaceStruct;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::memory_map::{MemoryMap, Page};
use crate::page_record::PageUse;
use crate::xarray::{self, Entries};
use mortis_debuginfo::types::{Namespace, Type, TypeSource, strip};
use mortis_memory::{Pfn, PhysAddr, VirtAddr, VirtualMemory};
use std::sync::Arc;

layout! {
    /// Pages that are managed as one: include/linux/mm_types.h.
    pub struct FolioStruct = "folio" {
        /// Until 6.6, when the order moved into the low byte of the second page's flags.
        order: "_folio_order",
        flags_1: "_flags_1",
    }
}

layout! {
    /// The second page of those, before folios had members of their own (6.2).
    pub struct SecondPage = "page" {
        order: "compound_order",
    }
}

/// No allocation is larger (`MAX_FOLIO_ORDER`; gigantic pages have order 18).
const MAX_ORDER: u64 = 18;

/// What a mapping has at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheEntry {
    /// Pages in memory.
    Pages(CachedPages),
    /// A page that was there: its shadow, or where shared memory was swapped out to.
    Gone {
        /// Its place in the file, in pages.
        index: u64,
        /// What is kept in its place.
        entry: u64,
    },
}

/// Pages of a file that are managed as one (a folio).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPages {
    /// Their place in the file, in pages.
    pub index: u64,
    /// The first one's `struct page`.
    pub page: VirtAddr,
    /// The first one's frame; `None` where `page` is no `struct page`.
    pub frame: Option<Pfn>,
    /// How many.
    pub count: u64,
    /// Whether the `struct page` says that it is of this mapping.
    pub is_owned: bool,
}

/// Walks what a mapping has in memory, by index. What is wrong with the map comes last.
pub struct PageCache<'k> {
    kernel: &'k Kernel,
    mapping: VirtAddr,
    entries: Entries<'k>,
    map: MemoryMap,
    page: Arc<Page>,
    page_use: Arc<PageUse>,
    order: Order,
    /// The bit of `page->flags` that is set in the first of several pages.
    head_bit: Option<u64>,
    /// One past the last page that came.
    next: u64,
}

/// Where the number of pages managed as one stands, as a power of two.
enum Order {
    /// So many bytes behind the first page, in one byte.
    Byte(u64),
    Unknown,
}

impl Kernel {
    /// What the `struct address_space` at `mapping` has in memory.
    ///
    /// # Errors
    /// When the types do not tell where that is.
    pub fn page_cache(&self, mapping: VirtAddr) -> Result<PageCache<'_>> {
        let root = self.layout::<AddressSpaceStruct>()?.pages.address(mapping)?;
        let page = self.layout::<Page>()?;
        Ok(PageCache {
            kernel: self,
            mapping,
            entries: xarray::entries(self, "page cache", root)?,
            map: self.memory_map()?,
            order: Order::find(self, page.size_of),
            head_bit: self.page_flag("PG_head"),
            page,
            page_use: self.layout()?,
            next: 0,
        })
    }

    /// Which bit of `page->flags` is called `name`.
    fn page_flag(&self, name: &str) -> Option<u64> {
        let types = self.type_set();
        let id = types.lookup(Namespace::Enum, "pageflags")?;
        let (_, ty) = strip(types, id).ok()?;
        let Type::Enum(kind) = &*ty else { return None };
        let (_, bit) = kind.variants.iter().find(|(variant, _)| &**variant == name)?;
        u64::try_from(*bit).ok().filter(|bit| *bit < 64)
    }
}

impl Order {
    fn find(kernel: &Kernel, page_size: u64) -> Self {
        let folio = kernel.layout::<FolioStruct>().ok();
        let in_folio = folio.as_ref().and_then(|folio| folio.order.offset().ok());
        let second = kernel.layout::<SecondPage>().ok();
        let in_second = second.and_then(|second| second.order.offset().ok());
        let in_flags = folio.as_ref().and_then(|folio| folio.flags_1.offset().ok());
        in_folio
            .or_else(|| in_second.map(|offset| page_size + offset))
            .or(in_flags)
            .map_or(Order::Unknown, Order::Byte)
    }
}

impl PageCache<'_> {
    fn pages(&self, index: u64, page: VirtAddr) -> CachedPages {
        let mapping = self.page_use.mapping.u64(self.kernel, page);
        CachedPages {
            index,
            page,
            frame: self.map.pfn(page),
            count: self.count(page).unwrap_or(1),
            is_owned: mapping.is_ok_and(|mapping| mapping == self.mapping.0),
        }
    }

    fn count(&self, page: VirtAddr) -> Option<u64> {
        let flags = self.page.flags.u64(self.kernel, page).ok()?;
        let Order::Byte(offset) = self.order else { return None };
        if flags >> self.head_bit? & 1 == 0 {
            return None;
        }
        let order = u64::from(self.kernel.read_u8(page.offset(offset)).ok()?);
        (order <= MAX_ORDER).then(|| 1 << order)
    }
}

impl Iterator for PageCache<'_> {
    type Item = Result<CacheEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (index, entry) = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            if let Some(page) = xarray::object(entry) {
                // Before 5.8 each page of a huge one had its own entry.
                if index < self.next {
                    continue;
                }
                let pages = self.pages(index, page);
                self.next = index.saturating_add(pages.count);
                return Some(Ok(CacheEntry::Pages(pages)));
            }
            return Some(Ok(CacheEntry::Gone { index, entry }));
        }
    }
}

impl CachedPages {
    /// Where the memory of each page begins, with its place in the file.
    pub fn frames(self, page_size: u64) -> impl Iterator<Item = (u64, Option<PhysAddr>)> {
        (0..self.count).map(move |at| {
            let frame = self.frame.filter(|_| self.is_owned);
            let address = frame.and_then(|frame| frame.0.checked_add(at)?.checked_mul(page_size));
            (self.index.saturating_add(at), address.map(PhysAddr))
        })
    }
}
