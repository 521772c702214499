//! `trace show`: the events as text.

use super::counts;
use super::graph::Graph;
use super::merge::Merged;
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::tracing::TraceInstance;
use mortis_kernel::tracing::record::{Content, Decoder, Header};
use serde::Serialize;

/// An event.
#[derive(Serialize)]
pub(super) struct EventReport {
    pub(super) cpu: u32,
    /// By the clock of the instance.
    pub(super) time: u64,
    pub(super) pid: u32,
    pub(super) command: String,
    /// The five letters of the kernel: interrupts, rescheduling, context, preemption, migration.
    pub(super) context: String,
    pub(super) event: String,
    /// In the kernel's words; a line for each member where they are not known.
    pub(super) text: String,
    /// Whether the kind's own line for printing was understood.
    pub(super) is_decoded: bool,
    #[serde(skip)]
    pub(super) in_nanoseconds: bool,
}

/// A time as the kernel prints it: seconds with microseconds, rounded, or the bare count of a clock
/// that does not count nanoseconds.
pub(super) fn time(time: u64, in_nanoseconds: bool) -> String {
    if !in_nanoseconds {
        return format!("{time:>12}");
    }
    let microseconds = time.saturating_add(500) / 1000;
    format!("{:>5}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

impl EventReport {
    /// What stands in front of the event's own text.
    pub(super) fn prefix(&self) -> String {
        format!(
            "{:>16}-{:<7} [{:03}] {} {}: ",
            self.command,
            self.pid,
            self.cpu,
            self.context,
            time(self.time, self.in_nanoseconds)
        )
    }
}

impl Render for EventReport {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{}{}\n", self.prefix(), self.text));
    }
}

/// The heading of the columns, in the kernel's words.
const COLUMNS: &str = "\
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
";

pub(super) fn run(
    kernel: &Kernel,
    instance: &TraceInstance,
    cpus: &[u32],
    out: &mut Output,
) -> Result<(), CommandError> {
    let formats = kernel.trace_formats()?;
    if let Some(error) = &formats.damage {
        out.warn(format_args!("not every kind of event could be read: {error}"));
    }
    let decoder = Decoder::new(kernel, &formats);
    let commands = match kernel.traced_commands() {
        Ok(commands) => Some(commands),
        Err(error) => {
            out.warn(format_args!("the names of tasks: {error}"));
            None
        }
    };
    let tracer = Known::from(instance.tracer.clone());
    let counts = counts(kernel, instance, cpus);
    let has_lost = counts.value().is_some_and(|counts| counts.overwritten > 0);
    let mut merged = Merged::new(kernel, instance, cpus, out);
    // A tracer that cannot be read is known by what it recorded.
    let is_graph = match &instance.tracer {
        Ok(tracer) => tracer == "function_graph",
        Err(_) => merged.first().and_then(|event| Header::of(&event.data)).is_some_and(|header| {
            decoder.is_graph_entry(&header) || decoder.is_graph_return(&header)
        }),
    };
    out.layout(&format!("# tracer: {tracer}\n#\n"))?;
    if is_graph {
        out.layout(Graph::COLUMNS)?;
    } else {
        let held = counts.clone().map(|counts| counts.held);
        let written = counts.map(|counts| counts.held.saturating_add(counts.overwritten));
        let online = kernel.cpus()?.present.len();
        out.layout(&format!(
            "# entries-in-buffer/entries-written: {held}/{written}   #P:{online}\n#\n{COLUMNS}"
        ))?;
    }
    let mut graph = Graph::new(kernel, cpus);
    let mut begun = Vec::new();
    loop {
        let next = merged.next_with(|event, behind| is_leaf(&decoder, &event.data, &behind.data));
        let Some((cpu, event, along)) = next else { break };
        let Some(header) = Header::of(&event.data) else { continue };
        // As the kernel: where events were lost, each CPU's first is marked, but the very first.
        if has_lost && !is_graph && !begun.contains(&cpu) {
            if !begun.is_empty() {
                out.layout(&format!("##### CPU {cpu} buffer started ####\n"))?;
            }
            begun.push(cpu);
        }
        let command = commands.as_ref().map_or_else(|| "<...>".to_owned(), |c| c.name(header.pid));
        let content = decoder.decode(&header, &event.data);
        let mut report = EventReport {
            cpu,
            time: event.time,
            pid: header.pid,
            command,
            context: header.letters(),
            event: String::new(),
            text: String::new(),
            is_decoded: true,
            in_nanoseconds: instance.clock_in_nanoseconds,
        };
        let along =
            along.and_then(|event| Some(decoder.decode(&Header::of(&event.data)?, &event.data)));
        match content {
            Content::Text { name, text, is_decoded } if !is_graph => {
                report.event = name;
                report.text = text;
                report.is_decoded = is_decoded;
                out.emit(&report)?;
            }
            content => {
                let names =
                    |pid| commands.as_ref().map_or_else(|| "<...>".to_owned(), |c| c.name(pid));
                if let Some(switch) = graph.switch(cpu, header.pid, &names) {
                    out.layout(&switch)?;
                }
                let line = graph.line(report, content, along, is_graph);
                out.emit(&line)?;
            }
        }
    }
    merged.tell_missing(out);
    Ok(())
}

/// Whether the second record says that the function of the first has ended, with nothing between.
fn is_leaf(decoder: &Decoder<'_>, first: &[u8], second: &[u8]) -> bool {
    let (Some(entry), Some(end)) = (Header::of(first), Header::of(second)) else { return false };
    if entry.pid != end.pid || !decoder.is_graph_entry(&entry) || !decoder.is_graph_return(&end) {
        return false;
    }
    match (decoder.decode(&entry, first), decoder.decode(&end, second)) {
        (Content::GraphEntry { function, .. }, Content::GraphReturn { function: returned, .. }) => {
            function == returned
        }
        _ => false,
    }
}
