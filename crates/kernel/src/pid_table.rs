//! The table of process ids: a second way to every task, apart from the task lists.
//!
//! `init_pid_ns.idr` maps each process id to its `struct pid`, which knows the task; an xarray
//! since 4.20, a radix tree since 95846ecf9dac (4.15). Both are trees of nodes with 64 slots, and
//! differ in how a slot says that it holds another node.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A namespace of process ids: include/linux/pid_namespace.h.
    pub struct PidNamespace = "pid_namespace" {
        idr: "idr",
        /// Since 6.14; before that the global `pid_max`.
        pid_max: "pid_max",
    }
}

layout! {
    /// A map from small numbers to pointers: include/linux/idr.h.
    pub struct Idr = "idr" {
        head: "idr_rt.xa_head" | "idr_rt.rnode",
    }
}

layout! {
    /// A node of such a map: include/linux/xarray.h.
    pub struct IdrNode = "xa_node" | "radix_tree_node" {
        shift: "shift",
        slots: "slots",
    }
}

layout! {
    /// A process id and who has it: include/linux/pid.h.
    pub struct PidStruct = "pid" {
        tasks: "tasks",
    }
}

layout! {
    /// How a task hangs on its process ids.
    pub struct TaskPidLinks = "task_struct" {
        /// Since 2c4704756cab (4.19); before that `struct pid_link`s, whose node comes first.
        links: "pid_links" | "pids",
    }
}

/// `XA_CHUNK_SIZE`, `RADIX_TREE_MAP_SIZE`; 16 on small machines (CONFIG_BASE_SMALL).
const MAX_SLOTS: u64 = 64;
/// Nodes of a full table of `PID_MAX_LIMIT` (4 Mi) ids are 66,576.
const MAX_NODES: usize = 1 << 18;

impl Kernel {
    /// Every task that the table of process ids knows, by process id.
    ///
    /// Entries that cannot be read are left out.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn pid_table(&self) -> Result<Vec<Task>> {
        let namespace = self.symbol("init_pid_ns")?;
        let idr_layout = self.layout::<Idr>()?;
        let idr = self.layout::<PidNamespace>()?.idr.address(namespace)?;
        let head = idr_layout.head.pointer(self, idr)?;
        let is_xarray = idr_layout.head.name() == Some("idr_rt.xa_head");
        let pids = self.idr_entries(head, if is_xarray { 2 } else { 1 })?;
        let pid_struct = self.layout::<PidStruct>()?;
        let links = self.layout::<TaskPidLinks>()?.links.offset()?;
        let task_of = |pid: &VirtAddr| {
            // `tasks` is an array of list heads by `enum pid_type`; PIDTYPE_PID is the first.
            let node = pid_struct.tasks.pointer(self, *pid).ok()?;
            if node.is_null() {
                return None;
            }
            let task = self.task_at(node.back(links)).ok()?;
            // A stale slot of freed memory has no sane id.
            (task.pid != 0 && task.pid <= PID_MAX_LIMIT).then_some(task)
        };
        Ok(pids.iter().filter_map(task_of).collect())
    }

    /// The pointers in a map of ids, in order. `node_tag` is what the low two bits of a slot say
    /// that holds a node.
    fn idr_entries(&self, head: VirtAddr, node_tag: u64) -> Result<Vec<VirtAddr>> {
        let node_layout = self.layout::<IdrNode>()?;
        let slots = node_layout.slots.offset()?;
        let slot_count = (node_layout.slots.size()? / 8).clamp(1, MAX_SLOTS);
        let mut entries = Vec::new();
        // Slots still to look at, the next one last, with the shift their node must stay below.
        let mut pending = vec![(head, u64::MAX)];
        let mut nodes = 0;
        while let Some((entry, below)) = pending.pop() {
            if entry.0 & 3 != node_tag {
                if entry.0 & 3 == 0 && !entry.is_null() {
                    entries.push(entry);
                }
                continue;
            }
            let node = entry.back(node_tag);
            // Each level's shift is less than its parent's, so that a damaged tree ends.
            let Ok(shift) = node_layout.shift.u64(self, node) else { continue };
            if shift >= below {
                continue;
            }
            nodes += 1;
            if nodes > MAX_NODES {
                return Err(KernelError::DamagedList {
                    list: "table of process ids",
                    problem: "more nodes than there can be",
                    at: node,
                });
            }
            let Ok(bytes) = self.read_bytes(node.offset(slots), slot_count * 8) else { continue };
            let children = bytes.chunks_exact(8).rev().filter_map(|slot| slot.try_into().ok());
            pending.extend(children.map(|slot| (VirtAddr(u64::from_le_bytes(slot)), shift)));
        }
        Ok(entries)
    }

    /// The highest process id plus one that the kernel was set to give out.
    ///
    /// # Errors
    /// When neither place that kernels keep it in can be read.
    pub fn pid_max(&self) -> Result<u64> {
        self.read_symbol::<4>("pid_max").or_else(|_| {
            let namespace = self.symbol("init_pid_ns")?;
            self.layout::<PidNamespace>()?.pid_max.u64(self, namespace)
        })
    }
}

/// `PID_MAX_LIMIT` of 64-bit machines (include/linux/threads.h).
const PID_MAX_LIMIT: u32 = 4 << 20;
