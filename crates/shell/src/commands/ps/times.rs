//! When tasks began, how long they ran, and when they last did.

use super::{Chosen, Request};
use crate::command::CommandError;
use crate::date::duration;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::{Radix, Session};
use crate::task_facts::Facts;
use crate::task_header::TaskHeader;
use mortis_kernel::Kernel;
use mortis_kernel::error::Result as KernelResult;
use mortis_kernel::tasks::{RunQueue, TaskState};
use rustc_hash::FxHashMap;
use serde::Serialize;

/// A task's times.
#[derive(Serialize)]
struct Times {
    #[serde(flatten)]
    task: TaskHeader,
    run_time_seconds: Known<u64>,
    start_time_nanoseconds: Known<u64>,
    utime_nanoseconds: Known<u64>,
    stime_nanoseconds: Known<u64>,
}

impl Render for Times {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        out.push_str(&format!(
            "    RUN TIME: {}\n  START TIME: {}\n       UTIME: {}\n       STIME: {}\n\n",
            self.run_time_seconds.clone().map(duration),
            self.start_time_nanoseconds,
            self.utime_nanoseconds,
            self.stime_nanoseconds,
        ));
    }
}

const NANOSECONDS: u64 = 1_000_000_000;

/// The tasks, the oldest first.
pub(super) fn times(
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    let now = Known::from(kernel.clocks().map(|clocks| clocks.monotonic));
    let now = now.map(|now| u64::try_from(now).unwrap_or(0) / NANOSECONDS);
    let mut tasks: Vec<&Facts> = chosen.iter().collect();
    tasks.sort_by_key(|task| task.start_time.value().copied().unwrap_or(0));
    for task in tasks {
        let run_time = match (&now, &task.start_time) {
            (Known::Value(now), Known::Value(start)) => {
                Known::Value(now.saturating_sub(start / NANOSECONDS))
            }
            (Known::Unavailable(why), _) | (_, Known::Unavailable(why)) => Known::Unavailable(why),
            (Known::Guessed(_, why), _) | (_, Known::Guessed(_, why)) => Known::Unavailable(why),
        };
        out.emit(&Times {
            task: task.header(),
            run_time_seconds: run_time,
            start_time_nanoseconds: task.start_time.clone(),
            utime_nanoseconds: task.utime.clone(),
            stime_nanoseconds: task.stime.clone(),
        })?;
    }
    Ok(())
}

/// A task and when it last arrived on a CPU.
#[derive(Serialize)]
struct LastRun {
    last_arrival_nanoseconds: Known<u64>,
    state: Known<&'static str>,
    #[serde(flatten)]
    task: TaskHeader,
    #[serde(skip)]
    width: usize,
    #[serde(skip)]
    radix: Radix,
}

impl Render for LastRun {
    fn render(&self, out: &mut String, style: Style) {
        let stamp = self.last_arrival_nanoseconds.clone().map(|stamp| in_radix(stamp, self.radix));
        out.push_str(&format!("[{stamp:>width$}] [{}]  ", self.state, width = self.width));
        self.task.render(out, style);
    }
}

fn in_radix(number: u64, radix: Radix) -> String {
    match radix {
        Radix::Decimal => number.to_string(),
        Radix::Hexadecimal => format!("{number:x}"),
    }
}

/// The tasks, the last to run first, with the time stamp.
pub(super) fn last_run(
    request: &Request,
    session: &Session,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    let radix = session.settings.radix;
    let longest = chosen.facts.iter().map(Facts::last_run).max().unwrap_or(0);
    let width = in_radix(longest, radix).len();
    by_cpu(request, chosen, out, |task, out| {
        let line = LastRun {
            last_arrival_nanoseconds: task.last_arrival.clone(),
            state: task.state.clone().map(TaskState::code),
            task: task.header(),
            width,
            radix,
        };
        Ok(out.emit(&line)?)
    })
}

/// A task and the time since it last arrived on a CPU.
#[derive(Serialize)]
struct SinceRun {
    nanoseconds_since_run: Known<u64>,
    state: Known<&'static str>,
    #[serde(flatten)]
    task: TaskHeader,
    /// Digits that the number of days takes at most.
    #[serde(skip)]
    day_digits: usize,
}

impl Render for SinceRun {
    fn render(&self, out: &mut String, style: Style) {
        let digits = self.day_digits;
        let since = self.nanoseconds_since_run.clone().map(|since| {
            let milliseconds = since / 1_000_000;
            let seconds = milliseconds / 1000;
            format!(
                "{:>digits$} {:02}:{:02}:{:02}.{:03}",
                seconds / 86_400,
                seconds / 3600 % 24,
                seconds / 60 % 60,
                seconds % 60,
                milliseconds % 1000
            )
        });
        out.push_str(&format!("[{since}] [{}]  ", self.state));
        self.task.render(out, style);
    }
}

/// The tasks, the last to run first, with the time since by the clock of their CPU.
pub(super) fn since_run(
    request: &Request,
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    let clocks: FxHashMap<u32, Known<u64>> = kernel
        .cpus()?
        .possible
        .iter()
        .map(|&cpu| (cpu, Known::from(run_queue_clock(kernel, cpu))))
        .collect();
    by_cpu(request, chosen, out, |task, out| {
        let clock = task.cpu.value().and_then(|cpu| clocks.get(cpu));
        let since = match (clock, &task.last_arrival) {
            (Some(Known::Value(clock)), Known::Value(last)) => {
                Known::Value(clock.saturating_sub(*last))
            }
            (Some(Known::Unavailable(why)), _) | (_, Known::Unavailable(why)) => {
                Known::Unavailable(why)
            }
            _ => Known::Unavailable("unknown"),
        };
        let day_digits = clock
            .and_then(Known::value)
            .map_or(1, |clock| (clock / NANOSECONDS / 86_400).to_string().len());
        let state = task.state.clone().map(TaskState::code);
        Ok(out.emit(&SinceRun {
            nanoseconds_since_run: since,
            state,
            task: task.header(),
            day_digits,
        })?)
    })
}

fn run_queue_clock(kernel: &Kernel, cpu: u32) -> KernelResult<u64> {
    kernel.layout::<RunQueue>()?.clock.u64(kernel, kernel.per_cpu("runqueues", cpu)?)
}

/// Shows the tasks in order or, where CPUs are asked for, those of each CPU under its heading.
fn by_cpu(
    request: &Request,
    chosen: &Chosen,
    out: &mut Output,
    mut show: impl FnMut(&Facts, &mut Output) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let Some(cpus) = request.cpus.as_ref().filter(|_| !chosen.specified) else {
        return chosen.iter().try_for_each(|task| show(task, out));
    };
    for (index, cpu) in cpus.iter().enumerate() {
        out.layout(&format!("{}CPU: {cpu}\n", if index > 0 { "\n" } else { "" }))?;
        for task in chosen.iter().filter(|task| task.cpu.value() == Some(cpu)) {
            show(task, out)?;
        }
    }
    Ok(())
}
