//! Run queues: which tasks each CPU has to run (kernel/sched/).
//!
//! Fair tasks are in a red-black tree by virtual run time (by virtual deadline since EEVDF, 6.6),
//! real-time tasks in lists by priority, deadline tasks in a tree by deadline. Where tasks are
//! scheduled in groups, a queue's member may be a group, with a queue of its own.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use crate::rb_tree::RbTree;
use crate::tasks::RunQueue;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashSet;
use std::sync::Arc;

layout! {
    /// A CPU's queues: kernel/sched/sched.h.
    pub struct RunQueues = "rq" {
        cfs: "cfs",
        rt: "rt",
        dl: "dl",
    }
}

layout! {
    /// Fair tasks to run: kernel/sched/sched.h.
    pub struct CfsRq = "cfs_rq" {
        tasks_timeline: "tasks_timeline",
        curr: "curr",
        /// `nr_running` until 6.13.
        nr_running: "nr_queued" | "nr_running",
        tg: "tg",
        throttled: "throttled",
    }
}

layout! {
    /// A fair task, or a group of such: include/linux/sched.h.
    pub struct SchedEntity = "sched_entity" {
        run_node: "run_node",
        /// A group's queue; null for a task. Only with CONFIG_FAIR_GROUP_SCHED.
        my_q: "my_q",
        on_rq: "on_rq",
    }
}

layout! {
    /// Real-time tasks to run: kernel/sched/sched.h.
    pub struct RtRq = "rt_rq" {
        active: "active",
        queue: "active.queue",
        rt_nr_running: "rt_nr_running",
        highest_prio: "highest_prio.curr" | "highest_prio",
        rt_throttled: "rt_throttled",
        tg: "tg",
    }
}

layout! {
    /// A real-time task, or a group of such: include/linux/sched.h.
    pub struct SchedRtEntity = "sched_rt_entity" {
        run_list: "run_list",
        /// A group's queue; null for a task. Only with CONFIG_RT_GROUP_SCHED.
        my_q: "my_q",
    }
}

layout! {
    /// Deadline tasks to run: kernel/sched/sched.h.
    pub struct DlRq = "dl_rq" {
        root: "root" | "rb_root",
    }
}

layout! {
    /// A deadline task, or since 6.8 a server that runs others: include/linux/sched.h.
    pub struct SchedDlEntity = "sched_dl_entity" {
        rb_node: "rb_node",
        dl_server: "dl_server",
    }
}

layout! {
    /// A task as the scheduler sees it: include/linux/sched.h.
    pub struct SchedTask = "task_struct" {
        se: "se",
        rt: "rt",
        dl: "dl",
        on_rq: "on_rq" | "se.on_rq",
        prio: "prio",
        cpu: "thread_info.cpu" | "cpu",
    }
}

/// Groups in groups: more than `INT_MAX` would be a stack overflow in the kernel, too.
pub const MAX_GROUP_DEPTH: usize = 64;

/// More members than the queues of a CPU ever hold.
const MAX_MEMBERS: usize = 1 << 22;

/// A member of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// A task, by its `struct task_struct`.
    Task(VirtAddr),
    /// A group, by its queue.
    Group(VirtAddr),
}

/// A member of a real-time queue, with its priority, 0 the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealTimeMember {
    /// The priority's number.
    pub priority: u64,
    /// The task or group.
    pub member: Member,
}

/// The queues of a CPU.
#[derive(Clone, Debug)]
pub struct CpuQueues {
    /// The CPU.
    pub cpu: u32,
    /// Its `struct rq`.
    pub rq: VirtAddr,
    /// Its `struct cfs_rq`.
    pub cfs: VirtAddr,
    /// Its `struct rt_rq`.
    pub rt: VirtAddr,
    /// Its `struct dl_rq`; `None` before 3.14.
    pub dl: Option<VirtAddr>,
}

/// Reads run queues.
pub struct RunQueueReader<'k> {
    kernel: &'k Kernel,
    queues: Arc<RunQueues>,
    cfs: Arc<CfsRq>,
    entity: Arc<SchedEntity>,
    rt: Arc<RtRq>,
    rt_entity: Arc<SchedRtEntity>,
    task: Arc<SchedTask>,
}

