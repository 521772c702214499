//! Single slabs, and which of their objects are free.

use super::SlabLayouts;
use super::cache::{SlabCache, SlabFlag};
use super::usage::partial_slabs;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_memory::{Pfn, VirtAddr, VirtualMemory};

/// A slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slab {
    /// Its `struct slab`, which is the `struct page` of its first frame.
    pub address: VirtAddr,
    /// That frame.
    pub pfn: Pfn,
    /// Its memory.
    pub memory: VirtAddr,
    /// Objects in it.
    pub objects: u64,
    /// How many of them left it: in use, or held ready by a CPU.
    pub inuse: u64,
    /// The first of its free objects.
    pub freelist: VirtAddr,
}

impl Slab {
    pub(super) fn read(kernel: &Kernel, layouts: &SlabLayouts, address: VirtAddr) -> Result<Self> {
        let bytes = layouts.slab_bytes(kernel, address)?;
        let (objects, inuse) = layouts.counts(&bytes, address)?;
        let pfn = layouts.map.pfn(address).ok_or(KernelError::DamagedList {
            list: "list of slabs",
            problem: "no struct page",
            at: address,
        })?;
        Ok(Self {
            address,
            pfn,
            memory: kernel.page_address(pfn)?,
            objects,
            inuse,
            freelist: VirtAddr(layouts.slab.freelist.u64_in(&bytes)?),
        })
    }

    /// Objects on its own free list.
    pub fn free(&self) -> u64 {
        self.objects.saturating_sub(self.inuse)
    }

    /// One past the last of its objects.
    pub(super) fn end(&self, cache: &SlabCache) -> VirtAddr {
        self.memory.offset(self.objects.wrapping_mul(cache.size))
    }
}

/// Whether an object is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// In use.
    Allocated,
    /// Free, in its slab.
    Free,
    /// Free, held ready by the CPU whose current slab this is.
    FreeOnCpu,
}

/// The objects of a slab.
#[derive(Clone, Debug)]
pub struct SlabObjects {
    /// Each object's address and state, ascending.
    pub objects: Vec<(VirtAddr, ObjectState)>,
}

impl SlabCache {
    /// The slabs on the partial list of one of the cache's nodes. What comes behind an error is
    /// not known.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn partial_slabs(&self, kernel: &Kernel, node: VirtAddr) -> Result<Vec<Result<Slab>>> {
        let layouts = SlabLayouts::new(kernel)?;
        let head = layouts.node.partial.address(node)?;
        Ok(self.slabs_on(kernel, &layouts, head))
    }

    /// The full slabs of one of the cache's nodes; `None` where the kernel keeps no list of them.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn full_slabs(&self, kernel: &Kernel, node: VirtAddr) -> Result<Option<Vec<Result<Slab>>>> {
        let layouts = SlabLayouts::new(kernel)?;
        if !layouts.node.full.exists() || self.flags & SlabFlag::StoreUser.mask(kernel) == 0 {
            return Ok(None);
        }
        let head = layouts.node.full.address(node)?;
        Ok(Some(self.slabs_on(kernel, &layouts, head)))
    }

    fn slabs_on(
        &self,
        kernel: &Kernel,
        layouts: &SlabLayouts,
        head: VirtAddr,
    ) -> Vec<Result<Slab>> {
        let mut slabs = Vec::new();
        for slab in partial_slabs(kernel, layouts, head, layouts.map.end.0) {
            let slab = slab.and_then(|slab| Slab::read(kernel, layouts, slab));
            let damaged = slab.is_err();
            slabs.push(slab);
            if damaged {
                break;
            }
        }
        slabs
    }

    /// How many slabs a node has, and how many of them are on its partial list.
    ///
    /// # Errors
    /// What could not be read.
    pub fn node_counts(&self, kernel: &Kernel, node: VirtAddr) -> Result<(u64, u64)> {
        let layouts = SlabLayouts::new(kernel)?;
        let bytes = kernel.read_bytes(node, layouts.node.size_of)?;
        Ok((layouts.node.nr_slabs.u64_in(&bytes)?, layouts.node.nr_partial.u64_in(&bytes)?))
    }

    /// The objects of `slab`; `cpu_free` are those that the CPU whose current slab it is holds
    /// ready.
    ///
    /// # Errors
    /// A free list that is damaged or cannot be read.
    pub fn objects(
        &self,
        kernel: &Kernel,
        slab: &Slab,
        cpu_free: &[VirtAddr],
    ) -> Result<SlabObjects> {
        let free = self.free_list(kernel, slab.freelist, slab.memory, slab.end(self))?;
        let objects = (0..slab.objects)
            .map(|index| {
                let start = slab.memory.offset(index.wrapping_mul(self.size));
                let object = start.offset(self.red_left_pad);
                let state = if cpu_free.binary_search(&object).is_ok() {
                    ObjectState::FreeOnCpu
                } else if free.binary_search(&object).is_ok() {
                    ObjectState::Free
                } else {
                    ObjectState::Allocated
                };
                (object, state)
            })
            .collect();
        Ok(SlabObjects { objects })
    }
}
