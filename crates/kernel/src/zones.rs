//! NUMA nodes and their memory zones: what `/proc/zoneinfo` and `/proc/buddyinfo` show.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::vmstat::{Counter, CounterSet, decode_counters};
use mortis_memory::{Pfn, VirtAddr, VirtualMemory};
use std::sync::Arc;

layout! {
    /// A NUMA node: include/linux/mmzone.h.
    pub struct PglistData = "pglist_data" {
        node_zones: "node_zones",
        node_id: "node_id",
        node_start_pfn: "node_start_pfn",
        node_spanned_pages: "node_spanned_pages",
        node_present_pages: "node_present_pages",
    }
}

layout! {
    /// A zone of a node's memory: include/linux/mmzone.h.
    pub struct ZoneStruct = "zone" {
        name: "name",
        start_pfn: "zone_start_pfn",
        spanned_pages: "spanned_pages",
        present_pages: "present_pages",
        /// An atomic since 9705bea5f833 (5.0), plain before.
        managed_pages: "managed_pages.counter" | "managed_pages",
        /// `_watermark` since 1c30844d2dfe (5.0), which made `watermark` the name of a macro.
        watermark_min: "_watermark[0]" | "watermark[0]",
        watermark_low: "_watermark[1]" | "watermark[1]",
        watermark_high: "_watermark[2]" | "watermark[2]",
        watermark_boost: "watermark_boost",
        free_area: "free_area",
        vm_stat: "vm_stat",
    }
}

layout! {
    /// The free blocks of one order: include/linux/mmzone.h.
    pub struct FreeArea = "free_area" {
        nr_free: "nr_free",
    }
}

layout! {
    /// A set of nodes: include/linux/nodemask_types.h.
    pub struct NodeMask = "nodemask_t" {
        bits: "bits",
    }
}

/// More nodes than any kernel is built for (`MAX_NUMNODES` is at most 1024).
const MAX_NODES: u64 = 1024;

/// `N_ONLINE` of `enum node_states` (include/linux/nodemask.h): the second since it was made.
const N_ONLINE: u64 = 1;

/// A NUMA node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// Its `struct pglist_data`.
    pub address: VirtAddr,
    /// Its first page frame.
    pub start: Pfn,
    /// Page frames from its first to its last, holes included.
    pub spanned: u64,
    /// Page frames that are memory.
    pub present: u64,
}

/// A zone's low-water marks, in pages. The kernel raises them for a while after memory was found
/// fragmented (`watermark_boost`); these have the boost in them, as `/proc/zoneinfo` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Watermarks {
    pub min: u64,
    pub low: u64,
    pub high: u64,
    /// How much of each is the boost.
    pub boost: u64,
}

/// A zone of a node's memory.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its place among the node's zones.
    pub index: usize,
    /// Its `struct zone`.
    pub address: VirtAddr,
    /// `DMA32`, `Normal`.
    pub name: Result<String>,
    /// Its first page frame.
    pub start: Pfn,
    /// Page frames from its first to its last, holes included.
    pub spanned: u64,
    /// Page frames that are memory.
    pub present: u64,
    /// Page frames that the allocator manages.
    pub managed: u64,
    /// When reclaim begins and ends.
    pub watermarks: Watermarks,
    /// Its counters.
    pub counters: Vec<Counter>,
    /// Free blocks of 2^index pages each.
    pub free_blocks: Vec<u64>,
}

/// What reading zones needs to know of this kernel.
struct ZoneReader {
    layout: Arc<ZoneStruct>,
    free_area: Arc<FreeArea>,
    counter_names: Vec<Arc<str>>,
}

impl ZoneReader {
    fn new(kernel: &Kernel) -> Result<Self> {
        Ok(Self {
            layout: kernel.layout()?,
            free_area: kernel.layout()?,
            counter_names: kernel.counter_names(CounterSet::Zone)?,
        })
    }

