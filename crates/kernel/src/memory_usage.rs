//! Where the machine's memory went: the counts of `/proc/meminfo` (fs/proc/meminfo.c), in pages.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use crate::memory_map::{MemoryMap, Page};
use crate::vmstat::{Counter, CounterSet, counter};
use mortis_memory::{Pfn, PhysicalMemory, VirtAddr, VirtualMemory};
use rayon::prelude::*;

layout! {
    /// A counter of which each CPU has a share: include/linux/percpu_counter.h.
    pub struct PercpuCounter = "percpu_counter" {
        count: "count",
        counters: "counters",
    }
}

layout! {
    /// A mounted file system: include/linux/fs.h.
    pub struct SuperBlock = "super_block" {
        s_inodes: "s_inodes",
    }
}

layout! {
    /// A file: include/linux/fs.h.
    pub struct Inode = "inode" {
        i_mapping: "i_mapping",
        i_sb_list: "i_sb_list",
    }
}

layout! {
    /// A file's cached pages: include/linux/fs.h.
    pub struct AddressSpaceStruct = "address_space" {
        nrpages: "nrpages",
    }
}

/// Frames whose `struct page`s are read at once.
const SCAN_FRAMES: u64 = 1 << 12;

/// Where the members of `struct page` that a scan looks at lie.
struct PageScan {
    page: std::sync::Arc<Page>,
    map: MemoryMap,
    reserved: u64,
}

impl PageScan {
    /// How many of `count` frames from `first` on are in use by more than one, and not reserved.
    /// What cannot be read is not counted.
    fn shared(&self, kernel: &Kernel, first: Pfn, count: u64) -> u64 {
        let size = self.map.page_struct_size;
        let Ok(bytes) = kernel.read_bytes(self.map.page(first), count * size) else {
            // Each half by itself, down to what lies in one page.
            if count <= 1 || count * size <= 4096 {
                return 0;
            }
            let half = count / 2;
            return self.shared(kernel, first, half)
                + self.shared(kernel, Pfn(first.0 + half), count - half);
        };
        let shared = |page: &&[u8]| {
            let reserved = self.page.flags.u64_in(page).is_ok_and(|f| f & self.reserved != 0);
            let count = self.page.refcount.u64_in(page).unwrap_or(0) as u32;
            !reserved && count.cast_signed() > 1
        };
        bytes.chunks_exact(size as usize).filter(shared).count() as u64
    }
}

