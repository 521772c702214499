//! The inodes that are in memory, file system by file system.

use super::dentry::DentryStruct;
use super::inode::{Inode, InodeStruct, SuperBlockStruct};
use super::mounts::MountStruct;
use super::path::Paths;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::{ListHead, SinglyLinked};
use mortis_memory::VirtAddr;
use rustc_hash::FxHashMap;
use std::sync::Arc;

layout! {
    /// A name among the names of a file: include/linux/dcache.h.
    pub struct DentryAlias = "dentry" {
        alias: "d_u.d_alias" | "d_alias",
    }
}

/// A file system that is in use.
#[derive(Clone, Debug)]
pub struct SuperBlock {
    /// Its `struct super_block`.
    pub address: VirtAddr,
    /// What kind: `ext4`, `tmpfs`.
    pub file_system: Result<String>,
    /// The `struct vfsmount` by which init sees all of it; `None` where init does not.
    pub mount: Option<VirtAddr>,
}

/// More names than a file has.
const MAX_NAMES: usize = 1 << 16;

impl Kernel {
    /// The file systems that are in use, and what was in the way of finding more.
    ///
    /// # Errors
    /// When their list is out of reach.
    pub fn super_blocks(&self) -> Result<(Vec<SuperBlock>, Option<KernelError>)> {
        let layout = self.layout::<SuperBlockStruct>()?;
        let mounts = self.mounts_by_super_block().unwrap_or_default();
        let head = self.symbol("super_blocks")?;
        let (mut found, mut damage) = (Vec::new(), None);
        for link in ListHead::new(self, "list of file systems", head) {
            match link.and_then(|link| layout.list.container(link)) {
                Ok(address) => found.push(SuperBlock {
                    address,
                    file_system: self.file_system_name(address),
                    mount: mounts.get(&address).copied(),
                }),
                Err(error) => damage = Some(error),
            }
        }
        Ok((found, damage))
    }

    /// The mounts of whole file systems that init sees, the last one of each.
    fn mounts_by_super_block(&self) -> Result<FxHashMap<VirtAddr, VirtAddr>> {
        let layout = self.layout::<MountStruct>()?;
        let super_blocks = self.layout::<SuperBlockStruct>()?;
        let mut found = FxHashMap::default();
        for mount in self.mounts(self.first_mount_namespace()?)?.mounts {
            let Ok(super_block) = layout.super_block.pointer(self, mount) else { continue };
            let root = super_blocks.root.pointer(self, super_block);
            if root.is_ok() && root == layout.root.pointer(self, mount) {
                found.insert(super_block, layout.mount.address(mount)?);
            }
        }
        Ok(found)
    }

    /// The inodes of the file system at `super_block` that are in memory. An unreadable one comes
    /// as its error, and so does what is wrong with the list, last.
    ///
    /// # Errors
    /// When the types do not tell where they are.
    pub fn cached_inodes(
        &self,
        super_block: VirtAddr,
    ) -> Result<impl Iterator<Item = Result<Inode>>> {
        let layout = self.layout::<InodeStruct>()?;
        let head = self.layout::<SuperBlockStruct>()?.inodes.address(super_block)?;
        Ok(ListHead::new(self, "list of inodes", head)
            .map(move |link| layout.read(self, layout.list.container(link?)?)))
    }

    /// The names of the inode at `inode`: their `struct dentry`s. It ends where they are damaged.
    ///
    /// # Errors
    /// When not even the first can be told.
    pub fn inode_names(&self, inode: VirtAddr) -> Result<Vec<VirtAddr>> {
        let alias = self.layout::<DentryAlias>()?.alias.clone();
        let first = self.layout::<InodeStruct>()?.names.pointer(self, inode)?;
        let nodes = SinglyLinked::new(self, "names of an inode", first, 0);
        nodes.take(MAX_NAMES).map_while(Result::ok).map(|node| alias.container(node)).collect()
    }

    /// The path of the directory entry at `dentry` in `super_block`: through its mount, or else as
    /// `tmpfs:/name`.
    ///
    /// # Errors
    /// When something on the way is not in the dump.
    pub fn path_in(
        &self,
        paths: &Paths<'_>,
        super_block: &SuperBlock,
        dentry: VirtAddr,
    ) -> Result<Arc<str>> {
        if let Some(mount) = super_block.mount {
            return paths.path((mount, dentry));
        }
        let kind = super_block.file_system.as_deref().unwrap_or("?");
        Ok(format!("{kind}:{}", self.path_within(dentry)?).into())
    }

    /// Whether the directory entry at `dentry` is called `name`.
    pub fn is_called(&self, dentry: VirtAddr, name: &str) -> bool {
        let entry = self.layout::<DentryStruct>().and_then(|layout| layout.read(self, dentry));
        entry.and_then(|entry| entry.name).is_ok_and(|found| found == name)
    }
}
