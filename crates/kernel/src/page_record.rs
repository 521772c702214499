//! What the `struct page` of a page frame says of it.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::memory_map::Page;
use mortis_debuginfo::types::{Namespace, Type, TypeSource, strip};
use mortis_memory::{Pfn, PhysAddr, PhysicalMemory, VirtAddr};

layout! {
    /// Whose page it is: include/linux/mm_types.h.
    pub struct PageUse = "page" {
        mapping: "mapping",
        /// Named for what it is in 7.x: a folio's.
        index: "index" | "__folio_index",
    }
}

/// A page frame, by its `struct page`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRecord {
    /// Where the `struct page` is.
    pub page: VirtAddr,
    /// Where the frame begins.
    pub frame: PhysAddr,
    /// The `struct address_space`, or with low bits set an `anon_vma` or something else.
    pub mapping: Result<u64>,
    /// Its place in the mapping, in pages.
    pub index: Result<u64>,
    /// References to it.
    pub count: Result<i64>,
    /// `page->flags`.
    pub flags: Result<u64>,
}

impl Kernel {
    /// The record of the page frame that `address` lies in.
    ///
    /// # Errors
    /// When there is no map of memory, or no such frame.
    pub fn page_record(&self, address: PhysAddr) -> Result<PageRecord> {
        let map = self.memory_map()?;
        let pfn = Pfn(address.0 / self.memory().physical().page_size().max(1));
        let page = map.page(pfn);
        let layout = self.layout::<Page>()?;
        let page_use = self.layout::<PageUse>()?;
        Ok(PageRecord {
            page,
            frame: map.physical(pfn),
            mapping: page_use.mapping.u64(self, page),
            index: page_use.index.u64(self, page),
            count: layout.refcount.i64(self, page),
            flags: layout.flags.u64(self, page),
        })
    }

    /// The names of the flags set in a `page->flags`, in lower case, lowest bit first. The upper
    /// bits, which hold the zone and the node, have none.
    pub fn page_flag_names(&self, flags: u64) -> Vec<String> {
        let types = self.type_set();
        let Some(id) = types.lookup(Namespace::Enum, "pageflags") else { return Vec::new() };
        let Ok((_, ty)) = strip(types, id) else { return Vec::new() };
        let Type::Enum(kind) = &*ty else { return Vec::new() };
        let end = kind.variants.iter().find(|(name, _)| &**name == "__NR_PAGEFLAGS");
        let end = end.map_or(64, |(_, value)| *value).clamp(0, 64);
        let set = (0..end).filter(|bit| flags >> bit & 1 != 0);
        // Of several names for a bit the first is the general one.
        set.filter_map(|bit| {
            let (name, _) = kind.variants.iter().find(|(_, value)| *value == bit)?;
            Some(name.strip_prefix("PG_").unwrap_or(name).to_ascii_lowercase())
        })
        .collect()
    }
}
