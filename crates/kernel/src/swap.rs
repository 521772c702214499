//! Swap: how much there is, and how much of it is used (mm/swapfile.c).

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A swap device or file: include/linux/swap.h.
    pub struct SwapInfo = "swap_info_struct" {
        flags: "flags",
        pages: "pages",
        /// An atomic with flags in it since 6.14, plain before.
        inuse_pages: "inuse_pages.counter" | "inuse_pages",
        prio: "prio",
        swap_file: "swap_file",
    }
}

layout! {
    /// An open file: include/linux/fs.h.
    pub struct SwapFile = "file" {
        inode: "f_inode",
    }
}

layout! {
    /// What a file is: include/linux/fs.h.
    pub struct InodeMode = "inode" {
        mode: "i_mode",
    }
}

/// `S_IFMT` and `S_IFBLK` of include/uapi/linux/stat.h.
const S_IFMT: u64 = 0o170_000;
const S_IFBLK: u64 = 0o060_000;

/// `SWP_USED` and `SWP_WRITEOK` of include/linux/swap.h.
const SWP_USED: u64 = 1;
const SWP_WRITEOK: u64 = 2;

/// `SWAP_USAGE_OFFLIST_BIT` of mm/swapfile.c: a flag in the atomic `inuse_pages`.
const SWAP_USAGE_FLAGS: u64 = 0b11 << 62;

/// More devices than `MAX_SWAPFILES` allows.
const MAX_SWAPFILES: u64 = 64;

/// A swap device or file.
#[derive(Clone, Debug)]
pub struct SwapDevice {
    /// Its number.
    pub index: u32,
    /// Its `struct swap_info_struct`.
    pub address: VirtAddr,
    /// Pages that it can hold.
    pub pages: u64,
    /// Pages that it holds.
    pub used: u64,
    /// Its priority.
    pub priority: i64,
    /// Whether it is being switched off.
    pub going: bool,
    /// Its `struct file`.
    pub file: VirtAddr,
}

/// What swap is kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapKind {
    /// A block device.
    Partition,
    /// A file of a file system.
    File,
}

/// All swap together, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapTotals {
    /// Pages that all devices can hold.
    pub total: u64,
    /// Pages that they hold.
    pub used: u64,
}

impl Kernel {
    /// The swap devices in use; none in a kernel without swap.
    ///
    /// # Errors
    /// What could not be read.
    pub fn swap_devices(&self) -> Result<Vec<SwapDevice>> {
        let (Ok(count), Ok(array)) =
            (self.read_symbol::<4>("nr_swapfiles"), self.symbol("swap_info"))
        else {
            return Ok(Vec::new());
        };
        let layout = self.layout::<SwapInfo>()?;
        let mut devices = Vec::new();
        for index in 0..count.min(MAX_SWAPFILES) {
            let address = self.read_pointer(array.offset(index * 8))?;
            if address.is_null() {
                continue;
            }
            let flags = layout.flags.u64(self, address)?;
            if flags & SWP_USED == 0 {
                continue;
            }
            devices.push(SwapDevice {
                index: index as u32,
                address,
                pages: layout.pages.u64(self, address)?,
                used: layout.inuse_pages.u64(self, address)? & !SWAP_USAGE_FLAGS,
                priority: layout.prio.i64(self, address)?,
                going: flags & SWP_WRITEOK == 0,
                file: layout.swap_file.pointer(self, address)?,
            });
        }
        Ok(devices)
    }

    /// What the swap device is kept on.
    ///
    /// # Errors
    /// When its file or its inode is not in the dump.
    pub fn swap_kind(&self, device: &SwapDevice) -> Result<SwapKind> {
        let inode = self.layout::<SwapFile>()?.inode.pointer(self, device.file)?;
        let mode = self.layout::<InodeMode>()?.mode.u64(self, inode)?;
        Ok(if mode & S_IFMT == S_IFBLK { SwapKind::Partition } else { SwapKind::File })
    }

    /// The path of the file or device node that swap device `index` was switched on by; none where
    /// there is no such device or the path is not in the dump.
    pub fn swap_device_path(&self, index: u32) -> Option<String> {
        let array = self.symbol("swap_info").ok()?;
        if u64::from(index) >= self.read_symbol::<4>("nr_swapfiles").ok()?.min(MAX_SWAPFILES) {
            return None;
        }
        let device = self.read_pointer(array.offset(u64::from(index) * 8)).ok()?;
        let file = self.layout::<SwapInfo>().ok()?.swap_file.pointer(self, device).ok()?;
        self.file_path(file).ok()
    }

    /// All swap together, as `si_swapinfo()` reckons: the kernel's own counters, which leave out
    /// a device that is being switched off, and what such a device still holds.
    ///
    /// # Errors
    /// What could not be read.
    pub fn swap_totals(&self) -> Result<SwapTotals> {
        // Without CONFIG_SWAP there is no such counter.
        let Ok(total) = self.symbol("total_swap_pages") else { return Ok(SwapTotals::default()) };
        let total = self.read_u64(total)?;
        let free = self.read_u64(self.symbol("nr_swap_pages")?)?.cast_signed().max(0);
        let used = total.saturating_sub(free.cast_unsigned());
        let devices = self.swap_devices().unwrap_or_default();
        let going: u64 = devices.iter().filter(|device| device.going).map(|d| d.used).sum();
        Ok(SwapTotals { total: total.saturating_add(going), used })
    }
}
