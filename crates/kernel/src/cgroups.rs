//! Control groups: their hierarchies, and whose tasks they hold.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::VirtAddr;

layout! {
    /// A control group: include/linux/cgroup-defs.h.
    pub struct CgroupStruct = "cgroup" {
        kn: "kn",
    }
}

layout! {
    /// A file or directory of a file system that the kernel keeps: include/linux/kernfs.h.
    pub struct KernfsNode = "kernfs_node" {
        /// `parent` until 6.14.
        parent: "__parent" | "parent",
        name: "name",
    }
}

/// A name in a kernfs is not longer (NAME_MAX).
const MAX_NAME: usize = 256;

impl Kernel {
    /// The last part of the path of the control group at `cgroup`; `/` for the root.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cgroup_name(&self, cgroup: VirtAddr) -> Result<String> {
        let node = self.layout::<CgroupStruct>()?.kn.pointer(self, cgroup)?;
        let layout = self.layout::<KernfsNode>()?;
        if layout.parent.pointer(self, node)?.is_null() {
            return Ok("/".to_owned());
        }
        layout.name.string(self, node, MAX_NAME)
    }
}