    fn read(&self, kernel: &Kernel, address: VirtAddr, index: usize) -> Result<Zone> {
        let layout = &*self.layout;
        let bytes = kernel.read_bytes(address, layout.size_of)?;
        let part = |offset: u64, len: u64| {
            let start = usize::try_from(offset).ok()?;
            bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
        };
        let name = layout.name.u64_in(&bytes).and_then(|name| {
            let name = kernel.read_c_string(VirtAddr(name), 32)?;
            Ok(String::from_utf8_lossy(&name).into_owned())
        });
        // 1c30844d2dfe (5.0) brought the boost.
        let boost = layout.watermark_boost.u64_in(&bytes).unwrap_or(0);
        let marks = [&layout.watermark_min, &layout.watermark_low, &layout.watermark_high];
        let mut watermarks = [0; 3];
        for (value, field) in watermarks.iter_mut().zip(marks) {
            *value = field.u64_in(&bytes)?.wrapping_add(boost);
        }
        let [min, low, high] = watermarks;
        let vm_stat = part(layout.vm_stat.offset()?, layout.vm_stat.size()?).unwrap_or(&[]);
        let areas = part(layout.free_area.offset()?, layout.free_area.size()?).unwrap_or(&[]);
        let area_size = usize::try_from(self.free_area.size_of).unwrap_or(0).max(1);
        let free_blocks = areas
            .chunks_exact(area_size)
            .map(|area| self.free_area.nr_free.u64_in(area))
            .collect::<Result<_>>()?;
        Ok(Zone {
            index,
            address,
            name,
            start: Pfn(layout.start_pfn.u64_in(&bytes)?),
            spanned: layout.spanned_pages.u64_in(&bytes)?,
            present: layout.present_pages.u64_in(&bytes)?,
            managed: layout.managed_pages.u64_in(&bytes).unwrap_or(0),
            watermarks: Watermarks { min, low, high, boost },
            counters: decode_counters(&self.counter_names, vm_stat),
            free_blocks,
        })
    }
}

impl Kernel {
    /// How many node numbers are in use: the length of every per-node array that is.
    pub fn node_ids(&self) -> u64 {
        // A macro for 1 without CONFIG_NUMA or with room for one node only.
        self.read_symbol::<4>("nr_node_ids").unwrap_or(1).clamp(1, MAX_NODES)
    }

    /// The NUMA nodes that are online, by number; one where the kernel knows no NUMA.
    ///
    /// # Errors
    /// When the nodes' records are out of reach.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let layout = self.layout::<PglistData>()?;
        let mut addresses = Vec::new();
        match self.symbol("node_data") {
            Ok(node_data) => {
                let ids = self.node_ids();
                let online = self.online_nodes().unwrap_or_default();
                let pointers = self.read_bytes(node_data, ids * 8)?;
                for (id, pointer) in pointers.chunks_exact(8).enumerate() {
                    let pointer = pointer.try_into().map_or(0, u64::from_le_bytes);
                    let bit = online.get(id / 8).is_none_or(|byte| byte >> (id % 8) & 1 != 0);
                    if pointer != 0 && bit {
                        addresses.push(VirtAddr(pointer));
                    }
                }
            }
            Err(_) => addresses.push(self.symbol("contig_page_data")?),
        }
        addresses.into_iter().map(|address| self.node_at(&layout, address)).collect()
    }

    /// The bits of `node_states[N_ONLINE]`.
    fn online_nodes(&self) -> Result<Vec<u8>> {
        let size = self.layout::<NodeMask>()?.size_of;
        let states = self.symbol("node_states")?;
        Ok(self.read_bytes(states.offset(N_ONLINE * size), size)?)
    }

    fn node_at(&self, layout: &PglistData, address: VirtAddr) -> Result<Node> {
        Ok(Node {
            id: layout.node_id.u64(self, address)? as u32,
            address,
            start: Pfn(layout.node_start_pfn.u64(self, address)?),
            spanned: layout.node_spanned_pages.u64(self, address)?,
            present: layout.node_present_pages.u64(self, address)?,
        })
    }

    /// The zones of a node, empty ones included. An unreadable one stands as its error.
    ///
    /// # Errors
    /// When the types do not tell what a zone is.
    pub fn zones(&self, node: &Node) -> Result<Vec<(VirtAddr, Result<Zone>)>> {
        let reader = ZoneReader::new(self)?;
        let layout = self.layout::<PglistData>()?;
        let size = reader.layout.size_of;
        if size == 0 {
            return Err(KernelError::NoType("struct zone".to_owned()));
        }
        let first = layout.node_zones.address(node.address)?;
        let count = (layout.node_zones.size()? / size).min(64);
        Ok((0..count)
            .map(|index| {
                let address = first.offset(index * size);
                (address, reader.read(self, address, index as usize))
            })
            .collect())
    }
}
