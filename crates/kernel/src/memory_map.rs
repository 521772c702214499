//! The kernel's map of its memory: one `struct page` for every page frame.
//!
//! With CONFIG_SPARSEMEM_VMEMMAP, which every x86_64 distribution uses, the `struct page`s of all
//! frames form one array in virtual memory, with holes where there is no memory. Its start moves
//! with KASLR and stands in `vmemmap_base` (arch/x86/mm/kaslr.c); without KASLR for memory regions
//! it is one of two constants (Documentation/arch/x86/x86_64/mm.rst).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{Pfn, PhysAddr, PhysicalMemory, VirtAddr, VirtualMemory};

layout! {
    /// A page frame's own record: include/linux/mm_types.h.
    pub struct Page = "page" {
        /// A `memdesc_flags_t` of one member since 53fbef56e07d (6.18), plain before.
        flags: "flags.f" | "flags",
        /// `_count` until 0139aa7b7fa1 (4.6 renamed it).
        refcount: "_refcount.counter" | "_count.counter",
        mapcount: "_mapcount.counter",
    }
}

/// `__VMEMMAP_BASE_L4` and `__VMEMMAP_BASE_L5` of arch/x86/include/asm/pgtable_64_types.h.
const VMEMMAP_BASE_4_LEVELS: u64 = 0xffff_ea00_0000_0000;
const VMEMMAP_BASE_5_LEVELS: u64 = 0xffd4_0000_0000_0000;

/// Where the `struct page` of each page frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    /// The `struct page` of frame 0, whether or not there is such a frame.
    pub vmemmap: VirtAddr,
    /// Bytes of a `struct page`.
    pub page_struct_size: u64,
    /// One past the last frame of the machine's memory.
    pub end: Pfn,
    page_size: u64,
}

impl MemoryMap {
    fn read(kernel: &Kernel) -> Result<Self> {
        let page_struct_size = kernel.layout::<Page>()?.size_of;
        if page_struct_size == 0 {
            return Err(KernelError::NoType("struct page".to_owned()));
        }
        let vmemmap = match kernel.symbol("vmemmap_base") {
            Ok(symbol) => kernel.read_u64(symbol)?,
            Err(_) if kernel.memory().page_table().five_levels => VMEMMAP_BASE_5_LEVELS,
            Err(_) => VMEMMAP_BASE_4_LEVELS,
        };
        let physical = kernel.memory().physical();
        let page_size = physical.page_size().max(1);
        let end = physical.ranges().last().map_or(0, |range| range.end.0.div_ceil(page_size));
        Ok(Self { vmemmap: VirtAddr(vmemmap), page_struct_size, end: Pfn(end), page_size })
    }

    /// The `struct page` of `pfn`.
    pub fn page(&self, pfn: Pfn) -> VirtAddr {
        self.vmemmap.offset(pfn.0.wrapping_mul(self.page_struct_size))
    }

    /// The frame whose `struct page` lies at `page`; `None` for an address that is no
    /// `struct page` of a frame that the machine has.
    pub fn pfn(&self, page: VirtAddr) -> Option<Pfn> {
        let offset = page.0.checked_sub(self.vmemmap.0)?;
        let pfn = offset / self.page_struct_size;
        (offset % self.page_struct_size == 0 && pfn < self.end.0).then_some(Pfn(pfn))
    }

    /// The physical address of the frame.
    pub fn physical(&self, pfn: Pfn) -> PhysAddr {
        PhysAddr(pfn.0.wrapping_mul(self.page_size))
    }
}

impl Kernel {
    /// Where the `struct page` of each frame lies.
    ///
    /// # Errors
    /// When the types or the symbol that say so are out of reach.
    pub fn memory_map(&self) -> Result<MemoryMap> {
        MemoryMap::read(self)
    }

    /// The address of the frame's memory in the linear map of all physical memory, as the
    /// kernel's `page_address()` gives it.
    ///
    /// # Errors
    /// When there is no such frame, or the linear map was not found.
    pub fn page_address(&self, pfn: Pfn) -> Result<VirtAddr> {
        let page_size = self.memory().physical().page_size();
        // Symbols tell where the linear map is.
        self.symbols()?;
        self.memory().direct_address(PhysAddr(pfn.0.wrapping_mul(page_size))).ok_or_else(|| {
            KernelError::Unsupported(format!("page frame {:#x} is not mapped linearly", pfn.0))
        })
    }

    /// The address of the memory that the `struct page` at `page` stands for.
    ///
    /// # Errors
    /// When `page` is no `struct page`, or as [`Kernel::page_address`].
    pub fn page_to_virt(&self, page: VirtAddr) -> Result<VirtAddr> {
        let pfn = self.memory_map()?.pfn(page).ok_or_else(|| {
            KernelError::Unsupported(format!("{page:x} is not the address of a struct page"))
        })?;
        self.page_address(pfn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: MemoryMap = MemoryMap {
        vmemmap: VirtAddr(0xffff_ea00_0000_0000),
        page_struct_size: 64,
        end: Pfn(0x1000),
        page_size: 4096,
    };

    #[test]
    fn frames_and_their_structs_convert_both_ways() {
        let page = MAP.page(Pfn(0xfff));
        assert_eq!(page, VirtAddr(0xffff_ea00_0003_ffc0));
        assert_eq!(MAP.pfn(page), Some(Pfn(0xfff)));
        assert_eq!(MAP.physical(Pfn(0xfff)), PhysAddr(0xfff000));
    }

    #[test]
    fn what_is_no_struct_page_is_refused() {
        assert_eq!(MAP.pfn(MAP.page(Pfn(0x1000))), None);
        assert_eq!(MAP.pfn(MAP.vmemmap.offset(8)), None);
        assert_eq!(MAP.pfn(VirtAddr(0x1000)), None);
        assert_eq!(MAP.pfn(VirtAddr(u64::MAX)), None);
    }
}
