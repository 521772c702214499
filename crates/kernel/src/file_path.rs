//! The path that an open file was opened by, as far as mounts and directories are in the dump.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// An open file: include/linux/fs.h.
    pub struct FilePath = "file" {
        dentry: "f_path.dentry",
        mount: "f_path.mnt",
    }
}

layout! {
    /// A name in a directory: include/linux/dcache.h.
    pub struct DentryName = "dentry" {
        parent: "d_parent",
        name: "d_name.name",
    }
}

layout! {
    /// What others see of a mount: include/linux/mount.h.
    pub struct VfsMount = "vfsmount" {
        root: "mnt_root",
    }
}

layout! {
    /// Where a mount is mounted: fs/mount.h.
    pub struct MountPoint = "mount" {
        mount: "mnt",
        parent: "mnt_parent",
        mountpoint: "mnt_mountpoint",
    }
}

/// Directories below each other and mounts on each other: PATH_MAX is 4096.
const MAX_STEPS: usize = 4096;

/// The longest name (NAME_MAX).
const MAX_NAME: usize = 256;

impl Kernel {
    /// The path of the `struct file` at `file`, from the root of all mounts.
    ///
    /// # Errors
    /// When something on the way is not in the dump.
    pub fn file_path(&self, file: VirtAddr) -> Result<String> {
        let layout = self.layout::<FilePath>()?;
        let names = self.layout::<DentryName>()?;
        let mounts = self.layout::<VfsMount>()?;
        let points = self.layout::<MountPoint>()?;
        let mut dentry = layout.dentry.pointer(self, file)?;
        let mut mount = layout.mount.pointer(self, file)?;
        let mut parts = Vec::new();
        for _ in 0..MAX_STEPS {
            if mounts.root.pointer(self, mount)? == dentry {
                let point = points.mount.container(mount)?;
                let parent = points.parent.pointer(self, point)?;
                if parent == point {
                    break;
                }
                dentry = points.mountpoint.pointer(self, point)?;
                mount = points.mount.address(parent)?;
                continue;
            }
            let name = self.read_c_string(names.name.pointer(self, dentry)?, MAX_NAME)?;
            if name != b"/" {
                parts.push(String::from_utf8_lossy(&name).into_owned());
            }
            let parent = names.parent.pointer(self, dentry)?;
            // Files that are in no directory, such as shared memory, are their own parents.
            if parent == dentry {
                break;
            }
            dentry = parent;
        }
        parts.reverse();
        Ok(format!("/{}", parts.join("/")))
    }
}
