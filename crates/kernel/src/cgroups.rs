//! Control groups: their hierarchies, and whose tasks they hold (kernel/cgroup/cgroup.c).
//!
//! A hierarchy has a root, and groups within groups. A task belongs to one group of each hierarchy;
//! which ones, it shares with others in a `struct css_set`. Version 2 is the hierarchy with number
//! 0, the default one; those of version 1 have controllers of their own or a name.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashSet;

layout! {
    /// A hierarchy: include/linux/cgroup-defs.h.
    pub struct CgroupRoot = "cgroup_root" {
        hierarchy_id: "hierarchy_id",
        subsys_mask: "subsys_mask",
        root_list: "root_list",
        cgrp: "cgrp",
        name: "name",
    }
}

layout! {
    /// A control group: include/linux/cgroup-defs.h.
    pub struct CgroupStruct = "cgroup" {
        kn: "kn",
        /// The state of the group itself, through which groups are linked.
        css: "self",
        children: "self.children",
        sibling: "self.sibling",
        cset_links: "cset_links",
        /// The state of each controller in the group, by the controller's number.
        subsys: "subsys",
        root: "root",
        level: "level",
    }
}

layout! {
    /// What a controller keeps for a group: include/linux/cgroup-defs.h.
    pub struct CgroupSubsysState = "cgroup_subsys_state" {
        id: "id",
        ss: "ss",
        flags: "flags",
    }
}

layout! {
    /// A controller: include/linux/cgroup-defs.h.
    pub struct CgroupSubsys = "cgroup_subsys" {
        name: "name",
        legacy_name: "legacy_name",
    }
}

layout! {
    /// The groups that tasks share: include/linux/cgroup-defs.h.
    pub struct CssSet = "css_set" {
        tasks: "tasks",
        mg_tasks: "mg_tasks",
        /// Since 4.13.
        nr_tasks: "nr_tasks",
        cgrp_links: "cgrp_links",
        dfl_cgrp: "dfl_cgrp",
    }
}

layout! {
    /// That tasks of a `css_set` are in a group: kernel/cgroup/cgroup-internal.h.
    pub struct CgroupLink = "cgrp_cset_link" {
        cgrp: "cgrp",
        cset: "cset",
        cset_link: "cset_link",
        cgrp_link: "cgrp_link",
    }
}

layout! {
    /// A task's groups: include/linux/sched.h.
    pub struct CgroupsOfTask = "task_struct" {
        cgroups: "cgroups",
        cg_list: "cg_list",
    }
}

layout! {
    /// A file or directory of a file system that the kernel keeps: include/linux/kernfs.h.
    pub struct KernfsNode = "kernfs_node" {
        /// `parent` until 6.14.
        parent: "__parent" | "parent",
        name: "name",
        /// A number since 5.5, a union with one before.
        id: "id" | "id.id" | "ino",
    }
}

/// A name in a kernfs is not longer (NAME_MAX).
const MAX_NAME: usize = 256;

/// Directories within each other: PATH_MAX is 4096.
const MAX_DEPTH: usize = 2048;

/// More groups than any machine has.
const MAX_CGROUPS: usize = 1 << 20;

/// More controllers than any kernel has (`CGROUP_SUBSYS_COUNT`).
const MAX_CONTROLLERS: u64 = 32;

/// More tasks than any machine has.
const MAX_TASKS: usize = 1 << 22;

/// A hierarchy of control groups.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// Its `struct cgroup_root`.
    pub address: VirtAddr,
    /// Its number; 0 for version 2.
    pub id: u64,
    /// Its outermost group.
    pub root: VirtAddr,
    /// Its controllers, by the names that user space knows.
    pub controllers: Vec<String>,
    /// Its name, if it was given one.
    pub name: String,
}

/// A control group.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Its `struct cgroup`.
    pub address: VirtAddr,
    /// How many groups it is in.
    pub depth: usize,
    /// Its path from the root of its hierarchy.
    pub path: Result<String>,
    /// The number of its directory, by which user space and BPF know it.
    pub id: Result<u64>,
    /// The tasks that are in it, without those of the groups in it.
    pub tasks: Result<u64>,
}

/// What a controller keeps for a group.
#[derive(Clone, Debug)]
pub struct ControllerState {
    /// The controller's name.
    pub controller: String,
    /// Its `struct cgroup_subsys_state`.
    pub address: VirtAddr,
    /// Its number among the controller's.
    pub id: Result<i64>,
}

