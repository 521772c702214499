//! How much of a cache is in use.

use super::{SlabCache, SlabLayouts, lists};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::list::ListHead;
use mortis_memory::{VirtAddr, VirtualMemory};
use rayon::prelude::*;

/// How much of a cache is in use, as `/proc/slabinfo` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlabUsage {
    /// Slabs.
    pub slabs: u64,
    /// Objects in them, in use or not.
    pub objects: u64,
    /// Free objects in the slabs on the nodes' partial lists.
    pub free: u64,
    /// Why `free` is no more than a lower bound: a partial list that could not be followed to
    /// its end.
    pub damage: Option<KernelError>,
}

impl SlabUsage {
    /// Objects that are not free: `active_objs` of `/proc/slabinfo`. Objects that CPUs hold
    /// ready are among them.
    pub fn allocated(&self) -> u64 {
        self.objects.saturating_sub(self.free)
    }
}

impl SlabCache {
    /// How much of the cache is in use, as `/proc/slabinfo` counts it (`get_slabinfo()`). The
    /// kernel itself estimates when a node has more than 10,000 partial slabs
    /// (046f4c69090c, 6.10); this does not.
    ///
    /// # Errors
    /// When the counters of all slabs cannot be read. A damaged list of partial slabs is no
    /// error; see [`SlabUsage::damage`].
    pub fn usage(&self, kernel: &Kernel) -> Result<SlabUsage> {
        if lists::is_allocator(kernel) {
            return lists::Counter::new(kernel)?.usage(self);
        }
        let layouts = SlabLayouts::new(kernel)?;
        layouts.check_counters()?;
        self.usage_with(kernel, &layouts)
    }

    fn usage_with(&self, kernel: &Kernel, layouts: &SlabLayouts) -> Result<SlabUsage> {
        let mut usage = SlabUsage::default();
        for node in &self.nodes {
            let bytes = kernel.read_bytes(node.address, layouts.node.size_of)?;
            let slabs = layouts.node.nr_slabs.u64_in(&bytes)?;
            let objects = layouts.node.total_objects.u64_in(&bytes)?;
            usage.slabs = usage.slabs.wrapping_add(slabs);
            usage.objects = usage.objects.wrapping_add(objects);
            let head = layouts.node.partial.address(node.address)?;
            // Every slab on the list is one of those counted, but for those that a CPU was just
            // then counting; a list that is longer by far leads somewhere else.
            let most = slabs.saturating_add(1024);
            for slab in partial_slabs(kernel, layouts, head, most) {
                let free = slab.and_then(|slab| {
                    let bytes = layouts.slab_bytes(kernel, slab)?;
                    let (objects, inuse) = layouts.counts(&bytes, slab)?;
                    Ok(objects - inuse)
                });
                match free {
                    Ok(free) => usage.free = usage.free.saturating_add(free),
                    Err(error) => {
                        usage.damage = Some(error);
                        break;
                    }
                }
            }
        }
        Ok(usage)
    }
}

/// The slabs on a `struct list_head` list of slabs.
pub(super) fn partial_slabs<'a>(
    kernel: &'a Kernel,
    layouts: &'a SlabLayouts,
    head: VirtAddr,
    most: u64,
) -> impl Iterator<Item = Result<VirtAddr>> + 'a {
    let mut left = most;
    ListHead::new(kernel, "list of partial slabs", head).map(move |link| {
        let slab = layouts.slab.slab_list.container(link?)?;
        if layouts.map.pfn(slab).is_none() {
            return Err(KernelError::DamagedList {
                list: "list of partial slabs",
                problem: "no struct page",
                at: slab,
            });
        }
        left = left.checked_sub(1).ok_or(KernelError::DamagedList {
            list: "list of partial slabs",
            problem: "longer than all slabs there are",
            at: slab,
        })?;
        Ok(slab)
    })
}

impl Kernel {
    /// How much of each of `caches` is in use, in their order, found on all cores.
    ///
    /// # Errors
    /// When the types are out of reach, or the kernel does not count its slabs. Each cache has
    /// its own error besides.
    pub fn slab_usage(&self, caches: &[&SlabCache]) -> Result<Vec<Result<SlabUsage>>> {
        if lists::is_allocator(self) {
            let counter = lists::Counter::new(self)?;
            return Ok(caches.par_iter().map(|cache| counter.usage(cache)).collect());
        }
        let layouts = SlabLayouts::new(self)?;
        layouts.check_counters()?;
        Ok(caches.par_iter().map(|cache| cache.usage_with(self, &layouts)).collect())
    }
}
