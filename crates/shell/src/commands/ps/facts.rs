//! What `ps` reads of each task.

use crate::known::Known;
use crate::output::{Output, Stop};
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::error::Result;
use mortis_kernel::task_accounting::MemoryUse;
use mortis_kernel::task_reader::{TaskCopy, TaskReader};
use mortis_kernel::tasks::{Task, TaskState};
use mortis_memory::VirtAddr;
use rayon::prelude::*;
use std::sync::OnceLock;

/// One task. A session keeps those of all tasks once they were read: on a large guest they lie on
/// more pages than a dump's cache holds.
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

/// Reads all of `tasks`, in order.
///
/// # Errors
/// [`Stop::Interrupted`].
pub fn read(
    reader: &TaskReader<'_>,
    tasks: &[Task],
    out: &Output<'_>,
) -> std::result::Result<Vec<Facts>, Stop> {
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
