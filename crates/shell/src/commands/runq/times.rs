//! `runq -t`, `-T` and `-m`: the clocks of the run queues, and since when their tasks run.

use super::{Damage, QueuedTask, current};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::{Radix, Session};
use mortis_kernel::Kernel;
use mortis_kernel::run_queues::RunQueueReader;
use mortis_kernel::tasks::Task;
use serde::Serialize;

/// When the task last arrived on a CPU, in nanoseconds.
fn last_arrival(kernel: &Kernel, task: Task) -> Known<u64> {
    kernel.task_struct().and_then(|layout| layout.last_arrival.u64(kernel, task.address)).into()
}

/// A task and since when it runs.
#[derive(Serialize)]
struct Running {
    last_arrival_nanoseconds: Known<u64>,
    #[serde(flatten)]
    task: QueuedTask,
}

impl Running {
    fn read(session: &Session, cpu: u32) -> Option<Self> {
        let task = current(session, cpu)?;
        Some(Self {
            last_arrival_nanoseconds: last_arrival(&session.kernel, task),
            task: QueuedTask::read(&session.kernel, task.address),
        })
    }
}

/// A run queue's clock.
#[derive(Serialize)]
struct Stamp {
    cpu: u32,
    clock_nanoseconds: Known<u64>,
    current: Option<Running>,
    #[serde(skip)]
    radix: Radix,
}

impl Render for Stamp {
    fn render(&self, out: &mut String, _: Style) {
        let in_radix = |number: u64| match self.radix {
            Radix::Decimal => number.to_string(),
            Radix::Hexadecimal => format!("{number:x}"),
        };
        let clock = self.clock_nanoseconds.clone().map(in_radix).to_string();
        let cpu = self.cpu;
        out.push_str(&format!("{}CPU {cpu}: {clock}\n", if cpu < 10 { " " } else { "" }));
        let Some(running) = &self.current else {
            out.push('\n');
            return;
        };
        let last = running.last_arrival_nanoseconds.clone().map(in_radix).to_string();
        let (indent, width) = (if cpu < 100 { 8 } else { 9 }, clock.len());
        out.push_str(&format!("{:indent$}{last:0>width$}  {}\n", "", running.task));
    }
}

/// `-t`.
pub(super) fn stamps(
    session: &Session,
    cpus: &[u32],
    out: &mut Output,
) -> Result<Damage, CommandError> {
    let reader = RunQueueReader::new(&session.kernel)?;
    for &cpu in cpus {
        out.emit(&Stamp {
            cpu,
            clock_nanoseconds: reader.clock(cpu).into(),
            current: Running::read(session, cpu),
            radix: session.settings.radix,
        })?;
    }
    Ok(None)
}

/// How far a run queue's clock is behind the latest.
#[derive(Serialize)]
struct Lag {
    cpu: u32,
    lag_nanoseconds: Known<u64>,
    /// Columns in front of `CPU`.
    #[serde(skip)]
    indent: usize,
}

impl Render for Lag {
    fn render(&self, out: &mut String, _: Style) {
        let lag = self.lag_nanoseconds.clone().map(|lag| format!("{:.2}", lag as f64 / 1e9));
        out.push_str(&format!(
            "{:indent$}CPU {}: {lag} secs\n",
            "",
            self.cpu,
            indent = self.indent
        ));
    }
}

/// `-T`: the least behind first.
pub(super) fn lag(
    session: &Session,
    cpus: &[u32],
    out: &mut Output,
) -> Result<Damage, CommandError> {
    let reader = RunQueueReader::new(&session.kernel)?;
    let clocks = cpus.iter().map(|&cpu| (cpu, Known::from(reader.clock(cpu))));
    let mut clocks: Vec<(u32, Known<u64>)> = clocks.collect();
    clocks.sort_by_key(|(_, clock)| std::cmp::Reverse(clock.value().copied()));
    let latest = clocks.first().and_then(|(_, clock)| clock.value().copied()).unwrap_or(0);
    let widest = cpus.len().to_string().len();
    for (cpu, clock) in clocks {
        let indent = (2 + widest).saturating_sub(cpu.to_string().len());
        let lag_nanoseconds = clock.map(|clock| latest.saturating_sub(clock));
        out.emit(&Lag { cpu, lag_nanoseconds, indent })?;
    }
    Ok(None)
}

/// How long the task that runs on a CPU has been running.
#[derive(Serialize)]
struct RunningFor {
    cpu: u32,
    nanoseconds: Known<u64>,
    task: Option<QueuedTask>,
    /// Columns in front of `CPU`.
    #[serde(skip)]
    indent: usize,
    /// Digits that the number of days takes at most.
    #[serde(skip)]
    day_digits: usize,
}

const DAY: u64 = 86_400 * 1_000_000_000;

impl Render for RunningFor {
    fn render(&self, out: &mut String, _: Style) {
        let Self { cpu, indent, day_digits, .. } = self;
        let Some(task) = &self.task else {
            out.push_str(&format!("{:indent$}CPU {cpu}: [unknown]\n", ""));
            return;
        };
        let time = self.nanoseconds.clone().map(|nanoseconds| {
            let milliseconds = nanoseconds / 1_000_000;
            let seconds = milliseconds / 1000;
            format!(
                "{:>day_digits$} {:02}:{:02}:{:02}.{:03}",
                nanoseconds / DAY,
                seconds / 3600 % 24,
                seconds / 60 % 60,
                seconds % 60,
                milliseconds % 1000
            )
        });
        out.push_str(&format!("{:indent$}CPU {cpu}: [{time}]  {task}\n", ""));
    }
}

/// `-m`.
pub(super) fn running_for(
    session: &Session,
    cpus: &[u32],
    cpu_count: usize,
    out: &mut Output,
) -> Result<Damage, CommandError> {
    let reader = RunQueueReader::new(&session.kernel)?;
    let widest = cpu_count.saturating_sub(1).to_string().len();
    let mut day_digits = None;
    for &cpu in cpus {
        let clock = Known::from(reader.clock(cpu));
        let digits = *day_digits.get_or_insert_with(|| {
            clock.value().map_or(1, |clock| (clock / DAY).to_string().len())
        });
        let running = Running::read(session, cpu);
        let nanoseconds = match (&clock, running.as_ref().map(|at| &at.last_arrival_nanoseconds)) {
            (Known::Value(clock), Some(Known::Value(last))) => {
                // The task may have arrived after the queue's clock was last brought up to date.
                Known::Value(clock.saturating_sub(*last))
            }
            (Known::Unavailable(why), _) | (_, Some(Known::Unavailable(why))) => {
                Known::Unavailable(why)
            }
            _ => Known::Unavailable("unknown"),
        };
        out.emit(&RunningFor {
            cpu,
            nanoseconds,
            task: running.map(|running| running.task),
            indent: (widest + 1).saturating_sub(cpu.to_string().len()),
            day_digits: digits,
        })?;
    }
    Ok(None)
}
