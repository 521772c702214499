//! The table of process ids: a second way to every task, apart from the task lists.
//!
//! `init_pid_ns.idr` maps each process id to its `struct pid`, which knows the task; since
//! 95846ecf9dac (4.15).

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::tasks::Task;
use crate::xarray;
use mortis_memory::VirtAddr;

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
        map: "idr_rt",
        /// What the map's first number stands for; since 4.16.
        base: "idr_base",
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

impl Kernel {
    /// Every task that the table of process ids knows, by process id.
    ///
    /// Entries that cannot be read are left out.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn pid_table(&self) -> Result<Vec<Task>> {
        let namespace = self.symbol("init_pid_ns")?;
        let idr = self.layout::<PidNamespace>()?.idr.address(namespace)?;
        let map = self.layout::<Idr>()?.map.address(idr)?;
        let entries = xarray::entries(self, "table of process ids", map)?;
        // What a damaged table still holds is better than nothing.
        let pids = entries.map_while(Result::ok).filter_map(|(_, entry)| xarray::object(entry));
        let pid_struct = self.layout::<PidStruct>()?;
        let links = self.layout::<TaskPidLinks>()?.links.offset()?;
        let task_of = |pid: VirtAddr| {
            // `tasks` is an array of list heads by `enum pid_type`; PIDTYPE_PID is the first.
            let node = pid_struct.tasks.pointer(self, pid).ok()?;
            if node.is_null() {
                return None;
            }
            let task = self.task_at(node.back(links)).ok()?;
            // A stale slot of freed memory has no sane id.
            (task.pid != 0 && task.pid <= PID_MAX_LIMIT).then_some(task)
        };
        Ok(pids.filter_map(task_of).collect())
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
