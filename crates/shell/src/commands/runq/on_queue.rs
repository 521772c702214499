//! `runq -d`: the tasks that say they are in a queue.

use super::{Damage, QueuedTask};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use mortis_kernel::error::KernelError;
use mortis_kernel::run_queues::RunQueueReader;
use mortis_kernel::scan::in_order;
use serde::Serialize;
use std::collections::BTreeMap;

/// A task with its priority.
#[derive(Clone, Serialize)]
struct Entry {
    priority: Known<i64>,
    #[serde(flatten)]
    task: QueuedTask,
}

/// The tasks of a CPU.
#[derive(Serialize)]
struct OnQueue {
    cpu: u32,
    tasks: Vec<Entry>,
}

impl Render for OnQueue {
    fn render(&self, out: &mut String, _: Style) {
        // So in crash: a blank line in front of each CPU but the first of the machine.
        if self.cpu != 0 {
            out.push('\n');
        }
        out.push_str(&format!("CPU {}\n", self.cpu));
        for Entry { priority, task } in &self.tasks {
            out.push_str(&format!("     [{priority:>3}] {task}\n"));
        }
        if self.tasks.is_empty() {
            out.push_str("     [no tasks queued]\n");
        }
    }
}

/// Tasks that one core looks at in one go.
const TASKS_PER_ITEM: usize = 512;

pub(super) fn run(
    session: &Session,
    cpus: &[u32],
    out: &mut Output,
) -> Result<Damage, CommandError> {
    let kernel = &*session.kernel;
    let reader = RunQueueReader::new(kernel)?;
    let mut by_cpu: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    let mut damage = None;
    let look = |tasks: &[mortis_kernel::tasks::Task]| {
        let mut found = Vec::new();
        let mut wrong = None;
        for task in tasks {
            match reader.queued_on(task.address) {
                Ok(Some(cpu)) => found.push((
                    cpu,
                    Entry {
                        priority: reader.priority(task.address).into(),
                        task: QueuedTask::read(kernel, task.address),
                    },
                )),
                Ok(None) => {}
                Err(error) => {
                    wrong.get_or_insert(error);
                }
            }
        }
        (found, wrong)
    };
    let progress = out.progress("looking at tasks");
    let tasks = &kernel.tasks().tasks;
    progress.expect(tasks.len() as u64);
    in_order(tasks.chunks(TASKS_PER_ITEM), look, |(found, wrong)| {
        progress.advance(TASKS_PER_ITEM as u64)?;
        damage = damage.take().or(wrong);
        for (cpu, entry) in found {
            by_cpu.entry(cpu).or_default().push(entry);
        }
        Ok::<(), KernelError>(())
    })?;
    drop(progress);
    for &cpu in cpus {
        let tasks = by_cpu.remove(&cpu).unwrap_or_default();
        out.emit(&OnQueue { cpu, tasks })?;
    }
    Ok(damage)
}
