//! System V IPC: shared memory, semaphores and message queues of a namespace.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::net_device::{NsProxy, TaskNamespaces};
use crate::tasks::Task;
use crate::xarray;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// The objects of a namespace: include/linux/ipc_namespace.h.
    pub struct IpcNamespace = "ipc_namespace" {
        ids: "ids",
    }
}

layout! {
    /// The objects of one kind: include/linux/ipc_namespace.h.
    pub struct IpcIds = "ipc_ids" {
        in_use: "in_use",
        objects: "ipcs_idr.idr_rt",
    }
}

layout! {
    /// What all kinds of objects begin with: include/linux/ipc.h.
    pub struct KernIpcPerm = "kern_ipc_perm" {
        deleted: "deleted",
        id: "id",
        key: "key",
        /// A structure around the number since user namespaces.
        uid: "uid.val" | "uid",
        gid: "gid.val" | "gid",
        mode: "mode",
    }
}

layout! {
    /// Shared memory: ipc/shm.c.
    pub struct ShmidKernel = "shmid_kernel" {
        perm: "shm_perm",
        file: "shm_file",
        attached: "shm_nattch",
        size: "shm_segsz",
    }
}

layout! {
    /// A set of semaphores: ipc/sem.c.
    pub struct SemArray = "sem_array" {
        perm: "sem_perm",
        count: "sem_nsems",
    }
}

layout! {
    /// A queue of messages: ipc/msg.c.
    pub struct MsgQueue = "msg_queue" {
        perm: "q_perm",
        bytes: "q_cbytes",
        count: "q_qnum",
    }
}

layout! {
    /// The file behind shared memory: include/linux/fs.h.
    pub struct ShmFile = "file" {
        inode: "f_inode",
        operations: "f_op",
        /// The `struct shm_file_data` of an attached segment.
        private_data: "private_data",
    }
}

layout! {
    /// The pages behind it: include/linux/fs.h.
    pub struct ShmInode = "inode" {
        mapping: "i_mapping",
        superblock: "i_sb",
    }
}

layout! {
    /// Include/linux/fs.h.
    pub struct ShmMapping = "address_space" {
        pages: "nrpages",
    }
}

layout! {
    /// What tmpfs adds to an inode: include/linux/shmem_fs.h.
    pub struct ShmemInode = "shmem_inode_info" {
        swapped: "swapped",
        inode: "vfs_inode",
    }
}

layout! {
    /// A file system in use: include/linux/fs.h.
    pub struct ShmSuperBlock = "super_block" {
        private: "s_fs_info",
    }
}

layout! {
    /// What hugetlbfs adds to it: include/linux/hugetlb.h.
    pub struct HugetlbfsSuperBlock = "hugetlbfs_sb_info" {
        hstate: "hstate",
    }
}

layout! {
    /// A size of huge pages: include/linux/hugetlb.h.
    pub struct HugePages = "hstate" {
        order: "order",
    }
}

/// A kind of objects, in the order of `ipc_namespace.ids` (`IPC_SEM_IDS` and so on of ipc/util.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Semaphores,
    Messages,
    SharedMemory,
}

/// What every object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// What processes find it by.
    pub key: u64,
    /// What they know it by.
    pub id: i64,
    /// Whose it is.
    pub uid: u64,
    /// Whose group's it is.
    pub gid: u64,
    /// Who may do what, and for shared memory `SHM_DEST` and `SHM_LOCKED` (include/linux/shm.h).
    pub mode: u64,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its `struct shmid_kernel`, `struct sem_array` or `struct msg_queue`.
    pub address: VirtAddr,
    /// What every object has.
    pub permissions: Result<Permissions>,
    /// What this kind has.
    pub content: Result<Content>,
}

/// What a kind of objects has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Semaphores: how many.
    Semaphores(u64),
    /// Messages.
    Messages {
        /// Their bytes together.
        bytes: u64,
        /// How many.
        count: u64,
    },
    /// Shared memory.
    SharedMemory {
        /// Bytes.
        size: u64,
        /// How many processes have it attached.
        attached: u64,
        /// The `struct file` behind it.
        file: VirtAddr,
    },
}

/// How much of a shared memory segment is where.
#[derive(Clone, Debug)]
pub struct SharedPages {
    /// Its `struct inode`.
    pub inode: VirtAddr,
    /// Pages in memory.
    pub resident: Result<u64>,
    /// Pages in swap.
    pub swapped: Result<u64>,
}

impl Kernel {
    /// The IPC namespace of a task.
    ///
    /// # Errors
    /// When the task's namespaces cannot be read: they are gone once it has exited.
    pub fn ipc_namespace(&self, task: Task) -> Result<VirtAddr> {
        let nsproxy = self.layout::<TaskNamespaces>()?.nsproxy.pointer(self, task.address)?;
        self.layout::<NsProxy>()?.ipc.pointer(self, nsproxy)
    }

