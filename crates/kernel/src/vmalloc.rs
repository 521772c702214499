//! Areas of virtually contiguous memory (mm/vmalloc.c): what `/proc/vmallocinfo` shows.
//!
//! The areas in use are on lists: one for each of several nodes since 72210662c5a2 (6.9), a single
//! one, `vmap_area_list`, before.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// An area: include/linux/vmalloc.h.
    pub struct VmapAreaStruct = "vmap_area" {
        start: "va_start",
        end: "va_end",
        list: "list",
        /// The `vm_struct`; null for what `vm_map_ram()` mapped.
        vm: "vm",
        /// Without `VM_VM_AREA` in here `vm` means nothing, while there is a member `purge_list`
        /// besides (until 5.4). Flags of another meaning came back with 6.3.
        flags: "flags",
        purge_list: "purge_list",
    }
}

layout! {
    /// A part of all areas: mm/vmalloc.c.
    pub struct VmapNode = "vmap_node" {
        busy: "busy.head",
    }
}

layout! {
    /// What an area is for: include/linux/vmalloc.h.
    pub struct VmStruct = "vm_struct" {
        caller: "caller",
        nr_pages: "nr_pages",
        flags: "flags",
    }
}

/// `VM_VM_AREA` of mm/vmalloc.c while `vmap_area` had flags.
const VM_VM_AREA: u64 = 4;

/// More nodes than any kernel makes (`vmap_init_nodes()` makes at most 128).
const MAX_NODES: u64 = 1 << 16;

/// An area of virtually contiguous memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmapArea {
    /// Its `struct vmap_area`.
    pub address: VirtAddr,
    /// Its `struct vm_struct`; null for memory that `vm_map_ram()` mapped.
    pub vm_struct: VirtAddr,
    /// Its first byte.
    pub start: VirtAddr,
    /// One past its last, the guard page included.
    pub end: VirtAddr,
}

impl VmapArea {
    /// Whether it spans `address`.
    pub fn contains(&self, address: VirtAddr) -> bool {
        (self.start.0..self.end.0).contains(&address.0)
    }
}

/// The areas in use.
#[derive(Clone, Debug, Default)]
pub struct VmapAreas {
    /// Ascending.
    pub areas: Vec<VmapArea>,
    /// Why there may be more: a list that could not be followed to its end, or an area that could
    /// not be read.
    pub damage: Option<KernelError>,
}

impl VmapAreas {
    /// The area that spans `address`.
    pub fn at(&self, address: VirtAddr) -> Option<&VmapArea> {
        let behind = self.areas.partition_point(|area| area.start.0 <= address.0);
        self.areas[..behind].iter().rev().take(1).find(|area| area.contains(address))
    }
}

impl Kernel {
    /// The areas of virtually contiguous memory that are in use.
    ///
    /// # Errors
    /// When the types or the lists' heads are out of reach.
    pub fn vmap_areas(&self) -> Result<VmapAreas> {
        let layout = self.layout::<VmapAreaStruct>()?;
        let mut found = VmapAreas::default();
        for head in self.vmap_list_heads()? {
            for link in ListHead::new(self, "list of vmap areas", head) {
                match link.and_then(|link| self.vmap_area(&layout, layout.list.container(link)?)) {
                    Ok(area) => found.areas.push(area),
                    Err(error) => {
                        // Behind a link that leads nowhere the walk ends by itself.
                        found.damage.get_or_insert(error);
                    }
                }
            }
        }
        found.areas.sort_unstable_by_key(|area| (area.start.0, area.address.0));
        // A list that is crossed with another one gives its areas twice.
        found.areas.dedup_by_key(|area| area.address);
        Ok(found)
    }

    fn vmap_list_heads(&self) -> Result<Vec<VirtAddr>> {
        let Ok(nodes) = self.symbol("vmap_nodes") else {
            return Ok(vec![self.symbol("vmap_area_list")?]);
        };
        let layout = self.layout::<VmapNode>()?;
        let first = self.read_pointer(nodes)?;
        let count = self.read_symbol::<4>("nr_vmap_nodes")?.min(MAX_NODES);
        let head = |index: u64| layout.busy.address(first.offset(index * layout.size_of));
        (0..count).map(head).collect()
    }

    fn vmap_area(&self, layout: &VmapAreaStruct, address: VirtAddr) -> Result<VmapArea> {
        let bytes = self.read_bytes(address, layout.size_of)?;
        let (start, end) = (layout.start.u64_in(&bytes)?, layout.end.u64_in(&bytes)?);
        if start >= end {
            return Err(KernelError::DamagedList {
                list: "list of vmap areas",
                problem: "an area that ends before it starts",
                at: address,
            });
        }
        let is_flagged = layout.flags.exists() && layout.purge_list.exists();
        let has_vm = !is_flagged || layout.flags.u64_in(&bytes)? & VM_VM_AREA != 0;
        let vm_struct = if has_vm { layout.vm.u64_in(&bytes)? } else { 0 };
        Ok(VmapArea {
            address,
            vm_struct: VirtAddr(vm_struct),
            start: VirtAddr(start),
            end: VirtAddr(end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(start: u64, end: u64) -> VmapArea {
        VmapArea {
            address: VirtAddr(start << 16),
            vm_struct: VirtAddr(0),
            start: VirtAddr(start),
            end: VirtAddr(end),
        }
    }

    #[test]
    fn an_address_is_found_in_the_area_that_spans_it() {
        let areas =
            VmapAreas { areas: vec![area(0x1000, 0x3000), area(0x5000, 0x6000)], damage: None };
        let at = |address| areas.at(VirtAddr(address)).map(|area| area.start.0);
        assert_eq!(at(0xfff), None);
        assert_eq!(at(0x1000), Some(0x1000));
        assert_eq!(at(0x2fff), Some(0x1000));
        assert_eq!(at(0x3000), None);
        assert_eq!(at(0x5fff), Some(0x5000));
        assert_eq!(at(u64::MAX), None);
    }
}
