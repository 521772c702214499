//! `trace`: what the kernel's tracer recorded.

mod dump;
mod graph;
mod merge;
mod show;

use crate::arguments::Arguments;
use crate::columns::{ADDRESS, centered};
use crate::command::{Command, CommandError, flag, value};
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::tracing::TraceInstance;
use mortis_kernel::tracing::ring_buffer::EventCounts;
use serde::Serialize;

/// `trace`.
pub const COMMAND: Command = Command {
    name: "trace",
    aliases: &[],
    summary: "what the kernel's tracer recorded (ftrace)",
    synopsis: "[list] | show [-i instance] [-c cpu,...] | dump [-sm] [-i instance] FILE",
    options: &[
        value('i', "instance", "that instance of the tracer, not the main one"),
        value('c', "cpu,...", "only what these CPUs recorded"),
        flag('s', "with dump: the kernel's symbols as well"),
        flag('m', "with dump: the kernel's symbols and its modules'"),
        flag('t', "with dump: a file for trace-cmd, which it always is"),
    ],
    help: "\
'trace' lists the instances of the tracer, with how many events each holds. 'trace show' prints the
events as /sys/kernel/tracing/trace does, each by the line of C that its kind has in the dump; where
that is not understood, by its members. 'trace dump' writes them into a file for trace-cmd and
KernelShark. Where pages of a buffer are missing, a warning says how many.

Examples:
  trace
  trace show | tail -50
  trace show -i instance -c 0
  trace dump -s trace.dat",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let (instances, damage) = kernel.trace_instances()?;
    if let Some(error) = damage {
        out.warn(format_args!("not every instance of the tracer could be read: {error}"));
    }
    let chosen = |name: Option<&str>| {
        let found = instances.iter().find(|instance| instance.name.as_deref() == name);
        found.ok_or_else(|| {
            let name = name.unwrap_or("the main one");
            CommandError::Message(format!("no such instance of the tracer: {name}"))
        })
    };
    let cpus = match arguments.value('c') {
        Some(list) => session.cpus(list)?,
        None => kernel.cpus()?.possible.clone(),
    };
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["list"] => list(kernel, &instances, &cpus, out),
        ["show"] => show::run(kernel, chosen(arguments.value('i'))?, &cpus, out),
        ["dump", file] => {
            let symbols = dump::Symbols {
                kernel: arguments.has('s') || arguments.has('m'),
                modules: arguments.has('m'),
            };
            dump::run(kernel, chosen(arguments.value('i'))?, &cpus, &symbols, file, out)
        }
        _ => Err(CommandError::Usage(format!("Usage: {} {}", COMMAND.name, COMMAND.synopsis))),
    }
}

/// An instance of the tracer.
#[derive(Serialize)]
struct InstanceReport {
    trace_array: Hex,
    /// Null for the main one.
    name: Option<String>,
    tracer: Known<String>,
    clock: Option<String>,
    /// Events that it holds.
    events: Known<u64>,
    /// Events that newer ones were written over.
    overwritten: Known<u64>,
}

impl Render for InstanceReport {
    fn render(&self, out: &mut String, style: Style) {
        let Self { trace_array, tracer, events, overwritten, .. } = self;
        let clock = self.clock.as_deref().unwrap_or("?");
        let name = style.name(self.name.as_deref().unwrap_or("-"));
        out.push_str(&format!(
            "{:<16x}  {tracer:<16}  {clock:<8}  {events:>9}  {overwritten:>11}  {name}\n",
            trace_array.0
        ));
    }
}

fn list(
    kernel: &Kernel,
    instances: &[TraceInstance],
    cpus: &[u32],
    out: &mut Output,
) -> Result<(), CommandError> {
    let heading = centered("TRACE_ARRAY", ADDRESS);
    out.layout(&format!(
        "{heading}  {:<16}  {:<8}  {:>9}  {:>11}  INSTANCE\n",
        "TRACER", "CLOCK", "EVENTS", "OVERWRITTEN"
    ))?;
    for instance in instances {
        let counts = counts(kernel, instance, cpus);
        out.emit(&InstanceReport {
            trace_array: Hex(instance.address.0),
            name: instance.name.clone(),
            tracer: instance.tracer.clone().into(),
            clock: instance.clock.clone(),
            events: counts.clone().map(|counts| counts.held),
            overwritten: counts.map(|counts| counts.overwritten),
        })?;
    }
    Ok(())
}

/// How many events the CPUs' buffers of an instance hold, and how many they have lost; not to be had
/// where a CPU's does not tell.
fn counts(kernel: &Kernel, instance: &TraceInstance, cpus: &[u32]) -> Known<EventCounts> {
    let mut all = EventCounts::default();
    for &cpu in cpus {
        let counts = kernel.cpu_trace_buffer(instance.buffer, cpu).and_then(|buffer| {
            buffer.map_or(Ok(EventCounts::default()), |buffer| kernel.trace_event_counts(buffer))
        });
        match counts {
            Ok(counts) => {
                all.held = all.held.saturating_add(counts.held);
                all.overwritten = all.overwritten.saturating_add(counts.overwritten);
            }
            Err(error) => return Known::Unavailable(why(&error)),
        }
    }
    Known::Value(all)
}
