//! Tasks: what their `struct task_struct` says. Finding them is in [`crate::task_list`].

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::VirtAddr;
use std::fmt;
use std::sync::Arc;

use crate::task_list::TaskList;

layout! {
    /// A task: include/linux/sched.h.
    pub struct TaskStruct = "task_struct" {
        /// `state` until 2f064a59a11f (5.14).
        state: "__state" | "state",
        exit_state: "exit_state",
        flags: "flags",
        pid: "pid",
        tgid: "tgid",
        comm: "comm",
        stack: "stack",
        /// Here where CONFIG_THREAD_INFO_IN_TASK, else at the bottom of the stack.
        thread_info: "thread_info",
        /// In `thread_info` where CONFIG_THREAD_INFO_IN_TASK (bcf9033e5449, 5.16), before that in
        /// the task itself.
        cpu: "thread_info.cpu" | "cpu",
        mm: "mm",
        active_mm: "active_mm",
        tasks: "tasks",
        thread_node: "thread_node",
        /// The ring of a process's threads, without a head; until 8e1f385104ac (6.7).
        thread_group: "thread_group",
        signal: "signal",
        /// Its root and working directory (`struct fs_struct`).
        directories: "fs",
        /// Its table of open files (`struct files_struct`).
        open_files: "files",
        parent: "parent",
        real_parent: "real_parent",
        group_leader: "group_leader",
        children: "children",
        sibling: "sibling",
        /// Where the switched-out task's registers lie: x86's `struct thread_struct`.
        thread_sp: "thread.sp",
        /// When the task last arrived on a CPU, in nanoseconds.
        last_arrival: "sched_info.last_arrival",
        utime: "utime",
        stime: "stime",
        /// `real_start_time` until cf25e24db61c (5.5).
        start_boottime: "start_boottime" | "real_start_time",
        start_time: "start_time",
        policy: "policy",
        prio: "prio",
        static_prio: "static_prio",
        rt_priority: "rt_priority",
    }
}

layout! {
    /// What assembly code needs of a task: arch/x86/include/asm/thread_info.h. At the bottom of the
    /// stack without CONFIG_THREAD_INFO_IN_TASK (before 4.9), and then it knows the CPU.
    pub struct ThreadInfo = "thread_info" {
        cpu: "cpu",
    }
}

layout! {
    /// What the threads of a process share: include/linux/sched/signal.h.
    pub struct SignalStruct = "signal_struct" {
        thread_head: "thread_head",
        nr_threads: "nr_threads",
        rlim: "rlim",
        utime: "utime",
        stime: "stime",
    }
}

layout! {
    /// A CPU's run queue: kernel/sched/sched.h.
    pub struct RunQueue = "rq" {
        curr: "curr",
        idle: "idle",
        stop: "stop",
        cpu: "cpu",
        clock: "clock",
        nr_running: "nr_running",
    }
}

/// What a task was doing, from `__state` and `exit_state` together (include/linux/sched.h and
/// `task_state_array` in fs/proc/array.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    /// Running, or ready to.
    Running,
    /// Sleeping until an event or a signal.
    Interruptible,
    /// Sleeping until an event, deaf to signals.
    Uninterruptible,
    /// Stopped by a signal.
    Stopped,
    /// Stopped by a tracer.
    Traced,
    /// Gone, not yet reaped.
    Zombie,
    /// Going away.
    Dead,
    /// Parked (a kernel thread).
    Parked,
    /// A kernel thread with nothing to do, which does not count as load.
    Idle,
    /// Being woken up.
    Waking,
    /// Just created, never run.
    New,
    /// Bits that mean nothing here.
    Unknown(u64),
}

/// Bits of `__state` and `exit_state` (include/linux/sched.h). They have kept these values since
/// 8ef9925b02c2 (4.14).
mod state_bits {
    pub const INTERRUPTIBLE: u64 = 0x1;
    pub const UNINTERRUPTIBLE: u64 = 0x2;
    pub const STOPPED: u64 = 0x4;
    pub const TRACED: u64 = 0x8;
    pub const EXIT_DEAD: u64 = 0x10;
    pub const EXIT_ZOMBIE: u64 = 0x20;
    pub const PARKED: u64 = 0x40;
    pub const DEAD: u64 = 0x80;
    pub const WAKEKILL: u64 = 0x100;
    pub const WAKING: u64 = 0x200;
    pub const NOLOAD: u64 = 0x400;
    pub const NEW: u64 = 0x800;
    pub const RTLOCK_WAIT: u64 = 0x1000;
    pub const FROZEN: u64 = 0x8000;
}

