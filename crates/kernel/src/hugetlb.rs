//! The pools of huge pages (mm/hugetlb.c).

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::VirtAddr;

layout! {
    /// A pool of huge pages of one size: include/linux/hugetlb.h.
    pub struct HugeState = "hstate" {
        order: "order",
        nr_huge_pages: "nr_huge_pages",
        free_huge_pages: "free_huge_pages",
        resv_huge_pages: "resv_huge_pages",
        surplus_huge_pages: "surplus_huge_pages",
        name: "name",
    }
}

/// More sizes than any architecture has (`HUGE_MAX_HSTATE`).
const MAX_POOLS: u64 = 16;

/// A pool of huge pages of one size.
#[derive(Clone, Debug)]
pub struct HugePagePool {
    /// Its `struct hstate`.
    pub address: VirtAddr,
    /// `hugepages-2048kB`.
    pub name: Result<String>,
    /// A huge page is 2^order pages.
    pub order: u32,
    /// Huge pages in the pool.
    pub total: u64,
    /// Those that are free.
    pub free: u64,
    /// Those that are promised.
    pub reserved: u64,
    /// Those above what was asked for.
    pub surplus: u64,
}

impl HugePagePool {
    /// Pages of the normal size that all its huge pages take up.
    pub fn total_pages(&self) -> u64 {
        self.total.saturating_mul(1 << self.order)
    }

    /// Pages of the normal size that its free huge pages take up.
    pub fn free_pages(&self) -> u64 {
        self.free.saturating_mul(1 << self.order)
    }
}

impl Kernel {
    /// The pools of huge pages; none in a kernel without hugetlb.
    ///
    /// # Errors
    /// When the pools cannot be read.
    pub fn huge_page_pools(&self) -> Result<Vec<HugePagePool>> {
        let Ok(hstates) = self.symbol("hstates") else { return Ok(Vec::new()) };
        let layout = self.layout::<HugeState>()?;
        let count = self.read_symbol::<4>("hugetlb_max_hstate").unwrap_or(1).min(MAX_POOLS);
        let mut pools = Vec::new();
        for index in 0..count {
            let address = hstates.offset(index * layout.size_of);
            let order = layout.order.u64(self, address)?;
            // An unused slot has order 0; nothing is larger than the address space.
            if order == 0 || order >= 52 {
                continue;
            }
            pools.push(HugePagePool {
                address,
                name: layout.name.text(self, address),
                order: order as u32,
                total: layout.nr_huge_pages.u64(self, address)?,
                free: layout.free_huge_pages.u64(self, address)?,
                reserved: layout.resv_huge_pages.u64(self, address)?,
                surplus: layout.surplus_huge_pages.u64(self, address)?,
            });
        }
        Ok(pools)
    }
}