impl Kernel {
    /// The hierarchies, version 2 first, and what kept others from being read.
    ///
    /// # Errors
    /// When the kernel has no control groups.
    pub fn cgroup_hierarchies(&self) -> Result<(Vec<Hierarchy>, Option<KernelError>)> {
        let layout = self.layout::<CgroupRoot>()?;
        let mut hierarchies = Vec::new();
        let mut damage = None;
        let head = self.symbol("cgroup_roots")?;
        let listed = ListHead::new(self, "cgroup_roots", head);
        let roots = listed.map(|link| link.and_then(|link| layout.root_list.container(link)));
        // The default one is in the list, too; it has a name of its own should the list be damaged.
        let default = self.symbol("cgrp_dfl_root").ok().map(Ok);
        let mut seen = HashSet::new();
        for root in default.into_iter().chain(roots) {
            match root {
                Ok(root) if !seen.insert(root) => {}
                Ok(root) => match self.read_hierarchy(&layout, root) {
                    Ok(hierarchy) => hierarchies.push(hierarchy),
                    Err(error) => damage = damage.or(Some(error)),
                },
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        hierarchies.sort_by_key(|hierarchy| hierarchy.id);
        Ok((hierarchies, damage))
    }

    fn read_hierarchy(&self, layout: &CgroupRoot, address: VirtAddr) -> Result<Hierarchy> {
        let id = layout.hierarchy_id.u64(self, address)?;
        let mask = layout.subsys_mask.u64(self, address).unwrap_or(0);
        let bits = (0..MAX_CONTROLLERS).filter(|bit| mask >> bit & 1 != 0);
        Ok(Hierarchy {
            address,
            id,
            root: layout.cgrp.address(address)?,
            controllers: bits.filter_map(|bit| self.controller_name(bit, id == 0).ok()).collect(),
            name: layout.name.text(self, address).unwrap_or_default(),
        })
    }

    /// What user space of version 2, or else of version 1, calls the controller with that number.
    fn controller_name(&self, number: u64, in_version_2: bool) -> Result<String> {
        let controller = self.read_pointer(self.symbol("cgroup_subsys")?.offset(number * 8))?;
        let layout = self.layout::<CgroupSubsys>()?;
        match layout.legacy_name.string(self, controller, MAX_NAME) {
            Ok(name) if !name.is_empty() && !in_version_2 => Ok(name),
            _ => layout.name.string(self, controller, MAX_NAME),
        }
    }

    /// The groups below `root` and `root` itself, each in front of those within it, and what kept
    /// others from being read.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn cgroups_below(&self, root: VirtAddr) -> Result<(Vec<Cgroup>, Option<KernelError>)> {
        let layout = self.layout::<CgroupStruct>()?;
        let mut damage = None;
        let mut seen = HashSet::from([root]);
        let mut groups = Vec::new();
        let mut pending = vec![(root, 0)];
        while let Some((address, depth)) = pending.pop() {
            groups.push(self.read_cgroup(address, depth));
            let mut children = Vec::new();
            for child in
                ListHead::new(self, "cgroup.self.children", layout.children.address(address)?)
            {
                let problem = match child.and_then(|child| layout.sibling.container(child)) {
                    Ok(_) if depth > MAX_DEPTH => "groups are nested too deep",
                    Ok(_) if seen.len() >= MAX_CGROUPS => "list does not end",
                    Ok(child) if seen.insert(child) => {
                        children.push((child, depth + 1));
                        continue;
                    }
                    Ok(_) => "group is listed twice",
                    Err(error) => {
                        damage.get_or_insert(error);
                        break;
                    }
                };
                let list = "cgroup.self.children";
                damage.get_or_insert(KernelError::DamagedList { list, problem, at: address });
                break;
            }
            pending.extend(children.into_iter().rev());
        }
        Ok((groups, damage))
    }

    /// The group at `address`, which is `depth` groups deep.
    pub fn read_cgroup(&self, address: VirtAddr, depth: usize) -> Cgroup {
        let id = || {
            let node = self.layout::<CgroupStruct>()?.kn.pointer(self, address)?;
            self.layout::<KernfsNode>()?.id.u64(self, node)
        };
        let path = self.cgroup_path(address);
        Cgroup { address, depth, path, id: id(), tasks: self.cgroup_task_count(address) }
    }

    /// The last part of the path of the control group at `cgroup`; `/` for the root.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cgroup_name(&self, cgroup: VirtAddr) -> Result<String> {
        let path = self.cgroup_path(cgroup)?;
        Ok(match path.rsplit('/').next() {
            Some("") | None => path,
            Some(name) => name.to_owned(),
        })
    }

