//! The slab allocator: its caches, and how many of their objects are in use.
//!
//! SLAB, the other allocator of kernels before 6.8, is in `lists`. SLUB (mm/slub.c), the only allocator since 6.8, keeps for each cache and node a list of the
//! slabs that have free objects, and two counters of all slabs and objects. A slab's `inuse`
//! counts the objects that left it: those in use, and those that CPUs hold ready. So there are
//! two answers to how many objects are free: what the slabs on the nodes' lists say, which is
//! what `/proc/slabinfo` shows ([`SlabCache::usage`]), and that plus what the CPUs hold
//! ([`SlabCache::cpu_free`]): the free list of the CPU's current slab and its own partial slabs,
//! or, since sheaves took their place, arrays of object pointers.

mod cache;
mod cpu;
mod freelist;
mod lists;
mod lookup;
mod objects;
mod usage;

pub use cache::{SlabCache, SlabNode};
pub use cpu::{CpuSlabs, Sheaf};
pub use lookup::{SlabFinder, SlabObject};
pub use objects::{ObjectState, Slab, SlabObjects};
pub use usage::SlabUsage;

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use crate::memory_map::MemoryMap;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::sync::Arc;

layout! {
    /// A cache of objects: mm/slab.h; before that include/linux/slub_def.h.
    pub struct KmemCache = "kmem_cache" {
        name: "name",
        list: "list",
        flags: "flags",
        size: "size",
        /// `objsize` until 3b0efdfa1e71 (3.6).
        object_size: "object_size" | "objsize",
        offset: "offset",
        oo: "oo.x",
        random: "random",
        red_left_pad: "red_left_pad",
        /// Each CPU's current slab, until sheaves.
        cpu_slab: "cpu_slab",
        /// Each CPU's sheaves.
        cpu_sheaves: "cpu_sheaves",
        /// Pointers to `struct kmem_cache_node` by node number…
        node: "node",
        /// …or pairs of pointers, that one and the node's barn.
        per_node: "per_node",
    }
}

layout! {
    /// What a cache has on one node, since sheaves: mm/slab.h.
    pub struct PerNodePointers = "kmem_cache_per_node_ptrs" {
        barn: "barn",
        node: "node",
    }
}

layout! {
    /// A cache's slabs on one node: mm/slub.c, before that mm/slab.h.
    pub struct KmemCacheNode = "kmem_cache_node" {
        nr_partial: "nr_partial",
        partial: "partial",
        /// The counters and the list of full slabs are there with CONFIG_SLUB_DEBUG only.
        nr_slabs: "nr_slabs.counter",
        total_objects: "total_objects.counter",
        full: "full",
    }
}

layout! {
    /// A slab: mm/slab.h. Until d122019bf061 (5.17) a `struct page` with other names.
    pub struct SlabStruct = "slab" | "page" {
        slab_list: "slab_list" | "lru",
        slab_cache: "slab_cache",
        next: "next",
        freelist: "freelist",
        inuse: "inuse",
        objects: "objects",
    }
}

/// More caches than any machine has: some tens of thousands where each memory cgroup had its own.
const MAX_CACHES: usize = 1 << 20;
/// Layouts that everything about slabs needs.
#[derive(Clone)]
pub(crate) struct SlabLayouts {
    cache: Arc<KmemCache>,
    node: Arc<KmemCacheNode>,
    slab: Arc<SlabStruct>,
    map: MemoryMap,
}

impl SlabLayouts {
    fn new(kernel: &Kernel) -> Result<Self> {
        if lists::is_allocator(kernel) {
            return Err(KernelError::Unsupported(
                "this kernel's allocator is SLAB, not SLUB: single slabs and objects cannot be \
                 read yet, only how much of each cache is in use (kmem -s)"
                    .to_owned(),
            ));
        }
        let node = kernel.layout::<KmemCacheNode>()?;
        Ok(Self {
            cache: kernel.layout()?,
            node,
            slab: kernel.layout()?,
            map: kernel.memory_map()?,
        })
    }

    fn check_counters(&self) -> Result<()> {
        if self.node.nr_slabs.exists() {
            return Ok(());
        }
        Err(KernelError::Unsupported(
            "option requires kmem_cache_node.nr_slabs member!\n\
             (the kernel must be built with CONFIG_SLUB_DEBUG)"
                .to_owned(),
        ))
    }

    /// Reads the `struct slab` at `address` whole.
    fn slab_bytes(&self, kernel: &Kernel, address: VirtAddr) -> Result<Vec<u8>> {
        if self.map.pfn(address).is_none() {
            return Err(KernelError::DamagedList {
                list: "list of slabs",
                problem: "no struct page",
                at: address,
            });
        }
        Ok(kernel.read_bytes(address, self.slab.size_of)?)
    }

    /// Objects of a slab, and how many of them left it.
    fn counts(&self, bytes: &[u8], address: VirtAddr) -> Result<(u64, u64)> {
        let objects = self.slab.objects.u64_in(bytes)?;
        let inuse = self.slab.inuse.u64_in(bytes)?;
        if inuse > objects {
            return Err(KernelError::DamagedList {
                list: "list of slabs",
                problem: "more objects in use than there are",
                at: address,
            });
        }
        Ok((objects, inuse))
    }
}

/// The slab caches of a kernel.
#[derive(Debug, Default)]
pub struct SlabCaches {
    /// Those that could be read, in the kernel's order: the newest first. One that could not
    /// stands as its error.
    pub caches: Vec<(VirtAddr, Result<SlabCache>)>,
    /// Why there may be more: the list of caches could not be followed to its end.
    pub damage: Option<KernelError>,
}

impl Kernel {
    /// The slab caches.
    ///
    /// # Errors
    /// When the list of caches or the types it is read by are out of reach.
    pub fn slab_caches(&self) -> Result<SlabCaches> {
        if lists::is_allocator(self) {
            return lists::caches(self, MAX_CACHES);
        }
        let layouts = SlabLayouts::new(self)?;
        let head = self.symbol("slab_caches")?;
        let mut found = SlabCaches::default();
        for link in ListHead::new(self, "list of slab caches", head).take(MAX_CACHES) {
            match link.and_then(|link| layouts.cache.list.container(link)) {
                Ok(cache) => {
                    found.caches.push((cache, SlabCache::read(self, &layouts, cache)));
                }
                Err(error) => {
                    found.damage = Some(error);
                    break;
                }
            }
        }
        Ok(found)
    }
}
