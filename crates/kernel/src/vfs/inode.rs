//! Inodes: what a file is, whatever its names.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A file: include/linux/fs.h.
    pub struct InodeStruct = "inode" {
        mode: "i_mode",
        super_block: "i_sb",
        mapping: "i_mapping",
        number: "i_ino",
        size: "i_size",
        links: "i_nlink" | "__i_nlink",
        /// On its file system's list of inodes.
        list: "i_sb_list",
        /// Names of the file, through their `d_u.d_alias`.
        names: "i_dentry.first",
    }
}

layout! {
    /// What of a file is in memory: include/linux/fs.h.
    pub struct AddressSpaceStruct = "address_space" {
        pages: "i_pages" | "page_tree",
        page_count: "nrpages",
        host: "host",
    }
}

layout! {
    /// A file system that is in use: include/linux/fs.h.
    pub struct SuperBlockStruct = "super_block" {
        list: "s_list",
        inodes: "s_inodes",
        file_system: "s_type",
        root: "s_root",
        /// A name for messages, most often the device's.
        id: "s_id",
    }
}

layout! {
    /// A kind of file system: include/linux/fs.h.
    pub struct FileSystemType = "file_system_type" {
        name: "name",
    }
}

/// What kind of file an inode is (`S_IFMT`, include/uapi/linux/stat.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Fifo,
    CharacterDevice,
    Directory,
    BlockDevice,
    Regular,
    SymbolicLink,
    Socket,
    /// None of them: the inode that eventfd and its like share.
    Unknown,
}

impl FileType {
    /// The type in an `i_mode`.
    pub const fn of_mode(mode: u64) -> Self {
        match mode & 0o170_000 {
            0o010_000 => FileType::Fifo,
            0o020_000 => FileType::CharacterDevice,
            0o040_000 => FileType::Directory,
            0o060_000 => FileType::BlockDevice,
            0o100_000 => FileType::Regular,
            0o120_000 => FileType::SymbolicLink,
            0o140_000 => FileType::Socket,
            _ => FileType::Unknown,
        }
    }

    /// crash's three or four letters.
    pub const fn code(self) -> &'static str {
        match self {
            FileType::Fifo => "FIFO",
            FileType::CharacterDevice => "CHR",
            FileType::Directory => "DIR",
            FileType::BlockDevice => "BLK",
            FileType::Regular => "REG",
            FileType::SymbolicLink => "LNK",
            FileType::Socket => "SOCK",
            FileType::Unknown => "UNKN",
        }
    }
}

/// An inode.
#[derive(Clone, Copy, Debug)]
pub struct Inode {
    /// Its `struct inode`.
    pub address: VirtAddr,
    /// What kind of file.
    pub file_type: FileType,
    /// Its file system's `struct super_block`.
    pub super_block: VirtAddr,
    /// The `struct address_space` of its pages.
    pub mapping: VirtAddr,
    /// Its number in the file system.
    pub number: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// More than any `struct inode`'s members that are read here take.
const MAX_COPY: u64 = 2048;

impl InodeStruct {
    /// Reads the inode at `address`.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn read(&self, memory: &dyn VirtualMemory, address: VirtAddr) -> Result<Inode> {
        let fields = [&self.mode, &self.super_block, &self.mapping, &self.number, &self.size];
        let mut len = 0;
        for field in fields {
            len = len.max(field.offset()? + field.size()?);
        }
        let bytes = memory.read_bytes(address, len.min(MAX_COPY))?;
        Ok(Inode {
            address,
            file_type: FileType::of_mode(self.mode.u64_in(&bytes)?),
            super_block: VirtAddr(self.super_block.u64_in(&bytes)?),
            mapping: VirtAddr(self.mapping.u64_in(&bytes)?),
            number: self.number.u64_in(&bytes)?,
            size: self.size.u64_in(&bytes)?,
        })
    }
}

/// The longest name of a kind of file system.
const MAX_FILE_SYSTEM_NAME: usize = 64;

impl Kernel {
    /// The inode at `address`.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn inode(&self, address: VirtAddr) -> Result<Inode> {
        self.layout::<InodeStruct>()?.read(self, address)
    }

    /// What kind of file system the `struct super_block` at `super_block` is: `ext4`, `tmpfs`.
    ///
    /// # Errors
    /// When something on the way is not in the dump.
    pub fn file_system_name(&self, super_block: VirtAddr) -> Result<String> {
        let layout = self.layout::<SuperBlockStruct>()?;
        let file_system = layout.file_system.pointer(self, super_block)?;
        self.layout::<FileSystemType>()?.name.string(self, file_system, MAX_FILE_SYSTEM_NAME)
    }

    /// How many pages of the `struct address_space` at `mapping` are in memory.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn cached_page_count(&self, mapping: VirtAddr) -> Result<u64> {
        self.layout::<AddressSpaceStruct>()?.page_count.u64(self, mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_tells_the_type() {
        assert_eq!(FileType::of_mode(0o100_644), FileType::Regular);
        assert_eq!(FileType::of_mode(0o140_777).code(), "SOCK");
        // Anonymous inodes have permissions only.
        assert_eq!(FileType::of_mode(0o600), FileType::Unknown);
    }
}
