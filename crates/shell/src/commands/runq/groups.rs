//! `runq -g`: the queues by groups of tasks.

use super::{Damage, QueuedTask, current};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::run_queues::{Member, RealTimeMember, RunQueueReader};
use mortis_kernel::task_groups::TaskGroup;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::collections::HashSet;

/// What is in a queue.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    /// A group, with its own queue, whose entries follow.
    Group {
        depth: usize,
        /// Among real-time tasks.
        priority: Option<Known<i64>>,
        task_group: Hex,
        queue: Hex,
        name: Option<String>,
        is_throttled: Option<bool>,
    },
    /// A task.
    Task {
        depth: usize,
        priority: Known<i64>,
        #[serde(flatten)]
        task: QueuedTask,
        is_current: bool,
    },
    /// Nothing is to run in a group.
    Empty { depth: usize },
}

/// Which of the two kinds of queues.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Class {
    Fair,
    RealTime,
}

impl Class {
    /// Columns in front of a task that is `depth` groups deep.
    const fn indent(self, depth: usize) -> usize {
        match self {
            Class::Fair => 5 + 3 * depth,
            Class::RealTime => 5 + 6 * depth,
        }
    }

    const fn queue(self) -> &'static str {
        match self {
            Class::Fair => "CFS_RQ",
            Class::RealTime => "RT_RQ",
        }
    }
}

/// The root's queue of one kind on a CPU.
#[derive(Serialize)]
struct RootQueue {
    class: Class,
    queue: Hex,
    entries: Vec<Entry>,
}

/// A CPU's queues by groups.
#[derive(Serialize)]
struct GroupsReport {
    cpu: u32,
    current: Option<QueuedTask>,
    root_task_group: Hex,
    queues: Vec<RootQueue>,
    #[serde(skip)]
    root_name: &'static str,
    #[serde(skip)]
    is_first: bool,
}

impl Render for GroupsReport {
    fn render(&self, out: &mut String, style: Style) {
        if !self.is_first {
            out.push('\n');
        }
        out.push_str(&format!("{}\n  CURRENT: ", style.heading(&format!("CPU {}", self.cpu))));
        match &self.current {
            Some(task) => out.push_str(&format!("{task}\n")),
            None => out.push_str("0\n"),
        }
        for queue in &self.queues {
            let (root, name, class) = (self.root_task_group.0, self.root_name, queue.class);
            let address = queue.queue.0;
            out.push_str(&format!(
                "  {name}_TASK_GROUP: {root:x}  {}: {address:x}\n",
                class.queue()
            ));
            for entry in &queue.entries {
                render_entry(out, entry, class);
            }
        }
    }
}

fn render_entry(out: &mut String, entry: &Entry, class: Class) {
    match entry {
        Entry::Group { depth, priority, task_group, queue, name, is_throttled } => {
            match priority {
                Some(priority) => {
                    let indent = class.indent(depth.saturating_sub(1));
                    out.push_str(&format!("{:indent$}[{priority:>3}] ", ""));
                }
                None => out.push_str(&format!("{:indent$}", "", indent = 2 + 3 * depth)),
            }
            out.push_str(&format!(
                "TASK_GROUP: {:x}  {}: {:x}",
                task_group.0,
                class.queue(),
                queue.0
            ));
            if class == Class::Fair {
                out.push(' ');
            }
            if let Some(name) = name {
                out.push_str(&format!(" <{name}>"));
            }
            if *is_throttled == Some(true) {
                out.push_str(" (THROTTLED)");
            }
            out.push('\n');
        }
        Entry::Task { depth, priority, task, is_current } => {
            let mark = if *is_current { " [CURRENT]" } else { "" };
            let indent = class.indent(*depth);
            out.push_str(&format!("{:indent$}[{priority:>3}] {task}{mark}\n", ""));
        }
        Entry::Empty { depth } => {
            let indent = class.indent(*depth);
            out.push_str(&format!("{:indent$}[no tasks queued]\n", ""));
        }
    }
}

