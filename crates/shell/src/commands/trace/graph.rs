//! Calls and returns as the graph tracer shows them (kernel/trace/trace_functions_graph.c).

use super::show::EventReport;
use crate::output::{Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::tracing::print_format::symbol;
use mortis_kernel::tracing::record::Content;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::collections::HashMap;

/// What is known of a CPU.
#[derive(Default)]
struct CpuState {
    /// The task it was at.
    pid: Option<u32>,
    /// How many calls deep.
    depth: i64,
    /// The functions that were shown to begin, by depth.
    entered: HashMap<i64, VirtAddr>,
}

/// Depths beyond are not kept (`FTRACE_RETFUNC_DEPTH`).
const KEPT_DEPTH: i64 = 50;

/// No more blanks in front of a function.
const MAX_INDENT: i64 = 1024;

/// The printer of calls.
pub(super) struct Graph<'k> {
    kernel: &'k Kernel,
    cpus: HashMap<u32, CpuState>,
    /// Columns of a CPU's number.
    width: usize,
}

/// A call, a return, a call that returned at once, or another event among them.
#[derive(Serialize)]
pub(super) struct GraphReport {
    cpu: u32,
    time: u64,
    pid: u32,
    command: String,
    /// `call`, `leaf`, `return` or `event`.
    kind: &'static str,
    function: Option<String>,
    depth: i64,
    /// By the clock of the instance.
    duration: Option<u64>,
    text: String,
    #[serde(skip)]
    prefix: String,
}

impl Render for GraphReport {
    fn render(&self, out: &mut String, _: Style) {
        let duration = match self.duration {
            Some(duration) => duration_column(duration),
            None => "              |  ".to_owned(),
        };
        let indent = (self.depth.clamp(0, MAX_INDENT) * 2) as usize;
        out.push_str(&format!("{}{duration}{:indent$}{}\n", self.prefix, "", self.text));
    }
}

impl<'k> Graph<'k> {
    /// The heading, in the kernel's words.
    pub(super) const COLUMNS: &'static str = "\
# CPU  DURATION                  FUNCTION CALLS
# |     |   |                     |   |   |   |
";

    pub(super) fn new(kernel: &'k Kernel, cpus: &[u32]) -> Self {
        let width = cpus.last().map_or(1, |last| last.to_string().len());
        Self { kernel, cpus: HashMap::new(), width }
    }

    fn cpu_column(&self, cpu: u32) -> String {
        format!(" {cpu:>width$}) ", width = self.width)
    }

    /// The lines that tell that `cpu` has come to another task; `None` where it has not.
    pub(super) fn switch(
        &mut self,
        cpu: u32,
        pid: u32,
        name: &impl Fn(u32) -> String,
    ) -> Option<String> {
        let before = self.cpus.entry(cpu).or_default().pid.replace(pid)?;
        if before == pid {
            return None;
        }
        const RULE: &str = " ------------------------------------------\n";
        let (from, to) = (task(before, &name(before)), task(pid, &name(pid)));
        Some(format!("{RULE}{}{from} => {to}\n{RULE}\n", self.cpu_column(cpu)))
    }

    /// The line for `content`, which `along` has ended at once if it is there.
    pub(super) fn line(
        &mut self,
        event: EventReport,
        content: Content,
        along: Option<Content>,
        is_graph: bool,
    ) -> GraphReport {
        let prefix = if is_graph { self.cpu_column(event.cpu) } else { event.prefix() };
        let kernel = self.kernel;
        let state = self.cpus.entry(event.cpu).or_default();
        let mut report = GraphReport {
            cpu: event.cpu,
            time: event.time,
            pid: event.pid,
            command: event.command,
            kind: "event",
            function: None,
            depth: 0,
            duration: None,
            text: String::new(),
            prefix,
        };
        match content {
            Content::GraphEntry { function, depth } => {
                let name = symbol(kernel, function, false);
                report.depth = depth;
                if let Some(Content::GraphReturn { duration, .. }) = along {
                    (report.kind, report.text) = ("leaf", format!("{name}();"));
                    report.duration = Some(duration);
                    // Comments align with the functions around them.
                    state.depth = depth - 1;
                    state.entered.remove(&depth);
                } else {
                    (report.kind, report.text) = ("call", format!("{name}() {{"));
                    state.depth = depth;
                    if (0..KEPT_DEPTH).contains(&depth) {
                        state.entered.insert(depth, function);
                    }
                }
                report.function = Some(name);
            }
            Content::GraphReturn { function, depth, duration } => {
                let name = symbol(kernel, function, false);
                state.depth = depth - 1;
                let matches = !(0..KEPT_DEPTH).contains(&depth)
                    || state.entered.remove(&depth) == Some(function);
                report.kind = "return";
                report.text = if matches { "}".to_owned() } else { format!("}} /* {name} */") };
                report.depth = depth;
                report.duration = Some(duration);
                report.function = Some(name);
            }
            Content::Text { text, .. } => {
                report.depth = state.depth + 1;
                report.text = format!("/* {text} */");
            }
        }
        report
    }
}

/// A task in the middle of 14 columns.
fn task(pid: u32, name: &str) -> String {
    const COLUMNS: usize = 14;
    let name: String = name.chars().take(7).collect();
    let text = format!("{name}-{pid}");
    let blanks = COLUMNS.saturating_sub(text.chars().count());
    let left = blanks / 2;
    format!("{:left$}{text}{:right$}", "", "", right = blanks - left)
}

/// How long a call took, with a mark where that is long.
fn duration_column(nanoseconds: u64) -> String {
    let mark = match nanoseconds {
        n if n > 1_000_000_000 => '$',
        n if n > 100_000_000 => '@',
        n if n > 10_000_000 => '*',
        n if n > 1_000_000 => '#',
        n if n > 100_000 => '!',
        n if n > 10_000 => '+',
        _ => ' ',
    };
    // Seven columns of digits: the fraction is cut, not rounded, where they do not suffice.
    let mut digits = (nanoseconds / 1000).to_string();
    if digits.len() < 7 {
        let fraction = format!("{:03}", nanoseconds % 1000);
        let room = (7 - digits.len()).min(3);
        digits.push('.');
        digits.push_str(&fraction[..room]);
    }
    let blanks = 8usize.saturating_sub(digits.len());
    format!("{mark} {digits} us {:blanks$}|  ", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_the_kernel_does() {
        assert_eq!(duration_column(961), "  0.961 us    |  ");
        assert_eq!(duration_column(14_862), "+ 14.862 us   |  ");
        assert_eq!(duration_column(7_970_411), "# 7970.411 us |  ");
        assert_eq!(duration_column(12_345_678_901), "$ 12345678 us |  ");
    }

    #[test]
    fn tasks_stand_in_the_middle() {
        assert_eq!(task(194, "life-busy"), " life-bu-194  ");
        assert_eq!(task(18, "rcu_preempt"), "  rcu_pre-18  ");
    }
}
