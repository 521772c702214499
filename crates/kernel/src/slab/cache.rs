//! A slab cache, as its `struct kmem_cache` describes it.

use super::{KmemCache, PerNodePointers, SlabLayouts};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout::Field;
use mortis_memory::{PhysicalMemory, VirtAddr, VirtualMemory};
use std::sync::Arc;

/// A cache whose slabs would be larger than any is damaged: the allocator's largest order is 10.
pub(super) const MAX_SLAB_ORDER: u32 = 16;

/// Bits of a cache's `flags` that change how its slabs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlabFlag {
    /// Red zones around each object.
    RedZone,
    /// The last user of each object is kept; full slabs are on a list.
    StoreUser,
}

impl SlabFlag {
    /// The bit in this kernel. Since 6.9 an enumeration numbers the bits anew.
    pub(super) fn mask(self, kernel: &Kernel) -> u64 {
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
    pub(super) per_cpu: PerCpu,
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
pub(super) enum PerCpu {
    /// `struct kmem_cache_cpu`.
    Slab(VirtAddr),
    /// `struct slub_percpu_sheaves`.
    Sheaves(VirtAddr),
    /// Neither (CONFIG_SLUB_TINY).
    None,
}

impl SlabCache {
    pub(super) fn read(kernel: &Kernel, layouts: &SlabLayouts, address: VirtAddr) -> Result<Self> {
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