impl TaskState {
    /// Decodes the two members.
    pub fn decode(state: u64, exit_state: u64) -> Self {
        use state_bits as bit;
        let all = state | exit_state;
        // What is gone stays gone, whatever else is set; zombie comes before dead as in
        // task_state_array's bit order from the top.
        if all & bit::EXIT_ZOMBIE != 0 {
            TaskState::Zombie
        } else if all & (bit::EXIT_DEAD | bit::DEAD) != 0 {
            TaskState::Dead
        } else if all & bit::NEW != 0 {
            TaskState::New
        } else if all & bit::PARKED != 0 {
            TaskState::Parked
        } else if all & bit::UNINTERRUPTIBLE != 0 && all & bit::NOLOAD != 0 {
            TaskState::Idle
        } else if all & bit::TRACED != 0 {
            TaskState::Traced
        } else if all & bit::STOPPED != 0 {
            TaskState::Stopped
        } else if all & bit::UNINTERRUPTIBLE != 0 {
            TaskState::Uninterruptible
        } else if all & bit::INTERRUPTIBLE != 0 {
            TaskState::Interruptible
        } else if all & (bit::RTLOCK_WAIT | bit::FROZEN) != 0 {
            // As task_state_index() in include/linux/sched.h tells user space.
            TaskState::Uninterruptible
        } else if all & bit::WAKING != 0 {
            TaskState::Waking
        } else if all == 0 {
            TaskState::Running
        } else {
            TaskState::Unknown(all)
        }
    }

    /// crash's two letters: `RU IN UN ST TR ZO DE PA ID WA NE`, `??` when unknown.
    pub const fn code(self) -> &'static str {
        match self {
            TaskState::Running => "RU",
            TaskState::Interruptible => "IN",
            TaskState::Uninterruptible => "UN",
            TaskState::Stopped => "ST",
            TaskState::Traced => "TR",
            TaskState::Zombie => "ZO",
            TaskState::Dead => "DE",
            TaskState::Parked => "PA",
            TaskState::Idle => "ID",
            TaskState::Waking => "WA",
            TaskState::New => "NE",
            TaskState::Unknown(_) => "??",
        }
    }
}

/// The names of the bits in `__state | exit_state`, as crash joins them: `TASK_RUNNING`,
/// `TASK_UNINTERRUPTIBLE|TASK_NOLOAD`. Empty where crash knows no name.
pub fn state_names(bits: u64) -> String {
    use state_bits as bit;
    match bits {
        0 => return "TASK_RUNNING".to_owned(),
        bit::PARKED => return "TASK_PARKED".to_owned(),
        _ => {}
    }
    let dead = match bits & (bit::EXIT_DEAD | bit::DEAD) {
        0 => "",
        both if both.count_ones() > 1 => "EXIT_DEAD|TASK_DEAD",
        _ => "EXIT_DEAD",
    };
    let named = |mask: u64, name: &'static str| if bits & mask != 0 { name } else { "" };
    let names = [
        named(bit::INTERRUPTIBLE, "TASK_INTERRUPTIBLE"),
        named(bit::UNINTERRUPTIBLE, "TASK_UNINTERRUPTIBLE"),
        named(bit::STOPPED, "TASK_STOPPED"),
        named(bit::TRACED, "TASK_TRACED"),
        dead,
        named(bit::EXIT_ZOMBIE, "EXIT_ZOMBIE"),
        named(bit::WAKING, "TASK_WAKING"),
        named(bit::WAKEKILL, "TASK_WAKEKILL"),
        named(bit::NOLOAD, "TASK_NOLOAD"),
        named(bit::NEW, "TASK_NEW"),
    ];
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.join("|")
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// `PF_KTHREAD` of `task_struct.flags`.
pub(crate) const PF_KTHREAD: u64 = 0x0020_0000;

/// A task, by the address of its `struct task_struct`. Reading more is done when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// The `struct task_struct`.
    pub address: VirtAddr,
    /// Its process id; 0 for the idle tasks.
    pub pid: u32,
}

impl Task {
    /// The thread group's id, which user space calls the pid.
    ///
    /// # Errors
    /// What could not be read.
    pub fn tgid(self, kernel: &Kernel) -> Result<u32> {
        Ok(kernel.task_struct()?.tgid.u64(kernel, self.address)? as u32)
    }

    /// The command name.
    ///
    /// # Errors
    /// What could not be read.
    pub fn comm(self, kernel: &Kernel) -> Result<String> {
        kernel.task_struct()?.comm.text(kernel, self.address)
    }

