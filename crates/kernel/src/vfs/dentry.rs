//! Directory entries: names of files.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A name in a directory: include/linux/dcache.h.
    pub struct DentryStruct = "dentry" {
        parent: "d_parent",
        name: "d_name.name",
        name_length: "d_name.len",
        inode: "d_inode",
        super_block: "d_sb",
        /// Null when it is in no hash chain: nobody finds the name any more.
        hash_link: "d_hash.pprev",
    }
}

/// The longest name (NAME_MAX).
const MAX_NAME: usize = 255;

/// More than any `struct dentry`.
const MAX_COPY: u64 = 1024;

/// A directory entry.
#[derive(Clone, Debug)]
pub struct Dentry {
    /// Its `struct dentry`.
    pub address: VirtAddr,
    /// The directory it is in; itself for the topmost one, and for what is in no directory.
    pub parent: VirtAddr,
    /// The file; null for a name that is known not to be there.
    pub inode: VirtAddr,
    /// Its file system's `struct super_block`.
    pub super_block: VirtAddr,
    /// Whether the name leads here no more, or never did.
    pub is_unhashed: bool,
    /// The name.
    pub name: Result<String>,
}

impl Dentry {
    /// Whether nothing is above it in its file system.
    pub fn is_topmost(&self) -> bool {
        self.parent == self.address
    }

    /// Whether it was taken out of its directory (`d_unlinked()`, include/linux/dcache.h).
    pub fn is_deleted(&self) -> bool {
        self.is_unhashed && !self.is_topmost()
    }
}

impl DentryStruct {
    /// Reads the directory entry at `address`.
    ///
    /// # Errors
    /// When it is not in the dump; its name may be missing alone.
    pub fn read(&self, memory: &dyn VirtualMemory, address: VirtAddr) -> Result<Dentry> {
        let bytes = memory.read_bytes(address, self.size_of.min(MAX_COPY))?;
        Ok(Dentry {
            address,
            parent: VirtAddr(self.parent.u64_in(&bytes)?),
            inode: VirtAddr(self.inode.u64_in(&bytes)?),
            super_block: VirtAddr(self.super_block.u64_in(&bytes)?),
            is_unhashed: self.hash_link.u64_in(&bytes)? == 0,
            name: self.name_in(memory, address, &bytes),
        })
    }

    /// The name: short ones stand in the entry itself.
    fn name_in(
        &self,
        memory: &dyn VirtualMemory,
        address: VirtAddr,
        bytes: &[u8],
    ) -> Result<String> {
        let len = usize::try_from(self.name_length.u64_in(bytes)?)
            .map_or(MAX_NAME, |len| len.min(MAX_NAME));
        if len == 0 {
            return Ok(String::new());
        }
        let name = VirtAddr(self.name.u64_in(bytes)?);
        let inside = usize::try_from(name.0.wrapping_sub(address.0)).ok();
        let read;
        let name = match inside.and_then(|start| bytes.get(start..start.checked_add(len)?)) {
            Some(name) => name,
            None => {
                read = memory.read_c_string(name, len)?;
                &read
            }
        };
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }
}

impl Kernel {
    /// The directory entry at `address`.
    ///
    /// # Errors
    /// When it is not in the dump; its name may be missing alone.
    pub fn dentry(&self, address: VirtAddr) -> Result<Dentry> {
        self.layout::<DentryStruct>()?.read(self, address)
    }
}
