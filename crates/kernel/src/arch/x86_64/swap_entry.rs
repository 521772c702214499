//! Page table entries of pages that were swapped out (arch/x86/include/asm/pgtable_64.h).

use super::paging::{PRESENT, PROTNONE};

/// Where a page is in swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapEntry {
    /// Which swap device; numbers above those of devices mark pages that are migrating and such.
    pub device: u32,
    /// The page of the device.
    pub page: u64,
}

impl SwapEntry {
    /// Where the page of `entry` is in swap; `None` for an entry that is present or empty.
    ///
    /// The device is in the five highest bits, the page, inverted, above bit 9: since 4.18
    /// (6b28baca9b1f), so that what a CPU guesses is an address lies outside of memory.
    pub const fn of(entry: u64) -> Option<Self> {
        if entry == 0 || entry & (PRESENT | PROTNONE) != 0 {
            return None;
        }
        Some(Self { device: (entry >> 59) as u32, page: (!entry << 5) >> 14 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_and_page_are_where_the_kernel_puts_them() {
        // __swp_entry(1, 0x1234) with the bit for soft-dirty.
        let entry = (!(0x1234u64 << 9 << 5)) >> 5 & !0x1ff | 1 << 59 | 2;
        assert_eq!(SwapEntry::of(entry), Some(SwapEntry { device: 1, page: 0x1234 }));
        assert_eq!(SwapEntry::of(0), None);
        assert_eq!(SwapEntry::of(0x67), None);
        assert_eq!(SwapEntry::of(0x100), None);
    }
}
