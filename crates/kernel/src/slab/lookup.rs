//! From an address to the slab object that it lies in.

use super::{Slab, SlabCache, SlabLayouts};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{Pfn, PhysicalMemory, VirtAddr};
use rustc_hash::FxHashMap;
use std::sync::Arc;

layout! {
    /// How the pages behind the first of a large allocation point to it.
    struct CompoundPage = "page" {
        head: "compound_head" | "compound_info",
    }
}

/// An object of a slab cache.
#[derive(Clone, Copy, Debug)]
pub struct SlabObject<'f> {
    /// The cache.
    pub cache: &'f SlabCache,
    /// Where the object starts.
    pub address: VirtAddr,
}

/// Finds objects; made once for many addresses.
pub struct SlabFinder {
    layouts: SlabLayouts,
    compound: Arc<CompoundPage>,
    caches: FxHashMap<VirtAddr, SlabCache>,
}

impl SlabFinder {
    /// Reads the caches.
    ///
    /// # Errors
    /// As [`Kernel::slab_caches`].
    pub fn new(kernel: &Kernel) -> Result<Self> {
        let caches = kernel.slab_caches()?.caches;
        let caches = caches.into_iter().filter_map(|(address, cache)| Some((address, cache.ok()?)));
        Ok(Self {
            layouts: SlabLayouts::new(kernel)?,
            compound: kernel.layout()?,
            caches: caches.collect(),
        })
    }

    /// The object that `address` lies in, in use or not; none for memory that is no slab's.
    ///
    /// A page belongs to a slab when it points to a cache that there is, and to nothing that only
    /// looks like one; so no flag needs to be read.
    pub fn object_at(&self, kernel: &Kernel, address: VirtAddr) -> Option<SlabObject<'_>> {
        let (cache, slab) = self.slab_at(kernel, address)?;
        let index = address.0.checked_sub(slab.memory.0)?.checked_div(cache.size)?;
        let start = slab.memory.offset(index.wrapping_mul(cache.size)).offset(cache.red_left_pad);
        (index < slab.objects).then_some(SlabObject { cache, address: start })
    }

    /// The slab whose memory `address` lies in.
    pub fn slab_at(&self, kernel: &Kernel, address: VirtAddr) -> Option<(&SlabCache, Slab)> {
        let physical = kernel.memory().translate(address).ok()?;
        if kernel.memory().direct_address(physical) != Some(address) {
            return None;
        }
        let page_size = kernel.memory().physical().page_size();
        self.slab_of_page(kernel, self.layouts.map.page(Pfn(physical.0 / page_size)))
    }

    /// The slab that the `struct page` at `page` is part of.
    pub fn slab_of_page(&self, kernel: &Kernel, page: VirtAddr) -> Option<(&SlabCache, Slab)> {
        self.layouts.map.pfn(page)?;
        let slab = self.head_of(kernel, page)?;
        let bytes = self.layouts.slab_bytes(kernel, slab).ok()?;
        let cache = VirtAddr(self.layouts.slab.slab_cache.u64_in(&bytes).ok()?);
        let cache = self.caches.get(&cache)?;
        Some((cache, Slab::read(kernel, &self.layouts, slab).ok()?))
    }

    /// The cache whose `struct kmem_cache` lies at `address`.
    pub fn cache(&self, address: VirtAddr) -> Option<&SlabCache> {
        self.caches.get(&address)
    }

    /// The first `struct page` of the allocation that `page` is part of.
    fn head_of(&self, kernel: &Kernel, page: VirtAddr) -> Option<VirtAddr> {
        let head = self.compound.head.u64(kernel, page).ok()?;
        if head & 1 == 0 {
            return Some(page);
        }
        // Its address, or since 7.0 a mask over the address of the page itself
        // (include/linux/page-flags.h, `compound_info_has_mask()`).
        let plain = VirtAddr(head - 1);
        match self.layouts.map.pfn(plain) {
            Some(_) => Some(plain),
            None => Some(VirtAddr(page.0 & (head - 1))),
        }
    }
}

impl<'f> SlabObject<'f> {
    /// The cache's name.
    pub fn cache_name(&self) -> Option<&'f str> {
        self.cache.name.as_deref().ok()
    }
}

impl std::fmt::Debug for SlabFinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlabFinder").field("caches", &self.caches.len()).finish_non_exhaustive()
    }
}
