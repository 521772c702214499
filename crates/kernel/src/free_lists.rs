//! The buddy allocator's lists of free memory: what `/proc/pagetypeinfo` shows.
//!
//! Each zone has for each order a list of free blocks of 2^order pages, one for each migrate type.
//! A block is linked by the `lru` of its first `struct page` (`buddy_list` since bf75f200569d, 6.0,
//! in the same place).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use crate::memory_map::MemoryMap;
use crate::sections::MemorySections;
use crate::zones::{FreeArea, Zone, ZoneStruct};
use mortis_memory::{Pfn, VirtAddr, VirtualMemory};

layout! {
    /// The free blocks of one order: include/linux/mmzone.h.
    struct FreeAreaLists = "free_area" {
        free_list: "free_list",
    }
}

layout! {
    /// How a free block is linked: include/linux/mm_types.h.
    struct BuddyPage = "page" {
        lru: "lru" | "buddy_list",
    }
}

/// `sizeof(struct list_head)`.
const LIST_HEAD_SIZE: u64 = 16;

/// A list of free blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeList {
    /// Its `struct list_head`.
    pub address: VirtAddr,
    /// Blocks on it are 2^order pages.
    pub order: u32,
    /// `MIGRATE_…` (include/linux/mmzone.h).
    pub migrate_type: u32,
}

impl FreeList {
    /// Pages of a block.
    pub fn block_pages(&self) -> u64 {
        1u64.checked_shl(self.order).unwrap_or(0)
    }
}

/// Walks free lists of one kernel.
pub struct FreeLists<'k> {
    kernel: &'k Kernel,
    page: std::sync::Arc<BuddyPage>,
    sections: MemorySections,
    map: MemoryMap,
}

/// A free block found on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeBlock {
    /// The `struct page` of its first frame.
    pub page: VirtAddr,
    /// That frame.
    pub start: Pfn,
}

impl<'k> FreeLists<'k> {
    /// Reads what walking needs.
    ///
    /// # Errors
    /// When the types or the sections of memory are out of reach.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        let (page, sections) = (kernel.layout()?, kernel.memory_sections()?);
        Ok(Self { kernel, page, sections, map: kernel.memory_map()? })
    }

    /// The sections of memory.
    pub fn sections(&self) -> &MemorySections {
        &self.sections
    }

    /// Where `struct page`s are.
    pub fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// The lists of `zone`, by order and migrate type.
    ///
    /// # Errors
    /// When the types do not tell.
    pub fn of(&self, zone: &Zone) -> Result<Vec<FreeList>> {
        let kernel = self.kernel;
        let areas = &kernel.layout::<ZoneStruct>()?.free_area;
        let area_size = kernel.layout::<FreeArea>()?.size_of.max(1);
        let lists = &kernel.layout::<FreeAreaLists>()?.free_list;
        let orders = (areas.size()? / area_size).min(64);
        let types = (lists.size()? / LIST_HEAD_SIZE).min(64);
        let first = lists.address(areas.address(zone.address)?)?;
        let list = |order: u64, migrate_type: u64| FreeList {
            address: first.offset(order * area_size + migrate_type * LIST_HEAD_SIZE),
            order: order as u32,
            migrate_type: migrate_type as u32,
        };
        Ok((0..orders)
            .flat_map(|order| (0..types).map(move |migrate_type| (order, migrate_type)))
            .map(|(order, migrate_type)| list(order, migrate_type))
            .collect())
    }

    /// The blocks on `list`. It ends behind an error.
    pub fn blocks(&self, list: FreeList) -> impl Iterator<Item = Result<FreeBlock>> {
        let mut ended = false;
        let links = ListHead::new(self.kernel, "free list", list.address);
        links.map_while(move |link| {
            if ended {
                return None;
            }
            let block = link.and_then(|link| self.block(link));
            ended = block.is_err();
            Some(block)
        })
    }

    fn block(&self, link: VirtAddr) -> Result<FreeBlock> {
        let page = self.page.lru.container(link)?;
        match self.sections.pfn(&self.map, page) {
            Some(start) => Ok(FreeBlock { page, start }),
            None => Err(KernelError::DamagedList {
                list: "free list",
                problem: "no struct page",
                at: link,
            }),
        }
    }

    /// How many blocks are on `list`, and why there may be more.
    pub fn count(&self, list: FreeList) -> (u64, Option<KernelError>) {
        let mut count = 0;
        for block in self.blocks(list) {
            match block {
                Ok(_) => count += 1,
                Err(error) => return (count, Some(error)),
            }
        }
        (count, None)
    }
}

impl Kernel {
    /// The names of the migrate types: `MIGRATE_UNMOVABLE` is `Unmovable`, as in
    /// `/proc/pagetypeinfo`.
    pub fn migrate_type_names(&self) -> Vec<String> {
        let Ok(names) = self.symbol("migratetype_names") else { return Vec::new() };
        let mut found = Vec::new();
        for index in 0..64 {
            let name = self.read_pointer(names.offset(index * 8));
            let name = name.ok().filter(|name| !name.is_null());
            match name.and_then(|name| self.read_c_string(name, 32).ok()) {
                Some(name) if !name.is_empty() && name.is_ascii() => {
                    found.push(String::from_utf8_lossy(&name).into_owned());
                }
                _ => break,
            }
        }
        found
    }
}