impl Kernel {
    /// Page frames that are in use by more than one, as crash counts them: `_refcount` above 1
    /// and not reserved. Looks at every `struct page`, until `keep_on` says to stop.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn shared_pages(&self, keep_on: &(dyn Fn() -> bool + Sync)) -> Result<u64> {
        let (_, reserved) = self
            .types()?
            .enumerator("PG_reserved")
            .ok_or_else(|| KernelError::NoType("PG_reserved".to_owned()))?;
        let map = self.memory_map()?;
        let scan = PageScan { page: self.layout()?, map, reserved: 1 << reserved.clamp(0, 63) };
        let physical = self.memory().physical();
        let page_size = physical.page_size().max(1);
        let ranges = physical.ranges().into_iter();
        let frames = ranges.map(|r| r.start.0 / page_size..r.end.0.div_ceil(page_size));
        Ok(frames
            .map(|frames| {
                let chunks = frames.end.saturating_sub(frames.start).div_ceil(SCAN_FRAMES);
                let shared = |chunk: u64| {
                    let first = frames.start + chunk * SCAN_FRAMES;
                    let count = SCAN_FRAMES.min(frames.end - first);
                    if keep_on() { scan.shared(self, Pfn(first), count) } else { 0 }
                };
                (0..chunks).into_par_iter().map(shared).sum::<u64>()
            })
            .sum())
    }

    /// Pages that the kernel can use: `MemTotal`.
    ///
    /// # Errors
    /// When the count cannot be found.
    pub fn total_ram_pages(&self) -> Result<u64> {
        // An atomic of this name since ca79b0c211af (5.0).
        let symbol = self.first_symbol(&["_totalram_pages", "totalram_pages"])?;
        Ok(self.read_u64(symbol)?)
    }

    /// Free pages: `MemFree`. Pages that CPUs hold ready count as used, as in the kernel.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn free_pages(&self) -> Result<u64> {
        named(&self.counters(CounterSet::Zone)?, &["NR_FREE_PAGES"])
    }

    /// Cached pages of block devices: `Buffers` (`nr_blockdev_pages()`).
    ///
    /// # Errors
    /// When the block devices cannot be found.
    pub fn block_device_pages(&self) -> Result<u64> {
        let super_block = self.read_u64(self.symbol("blockdev_superblock")?).map(VirtAddr)?;
        let inode = self.layout::<Inode>()?;
        let nrpages = self.layout::<AddressSpaceStruct>()?;
        let head = self.layout::<SuperBlock>()?.s_inodes.address(super_block)?;
        let mut pages = 0u64;
        for link in ListHead::new(self, "list of block devices", head) {
            let address = inode.i_sb_list.container(link?)?;
            let mapping = inode.i_mapping.pointer(self, address)?;
            pages = pages.saturating_add(nrpages.nrpages.u64(self, mapping)?);
        }
        Ok(pages)
    }

    /// Cached pages of files and of block devices: `Cached` and `Buffers` together.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn file_pages(&self) -> Result<u64> {
        let counters = self.node_counters()?;
        let pages = named(&counters, &["NR_FILE_PAGES"])?;
        let swap_cache = match counter(&counters, &["NR_SWAPCACHE"]) {
            Some(pages) => pages,
            None => self.swapper_pages()?,
        };
        // The kernel, too, shows a difference below zero as zero.
        Ok(pages.saturating_sub(swap_cache))
    }

    /// Pages in the swap cache before b6038942480e (5.12) counted them.
    fn swapper_pages(&self) -> Result<u64> {
        let (Ok(spaces), Ok(counts)) =
            (self.symbol("swapper_spaces"), self.symbol("nr_swapper_spaces"))
        else {
            return Ok(0);
        };
        let space = self.layout::<AddressSpaceStruct>()?;
        let mut pages = 0u64;
        for device in self.swap_devices()? {
            let index = u64::from(device.index);
            let count = self.read_u32(counts.offset(index * 4))?;
            let first = self.read_pointer(spaces.offset(index * 8))?;
            // One for each 64 MiB of a device.
            for bank in 0..u64::from(count).min(1 << 20) {
                let address = first.offset(bank * space.size_of);
                pages = pages.saturating_add(space.nrpages.u64(self, address)?);
            }
        }
        Ok(pages)
    }

    /// Pages of slabs: `Slab`.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn slab_pages(&self) -> Result<u64> {
        let counters = self.node_counters()?;
        // Renamed by d42f3245c7e2 (5.9).
        let reclaimable = named(&counters, &["NR_SLAB_RECLAIMABLE_B", "NR_SLAB_RECLAIMABLE"])?;
        let others = named(&counters, &["NR_SLAB_UNRECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE"])?;
        Ok(reclaimable.saturating_add(others))
    }

    /// The counters of nodes; before 75ef71840539 (4.8) those of zones, which were all there were.
    fn node_counters(&self) -> Result<Vec<Counter>> {
        self.counters(CounterSet::Node).or_else(|_| self.counters(CounterSet::Zone))
    }

    /// Pages of huge pages of all sizes, and how many of them are free.
    ///
    /// # Errors
    /// When the pools cannot be read.
    pub fn huge_page_totals(&self) -> Result<(u64, u64)> {
        let pools = self.huge_page_pools()?;
        let sum = |pages: fn(&crate::hugetlb::HugePagePool) -> u64| {
            pools.iter().map(pages).fold(0u64, u64::saturating_add)
        };
        Ok((sum(|pool| pool.total_pages()), sum(|pool| pool.free_pages())))
    }

    /// Pages that may be promised where promises are limited: `CommitLimit` (`vm_commit_limit()`).
    ///
    /// # Errors
    /// When one of the numbers it is made of cannot be read.
    pub fn commit_limit_pages(&self) -> Result<u64> {
        let page_size = self.memory().physical().page_size().max(1024);
        // Since 49f0ce5f9232 (3.14); zero where the ratio is to be used.
        let kbytes = self.read_symbol::<8>("sysctl_overcommit_kbytes").unwrap_or(0);
        let allowed = if kbytes != 0 {
            kbytes / (page_size / 1024)
        } else {
            let ratio = self.read_symbol::<4>("sysctl_overcommit_ratio")?;
            let (huge, _) = self.huge_page_totals()?;
            self.total_ram_pages()?.saturating_sub(huge).saturating_mul(ratio) / 100
        };
        // `total_swap_pages` is not there without CONFIG_SWAP.
        let swap = self.read_symbol::<8>("total_swap_pages").unwrap_or(0);
        Ok(allowed.saturating_add(swap))
    }

    /// Pages that were promised: `Committed_AS`. The kernel adds up every CPU's share of this
    /// count (`percpu_counter_sum_positive()`).
    ///
    /// # Errors
    /// When the count or a CPU's share of it cannot be read.
    pub fn committed_pages(&self) -> Result<u64> {
        let sum = self.percpu_counter(self.symbol("vm_committed_as")?)?;
        Ok(sum.max(0).cast_unsigned())
    }

    /// The exact value of the `struct percpu_counter` at `address`.
    ///
    /// # Errors
    /// When the count or a CPU's share of it cannot be read.
    pub fn percpu_counter(&self, address: VirtAddr) -> Result<i64> {
        let layout = self.layout::<PercpuCounter>()?;
        let mut sum = layout.count.i64(self, address)?;
        // No shares without CONFIG_SMP.
        if layout.counters.exists() {
            let counters = layout.counters.pointer(self, address)?;
            let cpus = self.cpus()?;
            // A CPU that goes offline gives its share back, but not one that a panic stops.
            for &cpu in &cpus.possible {
                let share = self.read_u32(cpus.address(counters, cpu)?)?;
                sum = sum.wrapping_add(i64::from(share.cast_signed()));
            }
        }
        Ok(sum)
    }
}

fn named(counters: &[Counter], names: &[&str]) -> Result<u64> {
    counter(counters, names).ok_or_else(|| KernelError::NoSymbol(names.join("|")))
}
