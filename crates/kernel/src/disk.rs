//! Disks (`struct gendisk`), found through the device model's class of block devices, and how many
//! requests each has in flight.

use crate::block_request::InFlight;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::sync::Arc;

layout! {
    /// A class of devices: include/linux/device/class.h.
    pub struct DeviceClass = "class" {
        /// Since 6.4 to be looked up in `class_kset` instead.
        private: "p",
    }
}

layout! {
    /// What the device model keeps of a class: drivers/base/base.h.
    pub struct SubsysPrivate = "subsys_private" {
        kobject: "subsys.kobj",
        devices: "klist_devices.k_list",
    }
}

layout! {
    /// A set of objects in sysfs: include/linux/kobject.h.
    pub struct Kset = "kset" {
        list: "list",
    }
}

layout! {
    /// An object in sysfs: include/linux/kobject.h.
    pub struct Kobject = "kobject" {
        name: "name",
        entry: "entry",
    }
}

layout! {
    /// A node of a list whose users may look at nodes that are being removed:
    /// include/linux/klist.h.
    pub struct KlistNode = "klist_node" {
        list: "n_klist",
        node: "n_node",
    }
}

layout! {
    /// What the device model keeps of a device: drivers/base/base.h.
    pub struct DevicePrivate = "device_private" {
        /// Since 5.1.
        class_node: "knode_class",
        device: "device",
    }
}

layout! {
    /// A device: include/linux/device.h.
    pub struct Device = "device" {
        /// Until 5.1.
        class_node: "knode_class",
        kind: "type",
    }
}

layout! {
    /// A disk or a part of one: include/linux/blk_types.h.
    pub struct BlockDevice = "block_device" {
        device: "bd_device",
        disk: "bd_disk",
        statistics: "bd_stats",
        number: "bd_dev",
        sectors: "bd_nr_sectors",
    }
}

layout! {
    /// A disk: include/linux/blkdev.h.
    pub struct Gendisk = "gendisk" {
        major: "major",
        first_minor: "first_minor",
        name: "disk_name",
        whole: "part0",
        operations: "fops",
        queue: "queue",
        private_data: "private_data",
        /// The whole disk as a device, until 5.11 made it a `struct block_device`.
        part0_device: "part0.__dev",
        part0_statistics: "part0.dkstats",
        part0_sectors: "part0.nr_sects",
    }
}

layout! {
    /// A disk's counters, one set for each CPU: include/linux/part_stat.h.
    pub struct DiskStats = "disk_stats" {
        /// Reads and writes of disks that have no tags to look at; since 5.0.
        in_flight: "in_flight",
    }
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its `struct gendisk`.
    pub address: VirtAddr,
    /// `vda`.
    pub name: Result<String>,
    /// Its major number.
    pub major: Result<u64>,
    /// The minor number of the whole disk.
    pub first_minor: Result<u64>,
    /// Its size in sectors of 512 bytes.
    pub sectors: Result<u64>,
    /// Its `struct request_queue`.
    pub queue: Result<VirtAddr>,
    /// Its `struct block_device_operations`.
    pub operations: Result<VirtAddr>,
    /// What its driver knows it by.
    pub private_data: Result<VirtAddr>,
}

/// What it takes to go from a class's list to disks.
struct Walk {
    node: Arc<KlistNode>,
    device: Arc<Device>,
    private: Arc<DevicePrivate>,
    block: Arc<BlockDevice>,
    disk: Arc<Gendisk>,
    disk_type: VirtAddr,
}

impl Kernel {
    /// The disks, in the order they were found by the kernel, and what hid some.
    ///
    /// # Errors
    /// When the class of block devices cannot be found.
    pub fn disks(&self) -> Result<(Vec<Disk>, Option<KernelError>)> {
        let walk = Walk {
            node: self.layout()?,
            device: self.layout()?,
            private: self.layout()?,
            block: self.layout()?,
            disk: self.layout()?,
            disk_type: self.symbol("disk_type")?,
        };
        let class = self.subsys_private("block_class", "block")?;
        let head = self.layout::<SubsysPrivate>()?.devices.address(class)?;
        let (mut disks, mut damage) = (Vec::new(), None);
        for entry in ListHead::new(self, "block devices", head) {
            match entry.and_then(|entry| walk.disk_of(self, entry)) {
                Ok(Some(disk)) => disks.push(walk.read(self, disk)),
                Ok(None) => {}
                Err(error) => {
                    damage.get_or_insert(error);
                }
            }
        }
        Ok((disks, damage))
    }