impl<'k> RunQueueReader<'k> {
    /// A reader of `kernel`'s run queues.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        Ok(Self {
            kernel,
            queues: kernel.layout()?,
            cfs: kernel.layout()?,
            entity: kernel.layout()?,
            rt: kernel.layout()?,
            rt_entity: kernel.layout()?,
            task: kernel.layout()?,
        })
    }

    /// The kernel.
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// The queues of CPU `cpu`.
    ///
    /// # Errors
    /// When there is no such CPU, or the kernel is older than 2.6.23.
    pub fn queues(&self, cpu: u32) -> Result<CpuQueues> {
        let rq = self.kernel.per_cpu("runqueues", cpu)?;
        Ok(CpuQueues {
            cpu,
            rq,
            cfs: self.queues.cfs.address(rq)?,
            rt: self.queues.rt.address(rq)?,
            dl: self.queues.dl.address(rq).ok(),
        })
    }

    /// What the clock of CPU `cpu`'s run queue showed, in nanoseconds.
    ///
    /// # Errors
    /// What could not be read.
    pub fn clock(&self, cpu: u32) -> Result<u64> {
        let rq = self.kernel.per_cpu("runqueues", cpu)?;
        self.kernel.layout::<RunQueue>()?.clock.u64(self.kernel, rq)
    }

    /// The priority of a task, 0 the highest, 120 that of a fair task that is not nice.
    ///
    /// # Errors
    /// What could not be read.
    pub fn priority(&self, task: VirtAddr) -> Result<i64> {
        self.task.prio.i64(self.kernel, task)
    }

    /// Whether a task is in a queue, and of which CPU.
    ///
    /// # Errors
    /// What could not be read.
    pub fn queued_on(&self, task: VirtAddr) -> Result<Option<u32>> {
        if self.task.on_rq.u64(self.kernel, task)? == 0 {
            return Ok(None);
        }
        Ok(Some(self.task.cpu.u64(self.kernel, task)? as u32))
    }

    /// Where the root of a fair queue's tree is.
    ///
    /// # Errors
    /// When the types lack it.
    pub fn fair_root(&self, cfs: VirtAddr) -> Result<VirtAddr> {
        self.cfs.tasks_timeline.address(cfs)
    }

    /// Where the lists of a real-time queue are.
    ///
    /// # Errors
    /// When the types lack it.
    pub fn real_time_array(&self, rt: VirtAddr) -> Result<VirtAddr> {
        self.rt.active.address(rt)
    }

    /// What the fair queue at `cfs` is running, which is not in its tree.
    ///
    /// # Errors
    /// What could not be read.
    pub fn fair_current(&self, cfs: VirtAddr) -> Result<Option<Member>> {
        let entity = self.cfs.curr.pointer(self.kernel, cfs)?;
        if entity.is_null() { Ok(None) } else { self.fair_member(entity).map(Some) }
    }

    /// Whose `struct sched_entity` that is.
    fn fair_member(&self, entity: VirtAddr) -> Result<Member> {
        if self.entity.my_q.exists() {
            let queue = self.entity.my_q.pointer(self.kernel, entity)?;
            if !queue.is_null() {
                return Ok(Member::Group(queue));
            }
        }
        Ok(Member::Task(self.task.se.container(entity)?))
    }

    /// The members of the fair queue at `cfs`, the next to run first, and what kept others from
    /// being read.
    pub fn fair_members(&self, cfs: VirtAddr) -> (Vec<Member>, Option<KernelError>) {
        let mut members = Vec::new();
        let damage = self.read_fair(cfs, &mut members).err();
        (members, damage)
    }

    fn read_fair(&self, cfs: VirtAddr, members: &mut Vec<Member>) -> Result<()> {
        let root = self.fair_root(cfs)?;
        for node in RbTree::new(self.kernel, "cfs_rq.tasks_timeline", root) {
            members.push(self.fair_member(self.entity.run_node.container(node?)?)?);
            bounded(members.len(), "cfs_rq.tasks_timeline", root)?;
        }
        Ok(())
    }

    /// The members of the real-time queue at `rt`, the most urgent first, and what kept others from
    /// being read.
    pub fn real_time_members(&self, rt: VirtAddr) -> (Vec<RealTimeMember>, Option<KernelError>) {
        let mut members = Vec::new();
        let mut damage = None;
        if let Err(error) = self.read_real_time(rt, &mut members, &mut damage) {
            damage.get_or_insert(error);
        }
        (members, damage)
    }

    fn read_real_time(
        &self,
        rt: VirtAddr,
        members: &mut Vec<RealTimeMember>,
        damage: &mut Option<KernelError>,
    ) -> Result<()> {
        const LIST_HEAD: u64 = 16;
        let lists = self.rt.queue.address(rt)?;
        let heads = self.kernel.read_bytes(lists, self.rt.queue.size()?.min(1 << 16))?;
        for (priority, head) in (0..).zip(heads.chunks_exact(LIST_HEAD as usize)) {
            let address = lists.offset(priority * LIST_HEAD);
            let first = head.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            if first == address.0 {
                continue;
            }
            for entry in ListHead::new(self.kernel, "rt_prio_array.queue", address) {
                let member = entry.and_then(|entry| self.real_time_member(entry));
                match member {
                    Ok(member) => members.push(RealTimeMember { priority, member }),
                    Err(error) => {
                        damage.get_or_insert(error);
                        break;
                    }
                }
                bounded(members.len(), "rt_prio_array.queue", address)?;
            }
        }
        Ok(())
    }

    /// Whose `run_list` that is.
    fn real_time_member(&self, entry: VirtAddr) -> Result<Member> {
        let entity = self.rt_entity.run_list.container(entry)?;
        if self.rt_entity.my_q.exists() {
            let queue = self.rt_entity.my_q.pointer(self.kernel, entity)?;
            if !queue.is_null() {
                return Ok(Member::Group(queue));
            }
        }
        Ok(Member::Task(self.task.rt.container(entity)?))
    }

    /// The tasks of the deadline queue at `dl`, the earliest deadline first, without the servers
    /// that run fair tasks in it, and what kept others from being read.
    pub fn deadline_tasks(&self, dl: VirtAddr) -> (Vec<VirtAddr>, Option<KernelError>) {
        let mut tasks = Vec::new();
        let damage = self.read_deadline(dl, &mut tasks).err();
        (tasks, damage)
    }

    fn read_deadline(&self, dl: VirtAddr, tasks: &mut Vec<VirtAddr>) -> Result<()> {
        let root = self.kernel.layout::<DlRq>()?.root.address(dl)?;
        let entity = self.kernel.layout::<SchedDlEntity>()?;
        for node in RbTree::new(self.kernel, "dl_rq.root", root) {
            let at = entity.rb_node.container(node?)?;
            if entity.dl_server.exists() && entity.dl_server.u64(self.kernel, at)? != 0 {
                continue;
            }
            tasks.push(self.task.dl.container(at)?);
            bounded(tasks.len(), "dl_rq.root", root)?;
        }
        Ok(())
    }

    /// All tasks of the fair queue at `cfs` and of the groups in it, in the order of their groups,
    /// and what kept others from being read.
    pub fn all_fair_tasks(&self, cfs: VirtAddr) -> (Vec<VirtAddr>, Option<KernelError>) {
        let mut gathering = Gathering::default();
        self.gather_fair(cfs, &mut gathering, 0);
        (gathering.tasks, gathering.damage)
    }

    fn gather_fair(&self, cfs: VirtAddr, gathering: &mut Gathering, depth: usize) {
        if !gathering.enter("cfs_rq", cfs, depth) {
            return;
        }
        // The group that is running is not in the tree, as a task that is running is not.
        match self.fair_current(cfs) {
            Ok(Some(Member::Group(queue))) => self.gather_fair(queue, gathering, depth + 1),
            Ok(_) => {}
            Err(error) => gathering.note(error),
        }
        let (members, damage) = self.fair_members(cfs);
        for member in members {
            match member {
                Member::Task(task) => gathering.tasks.push(task),
                Member::Group(queue) => self.gather_fair(queue, gathering, depth + 1),
            }
        }
        damage.into_iter().for_each(|error| gathering.note(error));
    }

    /// All tasks of the real-time queue at `rt` and of the groups in it, with their priorities, and
    /// what kept others from being read.
    pub fn all_real_time_tasks(&self, rt: VirtAddr) -> (Vec<(u64, VirtAddr)>, Option<KernelError>) {
        let mut gathering = Gathering::default();
        let mut tasks = Vec::new();
        self.gather_real_time(rt, &mut tasks, &mut gathering, 0);
        (tasks, gathering.damage)
    }

    fn gather_real_time(
        &self,
        rt: VirtAddr,
        tasks: &mut Vec<(u64, VirtAddr)>,
        gathering: &mut Gathering,
        depth: usize,
    ) {
        if !gathering.enter("rt_rq", rt, depth) {
            return;
        }
        let (members, damage) = self.real_time_members(rt);
        for RealTimeMember { priority, member } in members {
            match member {
                Member::Task(task) => tasks.push((priority, task)),
                Member::Group(queue) => self.gather_real_time(queue, tasks, gathering, depth + 1),
            }
        }
        damage.into_iter().for_each(|error| gathering.note(error));
    }

    /// How many members the fair queue at `cfs` has.
    ///
    /// # Errors
    /// What could not be read.
    pub fn fair_count(&self, cfs: VirtAddr) -> Result<u64> {
        self.cfs.nr_running.u64(self.kernel, cfs)
    }

    /// How many tasks the real-time queue at `rt` has.
    ///
    /// # Errors
    /// What could not be read.
    pub fn real_time_count(&self, rt: VirtAddr) -> Result<u64> {
        self.rt.rt_nr_running.u64(self.kernel, rt)
    }

    /// The number of the most urgent priority in the real-time queue at `rt`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn highest_priority(&self, rt: VirtAddr) -> Result<i64> {
        self.rt.highest_prio.i64(self.kernel, rt)
    }

    /// Whether the fair queue at `cfs` has used up its bandwidth; `None` without
    /// CONFIG_CFS_BANDWIDTH.
    pub fn is_fair_throttled(&self, cfs: VirtAddr) -> Option<bool> {
        Some(self.cfs.throttled.u64(self.kernel, cfs).ok()? != 0)
    }

    /// Whether the real-time queue at `rt` has used up its bandwidth; `None` without
    /// CONFIG_RT_GROUP_SCHED.
    pub fn is_real_time_throttled(&self, rt: VirtAddr) -> Option<bool> {
        Some(self.rt.rt_throttled.u64(self.kernel, rt).ok()? != 0)
    }

    /// The group whose queue the fair queue at `cfs` is.
    ///
    /// # Errors
    /// What could not be read.
    pub fn group_of_fair(&self, cfs: VirtAddr) -> Result<VirtAddr> {
        self.cfs.tg.pointer(self.kernel, cfs)
    }

    /// The group whose queue the real-time queue at `rt` is.
    ///
    /// # Errors
    /// What could not be read.
    pub fn group_of_real_time(&self, rt: VirtAddr) -> Result<VirtAddr> {
        self.rt.tg.pointer(self.kernel, rt)
    }
}

fn bounded(count: usize, list: &'static str, at: VirtAddr) -> Result<()> {
    match count > MAX_MEMBERS {
        true => Err(KernelError::DamagedList { list, problem: "does not end", at }),
        false => Ok(()),
    }
}

/// What was found of queues within queues.
#[derive(Default)]
struct Gathering {
    tasks: Vec<VirtAddr>,
    entered: HashSet<VirtAddr>,
    damage: Option<KernelError>,
}

impl Gathering {
    fn note(&mut self, error: KernelError) {
        self.damage.get_or_insert(error);
    }

    /// Whether the queue at `at` is to be read: not one that was, nor one too deep.
    fn enter(&mut self, list: &'static str, at: VirtAddr, depth: usize) -> bool {
        let problem = if depth > MAX_GROUP_DEPTH {
            "groups are nested too deep"
        } else if !self.entered.insert(at) {
            "group is in itself"
        } else {
            return true;
        };
        self.note(KernelError::DamagedList { list, problem, at });
        false
    }
}
