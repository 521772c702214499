//! Areas of a process's memory: `struct vm_area_struct`.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::list::SinglyLinked;
use crate::maple_tree;
use mortis_memory::{UserAddr, VirtAddr, VirtualMemory};

layout! {
    /// An area: include/linux/mm_types.h.
    pub struct VmArea = "vm_area_struct" {
        start: "vm_start",
        end: "vm_end",
        flags: "vm_flags" | "__vm_flags",
        file: "vm_file",
        /// Where in the file it begins, in pages.
        page_offset: "vm_pgoff",
        operations: "vm_ops",
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

layout! {
    /// Where page tables for huge pages are kept ready, since there are such.
    pub struct HugePageDeposit = "mm_struct" {
        pmd_huge_pte: "pmd_huge_pte",
    }
}

layout! {
    /// Who uses a `struct mm_struct`.
    struct MmCount = "mm_struct" {
        mm_count: "mm_count.counter",
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
    /// Where in the file it begins, in pages.
    pub page_offset: Result<u64>,
    /// Whether a page that was never touched is zeros (`vma_is_anonymous()`).
    pub is_anonymous: Result<bool>,
}

/// `VM_READ`, `VM_WRITE`, `VM_EXEC`, `VM_SHARED`, `VM_GROWSDOWN`, `VM_IO`,
/// `VM_HUGETLB`, `VM_DONTDUMP` of
/// include/linux/mm.h. They have kept these values for as long as there are maple trees, and the
/// first five since 2.4.
pub mod area_flags {
    #![allow(missing_docs, reason = "the kernel's own names")]
    pub const READ: u64 = 0x1;
    pub const WRITE: u64 = 0x2;
    pub const EXEC: u64 = 0x4;
    pub const SHARED: u64 = 0x8;
    pub const GROWSDOWN: u64 = 0x100;
    pub const IO: u64 = 0x4000;
    pub const HUGETLB: u64 = 0x0040_0000;
    pub const DONTDUMP: u64 = 0x0400_0000;
}

impl Kernel {
    /// The areas of the `struct mm_struct` at `mm`, by address, and the first thing that is wrong
    /// with the tree or list of them, or with one of them.
    pub fn areas(&self, mm: VirtAddr) -> (Vec<Area>, Option<KernelError>) {
        let (addresses, mut damage) = self.area_addresses(mm);
        let mut areas = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.area(address) {
                Ok(area) => areas.push(area),
                Err(error) => {
                    damage.get_or_insert(error);
                }
            }
        }
        (areas, damage)
    }

    /// How many users the `struct mm_struct` at `mm` has; 0 once it is free.
    ///
    /// # Errors
    /// What could not be read.
    pub fn mm_users(&self, mm: VirtAddr) -> Result<u64> {
        self.layout::<MmCount>()?.mm_count.u64(self, mm)
    }

    fn area_addresses(&self, mm: VirtAddr) -> (Vec<VirtAddr>, Option<KernelError>) {
        let mut addresses = Vec::new();
        let start = || -> Result<_> {
            Ok((self.layout::<MmAreas>()?, self.layout::<VmArea>()?.next.clone()))
        };
        let (mm_areas, next) = match start() {
            Ok(layouts) => layouts,
            Err(error) => return (addresses, Some(error)),
        };
        if let Ok(tree) = mm_areas.tree.address(mm) {
            let entries = match maple_tree::entries(self, "areas of a process", tree) {
                Ok(entries) => entries,
                Err(error) => return (addresses, Some(error)),
            };
            for entry in entries {
                match entry {
                    Ok((_, _, entry)) => addresses.extend(maple_tree::object(entry)),
                    Err(error) => return (addresses, Some(error)),
                }
            }
            return (addresses, None);
        }
        let first = mm_areas.list.pointer(self, mm).and_then(|first| Ok((first, next.offset()?)));
        let (first, next) = match first {
            Ok(list) => list,
            Err(error) => return (addresses, Some(error)),
        };
        for address in SinglyLinked::new(self, "list of areas", first, next) {
            match address {
                Ok(address) => addresses.push(address),
                Err(error) => return (addresses, Some(error)),
            }
        }
        (addresses, None)
    }

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
        let (areas, damage) = self.areas(mm);
        match (areas.into_iter().find(|area| area.has(address)), damage) {
            (Some(area), _) => Ok(Some(area)),
            (None, Some(damage)) => Err(damage),
            (None, None) => Ok(None),
        }
    }

    /// The area whose `struct vm_area_struct` lies at `address`.
    ///
    /// # Errors
    /// When not even its bounds can be read.
    pub fn area(&self, address: VirtAddr) -> Result<Area> {
        let layout = self.layout::<VmArea>()?;
        let bytes = self.read_bytes(address, layout.size_of).ok();
        let member = |field: &Field| match &bytes {
            Some(bytes) => field.u64_in(bytes),
            None => field.u64(self, address),
        };
        Ok(Area {
            address,
            start: UserAddr(member(&layout.start)?),
            end: UserAddr(member(&layout.end)?),
            flags: member(&layout.flags),
            file: member(&layout.file).map(VirtAddr),
            page_offset: member(&layout.page_offset),
            is_anonymous: member(&layout.operations).map(|operations| operations == 0),
        })
    }
}

impl Area {
    /// Whether `address` lies in it.
    pub fn has(&self, address: UserAddr) -> bool {
        (self.start.0..self.end.0).contains(&address.0)
    }
}
