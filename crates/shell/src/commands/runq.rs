//! `runq`: what each CPU runs and has to run.

mod groups;
mod on_queue;
mod queues;
mod times;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::output::Output;
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::fmt;

/// `runq`.
pub const COMMAND: Command = Command {
    name: "runq",
    aliases: &[],
    summary: "run queues: what each CPU runs and has to run",
    synopsis: "[-t] [-T] [-m] [-g] [-c cpu(s)]",
    options: &[
        flag('t', "the clock of each run queue, and when the task that runs began to"),
        flag('T', "how far the clock of each run queue lags behind the latest"),
        flag('m', "how long the task that runs has been running"),
        flag('g', "the queues by groups of tasks"),
        flag('d', "all tasks that say they are in a queue, by CPU"),
        value('c', "cpu,...", "only these CPUs"),
    ],
    help: "\
Without options the queues of each CPU: the real-time tasks by priority, and the fair tasks (CFS,
EEVDF), the next to run first. Where a CPU has deadline tasks to run, they stand behind them. The
task that runs is in no queue.

Examples:
  runq
  runq -g
  runq -m -c 0",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.count('c') > 1 {
        return Err(CommandError::Usage(format!(
            "only one -c option allowed\nUsage: {} {}",
            COMMAND.name, COMMAND.synopsis
        )));
    }
    let cpus = session.kernel.cpus()?.present.clone();
    let chosen = match arguments.value('c') {
        Some(list) => session.cpus(list)?,
        None => cpus.clone(),
    };
    let damage = if arguments.has('t') {
        times::stamps(session, &chosen, out)?
    } else if arguments.has('T') {
        times::lag(session, &cpus, out)?
    } else if arguments.has('m') {
        times::running_for(session, &chosen, cpus.len(), out)?
    } else if arguments.has('d') {
        on_queue::run(session, &chosen, out)?
    } else if arguments.has('g') {
        groups::run(session, &chosen, out)?
    } else {
        queues::run(session, &chosen, out)?
    };
    if let Some(error) = damage {
        out.warn(format_args!("not every queue could be read to its end: {error}"));
    }
    Ok(())
}

/// The first thing that was wrong.
type Damage = Option<KernelError>;

/// A task of a queue.
#[derive(Clone, Serialize)]
struct QueuedTask {
    pid: Known<u32>,
    task: Hex,
    command: Known<String>,
}

impl QueuedTask {
    fn read(kernel: &Kernel, address: VirtAddr) -> Self {
        let task = kernel.task_by_address(address).map_or_else(|| kernel.task_at(address), Ok);
        Self {
            pid: Known::from(task.as_ref().map(|task| task.pid).map_err(Clone::clone)),
            task: Hex(address.0),
            command: task.and_then(|task| task.comm(kernel)).into(),
        }
    }
}

impl fmt::Display for QueuedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PID: {:<5}  TASK: {:x}  COMMAND: \"{}\"", self.pid, self.task.0, self.command)
    }
}

/// What `cpu` was running.
fn current(session: &Session, cpu: u32) -> Option<Task> {
    session.running_tasks().into_iter().find(|(at, _)| *at == cpu).map(|(_, task)| task)
}
