//! Files as the kernel knows them: descriptors, directory entries, inodes, mounts, and the pages
//! of files that are in memory.

pub mod cached_inodes;
pub mod dentry;
pub mod inode;
pub mod mounts;
pub mod open_files;
pub mod page_cache;
pub mod path;