    /// The objects of one kind in a namespace, by index, and what hid some.
    ///
    /// # Errors
    /// When the types do not tell what they are.
    pub fn ipc_objects(
        &self,
        namespace: VirtAddr,
        kind: Kind,
    ) -> Result<(Vec<Object>, Option<KernelError>)> {
        let ids = self.layout::<IpcIds>()?;
        let first = self.layout::<IpcNamespace>()?.ids.address(namespace)?;
        let table = first.offset(kind as u64 * ids.size_of);
        let (mut objects, mut damage) = (Vec::new(), None);
        // The tree of an empty kind may never have been made.
        if ids.in_use.u64(self, table)? == 0 {
            return Ok((objects, damage));
        }
        let name = match kind {
            Kind::Semaphores => "semaphores",
            Kind::Messages => "message queues",
            Kind::SharedMemory => "shared memory segments",
        };
        for entry in xarray::entries(self, name, ids.objects.address(table)?)? {
            match entry {
                Ok((_, entry)) => {
                    if let Some(perm) = xarray::object(entry)
                        && let Some(object) = self.ipc_object(perm, kind)?
                    {
                        objects.push(object);
                    }
                }
                Err(error) => {
                    damage.get_or_insert(error);
                }
            }
        }
        Ok((objects, damage))
    }

    /// The object whose `struct kern_ipc_perm` lies at `perm`; `None` where it is being removed.
    fn ipc_object(&self, perm: VirtAddr, kind: Kind) -> Result<Option<Object>> {
        let layout = self.layout::<KernIpcPerm>()?;
        let permissions = self.read_bytes(perm, layout.size_of).map_err(KernelError::from);
        if let Ok(bytes) = &permissions
            && layout.deleted.u64_in(bytes)? != 0
        {
            return Ok(None);
        }
        let permissions = permissions.and_then(|bytes| {
            Ok(Permissions {
                key: layout.key.u64_in(&bytes)?,
                id: i64::from(layout.id.u64_in(&bytes)? as u32 as i32),
                uid: layout.uid.u64_in(&bytes)?,
                gid: layout.gid.u64_in(&bytes)?,
                mode: layout.mode.u64_in(&bytes)?,
            })
        });
        let (address, content) = match kind {
            Kind::Semaphores => {
                let layout = self.layout::<SemArray>()?;
                let address = layout.perm.container(perm)?;
                (address, layout.count.u64(self, address).map(Content::Semaphores))
            }
            Kind::Messages => {
                let layout = self.layout::<MsgQueue>()?;
                let address = layout.perm.container(perm)?;
                let content = || {
                    Ok(Content::Messages {
                        bytes: layout.bytes.u64(self, address)?,
                        count: layout.count.u64(self, address)?,
                    })
                };
                (address, content())
            }
            Kind::SharedMemory => {
                let layout = self.layout::<ShmidKernel>()?;
                let address = layout.perm.container(perm)?;
                let content = || {
                    Ok(Content::SharedMemory {
                        size: layout.size.u64(self, address)?,
                        attached: layout.attached.u64(self, address)?,
                        file: layout.file.pointer(self, address)?,
                    })
                };
                (address, content())
            }
        };
        Ok(Some(Object { address, permissions, content }))
    }

    /// How much of the shared memory behind `file` is in memory and in swap, in pages.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn segment_pages(&self, file: VirtAddr) -> Result<SharedPages> {
        let layout = self.layout::<ShmInode>()?;
        let inode = self.layout::<ShmFile>()?.inode.pointer(self, file)?;
        let resident = layout
            .mapping
            .pointer(self, inode)
            .and_then(|mapping| self.layout::<ShmMapping>()?.pages.u64(self, mapping));
        let huge = self.huge_page_order(file, inode)?;
        let swapped = match huge {
            Some(_) => Ok(0),
            None => self
                .layout::<ShmemInode>()
                .and_then(|shmem| shmem.swapped.u64(self, shmem.inode.container(inode)?)),
        };
        let resident = resident.map(|pages| pages << huge.unwrap_or(0));
        Ok(SharedPages { inode, resident, swapped })
    }

    /// How many pages, as a power of two, each page of a file of huge pages is.
    fn huge_page_order(&self, file: VirtAddr, inode: VirtAddr) -> Result<Option<u64>> {
        let Ok(hugetlbfs) = self.symbol("hugetlbfs_file_operations") else { return Ok(None) };
        if self.layout::<ShmFile>()?.operations.pointer(self, file)? != hugetlbfs {
            return Ok(None);
        }
        let superblock = self.layout::<ShmInode>()?.superblock.pointer(self, inode)?;
        let private = self.layout::<ShmSuperBlock>()?.private.pointer(self, superblock)?;
        let hstate = self.layout::<HugetlbfsSuperBlock>()?.hstate.pointer(self, private)?;
        Ok(Some(self.layout::<HugePages>()?.order.u64(self, hstate)?.min(18)))
    }
}
