//! Device-mapper devices: the disks that are made of parts of others, and how.

use crate::disk::Disk;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::VirtAddr;

layout! {
    /// A mapped device: drivers/md/dm-core.h, in the module dm_mod where it is one.
    pub struct MappedDevice = "mapped_device" {
        flags: "flags",
        table: "map",
        cell: "interface_ptr",
    }
}

layout! {
    /// What user space calls it: drivers/md/dm-ioctl.c.
    pub struct HashCell = "hash_cell" {
        name: "name",
        uuid: "uuid",
    }
}

layout! {
    /// What it is made of: drivers/md/dm-core.h.
    pub struct DmTable = "dm_table" {
        count: "num_targets",
        targets: "targets",
    }
}

layout! {
    /// A part of it: include/linux/device-mapper.h.
    pub struct DmTarget = "dm_target" {
        kind: "type",
        begin: "begin",
        len: "len",
    }
}

layout! {
    /// A way to make a part: include/linux/device-mapper.h.
    pub struct TargetType = "target_type" {
        name: "name",
    }
}

/// Names of the bits of `mapped_device.flags` (`DMF_*` of drivers/md/dm.c, dm-core.h).
const FLAGS: [&str; 6] =
    ["BLOCK_IO_FOR_SUSPEND", "SUSPENDED", "FROZEN", "FREEING", "DELETING", "NOFLUSH_SUSPENDING"];

/// More parts than a table may have: `dm_table_create()` takes 2^20 with 6.8.
const MAX_TARGETS: u64 = 1 << 20;

/// A part of a mapped device. Sectors are of 512 bytes.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its `struct dm_target`.
    pub address: VirtAddr,
    /// `linear`, `crypt`.
    pub kind: Result<String>,
    /// The first sector.
    pub begin: Result<u64>,
    /// How many sectors.
    pub len: Result<u64>,
}

/// A mapped device.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Its `struct mapped_device`.
    pub address: VirtAddr,
    /// What is in /dev/mapper.
    pub name: Result<String>,
    /// The name that tools give it.
    pub uuid: Result<String>,
    /// The bits of `flags`.
    pub flags: Result<u64>,
    /// Its `struct dm_table`; null while there is none.
    pub table: Result<VirtAddr>,
    /// Its parts.
    pub targets: Vec<Target>,
}

impl Mapped {
    /// `ACTIVE`, or the names of the bits that say otherwise.
    pub fn state(&self) -> Result<Vec<&'static str>> {
        let flags = self.flags.clone()?;
        let set = FLAGS.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 != 0);
        let names: Vec<&str> = set.map(|(_, name)| *name).collect();
        Ok(if names.is_empty() { vec!["ACTIVE"] } else { names })
    }
}

impl Kernel {
    /// The mapped device that a disk is; `None` for other disks.
    ///
    /// # Errors
    /// When it is one, and there are no types to read it by.
    pub fn mapped_device(&self, disk: &Disk) -> Result<Option<Mapped>> {
        let operations = disk.operations.clone()?;
        let names = ["dm_blk_dops", "dm_rq_blk_dops"];
        if !self.symbol_at(operations).is_some_and(|(at, _)| names.contains(&&*at.name)) {
            return Ok(None);
        }
        // The types may be in the module's own BTF.
        if let Ok(sources) = self.type_sources() {
            sources.add_modules(self);
        }
        let address = disk.private_data.clone()?;
        let device = self.layout::<MappedDevice>()?;
        let cell = device.cell.pointer(self, address);
        let named = |uuid: bool| {
            let layout = self.layout::<HashCell>()?;
            let field = if uuid { &layout.uuid } else { &layout.name };
            field.string(self, cell.clone()?, 256)
        };
        let table = device.table.pointer(self, address);
        let targets = match &table {
            Ok(table) if !table.is_null() => self.dm_targets(*table)?,
            _ => Vec::new(),
        };
        Ok(Some(Mapped {
            address,
            name: named(false),
            uuid: named(true),
            flags: device.flags.u64(self, address),
            table,
            targets,
        }))
    }

    fn dm_targets(&self, table: VirtAddr) -> Result<Vec<Target>> {
        let layout = self.layout::<DmTable>()?;
        let target = self.layout::<DmTarget>()?;
        let count = layout.count.u64(self, table)?;
        let first = layout.targets.pointer(self, table)?;
        if count > MAX_TARGETS {
            return Err(KernelError::DamagedList {
                list: "device-mapper targets",
                problem: "there are too many",
                at: table,
            });
        }
        let read = |index: u64| {
            let address = first.offset(index * target.size_of);
            let kind = target.kind.pointer(self, address);
            Target {
                address,
                kind: kind
                    .and_then(|kind| self.layout::<TargetType>()?.name.string(self, kind, 64)),
                begin: target.begin.u64(self, address),
                len: target.len.u64(self, address),
            }
        };
        Ok((0..count).map(read).collect())
    }
}
