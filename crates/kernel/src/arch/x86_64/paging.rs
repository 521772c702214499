//! Walking x86_64 page tables of 4 or 5 levels (Intel SDM volume 3, chapter 4.5).

use mortis_memory::{PhysAddr, PhysicalMemory, ReadError, Unavailable, VirtAddr};

/// Bits 12 to 51 of an entry hold the physical address.
pub const PHYSICAL_MASK: u64 = 0x000f_ffff_ffff_f000;
/// The entry is in use.
pub const PRESENT: u64 = 1 << 0;
/// At the second and third level: the entry maps a huge page.
pub const PAGE_SIZE_BIT: u64 = 1 << 7;
/// `_PAGE_PROTNONE` is the global bit of an entry that is not present
/// (arch/x86/include/asm/pgtable_types.h).
pub const PROTNONE: u64 = 1 << 8;

/// A level of the page table, from the root down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Page global directory.
    Pgd,
    /// Fourth level directory; only with 5 levels.
    P4d,
    /// Page upper directory; maps 1 GiB pages.
    Pud,
    /// Page middle directory; maps 2 MiB pages.
    Pmd,
    /// Page table.
    Pte,
}

impl Level {
    /// The name the kernel gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Pgd => "PGD",
            Level::P4d => "P4D",
            Level::Pud => "PUD",
            Level::Pmd => "PMD",
            Level::Pte => "PTE",
        }
    }
}

/// One entry that a walk met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The level it stands at.
    pub level: Level,
    /// Where the entry itself lies.
    pub at: PhysAddr,
    /// Its content.
    pub value: u64,
}

/// What a walk found.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The entries met, from the root down.
    pub entries: Vec<Entry>,
    /// The physical address, or why there is none.
    pub result: Result<Translation, ReadError>,
}

/// Where a virtual address lies in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address of the byte asked for.
    pub address: PhysAddr,
    /// The size of the page that maps it in bytes.
    pub page_size: u64,
}

/// A page table: its root and its shape.
#[derive(Clone, Copy, Debug)]
pub struct PageTable {
    /// Physical address of the root directory.
    pub root: PhysAddr,
    /// Whether it has 5 levels.
    pub five_levels: bool,
    /// The bit that marks encrypted memory in every entry (SME, SEV); 0 without encryption.
    pub encryption_mask: u64,
}

impl PageTable {
    /// Where the page or table begins that an entry in use points to.
    pub const fn frame(&self, entry: u64) -> PhysAddr {
        if entry & PRESENT == 0 {
            // A PROT_NONE entry stores its frame number inverted, against L1TF
            // (6b28baca9b1f, arch/x86/include/asm/pgtable-invert.h).
            return PhysAddr(!entry & PHYSICAL_MASK);
        }
        PhysAddr(entry & PHYSICAL_MASK & !self.encryption_mask)
    }

    /// Translates `address`, handing every entry met to `visit`.
    fn translate_with(
        &self,
        memory: &dyn PhysicalMemory,
        address: VirtAddr,
        mut visit: impl FnMut(Entry),
    ) -> Result<Translation, ReadError> {
        let levels = [
            (Level::Pgd, if self.five_levels { 48 } else { 39 }),
            (Level::P4d, 39),
            (Level::Pud, 30),
            (Level::Pmd, 21),
            (Level::Pte, 12),
        ];
        let mut table = self.root;
        for (level, shift) in levels {
            if level == Level::P4d && !self.five_levels {
                continue;
            }
            let at = table.offset((address.0 >> shift & 0x1ff) * 8);
            let mut bytes = [0; 8];
            memory.read(at, &mut bytes).map_err(|error| error.at(address))?;
            let value = u64::from_le_bytes(bytes);
            visit(Entry { level, at, value });
            if value & (PRESENT | PROTNONE) == 0 {
                return Err(ReadError::new(address, Unavailable::Unmapped));
            }
            let frame = self.frame(value).0;
            let huge = value & PAGE_SIZE_BIT != 0 && matches!(level, Level::Pud | Level::Pmd);
            if huge || level == Level::Pte {
                let page_size = 1u64 << shift;
                let offset = address.0 & (page_size - 1);
                return Ok(Translation {
                    address: PhysAddr((frame & !(page_size - 1)) | offset),
                    page_size,
                });
            }
            table = PhysAddr(frame);
        }
        Err(ReadError::new(address, Unavailable::Unmapped))
    }

    /// Translates one address.
    ///
    /// # Errors
    /// Unmapped, or a page of the table itself that is not in the dump.
    pub fn translate(
        &self,
        memory: &dyn PhysicalMemory,
        address: VirtAddr,
    ) -> Result<Translation, ReadError> {
        self.translate_with(memory, address, |_| {})
    }

    /// Translates one address and keeps every entry met on the way.
    pub fn walk(&self, memory: &dyn PhysicalMemory, address: VirtAddr) -> Walk {
        let mut entries = Vec::with_capacity(5);
        let result = self.translate_with(memory, address, |entry| entries.push(entry));
        Walk { entries, result }
    }
}
