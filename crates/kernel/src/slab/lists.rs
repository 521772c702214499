//! SLAB (mm/slab.c, until 16a1d968358a in 6.8): each node has three lists of slabs, with all
//! objects in use, some, and none; each CPU has an array of objects ready to be handed out, and a
//! node one that its CPUs share. To a slab those objects are in use.
//!
//! A slab was described by a `struct slab`, in itself or apart, until 3.13 (8456a648cf44), then by
//! its `struct page`.

use super::cache::PerCpu;
use super::{SlabCache, SlabCaches, SlabNode, SlabUsage};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::sync::Arc;

layout! {
    /// A cache: include/linux/slab_def.h, mm/slab.c before 2.6.31.
    pub struct ListCache = "kmem_cache" {
        name: "name",
        /// `next` until 3.6 (3b0efdfa1e71), as are the others.
        list: "list" | "next",
        size: "size" | "buffer_size",
        flags: "flags",
        num: "num",
        gfporder: "gfporder",
        /// Pointers by CPU number, until 3.19 (bf0dea23a9c0)…
        array: "array",
        /// …and a per-CPU variable since.
        cpu_cache: "cpu_cache",
        /// Pointers by node number, in the structure or, from 3.2 to 3.6, apart.
        nodes: "node" | "nodelists",
    }
}

layout! {
    /// What a cache has on a node: mm/slab.h, mm/slab.c before 3.10 (ce8eb6c424c7).
    pub struct SlabLists = "kmem_cache_node" | "kmem_list3" {
        slabs_partial: "slabs_partial",
        slabs_full: "slabs_full",
        slabs_free: "slabs_free",
        shared: "shared",
    }
}

layout! {
    /// Objects that a CPU, or the CPUs of a node, hold ready: mm/slab.c.
    pub struct ArrayCache = "array_cache" {
        avail: "avail",
    }
}

layout! {
    /// A slab's description: mm/slab.c.
    pub struct ListedSlab = "slab" | "page" {
        list: "list" | "slab_list" | "lru",
        /// `inuse` of a `struct slab`; a `struct page` has a member of that name, too, but SLUB's.
        inuse: "active" | "inuse",
    }
}

/// A list of slabs is followed no further.
const MAX_SLABS: u64 = 1 << 26;
/// No array of objects holds more.
const MAX_ARRAY: u64 = 1 << 16;

/// Whether the kernel's allocator is SLAB: only its caches have an order of their own.
pub(super) fn is_allocator(kernel: &Kernel) -> bool {
    kernel.layout::<ListCache>().is_ok_and(|cache| cache.gfporder.exists() && cache.num.exists())
}

/// The caches, in the order of the kernel's list.
pub(super) fn caches(kernel: &Kernel, most: usize) -> Result<SlabCaches> {
    let layout = kernel.layout::<ListCache>()?;
    // The second is the name until 18004c5d4084 (3.6).
    let head = kernel.symbol("slab_caches").or_else(|_| kernel.symbol("cache_chain"))?;
    let mut found = SlabCaches::default();
    for link in ListHead::new(kernel, "list of slab caches", head).take(most) {
        match link.and_then(|link| layout.list.container(link)) {
            Ok(cache) => found.caches.push((cache, read(kernel, &layout, cache))),
            Err(error) => {
                found.damage = Some(error);
                break;
            }
        }
    }
    Ok(found)
}

fn read(kernel: &Kernel, layout: &ListCache, address: VirtAddr) -> Result<SlabCache> {
    let order = layout.gfporder.u64(kernel, address)?;
    if order > u64::from(super::cache::MAX_SLAB_ORDER) {
        return Err(KernelError::DamagedList {
            list: "list of slab caches",
            problem: "slabs of impossible size",
            at: address,
        });
    }
    let size = layout.size.u64(kernel, address)?;
    Ok(SlabCache {
        address,
        name: layout.name.string(kernel, address, 256),
        object_size: size,
        size,
        order: order as u32,
        objects_per_slab: layout.num.u64(kernel, address)? as u32,
        flags: layout.flags.u64(kernel, address)?,
        freelist_offset: 0,
        random: None,
        red_left_pad: 0,
        nodes: nodes(kernel, layout, address)?,
        per_cpu: PerCpu::None,
    })
}

