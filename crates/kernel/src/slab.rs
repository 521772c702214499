//! The slab allocator: its caches, and how many of their objects are in use.
//!
//! SLUB (mm/slub.c), the only allocator since 6.8, keeps for each cache and node a list of the
//! slabs that have free objects, and two counters of all slabs and objects. A slab's `inuse`
//! counts the objects that left it: those in use, and those that CPUs hold ready. So there are
//! two answers to how many objects are free: what the slabs on the nodes' lists say, which is
//! what `/proc/slabinfo` shows ([`SlabCache::usage`]), and that plus what the CPUs hold
//! ([`SlabCache::cpu_free`]): the free list of the CPU's current slab and its own partial slabs,
//! or, since sheaves took their place, arrays of object pointers.

mod cpu;
mod freelist;
mod objects;

pub use cpu::{CpuSlabs, Sheaf};
pub use objects::{ObjectState, Slab, SlabObjects};

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::list::ListHead;
use crate::memory_map::MemoryMap;
use mortis_memory::{PhysicalMemory, VirtAddr, VirtualMemory};
use rayon::prelude::*;
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

/// A cache whose slabs would be larger than any is damaged: the allocator's largest order is 10.
const MAX_SLAB_ORDER: u32 = 16;

/// Bits of a cache's `flags` that change how its slabs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabFlag {
    /// Red zones around each object.
    RedZone,
    /// The last user of each object is kept; full slabs are on a list.
    StoreUser,
}

impl SlabFlag {
    /// The bit in this kernel. Since 6.9 an enumeration numbers the bits anew.
    fn mask(self, kernel: &Kernel) -> u64 {
        let (name, older) = match self {
            SlabFlag::RedZone => ("_SLAB_RED_ZONE", 0x400),
            SlabFlag::StoreUser => ("_SLAB_STORE_USER", 0x1_0000),
        };
        let bit = kernel.types().ok().and_then(|types| types.enumerator(name));
        bit.map_or(older, |(_, bit)| if (0..64).contains(&bit) { 1 << bit } else { 0 })
    }
}

/// A slab cache.
#[derive(Clone, Debug)]
pub struct SlabCache {
    /// Its `struct kmem_cache`.
    pub address: VirtAddr,
    /// Its name.
    pub name: Result<String>,
    /// Bytes of an object, as its user sees it.
    pub object_size: u64,
    /// Bytes from one object to the next.
    pub size: u64,
    /// A slab is 2^order pages…
    pub order: u32,
    /// …and has this many objects, where memory was not too short for it.
    pub objects_per_slab: u32,
    /// `SLAB_…` bits.
    pub flags: u64,
    /// Where in a free object the pointer to the next one lies.
    pub freelist_offset: u64,
    /// What the pointers are hidden with, where the kernel hides them.
    pub random: Option<u64>,
    /// Bytes before each object in a slab, with red zones only.
    pub red_left_pad: u64,
    /// What it has on each node that it has anything on.
    pub nodes: Vec<SlabNode>,
    /// The per-CPU part: `cpu_slab`, or `cpu_sheaves` since there are sheaves.
    per_cpu: PerCpu,
}

/// What a cache has on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabNode {
    /// The node's number.
    pub id: u32,
    /// Its `struct kmem_cache_node`.
    pub address: VirtAddr,
    /// Its `struct node_barn`, since there are sheaves.
    pub barn: Option<VirtAddr>,
}

/// The per-CPU pointer of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PerCpu {
    /// `struct kmem_cache_cpu`.
    Slab(VirtAddr),
    /// `struct slub_percpu_sheaves`.
    Sheaves(VirtAddr),
    /// Neither (CONFIG_SLUB_TINY).
    None,
}

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
        let node = kernel.layout::<KmemCacheNode>()?;
        if !node.nr_partial.exists() {
            return Err(KernelError::Unsupported(
                "this kernel's allocator is SLAB, not SLUB: its caches cannot be read yet"
                    .to_owned(),
            ));
        }
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