    /// The CPU it runs on or last ran on.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cpu(self, kernel: &Kernel) -> Result<u32> {
        let layout = kernel.task_struct()?;
        if !layout.cpu.exists() {
            let thread_info = self.thread_info(kernel)?;
            return Ok(kernel.layout::<ThreadInfo>()?.cpu.u64(kernel, thread_info)? as u32);
        }
        Ok(layout.cpu.u64(kernel, self.address)? as u32)
    }

    /// What it was doing.
    ///
    /// # Errors
    /// What could not be read.
    pub fn state(self, kernel: &Kernel) -> Result<TaskState> {
        let layout = kernel.task_struct()?;
        let state = layout.state.u64(kernel, self.address)?;
        let exit_state = layout.exit_state.u64(kernel, self.address)?;
        Ok(TaskState::decode(state, exit_state))
    }

    /// Whether it is a kernel thread: it has no user memory and never will.
    ///
    /// # Errors
    /// What could not be read.
    pub fn is_kernel_thread(self, kernel: &Kernel) -> Result<bool> {
        Ok(kernel.task_struct()?.flags.u64(kernel, self.address)? & PF_KTHREAD != 0)
    }

    /// Its user memory (`mm_struct`); null for a kernel thread.
    ///
    /// # Errors
    /// What could not be read.
    pub fn mm(self, kernel: &Kernel) -> Result<VirtAddr> {
        kernel.task_struct()?.mm.pointer(kernel, self.address)
    }

    /// The lowest address of its kernel stack.
    ///
    /// # Errors
    /// What could not be read.
    pub fn stack(self, kernel: &Kernel) -> Result<VirtAddr> {
        kernel.task_struct()?.stack.pointer(kernel, self.address)
    }

    /// Its `struct thread_info`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn thread_info(self, kernel: &Kernel) -> Result<VirtAddr> {
        match kernel.task_struct()?.thread_info.address(self.address) {
            Ok(address) => Ok(address),
            Err(_) => self.stack(kernel),
        }
    }

    /// The task it reports to.
    ///
    /// # Errors
    /// What could not be read.
    pub fn parent(self, kernel: &Kernel) -> Result<Task> {
        kernel.task_at(kernel.task_struct()?.parent.pointer(kernel, self.address)?)
    }
}

impl Kernel {
    /// The layout of `struct task_struct`.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn task_struct(&self) -> Result<Arc<TaskStruct>> {
        self.layout::<TaskStruct>()
    }

    /// The task whose `struct task_struct` lies at `address`.
    ///
    /// # Errors
    /// When its pid cannot be read.
    pub fn task_at(&self, address: VirtAddr) -> Result<Task> {
        let pid = self.task_struct()?.pid.u64(self, address)? as u32;
        Ok(Task { address, pid })
    }

    /// Every task, found on first use.
    pub fn tasks(&self) -> &TaskList {
        self.task_list.get_or_init(|| TaskList::read(self))
    }

    /// The task with process id `pid`; for 0 that of CPU 0.
    pub fn task_by_pid(&self, pid: u32) -> Option<Task> {
        self.tasks().by_pid(pid)
    }

    /// The task whose `struct task_struct` lies at `address`, if it is one of [`Kernel::tasks`].
    pub fn task_by_address(&self, address: VirtAddr) -> Option<Task> {
        self.tasks().by_address(address)
    }

    /// The tasks that were on a CPU, with the CPU, as far as the run queues tell. CPUs that were
    /// taken off the online mask count: `smp_send_stop()` does that to all but the panicking one.
    pub fn running_tasks(&self) -> Vec<(u32, Task)> {
        let cpus = self.cpus().map(|cpus| cpus.present.as_slice()).unwrap_or_default();
        let running = cpus.iter().filter_map(|&cpu| Some((cpu, self.current_task(cpu).ok()?)));
        running.filter(|(_, task)| !task.address.is_null()).collect()
    }

    /// The task that was running on `cpu`.
    ///
    /// # Errors
    /// When the CPU's run queue cannot be read.
    pub fn current_task(&self, cpu: u32) -> Result<Task> {
        let rq = self.per_cpu("runqueues", cpu)?;
        self.task_at(self.layout::<RunQueue>()?.curr.pointer(self, rq)?)
    }

    /// The idle task of `cpu`.
    ///
    /// # Errors
    /// When the CPU's run queue cannot be read.
    pub fn idle_task(&self, cpu: u32) -> Result<Task> {
        let rq = self.per_cpu("runqueues", cpu)?;
        self.task_at(self.layout::<RunQueue>()?.idle.pointer(self, rq)?)
    }
}
