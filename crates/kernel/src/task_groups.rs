//! Groups of tasks that share processor time as if they were one (kernel/sched/core.c).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::list::ListHead;
use crate::run_queues::MAX_GROUP_DEPTH;
use mortis_debuginfo::types::{Type, strip};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashSet;

layout! {
    /// A group: kernel/sched/sched.h.
    pub struct TaskGroupStruct = "task_group" {
        /// The control group that it belongs to; null for the root and for autogroups.
        cgroup: "css.cgroup",
        /// By CPU; per-CPU memory in 7.x, an array of pointers before.
        cfs_rq: "cfs_rq",
        /// By CPU; only with CONFIG_RT_GROUP_SCHED.
        rt_rq: "rt_rq",
        parent: "parent",
        siblings: "siblings",
        children: "children",
    }
}

/// More groups than any machine has.
const MAX_GROUPS: usize = 1 << 20;

/// A group of tasks.
#[derive(Clone, Debug)]
pub struct TaskGroup {
    /// Its `struct task_group`.
    pub address: VirtAddr,
    /// How many groups it is in.
    pub depth: usize,
    /// The group it is in, by its place in the list of groups.
    pub parent: Option<usize>,
    /// The last part of its control group's path, where it has one.
    pub name: Option<String>,
}

impl Kernel {
    /// The group that all others are in.
    ///
    /// # Errors
    /// When there is no such symbol.
    pub fn root_task_group(&self) -> Result<VirtAddr> {
        self.first_symbol(&["root_task_group", "init_task_group"])
    }

    /// Every group, the outer ones first, and what kept others from being read.
    ///
    /// # Errors
    /// When there are no groups in this kernel.
    pub fn task_groups(&self) -> Result<(Vec<TaskGroup>, Option<KernelError>)> {
        let layout = self.layout::<TaskGroupStruct>()?;
        let root = self.root_task_group()?;
        let name = |group| {
            let cgroup = layout.cgroup.pointer(self, group).ok()?;
            if cgroup.is_null() { None } else { self.cgroup_name(cgroup).ok() }
        };
        let mut seen = HashSet::from([root]);
        let mut groups =
            vec![TaskGroup { address: root, depth: 0, parent: None, name: name(root) }];
        let mut damage = None;
        // Breadth first, so that the outer ones come first.
        let mut next = 0;
        while let Some(group) = groups.get(next) {
            let (address, depth) = (group.address, group.depth + 1);
            for child in
                ListHead::new(self, "task_group.children", layout.children.address(address)?)
            {
                let child = child.and_then(|child| layout.siblings.container(child));
                let problem = match child {
                    Ok(_) if depth > MAX_GROUP_DEPTH => "groups are nested too deep",
                    Ok(_) if groups.len() >= MAX_GROUPS => "list does not end",
                    Ok(child) if seen.insert(child) => {
                        let parent = Some(next);
                        groups.push(TaskGroup { address: child, depth, parent, name: name(child) });
                        continue;
                    }
                    Ok(_) => "group is listed twice",
                    Err(error) => {
                        damage.get_or_insert(error);
                        break;
                    }
                };
                let list = "task_group.children";
                damage.get_or_insert(KernelError::DamagedList { list, problem, at: address });
                break;
            }
            next += 1;
        }
        Ok((groups, damage))
    }

    /// The group's queue of fair tasks on CPU `cpu`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn fair_queue_of_group(&self, group: VirtAddr, cpu: u32) -> Result<VirtAddr> {
        let field = &self.layout::<TaskGroupStruct>()?.cfs_rq;
        self.queue_of_group(field, group, cpu)
    }

    /// The group's queue of real-time tasks on CPU `cpu`; `None` without CONFIG_RT_GROUP_SCHED.
    ///
    /// # Errors
    /// What could not be read.
    pub fn real_time_queue_of_group(&self, group: VirtAddr, cpu: u32) -> Result<Option<VirtAddr>> {
        let field = &self.layout::<TaskGroupStruct>()?.rt_rq;
        match field.exists() {
            true => self.queue_of_group(field, group, cpu).map(Some),
            false => Ok(None),
        }
    }

    fn queue_of_group(&self, field: &Field, group: VirtAddr, cpu: u32) -> Result<VirtAddr> {
        let queues = field.pointer(self, group)?;
        let types = self.types()?;
        let (_, ty) = strip(types, field.ty()?)?;
        let is_array = match *ty {
            Type::Pointer { target, .. } => {
                matches!(*strip(types, target)?.1, Type::Pointer { .. })
            }
            _ => false,
        };
        match is_array {
            true => Ok(self.read_pointer(queues.offset(u64::from(cpu) * 8))?),
            false => self.cpus()?.address(queues, cpu),
        }
    }
}
