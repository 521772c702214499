//! Mounts: which file system is at which directory, and for whom.

use super::path::Paths;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use crate::rb_tree::RbTree;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::sync::Arc;

layout! {
    /// What others see of a mount: include/linux/mount.h.
    pub struct VfsMount = "vfsmount" {
        root: "mnt_root",
        super_block: "mnt_sb",
        flags: "mnt_flags",
    }
}

layout! {
    /// A mount: fs/mount.h.
    pub struct MountStruct = "mount" {
        mount: "mnt",
        parent: "mnt_parent",
        mountpoint: "mnt_mountpoint",
        device_name: "mnt_devname",
        id: "mnt_id",
        root: "mnt.mnt_root",
        super_block: "mnt.mnt_sb",
        flags: "mnt.mnt_flags",
        /// On its namespace's list until 2eea9ce4310d (6.8), in its tree since.
        list: "mnt_list",
        node: "mnt_node",
    }
}

layout! {
    /// The mounts that some tasks see: fs/mount.h.
    pub struct MountNamespace = "mnt_namespace" {
        list: "list",
        /// The tree since 2eea9ce4310d (6.8); their number was called so before.
        mounts: "mounts",
        /// Their number since the tree is called `mounts`.
        mount_count: "nr_mounts",
    }
}

layout! {
    /// A task's namespaces: include/linux/sched.h.
    pub struct TaskNamespaces = "task_struct" {
        namespaces: "nsproxy",
    }
}

layout! {
    /// Namespaces: include/linux/nsproxy.h.
    pub struct Namespaces = "nsproxy" {
        mounts: "mnt_ns",
    }
}

/// `MNT_CURSOR` (include/linux/mount.h, 9f6c61f96f2d, 5.8): no mount, but a reader of
/// `/proc/mounts` that keeps its place on the list.
const MNT_CURSOR: u64 = 0x1000_0000;

/// The longest name of a device.
const MAX_DEVICE_NAME: usize = 4096;

/// A mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Its `struct mount`.
    pub address: VirtAddr,
    /// The `struct vfsmount` in it.
    pub vfs_mount: VirtAddr,
    /// Its number in `/proc/self/mountinfo`.
    pub id: Result<u64>,
    /// The mount that it is mounted on; itself for the topmost one.
    pub parent: VirtAddr,
    /// The directory that it is mounted on.
    pub mountpoint: VirtAddr,
    /// The `struct super_block` of what is mounted.
    pub super_block: VirtAddr,
    /// The kind of file system.
    pub file_system: Result<String>,
    /// What was mounted, as whoever did it called it.
    pub device: Result<String>,
    /// The path of the directory that it is mounted on.
    pub directory: Result<Arc<str>>,
}

/// The mounts of a namespace.
#[derive(Clone, Debug, Default)]
pub struct MountList {
    /// Their `struct mount`s, in the order in which they were made.
    pub mounts: Vec<VirtAddr>,
    /// What was in the way of finding more.
    pub damage: Option<KernelError>,
}

impl Kernel {
    /// The `struct mnt_namespace` of `task`; null for one that has exited.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn mount_namespace(&self, task: Task) -> Result<VirtAddr> {
        let layout = self.layout::<TaskNamespaces>()?;
        let namespaces = layout.namespaces.pointer(self, task.address)?;
        if namespaces.is_null() {
            return Ok(namespaces);
        }
        self.layout::<Namespaces>()?.mounts.pointer(self, namespaces)
    }

    /// The mounts that init sees, or else the process with the lowest id that there is.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn first_mount_namespace(&self) -> Result<VirtAddr> {
        let tasks = self.tasks();
        let first = tasks.tasks.get(tasks.idle..).and_then(<[Task]>::first);
        let nobody = || KernelError::Unsupported("no task has mounts".to_owned());
        self.mount_namespace(*first.ok_or_else(nobody)?)
    }

    /// The mounts in the `struct mnt_namespace` at `namespace`.
    ///
    /// # Errors
    /// When the types do not tell where they are. What is wrong with the list or tree is in the
    /// answer.
    pub fn mounts(&self, namespace: VirtAddr) -> Result<MountList> {
        let layout = self.layout::<MountNamespace>()?;
        let mount = self.layout::<MountStruct>()?;
        let mut found = MountList::default();
        if layout.mount_count.exists() {
            let root = layout.mounts.address(namespace)?;
            for node in RbTree::new(self, "tree of mounts", root) {
                match node {
                    Ok(node) => found.mounts.push(mount.node.container(node)?),
                    Err(error) => found.damage = Some(error),
                }
            }
            return Ok(found);
        }
        for link in ListHead::new(self, "list of mounts", layout.list.address(namespace)?) {
            match link.and_then(|link| mount.list.container(link)) {
                Ok(address) if self.is_cursor(&mount, address) => {}
                Ok(address) => found.mounts.push(address),
                Err(error) => found.damage = Some(error),
            }
        }
        Ok(found)
    }

    fn is_cursor(&self, layout: &MountStruct, mount: VirtAddr) -> bool {
        layout.flags.u64(self, mount).is_ok_and(|flags| flags == MNT_CURSOR)
    }

    /// The `struct mount` at `address`.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn mount(&self, paths: &Paths<'_>, address: VirtAddr) -> Result<Mount> {
        let layout = self.layout::<MountStruct>()?;
        let bytes = self.read_bytes(address, layout.size_of.min(4096))?;
        let parent = VirtAddr(layout.parent.u64_in(&bytes)?);
        let mountpoint = VirtAddr(layout.mountpoint.u64_in(&bytes)?);
        let super_block = VirtAddr(layout.super_block.u64_in(&bytes)?);
        let device = layout.device_name.u64_in(&bytes).and_then(|name| {
            let name = self.read_c_string(VirtAddr(name), MAX_DEVICE_NAME)?;
            Ok(String::from_utf8_lossy(&name).into_owned())
        });
        Ok(Mount {
            address,
            vfs_mount: layout.mount.address(address)?,
            id: layout.id.u64_in(&bytes),
            parent,
            mountpoint,
            super_block,
            file_system: self.file_system_name(super_block),
            device,
            directory: layout
                .mount
                .address(parent)
                .and_then(|parent| paths.path((parent, mountpoint))),
        })
    }
}
