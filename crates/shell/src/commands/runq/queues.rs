//! `runq`: the tasks in each CPU's queues.

use super::{Damage, QueuedTask, current};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::run_queues::RunQueueReader;
use serde::Serialize;

/// A task with its priority: 0 is the most urgent, 120 that of a fair task that is not nice.
#[derive(Serialize)]
struct Entry {
    priority: Known<i64>,
    #[serde(flatten)]
    task: QueuedTask,
}

/// A CPU's queues.
#[derive(Serialize)]
struct QueuesReport {
    cpu: u32,
    rq: Hex,
    current: Option<QueuedTask>,
    rt_prio_array: Hex,
    real_time_tasks: Vec<Entry>,
    cfs_rb_root: Hex,
    fair_tasks: Vec<Entry>,
    dl_rq: Option<Hex>,
    deadline_tasks: Vec<Entry>,
    #[serde(skip)]
    is_first: bool,
}

fn render_entries(out: &mut String, entries: &[Entry]) {
    for Entry { priority, task } in entries {
        out.push_str(&format!("     [{priority:>3}] {task}\n"));
    }
    if entries.is_empty() {
        out.push_str("     [no tasks queued]\n");
    }
}

impl Render for QueuesReport {
    fn render(&self, out: &mut String, style: Style) {
        if !self.is_first {
            out.push('\n');
        }
        let heading = format!("CPU {} RUNQUEUE: {:x}", self.cpu, self.rq.0);
        out.push_str(&format!("{}\n  CURRENT: ", style.heading(&heading)));
        match &self.current {
            Some(task) => out.push_str(&format!("{task}\n")),
            None => out.push_str("0\n"),
        }
        out.push_str(&format!("  RT PRIO_ARRAY: {:x}\n", self.rt_prio_array.0));
        render_entries(out, &self.real_time_tasks);
        out.push_str(&format!("  CFS RB_ROOT: {:x}\n", self.cfs_rb_root.0));
        render_entries(out, &self.fair_tasks);
        if let (Some(Hex(dl_rq)), false) = (self.dl_rq, self.deadline_tasks.is_empty()) {
            out.push_str(&format!("  DL_RQ: {dl_rq:x}\n"));
            render_entries(out, &self.deadline_tasks);
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
    let mut damage = None;
    let entry = |task| Entry {
        priority: reader.priority(task).into(),
        task: QueuedTask::read(kernel, task),
    };
    for (position, &cpu) in cpus.iter().enumerate() {
        out.check()?;
        let queues = reader.queues(cpu)?;
        let (real_time, wrong) = reader.all_real_time_tasks(queues.rt);
        damage = damage.or(wrong);
        let (fair, wrong) = reader.all_fair_tasks(queues.cfs);
        damage = damage.or(wrong);
        let (deadline, wrong) = match queues.dl {
            Some(dl) => reader.deadline_tasks(dl),
            None => (Vec::new(), None),
        };
        damage = damage.or(wrong);
        let real_time = real_time.into_iter().map(|(priority, task)| Entry {
            priority: Known::Value(priority.cast_signed()),
            task: QueuedTask::read(kernel, task),
        });
        out.emit(&QueuesReport {
            cpu,
            rq: Hex(queues.rq.0),
            current: current(session, cpu).map(|task| QueuedTask::read(kernel, task.address)),
            rt_prio_array: Hex(reader.real_time_array(queues.rt)?.0),
            real_time_tasks: real_time.collect(),
            cfs_rb_root: Hex(reader.fair_root(queues.cfs)?.0),
            fair_tasks: fair.into_iter().map(entry).collect(),
            dl_rq: queues.dl.map(|dl| Hex(dl.0)),
            deadline_tasks: deadline.into_iter().map(entry).collect(),
            is_first: position == 0,
        })?;
    }
    Ok(damage)
}
