//! The machine as the firmware described it, and as the kernel divided it up.

use crate::arch::x86_64;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{PhysAddr, VirtAddr, VirtualMemory};

layout! {
    /// The firmware's map of memory: arch/x86/include/asm/e820/types.h; `e820map` until 4.12.
    pub struct E820Table = "e820_table" | "e820map" {
        count: "nr_entries" | "nr_map",
        entries: "entries" | "map",
    }
}

layout! {
    /// A range of it.
    pub struct E820Entry = "e820_entry" | "e820entry" {
        address: "addr",
        size: "size",
        kind: "type",
    }
}

/// A range of physical addresses and what the firmware says is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareRange {
    /// The first byte.
    pub start: PhysAddr,
    /// One past the last.
    pub end: PhysAddr,
    /// `enum e820_type`.
    pub kind: u32,
}

impl FirmwareRange {
    /// The kind's name in the kernel; `None` where it has none.
    pub const fn kind_name(&self) -> Option<&'static str> {
        Some(match self.kind {
            1 => "E820_RAM",
            2 => "E820_RESERVED",
            3 => "E820_ACPI",
            4 => "E820_NVS",
            5 => "E820_UNUSABLE",
            7 => "E820_PMEM",
            12 => "E820_PRAM",
            128 => "E820_RESERVED_KERN",
            0xefff_ffff => "E820_SOFT_RESERVED",
            _ => return None,
        })
    }
}

/// More ranges than the table has room for (`E820_MAX_ENTRIES`, some thousands on large machines).
const MAX_RANGES: u64 = 16 << 10;

/// Where the parts of the kernel's address space begin; `None` for what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressBases {
    /// The linear map of all physical memory.
    pub linear: Option<VirtAddr>,
    /// What vmalloc() gives out.
    pub vmalloc: Option<VirtAddr>,
    /// The `struct page`s.
    pub vmemmap: Option<VirtAddr>,
    /// The kernel's image, before KASLR moved it.
    pub image: VirtAddr,
    /// The modules.
    pub modules: VirtAddr,
}

/// `__VMALLOC_BASE_L4` and `__VMALLOC_BASE_L5` of arch/x86/include/asm/pgtable_64_types.h.
const VMALLOC_BASE_4_LEVELS: u64 = 0xffff_c900_0000_0000;
const VMALLOC_BASE_5_LEVELS: u64 = 0xffa0_0000_0000_0000;

impl Kernel {
    /// The firmware's map of memory, as the kernel corrected it.
    ///
    /// # Errors
    /// When it was not kept, or cannot be read.
    pub fn firmware_ranges(&self) -> Result<Vec<FirmwareRange>> {
        let table = match self.symbol("e820_table") {
            // A pointer since 4.12, for the table may be too large for the image.
            Ok(pointer) => self.read_pointer(pointer)?,
            Err(_) => self.symbol("e820")?,
        };
        let layout = self.layout::<E820Table>()?;
        let entry = self.layout::<E820Entry>()?;
        let count = layout.count.u64(self, table)?;
        if count > MAX_RANGES {
            let problem = "more ranges than there can be";
            return Err(KernelError::DamagedList { list: "e820 table", problem, at: table });
        }
        let first = layout.entries.address(table)?;
        let range = |index: u64| {
            let at = first.offset(index * entry.size_of);
            let start = entry.address.u64(self, at)?;
            let end = start.wrapping_add(entry.size.u64(self, at)?);
            let kind = entry.kind.u64(self, at)? as u32;
            Ok(FirmwareRange { start: PhysAddr(start), end: PhysAddr(end), kind })
        };
        (0..count).map(range).collect()
    }

    /// How often the timer interrupt comes, in Hz (CONFIG_HZ).
    ///
    /// # Errors
    /// When no variable tells.
    pub fn ticks_per_second(&self) -> Result<u64> {
        const NANOSECONDS: u64 = 1_000_000_000;
        // A tick's length, corrected by what NTP found, until 6.19; else how many turns of the
        // delay loop are in a tick, of which the time stamp counter's frequency are in a second.
        let by_tick = self.read_symbol::<8>("tick_nsec").ok().filter(|tick| *tick != 0);
        let ticks = by_tick.map(|tick| rounded(NANOSECONDS, tick)).or_else(|| {
            let per_tick = self.read_symbol::<8>("lpj_fine").ok().filter(|turns| *turns != 0)?;
            let khz = self.read_symbol::<4>("tsc_khz").ok()?;
            Some(rounded(khz.saturating_mul(1000), per_tick))
        });
        let sane = ticks.filter(|ticks| (10..=10_000).contains(ticks));
        sane.ok_or_else(|| {
            KernelError::Unsupported("the timer's frequency is not known".to_owned())
        })
    }

    /// Where the parts of the kernel's address space begin.
    pub fn address_bases(&self) -> AddressBases {
        let five_levels = self.memory().page_table().five_levels;
        let vmalloc = self.read_symbol::<8>("vmalloc_base");
        // Symbols tell where the linear map is.
        let _ = self.symbols();
        let image_size = self.vmcoreinfo().number("KERNEL_IMAGE_SIZE");
        let image_size = image_size.map_or(x86_64::KERNEL_IMAGE_SIZE, i64::cast_unsigned);
        AddressBases {
            linear: self.memory().direct_address(PhysAddr(0)),
            vmalloc: Some(VirtAddr(vmalloc.unwrap_or(match five_levels {
                true => VMALLOC_BASE_5_LEVELS,
                false => VMALLOC_BASE_4_LEVELS,
            }))),
            vmemmap: self.memory_map().ok().map(|map| map.vmemmap),
            image: VirtAddr(x86_64::START_KERNEL_MAP),
            modules: VirtAddr(x86_64::START_KERNEL_MAP).offset(image_size),
        }
    }

    /// Bytes of a task's kernel stack.
    pub fn kernel_stack_size(&self) -> u64 {
        x86_64::stacks::thread_size(self)
    }
}

/// The quotient, to the nearest whole; a nonzero divisor.
const fn rounded(dividend: u64, divisor: u64) -> u64 {
    dividend.saturating_add(divisor / 2) / divisor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_whole() {
        assert_eq!(rounded(1_000_000_000, 4_000_000), 250);
        assert_eq!(rounded(1_000_000_000, 3_333_333), 300);
        assert_eq!(rounded(2_595_123_000, 10_380_490), 250);
    }
}
