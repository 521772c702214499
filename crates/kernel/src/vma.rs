//! Areas of a process's memory: `struct vm_area_struct`.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{UserAddr, VirtAddr};

layout! {
    /// An area: include/linux/mm_types.h.
    pub struct VmArea = "vm_area_struct" {
        start: "vm_start",
        end: "vm_end",
        flags: "vm_flags" | "__vm_flags",
        file: "vm_file",
        /// Until maple trees came (6.1).
        next: "vm_next",
    }
}

layout! {
    /// Where a process's areas are: a maple tree, a list before (6.1).
    pub struct MmAreas = "mm_struct" {
        tree: "mm_mt",
        list: "mmap",
    }
}

/// An area of user memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its `struct vm_area_struct`.
    pub address: VirtAddr,
    /// Its first byte.
    pub start: UserAddr,
    /// One past its last.
    pub end: UserAddr,
    /// `VM_READ` and the like (include/linux/mm.h).
    pub flags: Result<u64>,
    /// The `struct file` that is mapped; null for none.
    pub file: Result<VirtAddr>,
}

/// No process has more areas than this on a list (`vm.max_map_count` is 65530 by default).
const MAX_AREAS: usize = 1 << 20;

impl Kernel {
    /// The area of the `struct mm_struct` at `mm` that `address` lies in.
    ///
    /// # Errors
    /// When the tree or list of areas is damaged or not in the dump.
    pub fn area_at(&self, mm: VirtAddr, address: UserAddr) -> Result<Option<Area>> {
        let areas = self.layout::<MmAreas>()?;
        if areas.tree.exists() {
            let entry = self.maple_entry(areas.tree.address(mm)?, address.0)?;
            return match entry.is_null() {
                true => Ok(None),
                false => self.area(entry).map(|area| Some(area).filter(|area| area.has(address))),
            };
        }
        let next = &self.layout::<VmArea>()?.next;
        let mut entry = areas.list.pointer(self, mm)?;
        for _ in 0..MAX_AREAS {
            if entry.is_null() {
                return Ok(None);
            }
            let area = self.area(entry)?;
            if area.has(address) {
                return Ok(Some(area));
            }
            entry = next.pointer(self, entry)?;
        }
        Err(KernelError::DamagedList { list: "list of areas", problem: "no end", at: entry })
    }

    fn area(&self, address: VirtAddr) -> Result<Area> {
        let layout = self.layout::<VmArea>()?;
        Ok(Area {
            address,
            start: UserAddr(layout.start.u64(self, address)?),
            end: UserAddr(layout.end.u64(self, address)?),
            flags: layout.flags.u64(self, address),
            file: layout.file.pointer(self, address),
        })
    }
}

impl Area {
    fn has(&self, address: UserAddr) -> bool {
        (self.start.0..self.end.0).contains(&address.0)
    }
}
