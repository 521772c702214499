//! Signals: how a task handles them, which it blocks, and which wait for it.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::list::ListHead;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A task's own part: include/linux/sched.h.
    struct TaskSignals = "task_struct" {
        signal: "signal",
        handlers: "sighand",
        blocked: "blocked.sig",
        pending: "pending",
    }
}

layout! {
    /// What the threads of a process share: include/linux/sched/signal.h.
    struct SharedSignals = "signal_struct" {
        nr_threads: "nr_threads",
        shared_pending: "shared_pending",
    }
}

layout! {
    /// The handlers: include/linux/sched/signal.h.
    struct SignalHandlers = "sighand_struct" {
        action: "action",
    }
}

layout! {
    /// One handler: include/linux/signal_types.h.
    struct KernelSigaction = "k_sigaction" {
        handler: "sa.sa_handler",
        flags: "sa.sa_flags",
        mask: "sa.sa_mask.sig",
    }
}

layout! {
    /// Signals that wait: include/linux/signal_types.h.
    struct Sigpending = "sigpending" {
        list: "list",
        signal: "signal.sig",
    }
}

layout! {
    /// One of them, with what came along.
    struct Sigqueue = "sigqueue" {
        list: "list",
        info: "info",
        signo: "info.si_signo",
    }
}

/// The signals are 1 to 64 (`_NSIG`).
pub const SIGNALS: u64 = 64;

/// How one signal is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalAction {
    /// Its `struct k_sigaction`.
    pub address: VirtAddr,
    /// The function in user space; 0 is `SIG_DFL`, 1 `SIG_IGN`.
    pub handler: u64,
    /// The signals that are blocked while it runs; bit 0 is signal 1.
    pub mask: u64,
    /// `SA_RESTART` and the like.
    pub flags: u64,
}

/// Signals that wait to be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSignals {
    /// Which; bit 0 is signal 1.
    pub set: Result<u64>,
    /// Those that were queued: each signal, and where its `siginfo` lies.
    pub queue: Vec<(i64, VirtAddr)>,
    /// What is wrong with the queue.
    pub damage: Option<KernelError>,
}

/// What the threads of a process share of signals.
#[derive(Clone, Debug)]
pub struct ProcessSignals {
    /// The `struct signal_struct`; null once the process is gone.
    pub address: VirtAddr,
    /// How many threads there are.
    pub threads: Result<u64>,
    /// How each signal is handled, from 1 on.
    pub actions: Result<Vec<SignalAction>>,
    /// What waits for any of the threads.
    pub pending: PendingSignals,
}

/// A task's own part.
#[derive(Clone, Debug)]
pub struct TaskPending {
    /// The signals that it blocks; bit 0 is signal 1.
    pub blocked: Result<u64>,
    /// What waits for it alone.
    pub pending: PendingSignals,
}

impl TaskPending {
    /// Whether a signal waits that the task does not block, its own or one of the process's: what
    /// the kernel's `recalc_sigpending()` sets `TIF_SIGPENDING` by. That flag's number differs
    /// between versions, and nothing in a dump tells it.
    ///
    /// # Errors
    /// What could not be read.
    pub fn is_pending(&self, shared: &PendingSignals) -> Result<bool> {
        let waiting = self.pending.set.clone()? | shared.set.clone().unwrap_or(0);
        Ok(waiting & !self.blocked.clone()? != 0)
    }
}

impl Kernel {
    /// What `task` shares of signals with the other threads of its process.
    ///
    /// # Errors
    /// When its `struct task_struct` cannot be read.
    pub fn process_signals(&self, task: Task) -> Result<ProcessSignals> {
        let layout = self.layout::<TaskSignals>()?;
        let address = layout.signal.pointer(self, task.address)?;
        let shared = self.layout::<SharedSignals>()?;
        Ok(ProcessSignals {
            address,
            threads: shared.nr_threads.u64(self, address),
            actions: layout
                .handlers
                .pointer(self, task.address)
                .and_then(|handlers| self.signal_actions(handlers)),
            pending: self.pending_signals(&shared.shared_pending, address),
        })
    }

    /// What `task` has of signals for itself.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn task_signals(&self, task: Task) -> Result<TaskPending> {
        let layout = self.layout::<TaskSignals>()?;
        Ok(TaskPending {
            blocked: layout.blocked.address(task.address).and_then(|at| Ok(self.read_u64(at)?)),
            pending: self.pending_signals(&layout.pending, task.address),
        })
    }

    fn signal_actions(&self, handlers: VirtAddr) -> Result<Vec<SignalAction>> {
        let action = self.layout::<KernelSigaction>()?;
        let start = self.layout::<SignalHandlers>()?.action.address(handlers)?;
        let size = action.size_of.clamp(1, 4096);
        let bytes = self.read_bytes(start, size * SIGNALS)?;
        let actions = bytes.chunks_exact(size as usize).zip(0u64..).map(|(bytes, number)| {
            // An array of one word.
            let at = usize::try_from(action.mask.offset()?).unwrap_or(usize::MAX);
            let mask = at.checked_add(8).and_then(|end| bytes.get(at..end));
            Ok(SignalAction {
                address: start.offset(number * size),
                handler: action.handler.u64_in(bytes)?,
                mask: mask.and_then(|mask| mask.try_into().ok()).map_or(0, u64::from_le_bytes),
                flags: action.flags.u64_in(bytes)?,
            })
        });
        actions.collect()
    }

    fn pending_signals(&self, pending: &Field, base: VirtAddr) -> PendingSignals {
        let mut answer = PendingSignals { set: Ok(0), queue: Vec::new(), damage: None };
        answer.set = pending.address(base).and_then(|pending| {
            Ok(self.read_u64(self.layout::<Sigpending>()?.signal.address(pending)?)?)
        });
        if answer.set.is_ok()
            && let Err(error) = self.read_queue(pending, base, &mut answer.queue)
        {
            answer.damage = Some(error);
        }
        answer
    }

    fn read_queue(
        &self,
        pending: &Field,
        base: VirtAddr,
        queue: &mut Vec<(i64, VirtAddr)>,
    ) -> Result<()> {
        let head = self.layout::<Sigpending>()?.list.address(pending.address(base)?)?;
        let layout = self.layout::<Sigqueue>()?;
        for link in ListHead::new(self, "queue of signals", head) {
            let entry = layout.list.container(link?)?;
            queue.push((layout.signo.i64(self, entry)?, layout.info.address(entry)?));
        }
        Ok(())
    }
}