fn nodes(kernel: &Kernel, layout: &ListCache, cache: VirtAddr) -> Result<Vec<SlabNode>> {
    let count = kernel.node_ids();
    let at = layout.nodes.address(cache)?;
    // The array is as long as there are nodes, whatever the type says; a pointer is one word.
    let start = if layout.nodes.size()? == 8 && layout.array.exists() {
        kernel.read_pointer(at)?
    } else {
        at
    };
    let bytes = kernel.read_bytes(start, count.saturating_mul(8))?;
    let (words, _) = bytes.as_chunks::<8>();
    let node = |(id, word): (usize, &[u8; 8])| {
        let address = VirtAddr(u64::from_le_bytes(*word));
        (!address.is_null()).then_some(SlabNode { id: id as u32, address, barn: None })
    };
    Ok(words.iter().enumerate().filter_map(node).collect())
}

/// What is needed to count what is in use.
pub(super) struct Counter<'k> {
    kernel: &'k Kernel,
    cache: Arc<ListCache>,
    lists: Arc<SlabLists>,
    array: Arc<ArrayCache>,
    slab: Arc<ListedSlab>,
}

impl<'k> Counter<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Result<Self> {
        Ok(Self {
            kernel,
            cache: kernel.layout()?,
            lists: kernel.layout()?,
            array: kernel.layout()?,
            slab: kernel.layout()?,
        })
    }

    /// Slabs and objects of a cache. What arrays hold ready counts as free, as crash counts.
    pub(super) fn usage(&self, cache: &SlabCache) -> Result<SlabUsage> {
        let mut usage = SlabUsage::default();
        let mut inuse = 0u64;
        for node in &cache.nodes {
            for list in [&self.lists.slabs_partial, &self.lists.slabs_full, &self.lists.slabs_free]
            {
                let head = list.address(node.address)?;
                for link in ListHead::new(self.kernel, "list of slabs", head) {
                    let counted = link
                        .and_then(|link| self.slab.list.container(link))
                        .and_then(|slab| self.count(cache, slab));
                    match counted {
                        Ok(count) if usage.slabs < MAX_SLABS => {
                            usage.slabs += 1;
                            inuse = inuse.saturating_add(count);
                        }
                        Ok(_) => break,
                        Err(error) => {
                            usage.damage = Some(error);
                            break;
                        }
                    }
                }
            }
        }
        let ready = self.ready(cache).unwrap_or(0);
        usage.objects = usage.slabs.saturating_mul(u64::from(cache.objects_per_slab));
        usage.free = usage.objects.saturating_sub(inuse.saturating_sub(ready));
        Ok(usage)
    }

    fn count(&self, cache: &SlabCache, slab: VirtAddr) -> Result<u64> {
        let inuse = self.slab.inuse.u64(self.kernel, slab)?;
        if inuse > u64::from(cache.objects_per_slab) {
            return Err(KernelError::DamagedList {
                list: "list of slabs",
                problem: "more objects in use than there are",
                at: slab,
            });
        }
        Ok(inuse)
    }

    /// Objects that CPUs and nodes hold ready.
    fn ready(&self, cache: &SlabCache) -> Result<u64> {
        let mut ready = 0;
        let cpus = self.kernel.cpus()?;
        for &cpu in &cpus.possible {
            let array = if self.cache.cpu_cache.exists() {
                let base = self.cache.cpu_cache.pointer(self.kernel, cache.address)?;
                cpus.address(base, cpu)?
            } else {
                let arrays = self.cache.array.address(cache.address)?;
                self.kernel.read_pointer(arrays.offset(u64::from(cpu) * 8))?
            };
            ready += self.available(array)?;
        }
        for node in &cache.nodes {
            ready += self.available(self.lists.shared.pointer(self.kernel, node.address)?)?;
        }
        Ok(ready)
    }

    fn available(&self, array: VirtAddr) -> Result<u64> {
        if array.is_null() {
            return Ok(0);
        }
        Ok(Some(self.array.avail.u64(self.kernel, array)?).filter(|n| *n <= MAX_ARRAY).unwrap_or(0))
    }
}
