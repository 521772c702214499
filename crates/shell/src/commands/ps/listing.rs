//! One line a task.

use super::{Chosen, Request, policy};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_facts::Facts;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::task_accounting::{MemoryAccounts, MemoryUse};
use mortis_kernel::tasks::TaskState;
use rayon::prelude::*;
use serde::Serialize;

/// A line of the listing.
#[derive(Serialize)]
struct Row {
    active: bool,
    pid: u32,
    ppid: Known<u32>,
    cpu: Known<u32>,
    task: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_stack_pointer: Option<StackPointer>,
    state: Known<&'static str>,
    memory_percent: Known<f64>,
    vsz_kib: Known<u64>,
    rss_kib: Known<u64>,
    command: Known<String>,
    kernel_thread: bool,
}

/// Where a task's kernel stack ended when it was switched out; null while it runs.
#[derive(Clone, Serialize)]
#[serde(transparent)]
struct StackPointer(Option<Known<Hex>>);

/// KiB of a page.
const PAGE_KIB: u64 = 4;

/// Rows that are computed, and then emitted, at a time.
const CHUNK: usize = 4096;

/// A column 16 wide of an address, or of what stands for it.
fn address(pointer: Option<&StackPointer>, task: Hex) -> String {
    match pointer {
        None => format!("{:>16x}", task.0),
        Some(StackPointer(None)) => format!("{:^16}", "--"),
        Some(StackPointer(Some(pointer))) => match pointer.value() {
            Some(pointer) => format!("{:>16x}", pointer.0),
            None => format!("{:^16}", pointer.clone().map(|_| "")),
        },
    }
}

fn mark(active: bool) -> char {
    if active { '>' } else { ' ' }
}

fn bracketed(kernel_thread: bool, command: &Known<String>) -> String {
    if kernel_thread { format!("[{command}]") } else { command.to_string() }
}

impl Render for Row {
    fn render(&self, out: &mut String, _: Style) {
        let percent = self.memory_percent.clone().map(|percent| format!("{percent:.1}"));
        out.push_str(&format!(
            "{} {:>7} {:>7} {:>3}  {} {:>3}  {percent:>4} {:>8} {:>8}  {}\n",
            mark(self.active),
            self.pid,
            self.ppid,
            self.cpu,
            address(self.kernel_stack_pointer.as_ref(), self.task),
            self.state,
            self.vsz_kib,
            self.rss_kib,
            bracketed(self.kernel_thread, &self.command),
        ));
    }
}

/// The heading of the column that an address stands in.
fn address_heading(request: &Request) -> &'static str {
    if request.stack_pointer { "     KSTACKP    " } else { "      TASK      " }
}

/// Reads what is the same for all rows once.
struct Rows<'a> {
    request: &'a Request,
    kernel: &'a Kernel,
    chosen: &'a Chosen,
    accounts: MemoryAccounts<'a>,
    /// Pages that 100 % are.
    total_pages: Known<u64>,
}

impl<'a> Rows<'a> {
    fn new(
        request: &'a Request,
        kernel: &'a Kernel,
        chosen: &'a Chosen,
    ) -> Result<Self, CommandError> {
        let accounts = MemoryAccounts::new(kernel)?;
        Ok(Self { request, kernel, chosen, accounts, total_pages: kernel.max_pfn().into() })
    }

    fn ppid(&self, task: &Facts) -> Known<u32> {
        let read = || match task.parent {
            Known::Value(parent) => self.kernel.task_at(parent).map(|task| task.pid).into(),
            Known::Guessed(_, why) | Known::Unavailable(why) => Known::Unavailable(why),
        };
        task.ppid.get_or_init(read).clone()
    }

    fn memory(&self, task: &Facts) -> Known<MemoryUse> {
        let read = || match (&task.mm, task.tgid.value()) {
            // What is left of a zombie has no memory any more.
            _ if task.state.value() == Some(&TaskState::Zombie) => {
                Known::Value(MemoryUse::default())
            }
            (Known::Value(mm), tgid) => {
                self.accounts.of(*mm, tgid.copied().unwrap_or(task.task.pid)).into()
            }
            (Known::Unavailable(why) | Known::Guessed(_, why), _) => Known::Unavailable(why),
        };
        task.memory.get_or_init(read).clone()
    }

    fn stack_pointer(&self, task: &Facts) -> Option<StackPointer> {
        self.request.stack_pointer.then(|| {
            let switched_out = !self.chosen.running.contains(&task.task.address);
            StackPointer(switched_out.then(|| {
                let layout = self.kernel.task_struct();
                let pointer =
                    layout.and_then(|layout| layout.thread_sp.u64(self.kernel, task.task.address));
                pointer.map(Hex).into()
            }))
        })
    }