    /// The path of the control group at `cgroup` from the root of its hierarchy.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cgroup_path(&self, cgroup: VirtAddr) -> Result<String> {
        let mut node = self.layout::<CgroupStruct>()?.kn.pointer(self, cgroup)?;
        let layout = self.layout::<KernfsNode>()?;
        let mut parts = Vec::new();
        for _ in 0..MAX_DEPTH {
            let parent = layout.parent.pointer(self, node)?;
            if parent.is_null() {
                parts.reverse();
                return Ok(format!("/{}", parts.join("/")));
            }
            parts.push(layout.name.string(self, node, MAX_NAME)?);
            node = parent;
        }
        let list = "kernfs_node.parent";
        Err(KernelError::DamagedList { list, problem: "list does not end", at: node })
    }

    /// The sets of tasks that are in the group at `cgroup`.
    fn css_sets(&self, cgroup: VirtAddr, sets: &mut Vec<VirtAddr>) -> Result<()> {
        let layout = self.layout::<CgroupLink>()?;
        let head = self.layout::<CgroupStruct>()?.cset_links.address(cgroup)?;
        for link in ListHead::new(self, "cgroup.cset_links", head) {
            let link = layout.cset_link.container(link?)?;
            sets.push(layout.cset.pointer(self, link)?);
            if sets.len() > MAX_TASKS {
                let (list, problem) = ("cgroup.cset_links", "list does not end");
                return Err(KernelError::DamagedList { list, problem, at: head });
            }
        }
        Ok(())
    }

    fn cgroup_task_count(&self, cgroup: VirtAddr) -> Result<u64> {
        let layout = self.layout::<CssSet>()?;
        let mut sets = Vec::new();
        self.css_sets(cgroup, &mut sets)?;
        if !layout.nr_tasks.exists() {
            let (tasks, damage) = self.cgroup_tasks(cgroup);
            return damage.map_or(Ok(tasks.len() as u64), Err);
        }
        let counts = sets.into_iter().map(|set| layout.nr_tasks.u64(self, set));
        counts.sum()
    }

    /// The tasks that are in the group at `cgroup`, without those of the groups in it, and what kept
    /// others from being read.
    pub fn cgroup_tasks(&self, cgroup: VirtAddr) -> (Vec<Task>, Option<KernelError>) {
        let mut sets = Vec::new();
        let mut damage = self.css_sets(cgroup, &mut sets).err();
        let mut tasks = Vec::new();
        for set in sets {
            if let Err(error) = self.read_css_set_tasks(set, &mut tasks) {
                damage.get_or_insert(error);
            }
        }
        tasks.sort_by_key(|task| task.pid);
        (tasks, damage)
    }

    fn read_css_set_tasks(&self, set: VirtAddr, tasks: &mut Vec<Task>) -> Result<()> {
        let layout = self.layout::<CssSet>()?;
        let link = self.layout::<CgroupsOfTask>()?;
        for list in [&layout.tasks, &layout.mg_tasks] {
            let head = list.address(set)?;
            for entry in ListHead::new(self, "css_set.tasks", head) {
                tasks.push(self.task_at(link.cg_list.container(entry?)?)?);
                if tasks.len() > MAX_TASKS {
                    let (list, problem) = ("css_set.tasks", "list does not end");
                    return Err(KernelError::DamagedList { list, problem, at: head });
                }
            }
        }
        Ok(())
    }

    /// The groups that a task is in, one of each hierarchy: the hierarchy's `struct cgroup_root` and
    /// the group.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cgroups_of_task(&self, task: Task) -> Result<Vec<(VirtAddr, VirtAddr)>> {
        let set = self.layout::<CgroupsOfTask>()?.cgroups.pointer(self, task.address)?;
        let layout = self.layout::<CgroupLink>()?;
        let groups = self.layout::<CgroupStruct>()?;
        let head = self.layout::<CssSet>()?.cgrp_links.address(set)?;
        let mut found = Vec::new();
        for link in ListHead::new(self, "css_set.cgrp_links", head) {
            let link = layout.cgrp_link.container(link?)?;
            let group = layout.cgrp.pointer(self, link)?;
            found.push((groups.root.pointer(self, group)?, group));
            if found.len() > MAX_CONTROLLERS as usize * 8 {
                let (list, problem) = ("css_set.cgrp_links", "list does not end");
                return Err(KernelError::DamagedList { list, problem, at: head });
            }
        }
        Ok(found)
    }

    /// What controllers keep for the group at `cgroup`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn controller_states(&self, cgroup: VirtAddr) -> Result<Vec<ControllerState>> {
        let subsys = &self.layout::<CgroupStruct>()?.subsys;
        let layout = self.layout::<CgroupSubsysState>()?;
        let names = self.layout::<CgroupSubsys>()?;
        let count = (subsys.size()? / 8).min(MAX_CONTROLLERS);
        let bytes = self.read_bytes(subsys.address(cgroup)?, count * 8)?;
        let pointers = bytes
            .chunks_exact(8)
            .map(|word| VirtAddr(word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))));
        let states = pointers.filter(|state| !state.is_null()).map(|address| {
            let controller = layout.ss.pointer(self, address)?;
            Ok(ControllerState {
                controller: names.name.string(self, controller, MAX_NAME)?,
                address,
                id: layout.id.i64(self, address),
            })
        });
        states.collect()
    }
}
