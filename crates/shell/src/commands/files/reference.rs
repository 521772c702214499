//! What `files -R` looks for.

use mortis_kernel::error::Result;
use mortis_kernel::vfs::open_files::{Directories, OpenFile};
use mortis_memory::VirtAddr;
use std::sync::Arc;

/// A descriptor, an address, a type of file, or a part of a path.
pub(super) struct Reference {
    text: String,
    /// The descriptor that it may be; in hexadecimal where it has such digits, as crash takes it.
    descriptor: Option<u64>,
    address: Option<u64>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Self {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let address = u64::from_str_radix(digits, 16).ok();
        let descriptor = text.parse().ok().or(address);
        Self { text: text.to_owned(), descriptor, address }
    }

    /// Whether one of a task's directories is meant.
    pub(super) fn is_directory(&self, directories: &Directories) -> bool {
        self.is_part_of(&directories.root) || self.is_part_of(&directories.working)
    }

    pub(super) fn is_file(&self, file: &OpenFile) -> bool {
        let addresses = [&Ok(file.file), &file.dentry, &file.inode, &file.mapping];
        self.descriptor == Some(file.fd)
            || addresses.into_iter().any(|address| self.is_address(address))
            || matches!(&file.file_type, Ok(Some(kind)) if kind.code() == self.text)
            || self.is_part_of(&file.path)
    }

    fn is_address(&self, address: &Result<VirtAddr>) -> bool {
        matches!(address, Ok(address) if !address.is_null() && Some(address.0) == self.address)
    }

    /// `/` is the root directory and not a part of every path.
    fn is_part_of(&self, path: &Result<Arc<str>>) -> bool {
        path.as_ref().is_ok_and(|path| match self.text.as_str() {
            "/" => **path == *"/",
            part => path.contains(part),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_descriptor_an_address_and_part_of_a_name() {
        let path = |path: &str| Ok(path.into());
        let ten = Reference::parse("10");
        assert_eq!((ten.descriptor, ten.address), (Some(10), Some(0x10)));
        assert!(ten.is_part_of(&path("/tmp/x10")));
        let hexadecimal = Reference::parse("0xff1234");
        assert_eq!(hexadecimal.address, Some(0xff_1234));
        assert!(hexadecimal.is_address(&Ok(VirtAddr(0xff_1234))));
        let root = Reference::parse("/");
        assert!(root.is_part_of(&path("/")) && !root.is_part_of(&path("/tmp")));
        assert_eq!(Reference::parse("locked").address, None);
    }
}