impl SlabCache {
    fn read(kernel: &Kernel, layouts: &SlabLayouts, address: VirtAddr) -> Result<Self> {
        let layout = &*layouts.cache;
        let nodes = NodePointers::of(kernel, layout)?;
        // The array by node number comes last and is allocated as long as there are nodes.
        let bytes = kernel.read_bytes(address, nodes.end()?)?;
        let optional = |field: &Field| field.exists().then(|| field.u64_in(&bytes)).transpose();
        let name = layout.name.u64_in(&bytes).and_then(|name| {
            let name = kernel.read_c_string(VirtAddr(name), 256)?;
            Ok(String::from_utf8_lossy(&name).into_owned())
        });
        // OO_SHIFT and OO_MASK of mm/slub.c.
        let oo = layout.oo.u64_in(&bytes)?;
        let order = (oo >> 16) as u32;
        if order > MAX_SLAB_ORDER {
            return Err(KernelError::DamagedList {
                list: "list of slab caches",
                problem: "slabs of impossible size",
                at: address,
            });
        }
        let flags = layout.flags.u64_in(&bytes)?;
        // The pad keeps its size when the red zones are given up because objects grew too much.
        let red_left_pad = match optional(&layout.red_left_pad)? {
            Some(pad) if flags & SlabFlag::RedZone.mask(kernel) != 0 => pad,
            _ => 0,
        };
        let per_cpu = match (optional(&layout.cpu_sheaves)?, optional(&layout.cpu_slab)?) {
            (Some(sheaves), _) if sheaves != 0 => PerCpu::Sheaves(VirtAddr(sheaves)),
            (_, Some(slab)) if slab != 0 => PerCpu::Slab(VirtAddr(slab)),
            _ => PerCpu::None,
        };
        Ok(Self {
            address,
            name,
            object_size: layout.object_size.u64_in(&bytes)?,
            size: layout.size.u64_in(&bytes)?,
            order,
            objects_per_slab: (oo & 0xffff) as u32,
            flags,
            freelist_offset: layout.offset.u64_in(&bytes)?,
            random: optional(&layout.random)?,
            red_left_pad,
            nodes: nodes.read(&bytes),
            per_cpu,
        })
    }

    /// Bytes of a slab.
    pub fn slab_size(&self, kernel: &Kernel) -> u64 {
        kernel.memory().physical().page_size() << self.order
    }

    /// How much of the cache is in use, as `/proc/slabinfo` counts it (`get_slabinfo()`). The
    /// kernel itself estimates when a node has more than 10,000 partial slabs
    /// (046f4c69090c, 6.10); this does not.
    ///
    /// # Errors
    /// When the counters of all slabs cannot be read. A damaged list of partial slabs is no
    /// error; see [`SlabUsage::damage`].
    pub fn usage(&self, kernel: &Kernel) -> Result<SlabUsage> {
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
fn partial_slabs<'a>(
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

/// Where a cache keeps its pointers by node.
struct NodePointers<'a> {
    layout: &'a KmemCache,
    pairs: Option<Arc<PerNodePointers>>,
    nodes: u64,
}

impl<'a> NodePointers<'a> {
    fn of(kernel: &Kernel, layout: &'a KmemCache) -> Result<Self> {
        let pairs = layout.per_node.exists().then(|| kernel.layout()).transpose()?;
        Ok(Self { layout, pairs, nodes: kernel.node_ids() })
    }

    /// Offset and length of one node's part.
    fn part(&self) -> Result<(u64, u64)> {
        match &self.pairs {
            Some(pairs) => Ok((self.layout.per_node.offset()?, pairs.size_of)),
            None => Ok((self.layout.node.offset()?, 8)),
        }
    }

    /// Bytes of a `struct kmem_cache` up to the end of the pointers.
    fn end(&self) -> Result<u64> {
        let (offset, len) = self.part()?;
        Ok(offset.saturating_add(self.nodes.saturating_mul(len)).min(self.layout.size_of))
    }

    fn read(&self, cache: &[u8]) -> Vec<SlabNode> {
        let Ok((offset, len)) = self.part() else { return Vec::new() };
        let parts = cache.get(offset as usize..).unwrap_or(&[]).chunks_exact(len.max(1) as usize);
        let node = |(id, part): (usize, &[u8])| {
            let (address, barn) = match &self.pairs {
                Some(pairs) => (pairs.node.u64_in(part).ok()?, pairs.barn.u64_in(part).ok()),
                None => (u64::from_le_bytes(part.try_into().ok()?), None),
            };
            let barn = barn.filter(|&barn| barn != 0).map(VirtAddr);
            let node = SlabNode { id: id as u32, address: VirtAddr(address), barn };
            (address != 0).then_some(node)
        };
        parts.enumerate().filter_map(node).collect()
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
    /// When the list of caches or the types it is read by are out of reach, or the allocator is
    /// not SLUB.
    pub fn slab_caches(&self) -> Result<SlabCaches> {
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

    /// How much of each of `caches` is in use, in their order, found on all cores.
    ///
    /// # Errors
    /// When the types are out of reach, or the kernel does not count its slabs. Each cache has
    /// its own error besides.
    pub fn slab_usage(&self, caches: &[&SlabCache]) -> Result<Vec<Result<SlabUsage>>> {
        let layouts = SlabLayouts::new(self)?;
        layouts.check_counters()?;
        Ok(caches.par_iter().map(|cache| cache.usage_with(self, &layouts)).collect())
    }
}