    /// What the device model keeps of the class `symbol`, which sysfs calls `name`.
    fn subsys_private(&self, symbol: &str, name: &str) -> Result<VirtAddr> {
        let class = self.layout::<DeviceClass>()?;
        if class.private.exists() {
            return class.private.pointer(self, self.symbol(symbol)?);
        }
        let kset = self.read_pointer(self.symbol("class_kset")?)?;
        let head = self.layout::<Kset>()?.list.address(kset)?;
        let kobject = self.layout::<Kobject>()?;
        for entry in ListHead::new(self, "classes of devices", head) {
            let entry = kobject.entry.container(entry?)?;
            if kobject.name.string(self, entry, 64).is_ok_and(|found| found == name) {
                return self.layout::<SubsysPrivate>()?.kobject.container(entry);
            }
        }
        Err(KernelError::Unsupported(format!("no class of devices is called {name}")))
    }

    /// How many reads and writes a disk has in flight.
    ///
    /// # Errors
    /// When its queue or its counters cannot be read.
    pub fn disk_in_flight(&self, disk: &Disk) -> Result<InFlight> {
        let queue = disk.queue.clone()?;
        if self.has_tags(queue)? {
            let (requests, damage) = self.requests_in_flight(queue)?;
            return match damage {
                Some(error) => Err(error),
                None => Ok(InFlight::of(&requests)),
            };
        }
        self.counted_in_flight(disk)
    }

    /// The same from the disk's own counters.
    fn counted_in_flight(&self, disk: &Disk) -> Result<InFlight> {
        let layout = self.layout::<Gendisk>()?;
        let statistics = match layout.part0_statistics.exists() {
            true => layout.part0_statistics.pointer(self, disk.address)?,
            false => {
                let whole = layout.whole.pointer(self, disk.address)?;
                self.layout::<BlockDevice>()?.statistics.pointer(self, whole)?
            }
        };
        let offset = self.layout::<DiskStats>()?.in_flight.offset()?;
        let cpus = self.cpus()?;
        let mut sums = [0u64; 2];
        for &cpu in &cpus.possible {
            let at = cpus.address(statistics.offset(offset), cpu)?;
            for (index, sum) in (0u64..).zip(&mut sums) {
                // A request may end on another CPU than it began on: one CPU's may be negative.
                *sum = sum.wrapping_add(self.read_u64(at.offset(index * 8))?);
            }
        }
        Ok(InFlight { reads: sums[0], writes: sums[1] })
    }
}

impl Walk {
    /// The disk that a node of the class's list leads to; `None` for a partition and for a node
    /// that is being removed.
    fn disk_of(&self, kernel: &Kernel, entry: VirtAddr) -> Result<Option<VirtAddr>> {
        let node = self.node.node.container(entry)?;
        // The lowest bit says that the node is dead: KNODE_DEAD of lib/klist.c.
        if self.node.list.u64(kernel, node)? & 1 != 0 {
            return Ok(None);
        }
        let device = match self.private.class_node.exists() {
            true => {
                self.private.device.pointer(kernel, self.private.class_node.container(node)?)?
            }
            false => self.device.class_node.container(node)?,
        };
        if self.device.kind.pointer(kernel, device)? != self.disk_type {
            return Ok(None);
        }
        if self.disk.part0_device.exists() {
            return self.disk.part0_device.container(device).map(Some);
        }
        self.block.disk.pointer(kernel, self.block.device.container(device)?).map(Some)
    }

    fn read(&self, kernel: &Kernel, address: VirtAddr) -> Disk {
        let layout = &*self.disk;
        let sectors = match layout.part0_sectors.exists() {
            true => layout.part0_sectors.u64(kernel, address),
            false => layout
                .whole
                .pointer(kernel, address)
                .and_then(|whole| self.block.sectors.u64(kernel, whole)),
        };
        Disk {
            address,
            name: layout.name.text(kernel, address),
            major: layout.major.u64(kernel, address),
            first_minor: layout.first_minor.u64(kernel, address),
            sectors,
            queue: layout.queue.pointer(kernel, address),
            operations: layout.operations.pointer(kernel, address),
            private_data: layout.private_data.pointer(kernel, address),
        }
    }
}
