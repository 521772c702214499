//! Who has registered which major numbers: character devices (`chrdevs`) and block devices
//! (`major_names`).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::{ListHead, SinglyLinked};
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A range of character device numbers: fs/char_dev.c.
    pub struct CharDeviceStruct = "char_device_struct" {
        next: "next",
        major: "major",
        first_minor: "baseminor",
        name: "name",
        cdev: "cdev",
    }
}

layout! {
    /// A character device: include/linux/cdev.h.
    pub struct Cdev = "cdev" {
        operations: "ops",
    }
}

layout! {
    /// A map from device numbers to devices: drivers/base/map.c.
    pub struct KobjMap = "kobj_map" {
        probes: "probes",
    }
}

layout! {
    /// An entry of such a map.
    pub struct Probe = "probe" {
        next: "next",
        dev: "dev",
        data: "data",
    }
}

layout! {
    /// A major number of block devices: block/genhd.c.
    pub struct BlkMajorName = "blk_major_name" {
        next: "next",
        major: "major",
        name: "name",
    }
}

layout! {
    /// A file system in use: include/linux/fs.h.
    pub struct SuperBlockInodes = "super_block" {
        inodes: "s_inodes",
    }
}

layout! {
    /// The inode of a block device: block/bdev.c, fs/block_dev.c before 5.12.
    pub struct BdevInode = "bdev_inode" {
        disk: "bdev.bd_disk",
        list: "vfs_inode.i_sb_list",
    }
}

layout! {
    /// A disk: include/linux/blkdev.h.
    pub struct DiskNumbers = "gendisk" {
        major: "major",
        operations: "fops",
    }
}

/// `CHRDEV_MAJOR_HASH_SIZE`, `BLKDEV_MAJOR_HASH_SIZE` and the size of `kobj_map.probes`.
const BUCKETS: u64 = 255;

/// The bits of a `dev_t` that are the minor number.
const MINOR_BITS: u32 = 20;

/// A registered range of device numbers.
#[derive(Clone, Debug)]
pub struct DeviceNumber {
    /// The major number.
    pub major: Result<u64>,
    /// `ttyS`.
    pub name: Result<String>,
    /// The `struct cdev` or `struct gendisk` that was found for it.
    pub device: Option<VirtAddr>,
    /// Its operations.
    pub operations: Option<VirtAddr>,
}

impl Kernel {
    /// The chains of a hash table of `BUCKETS` pointers, one after the other; what ends one early
    /// is in the place of its rest.
    fn chains(&self, symbol: &str, name: &'static str, next: u64) -> Result<Vec<Result<VirtAddr>>> {
        let heads = self.read_bytes(self.symbol(symbol)?, BUCKETS * 8)?;
        let heads = heads.chunks_exact(8).filter_map(|head| head.try_into().ok());
        let first = heads.map(|head| VirtAddr(u64::from_le_bytes(head)));
        Ok(first.flat_map(|first| SinglyLinked::new(self, name, first, next)).collect())
    }

    /// The registered character devices, by bucket of the kernel's table, and what hid some.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn char_devices(&self) -> Result<(Vec<DeviceNumber>, Option<KernelError>)> {
        let layout = self.layout::<CharDeviceStruct>()?;
        let (mut devices, mut damage) = (Vec::new(), None);
        for entry in self.chains("chrdevs", "character devices", layout.next.offset()?)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    damage.get_or_insert(error);
                    continue;
                }
            };
            let major = layout.major.u64(self, entry);
            let own = layout.cdev.pointer(self, entry).ok().filter(|cdev| !cdev.is_null());
            let own = own.and_then(|cdev| Some((cdev, self.cdev_operations(cdev)?)));
            let device = own.or_else(|| {
                let first = layout.first_minor.u64(self, entry).ok()?;
                self.mapped_cdev(*major.as_ref().ok()?, first)
            });
            devices.push(DeviceNumber {
                major,
                name: layout.name.text(self, entry),
                device: device.map(|(cdev, _)| cdev),
                operations: device.map(|(_, operations)| operations),
            });
        }
        Ok((devices, damage))
    }

    fn cdev_operations(&self, cdev: VirtAddr) -> Option<VirtAddr> {
        let operations = self.layout::<Cdev>().ok()?.operations.pointer(self, cdev).ok()?;
        (!operations.is_null()).then_some(operations)
    }

    /// The character device that `cdev_map` has for the first minor number of a range.
    fn mapped_cdev(&self, major: u64, minor: u64) -> Option<(VirtAddr, VirtAddr)> {
        let map = self.read_pointer(self.symbol("cdev_map").ok()?).ok()?;
        let probes = self.layout::<KobjMap>().ok()?.probes.address(map).ok()?;
        let probe = self.layout::<Probe>().ok()?;
        let first = self.read_pointer(probes.offset(major % BUCKETS * 8)).ok()?;
        let chain = SinglyLinked::new(self, "probes", first, probe.next.offset().ok()?);
        let wanted = major << MINOR_BITS | minor;
        let found = chain
            .map_while(Result::ok)
            .find(|entry| probe.dev.u64(self, *entry).is_ok_and(|dev| dev == wanted))?;
        let cdev = probe.data.pointer(self, found).ok()?;
        Some((cdev, self.cdev_operations(cdev)?))
    }

    /// The registered block devices, by bucket of the kernel's table, and what hid some.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn block_devices(&self) -> Result<(Vec<DeviceNumber>, Option<KernelError>)> {
        let layout = self.layout::<BlkMajorName>()?;
        let (disks, mut damage) = self.disks_of_block_inodes();
        let mut devices = Vec::new();
        for entry in self.chains("major_names", "block devices", layout.next.offset()?)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    damage.get_or_insert(error);
                    continue;
                }
            };
            let major = layout.major.u64(self, entry);
            let disk = disks.iter().find(|disk| major.as_ref() == Ok(&disk.major));
            devices.push(DeviceNumber {
                name: layout.name.text(self, entry),
                device: disk.map(|disk| disk.address),
                operations: disk.map(|disk| disk.operations),
                major,
            });
        }
        Ok((devices, damage))
    }

    /// The disks behind the inodes of block devices, the newest inode first.
    fn disks_of_block_inodes(&self) -> (Vec<Disk>, Option<KernelError>) {
        let mut disks = Vec::new();
        let damage = self.read_block_inodes(&mut disks).err();
        // Kernels before 5.11 have a map instead, which tells no more than this one's numbers.
        (disks, damage.filter(|error| !matches!(error, KernelError::NoSymbol(_))))
    }

    fn read_block_inodes(&self, disks: &mut Vec<Disk>) -> Result<()> {
        let superblock = self.read_pointer(self.symbol("blockdev_superblock")?)?;
        let head = self.layout::<SuperBlockInodes>()?.inodes.address(superblock)?;
        let inode = self.layout::<BdevInode>()?;
        let layout = self.layout::<DiskNumbers>()?;
        for entry in ListHead::new(self, "inodes of block devices", head) {
            let address = inode.disk.pointer(self, inode.list.container(entry?)?);
            let Ok(address) = address else { continue };
            if address.is_null() || disks.iter().any(|disk: &Disk| disk.address == address) {
                continue;
            }
            let major = layout.major.u64(self, address);
            let operations = layout.operations.pointer(self, address);
            if let (Ok(major), Ok(operations)) = (major, operations)
                && !operations.is_null()
            {
                disks.push(Disk { address, major, operations });
            }
        }
        Ok(())
    }
}

/// A disk that an inode leads to.
struct Disk {
    address: VirtAddr,
    major: u64,
    operations: VirtAddr,
}