/// The way through the groups of one CPU.
struct Walk<'a> {
    kernel: &'a Kernel,
    reader: &'a RunQueueReader<'a>,
    groups: &'a [TaskGroup],
    class: Class,
    cpu: u32,
    current: Option<VirtAddr>,
    /// Groups that have not been shown yet, by their place.
    unshown: Vec<bool>,
    entered: HashSet<VirtAddr>,
    entries: Vec<Entry>,
    damage: Damage,
}

impl Walk<'_> {
    fn ok<T>(&mut self, result: Result<T, KernelError>) -> Option<T> {
        result
            .map_err(|error| {
                self.damage.get_or_insert(error);
            })
            .ok()
    }

    fn queue_of(&mut self, group: VirtAddr) -> Option<VirtAddr> {
        let queue = match self.class {
            Class::Fair => self.kernel.fair_queue_of_group(group, self.cpu).map(Some),
            Class::RealTime => self.kernel.real_time_queue_of_group(group, self.cpu),
        };
        // A CPU that never came up has none.
        self.ok(queue).flatten().filter(|queue| !queue.is_null())
    }

    fn group_of(&mut self, queue: VirtAddr) -> Option<VirtAddr> {
        let group = match self.class {
            Class::Fair => self.reader.group_of_fair(queue),
            Class::RealTime => self.reader.group_of_real_time(queue),
        };
        self.ok(group)
    }

    fn count(&mut self, queue: VirtAddr) -> u64 {
        let count = match self.class {
            Class::Fair => self.reader.fair_count(queue),
            Class::RealTime => self.reader.real_time_count(queue),
        };
        self.ok(count).unwrap_or(0)
    }

    /// The members of a queue, what it is running in front of them if that is a group.
    fn members(&mut self, queue: VirtAddr) -> Vec<RealTimeMember> {
        let (members, damage) = match self.class {
            Class::Fair => {
                let (members, damage) = self.reader.fair_members(queue);
                let running = self.reader.fair_current(queue);
                let running = self.ok(running).flatten().filter(|member| match member {
                    Member::Group(_) => true,
                    Member::Task(task) => Some(*task) == self.current,
                });
                let all = running.into_iter().chain(members);
                let unranked = |member| RealTimeMember { priority: 0, member };
                (all.map(unranked).collect(), damage)
            }
            Class::RealTime => self.reader.real_time_members(queue),
        };
        damage.into_iter().for_each(|error| {
            self.damage.get_or_insert(error);
        });
        members
    }

    /// Shows that a group is here, with its queue.
    fn show_group(&mut self, index: usize, depth: usize, queue: VirtAddr, priority: Option<u64>) {
        let Some(group) = self.groups.get(index) else { return };
        let (priority, is_throttled) = match self.class {
            Class::Fair => (None, self.reader.is_fair_throttled(queue)),
            Class::RealTime => {
                let priority = priority.map(|priority| Known::Value(priority.cast_signed()));
                let highest = || self.reader.highest_priority(queue).into();
                let throttled = self.reader.is_real_time_throttled(queue);
                (Some(priority.unwrap_or_else(highest)), throttled)
            }
        };
        self.entries.push(Entry::Group {
            depth,
            priority,
            task_group: Hex(group.address.0),
            queue: Hex(queue.0),
            name: group.name.clone(),
            is_throttled,
        });
        if let Some(unshown) = self.unshown.get_mut(index) {
            *unshown = false;
        }
    }

    /// Shows what is in `queue`, `depth` groups deep. Gives the number of things shown.
    fn show(&mut self, depth: usize, queue: VirtAddr, priority: Option<u64>) -> usize {
        if !self.entered.insert(queue) {
            let (list, problem) = (self.class.queue(), "group is in itself");
            self.damage.get_or_insert(KernelError::DamagedList { list, problem, at: queue });
            return 0;
        }
        if depth > 0
            && let Some(group) = self.group_of(queue)
            && let Some(index) = self.groups.iter().position(|known| known.address == group)
        {
            self.show_group(index, depth, queue, priority);
        }
        let mut shown = 0;
        for RealTimeMember { priority, member } in self.members(queue) {
            shown += 1;
            match member {
                Member::Group(inner) => shown += self.show(depth + 1, inner, Some(priority)),
                Member::Task(task) => {
                    let priority = match self.class {
                        Class::Fair => self.reader.priority(task).into(),
                        Class::RealTime => Known::Value(priority.cast_signed()),
                    };
                    self.entries.push(Entry::Task {
                        depth,
                        priority,
                        task: QueuedTask::read(self.kernel, task),
                        is_current: self.class == Class::Fair && Some(task) == self.current,
                    });
                }
            }
        }
        shown += self.show_throttled(depth, queue);
        if shown == 0 {
            self.entries.push(Entry::Empty { depth });
        }
        shown
    }

    /// Shows the groups in that of `queue` that have tasks to run and are not in `queue`: they have
    /// used up their bandwidth, or a group around them has.
    fn show_throttled(&mut self, depth: usize, queue: VirtAddr) -> usize {
        let mut shown = 0;
        let Some(group) = self.group_of(queue) else { return 0 };
        for index in 0..self.groups.len() {
            let Some(inner) = self.groups.get(index) else { break };
            let parent = inner.parent.and_then(|parent| self.groups.get(parent));
            let is_inside = inner.depth == depth + 1
                && parent.is_some_and(|parent| parent.address == group)
                && self.unshown.get(index) == Some(&true);
            if !is_inside {
                continue;
            }
            let Some(inner_queue) = self.queue_of(inner.address).filter(|inner| *inner != queue)
            else {
                continue;
            };
            if self.count(inner_queue) == 0 {
                shown += self.show_throttled(depth + 1, inner_queue);
                continue;
            }
            self.show_groups_around(index);
            shown += 1 + self.show(depth + 1, inner_queue, None);
        }
        shown
    }

    /// Shows the groups around one that have not been shown, the outermost first.
    fn show_groups_around(&mut self, index: usize) {
        let mut around = Vec::new();
        let mut next = self.groups.get(index).and_then(|group| group.parent);
        while let Some(index) = next.filter(|&index| self.unshown.get(index) == Some(&true)) {
            around.push(index);
            next = self.groups.get(index).and_then(|group| group.parent);
        }
        for index in around.into_iter().rev() {
            let Some((address, depth)) = self.groups.get(index).map(|g| (g.address, g.depth))
            else {
                continue;
            };
            if let Some(queue) = self.queue_of(address) {
                self.show_group(index, depth, queue, None);
            }
        }
    }
}

