//! Finding every task, also in a kernel whose lists are damaged.
//!
//! Processes stand on `init_task.tasks` and each one's threads on its `signal_struct`. Where those
//! lists break off, the table of process ids ([`crate::pid_table`]) knows the tasks as well; and a
//! task that runs on a CPU is known from there.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout::Field;
use crate::list::ListHead;
use crate::tasks::{SignalStruct, Task, TaskStruct};
use mortis_memory::VirtAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::OnceLock;

/// Every task that could be found.
#[derive(Debug, Default)]
pub struct TaskList {
    /// The idle task of each CPU in order, then all others by pid.
    pub tasks: Vec<Task>,
    /// How many of them, at the front, are idle tasks.
    pub idle: usize,
    /// How many only the table of process ids still knew.
    pub recovered: usize,
    /// What was in the way of finding more.
    pub problems: Vec<KernelError>,
    by_address: OnceLock<FxHashMap<VirtAddr, usize>>,
}

impl TaskList {
    pub(crate) fn read(kernel: &Kernel) -> Self {
        let mut search = Search { kernel, seen: FxHashSet::default(), list: TaskList::default() };
        search.add_idle_tasks();
        let idle = search.list.tasks.len();
        if let Err(error) = search.add_processes() {
            search.list.problems.push(error);
        }
        search.add_running_tasks();
        if !search.list.problems.is_empty() {
            search.add_from_pid_table();
        }
        let mut list = search.list;
        list.idle = idle;
        list.tasks[idle..].sort_unstable_by_key(|task| (task.pid, task.address));
        list
    }

    /// The first task with process id `pid`.
    pub fn by_pid(&self, pid: u32) -> Option<Task> {
        if let Some(idle) = self.tasks[..self.idle].iter().find(|task| task.pid == pid) {
            return Some(*idle);
        }
        let others = &self.tasks[self.idle..];
        let first = others.partition_point(|task| task.pid < pid);
        others.get(first).filter(|task| task.pid == pid).copied()
    }

    /// How many tasks have the process id `pid`: more than one have 0.
    pub fn count_of_pid(&self, pid: u32) -> usize {
        let others = &self.tasks[self.idle..];
        let first = others.partition_point(|task| task.pid < pid);
        let end = others.partition_point(|task| task.pid <= pid);
        self.tasks[..self.idle].iter().filter(|task| task.pid == pid).count() + (end - first)
    }

    /// The task whose `struct task_struct` lies at `address`.
    pub fn by_address(&self, address: VirtAddr) -> Option<Task> {
        self.tasks.get(self.position(address)?).copied()
    }

    /// Where in [`Self::tasks`] the task is whose `struct task_struct` is at `address`.
    pub fn position(&self, address: VirtAddr) -> Option<usize> {
        let index = self.by_address.get_or_init(|| {
            self.tasks.iter().enumerate().map(|(index, task)| (task.address, index)).collect()
        });
        index.get(&address).copied()
    }
}

/// The members that the search itself needs, looked up once.
struct Search<'k> {
    kernel: &'k Kernel,
    seen: FxHashSet<VirtAddr>,
    list: TaskList,
}

impl Search<'_> {
    fn add(&mut self, task: Task) {
        if self.seen.insert(task.address) {
            self.list.tasks.push(task);
        }
    }

    /// Adds the idle tasks of all CPUs that are plugged in: `smp_send_stop()` takes the other CPUs
    /// of a panicking machine off the online mask.
    fn add_idle_tasks(&mut self) {
        let cpus = self.kernel.cpus().map(|cpus| cpus.present.clone()).unwrap_or_else(|error| {
            self.list.problems.push(error);
            Vec::new()
        });
        for cpu in cpus {
            match self.kernel.idle_task(cpu) {
                // A CPU that never came up may have none.
                Ok(task) if task.address.is_null() => {}
                Ok(task) => self.add(task),
                Err(error) => self.list.problems.push(error),
            }
        }
        if self.list.tasks.is_empty()
            && let Ok(address) = self.kernel.symbol("init_task")
        {
            self.add(Task { address, pid: 0 });
        }
    }

    /// Walks `init_task.tasks`, the list of thread group leaders, and each one's threads.
    fn add_processes(&mut self) -> Result<()> {
        let kernel = self.kernel;
        let layout = kernel.task_struct()?;
        let thread_head = kernel.layout::<SignalStruct>()?.thread_head.clone();
        let init_task = kernel.symbol("init_task")?;
        for link in ListHead::new(kernel, "list of processes", layout.tasks.address(init_task)?) {
            let leader = match link {
                Ok(link) => layout.tasks.container(link)?,
                Err(error) => {
                    self.list.problems.push(error);
                    break;
                }
            };
            match layout.pid.u64(kernel, leader) {
                Ok(pid) => self.add(Task { address: leader, pid: pid as u32 }),
                Err(error) => {
                    self.list.problems.push(error);
                    continue;
                }
            }
            if let Err(error) = self.add_threads(&layout, &thread_head, leader) {
                self.list.problems.push(error);
            }
        }
        Ok(())
    }

    /// Walks the threads of the process that `leader` leads. The leader comes first on the list,
    /// so that the walk needs the `signal_struct`'s address only, to know where the list ends, and
    /// not its page.
    fn add_threads(
        &mut self,
        layout: &TaskStruct,
        thread_head: &Field,
        leader: VirtAddr,
    ) -> Result<()> {
        let kernel = self.kernel;
        if !thread_head.exists() {
            return self.add_thread_group(layout, leader);
        }
        let head = thread_head.address(layout.signal.pointer(kernel, leader)?)?;
        let threads = ListHead::new(kernel, "list of threads", head);
        for link in threads.after(layout.thread_node.address(leader)?) {
            let address = layout.thread_node.container(link?)?;
            let pid = layout.pid.u64(kernel, address)? as u32;
            self.add(Task { address, pid });
        }
        Ok(())
    }

    /// Walks the ring of threads of a kernel before 3.14 (0c740d0afc3b), on which the leader is
    /// one.
    fn add_thread_group(&mut self, layout: &TaskStruct, leader: VirtAddr) -> Result<()> {
        let kernel = self.kernel;
        let ring = layout.thread_group.address(leader)?;
        for link in ListHead::new(kernel, "list of threads", ring) {
            let address = layout.thread_group.container(link?)?;
            let pid = layout.pid.u64(kernel, address)? as u32;
            self.add(Task { address, pid });
        }
        Ok(())
    }

    /// Adds what runs on a CPU and is on no list: a task that is being born or buried.
    fn add_running_tasks(&mut self) {
        for cpu in self.kernel.cpus().map(|cpus| cpus.present.clone()).unwrap_or_default() {
            if let Ok(task) = self.kernel.current_task(cpu)
                && task.pid != 0
            {
                self.add(task);
            }
        }
    }

    fn add_from_pid_table(&mut self) {
        let before = self.list.tasks.len();
        match self.kernel.pid_table() {
            Ok(tasks) => tasks.into_iter().for_each(|task| self.add(task)),
            Err(error) => self.list.problems.push(error),
        }
        self.list.recovered = self.list.tasks.len() - before;
    }
}
