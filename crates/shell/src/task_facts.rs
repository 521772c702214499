//! What commands about many tasks need of each, read once in a session.
//!
//! On a large guest the tasks lie on more pages than a dump's cache holds, so that every pass over
//! them would decompress all of them again.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Stop};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::error::{KernelError, Result};
use mortis_kernel::task_accounting::MemoryUse;
use mortis_kernel::task_list::TaskList;
use mortis_kernel::task_reader::{TaskCopy, TaskReader};
use mortis_kernel::tasks::{Task, TaskState};
use mortis_memory::VirtAddr;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// What a task shares with others, or why it cannot be told: boxed, for there are many tasks and
/// few errors.
pub type SharedWith = Result<VirtAddr, Box<KernelError>>;

/// One task.
#[derive(Clone)]
pub struct Facts {
    pub task: Task,
    pub comm: Known<String>,
    pub cpu: Known<u32>,
    pub state: Known<TaskState>,
    pub tgid: Known<u32>,
    /// Whether it is a kernel thread; no where that cannot be read.
    pub is_kernel: bool,
    pub mm: Known<VirtAddr>,
    pub parent: Known<VirtAddr>,
    pub signal: Known<VirtAddr>,
    /// See [`TaskCopy::directories`].
    pub directories: SharedWith,
    /// See [`TaskCopy::open_files`].
    pub open_files: SharedWith,
    /// When it last arrived on a CPU, in nanoseconds of the run queue's clock.
    pub last_arrival: Known<u64>,
    /// In nanoseconds since boot.
    pub start_time: Known<u64>,
    /// In nanoseconds.
    pub utime: Known<u64>,
    pub stime: Known<u64>,
    pub policy: Known<u64>,
    pub prio: Known<i32>,
    /// Read when first shown, for it takes a page more.
    pub ppid: OnceLock<Known<u32>>,
    pub memory: OnceLock<Known<MemoryUse>>,
}

impl Facts {
    fn read(copy: &TaskCopy<'_>) -> Self {
        let address = |member: Result<u64>| Known::from(member.map(VirtAddr));
        Self {
            task: copy.task,
            comm: copy.comm().into(),
            cpu: copy.cpu().into(),
            state: copy.state().into(),
            tgid: copy.tgid().into(),
            is_kernel: copy.is_kernel_thread().unwrap_or(false),
            mm: copy.mm().into(),
            parent: copy.parent().into(),
            signal: address(copy.number(|task| &task.signal)),
            directories: copy.directories().map_err(Box::new),
            open_files: copy.open_files().map_err(Box::new),
            last_arrival: copy.number(|task| &task.last_arrival).into(),
            start_time: copy.number(|task| &task.start_time).into(),
            utime: copy.number(|task| &task.utime).into(),
            stime: copy.number(|task| &task.stime).into(),
            policy: copy.number(|task| &task.policy).into(),
            prio: copy.number(|task| &task.prio).map(|prio| prio as u32 as i32).into(),
            ppid: OnceLock::new(),
            memory: OnceLock::new(),
        }
    }

    /// The line that stands over everything shown of it.
    pub fn header(&self) -> TaskHeader {
        TaskHeader {
            pid: self.task.pid,
            task: Hex(self.task.address.0),
            cpu: self.cpu.clone(),
            command: self.comm.clone(),
        }
    }

    /// Whether it leads its thread group; yes where that cannot be read.
    pub fn is_leader(&self) -> bool {
        self.tgid.value().is_none_or(|&tgid| tgid == self.task.pid)
    }

    /// When it last ran; 0 where that cannot be read.
    pub fn last_run(&self) -> u64 {
        self.last_arrival.value().copied().unwrap_or(0)
    }
}

/// Tasks that are read between two looks at whether the user pressed Ctrl-C.
const CHUNK: usize = 4096;
/// Fewer tasks are not worth a second core.
const WORTH_SHARING: usize = 256;

/// Reads `tasks`, in order.
///
/// # Errors
/// [`Stop::Interrupted`].
pub fn read(reader: &TaskReader<'_>, tasks: &[Task], out: &Output<'_>) -> Result<Vec<Facts>, Stop> {
    let mut facts = Vec::with_capacity(tasks.len());
    for chunk in tasks.chunks(CHUNK) {
        out.check()?;
        let read = |task: &Task| Facts::read(&reader.read(*task));
        if chunk.len() < WORTH_SHARING {
            facts.extend(chunk.iter().map(read));
        } else {
            facts.par_extend(chunk.par_iter().map(read));
        }
    }
    Ok(facts)
}

/// All tasks in the order of the session's list of them, which keeps what was read.
///
/// # Errors
/// [`Stop::Interrupted`].
pub fn all(
    session: &Session,
    reader: &TaskReader<'_>,
    out: &Output<'_>,
) -> Result<Arc<Vec<Facts>>, Stop> {
    if let Some(kept) = session.task_facts.get() {
        return Ok(Arc::clone(kept));
    }
    let facts = Arc::new(read(reader, &session.kernel.tasks().tasks, out)?);
    Ok(Arc::clone(session.task_facts.get_or_init(|| facts)))
}

/// Tells of single tasks what the session has kept of all, and reads what it has not.
pub struct FactsReader<'s> {
    reader: TaskReader<'s>,
    list: &'s TaskList,
    kept: Option<Arc<Vec<Facts>>>,
}

impl<'s> FactsReader<'s> {
    /// A reader that reads all of `tasks` now if they are many.
    ///
    /// # Errors
    /// When the types are out of reach, or [`Stop::Interrupted`].
    pub fn new(
        session: &'s Session,
        tasks: &[Task],
        out: &Output<'_>,
    ) -> Result<Self, CommandError> {
        let reader = TaskReader::new(&session.kernel)?;
        let kept = match tasks.len() < WORTH_SHARING {
            true => session.task_facts.get().cloned(),
            false => Some(all(session, &reader, out)?),
        };
        Ok(Self { reader, list: session.kernel.tasks(), kept })
    }

    /// What `task` says.
    pub fn read(&self, task: Task) -> Cow<'_, Facts> {
        let kept = self.kept.as_ref().and_then(|kept| kept.get(self.list.position(task.address)?));
        kept.map_or_else(|| Cow::Owned(Facts::read(&self.reader.read(task))), Cow::Borrowed)
    }
}
