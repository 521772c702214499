//! A task's user memory, as far as its pages were in RAM.

use crate::address_space::read_paged;
use crate::arch::x86_64::paging::{Level, PageTable, Walk};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::tasks::Task;
use mortis_memory::{
    PhysAddr, PhysicalMemory, ReadError, Unavailable, UserAddr, VirtAddr, VirtualMemory,
};

layout! {
    /// A process's memory: include/linux/mm_types.h.
    pub struct MmStruct = "mm_struct" {
        pgd: "pgd",
        total_vm: "total_vm",
    }
}

/// The user memory of one process.
pub struct UserMemory<'k> {
    kernel: &'k Kernel,
    page_table: PageTable,
}

/// How 2 MiB of user memory are mapped.
pub(crate) enum Mapping {
    /// By a page of the lowest level of the page table.
    Table(PhysAddr),
    /// By a page that large or larger: where they begin.
    Large(PhysAddr),
}

/// Where user space ends on x86_64: the half of the address space below the hole.
const USER_SPACE_END: u64 = 1 << 56;

impl<'k> UserMemory<'k> {
    /// The memory of `task`.
    ///
    /// # Errors
    /// When it is a kernel thread, or its page table cannot be found.
    pub fn of(kernel: &'k Kernel, task: Task) -> Result<Self> {
        let mm = task.mm(kernel)?;
        if mm.is_null() {
            return Err(KernelError::Unsupported(format!(
                "task {} has no user address space",
                task.pid
            )));
        }
        Self::of_mm(kernel, mm)
    }

    /// The memory that the `struct mm_struct` at `mm` describes.
    ///
    /// # Errors
    /// When its page table cannot be found.
    pub fn of_mm(kernel: &'k Kernel, mm: VirtAddr) -> Result<Self> {
        let pgd = kernel.layout::<MmStruct>()?.pgd.pointer(kernel, mm)?;
        let root = kernel.memory().translate(pgd)?;
        let page_table = PageTable { root, ..kernel.memory().page_table() };
        Ok(Self { kernel, page_table })
    }

    /// Where the root of the page table lies in physical memory.
    pub fn root(&self) -> PhysAddr {
        self.page_table.root
    }

    /// The process's page table.
    pub fn page_table(&self) -> PageTable {
        self.page_table
    }

    /// Walks the page table for `address`.
    pub fn walk(&self, address: UserAddr) -> Walk {
        self.page_table.walk(&**self.kernel.memory().physical(), VirtAddr(address.0))
    }

    /// The physical memory below.
    pub(crate) fn physical(&self) -> &dyn PhysicalMemory {
        &**self.kernel.memory().physical()
    }

    /// Where the page begins that an entry of the page table in use points to.
    pub(crate) fn frame(&self, entry: u64) -> PhysAddr {
        self.page_table.frame(entry)
    }

    /// How the 2 MiB from `base` on are mapped.
    pub(crate) fn mapping(&self, base: UserAddr) -> Result<Mapping, ReadError> {
        let walk = self.walk(base);
        match walk.entries.last() {
            Some(entry) if entry.level == Level::Pte => {
                Ok(Mapping::Table(PhysAddr(entry.at.0 & !0xfff)))
            }
            _ => walk.result.map(|found| Mapping::Large(found.address)),
        }
    }

    /// How many bytes from `address` on, a multiple of 2 MiB, the page table has no entry for, by
    /// the one entry that says so; none where it has some.
    pub(crate) fn hole(&self, address: UserAddr) -> Option<u64> {
        let walk = self.walk(address);
        let lowest = walk.entries.last().filter(|entry| entry.value == 0)?;
        let span = match lowest.level {
            Level::Pgd if self.page_table.five_levels => 1 << 48,
            Level::Pgd | Level::P4d => 1 << 39,
            Level::Pud => 1 << 30,
            Level::Pmd => 1 << 21,
            Level::Pte => return None,
        };
        Some(span - address.0 % span)
    }

    /// Fills `buf` from `address` on.
    ///
    /// # Errors
    /// The first address that is not in the dump: paged out, never touched, or left out.
    pub fn read(&self, address: UserAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let end = address.0.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > USER_SPACE_END) {
            return Err(ReadError::new(address, Unavailable::Unmapped));
        }
        let physical = &**self.kernel.memory().physical();
        read_paged(
            physical,
            address.0,
            buf,
            |at| {
                let found = self.page_table.translate(physical, VirtAddr(at));
                found.map(|found| found.address).map_err(|error| error.at(UserAddr(at)))
            },
            |at, error| error.at(UserAddr(at)),
        )
    }
}

/// What the process sees when it is in the kernel: its own memory below, the kernel's above.
impl VirtualMemory for UserMemory<'_> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        if address.0 >> 63 == 0 {
            self.read(UserAddr(address.0), buf)
        } else {
            self.kernel.read(address, buf)
        }
    }
}