    fn row(&self, task: &Facts) -> Row {
        let usage = self.memory(task);
        let percent = |rss: u64| match &self.total_pages {
            Known::Value(total) => Known::Value(rss as f64 * 100.0 / (*total).max(1) as f64),
            Known::Unavailable(why) | Known::Guessed(_, why) => Known::Unavailable(why),
        };
        Row {
            active: self.chosen.running.contains(&task.task.address),
            pid: task.task.pid,
            ppid: self.ppid(task),
            cpu: task.cpu.clone(),
            task: Hex(task.task.address.0),
            kernel_stack_pointer: self.stack_pointer(task),
            state: task.state.clone().map(TaskState::code),
            memory_percent: match &usage {
                Known::Value(usage) | Known::Guessed(usage, _) => percent(usage.rss),
                Known::Unavailable(why) => Known::Unavailable(why),
            },
            vsz_kib: usage.clone().map(|usage| usage.total_vm.saturating_mul(PAGE_KIB)),
            rss_kib: usage.map(|usage| usage.rss.saturating_mul(PAGE_KIB)),
            command: task.comm.clone(),
            kernel_thread: task.is_kernel,
        }
    }
}

/// The tasks with state and memory.
pub(super) fn tasks(
    request: &Request,
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    if request.heading {
        out.layout(&format!(
            "      PID    PPID  CPU {}  ST  %MEM      VSZ      RSS  COMM\n",
            address_heading(request)
        ))?;
    }
    let rows = Rows::new(request, kernel, chosen)?;
    let tasks: Vec<&Facts> = chosen.iter().collect();
    for chunk in tasks.chunks(CHUNK) {
        let chunk: Vec<Row> =
            chunk.par_iter().with_min_len(128).map(|task| rows.row(task)).collect();
        for row in &chunk {
            out.emit(row)?;
        }
    }
    Ok(())
}

/// A line of `ps -Y`.
#[derive(Serialize)]
struct PolicyRow {
    active: bool,
    pid: u32,
    ppid: Known<u32>,
    cpu: Known<u32>,
    task: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_stack_pointer: Option<StackPointer>,
    policy: Known<&'static str>,
    priority: Known<i32>,
    command: Known<String>,
    kernel_thread: bool,
}

impl Render for PolicyRow {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!(
            "{} {:>7} {:>7} {:>3}  {}  {:<12} {:>4}  {}\n",
            mark(self.active),
            self.pid,
            self.ppid,
            self.cpu,
            address(self.kernel_stack_pointer.as_ref(), self.task),
            self.policy,
            self.priority,
            bracketed(self.kernel_thread, &self.command),
        ));
    }
}

/// The tasks with scheduling policy and priority.
pub(super) fn policies(
    request: &Request,
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    if request.heading {
        out.layout(&format!(
            "      PID    PPID  CPU {}  POLICY       PRIO  COMM\n",
            address_heading(request)
        ))?;
    }
    let rows = Rows::new(request, kernel, chosen)?;
    for task in chosen.iter() {
        out.emit(&PolicyRow {
            active: chosen.running.contains(&task.task.address),
            pid: task.task.pid,
            ppid: rows.ppid(task),
            cpu: task.cpu.clone(),
            task: Hex(task.task.address.0),
            kernel_stack_pointer: rows.stack_pointer(task),
            policy: task.policy.clone().map(policy::name),
            priority: task.prio.clone(),
            command: task.comm.clone(),
            kernel_thread: task.is_kernel,
        })?;
    }
    Ok(())
}

/// How many tasks are in one state.
#[derive(Serialize)]
struct StateCount {
    state: Known<&'static str>,
    tasks: usize,
}

impl Render for StateCount {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("  {}: {}\n", self.state, self.tasks));
    }
}

/// The states in the order in which the first task of each comes.
pub(super) fn summary(chosen: &Chosen, out: &mut Output) -> Result<(), CommandError> {
    let mut counts: Vec<StateCount> = Vec::new();
    for task in chosen.iter() {
        let state = task.state.clone().map(TaskState::code);
        match counts.iter_mut().find(|count| count.state == state) {
            Some(count) => count.tasks += 1,
            None => counts.push(StateCount { state, tasks: 1 }),
        }
    }
    for count in &counts {
        out.emit(count)?;
    }
    Ok(())
}