pub(super) fn run(
    session: &Session,
    cpus: &[u32],
    out: &mut Output,
) -> Result<Damage, CommandError> {
    let kernel = &*session.kernel;
    let reader = RunQueueReader::new(kernel)?;
    let root = kernel.root_task_group()?;
    let (groups, mut damage) = kernel.task_groups()?;
    // `init_task_group` until 2.6.38.
    let root_name = if kernel.symbol("root_task_group").is_ok() { "ROOT" } else { "INIT" };
    for (position, &cpu) in cpus.iter().enumerate() {
        out.check()?;
        let running = current(session, cpu);
        let mut queues = Vec::new();
        let roots = [
            (Class::RealTime, kernel.real_time_queue_of_group(root, cpu)?),
            (Class::Fair, Some(kernel.fair_queue_of_group(root, cpu)?)),
        ];
        for (class, queue) in roots {
            let Some(queue) = queue else { continue };
            let mut walk = Walk {
                kernel,
                reader: &reader,
                groups: &groups,
                class,
                cpu,
                current: running.map(|task| task.address),
                unshown: groups.iter().map(|group| group.depth > 0).collect(),
                entered: HashSet::new(),
                entries: Vec::new(),
                damage: None,
            };
            walk.show(0, queue, None);
            damage = damage.or(walk.damage);
            queues.push(RootQueue { class, queue: Hex(queue.0), entries: walk.entries });
        }
        out.emit(&GroupsReport {
            cpu,
            current: running.map(|task| QueuedTask::read(kernel, task.address)),
            root_task_group: Hex(root.0),
            queues,
            root_name,
            is_first: position == 0,
        })?;
    }
    Ok(damage)
}
