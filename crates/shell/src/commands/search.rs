//! `search`: where a value or a string is in memory.

mod request;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands::rd;
use crate::output::{Face, Output, Render, Stop, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::memory_search::{self, Hit, Needle, Run, Searched};
use mortis_kernel::scan::in_order;
use mortis_kernel::search_space::KernelPart;
use mortis_kernel::tasks::Task;
use mortis_kernel::user_memory::UserMemory;
use mortis_kernel::vmalloc::VmapArea;
use mortis_memory::VirtAddr;
use request::{Request, Space};
use serde::Serialize;

/// `search`.
pub const COMMAND: Command = Command {
    name: "search",
    aliases: &[],
    summary: "where a value or a string is in memory",
    synopsis: "[-s start] [-[kKV] | -u | -p | -t | -T] [-e end | -l length] [-m mask] \
               [-x count] -[cwh] [value | (expression) | symbol | string]...",
    options: &[
        value('s', "start", "start at this address or symbol"),
        flag('k', "the kernel's memory (the default)"),
        flag('K', "the same without vmalloc, modules and struct pages"),
        flag('V', "the same without the map of all memory and the kernel's text and data"),
        flag('u', "the user memory of the task in focus"),
        flag('p', "physical memory"),
        flag('t', "the kernel stack of every task"),
        flag('T', "the kernel stacks of the tasks that were running"),
        value('e', "end", "end before this address or symbol"),
        value('l', "length", "this many bytes"),
        value('m', "mask", "bits that do not count"),
        flag('c', "strings"),
        flag('w', "values of 32 bits"),
        flag('h', "values of 16 bits"),
        value('x', "count", "this many values around each hit"),
    ],
    help: "\
Values are 64 bits wide, at addresses that are multiples of 8. Several may be given. Pages that
are not in the dump are passed over.

Examples:
  search ffff8f190a0bc200
  search -k init_task
  search -t ffff8f190a0bc200
  search -p -m ffff ffff8f190a0b0000
  search -c mortis-lab
  search -u -c PATH=
  search -s init_task -l 16384 init_task (init_task+2416)",
    run,
};

/// Something found.
#[derive(Serialize)]
struct HitRow {
    address: Hex,
    /// The number there; absent for a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Hex>,
    /// What was asked for, where it was a symbol or an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<String>,
    /// The string with what follows; bytes that are no text are dots.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The task on whose stack it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Hex>,
    /// With `-x`: what is in front of it and behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    around: Option<(Vec<rd::Row>, Vec<rd::Row>)>,
}

impl Render for HitRow {
    fn render(&self, out: &mut String, style: Style) {
        let matches = self.matches.as_deref().unwrap_or("");
        let matches = match matches.starts_with('(') || matches.is_empty() {
            true => matches.to_owned(),
            false => format!("({matches})"),
        };
        let value = self.value.map_or(0, |value| value.0);
        match (&self.text, &self.around) {
            (Some(text), _) => out.push_str(&format!("{:x}: {text}\n", self.address.0)),
            (None, None) => out.push_str(&format!("{:x}: {value:x} {matches}\n", self.address.0)),
            (None, Some((before, after))) => {
                before.iter().for_each(|row| row.render(out, style));
                out.push_str(&format!("{:>16x}:  {value:x} {matches}\n", self.address.0));
                after.iter().for_each(|row| row.render(out, style));
                out.push('\n');
            }
        }
    }
}

/// Turns hits into rows.
struct Rows<'a> {
    kernel: &'a Kernel,
    request: &'a Request,
    memory: rd::Memory<'a>,
}

impl Rows<'_> {
    fn row(&self, hit: Hit, task: Option<Task>) -> HitRow {
        let size = match &self.request.needle {
            Needle::Numbers { size, .. } => Some(*size),
            Needle::Strings(_) => None,
        };
        let printable = |&byte: &u8| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        };
        let around = size.filter(|_| self.request.context > 0).map(|size| {
            let count = self.request.context;
            let bytes = count * size as u64;
            let rows = |address| rd::rows(self.kernel, &self.memory, address, size, count);
            (rows(hit.address.wrapping_sub(bytes)), rows(hit.address.wrapping_add(size as u64)))
        });
        HitRow {
            address: Hex(hit.address),
            value: size.map(|_| Hex(hit.value)),
            matches: self.request.words.get(hit.which).cloned().flatten(),
            text: size.is_none().then(|| hit.text.iter().map(printable).collect()),
            task: task.map(|task| Hex(task.address.0)),
            around,
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let session = &*session;
    let kernel = &*session.kernel;
    let request = Request::parse(session, arguments, out)?;
    let memory = match &request.space {
        Space::Physical => rd::Memory::Physical(kernel),
        Space::User(task) => rd::Memory::User(UserMemory::of(kernel, *task)?),
        Space::Kernel { .. } | Space::Stacks { .. } => rd::Memory::Virtual(kernel),
    };
    let rows = Rows { kernel, request: &request, memory };
    let translate = |address| kernel.memory().translate(VirtAddr(address)).ok();
    let searched = Searched { physical: &**kernel.memory().physical(), translate: &translate };
    match &request.space {
        Space::Physical => {
            let runs = kernel.physical_runs(request.range.clone()).collect::<Vec<_>>();
            search(&rows, &searched, runs, out)
        }
        Space::User(task) => {
            let line = out.progress("pages");
            let runs = kernel.user_runs(*task, request.range.clone())?;
            memory_search::search(&searched, runs, &request.needle, &line, |hit| {
                out.emit(&rows.row(hit, None)).map_err(CommandError::from)
            })
        }
        Space::Kernel { areas, parts } => {
            let runs =
                parts.iter().flat_map(|(part, range)| part_runs(kernel, *part, areas, range));
            search(&rows, &searched, runs.collect(), out)
        }
        Space::Stacks { only_running } => {
            search_stacks(session, &rows, &searched, *only_running, out)
        }
    }
}

/// The runs of a part of the kernel's memory.
fn part_runs(
    kernel: &Kernel,
    part: KernelPart,
    areas: &[VmapArea],
    range: &std::ops::Range<u64>,
) -> Vec<Run> {
    kernel.kernel_runs(part, areas, range.clone()).collect()
}

fn search(
    rows: &Rows<'_>,
    searched: &Searched<'_>,
    runs: Vec<Run>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let line = out.progress("memory");
    line.expect(runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.len)));
    memory_search::search(searched, runs, &rows.request.needle, &line, |hit| {
        out.emit(&rows.row(hit, None)).map_err(CommandError::from)
    })
}

/// Tasks whose stacks one core looks at in one go.
const TASKS: usize = 64;

fn search_stacks(
    session: &Session,
    rows: &Rows<'_>,
    searched: &Searched<'_>,
    only_running: bool,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = rows.kernel;
    let mut tasks = kernel.tasks().tasks.clone();
    if only_running {
        let running = session.running_tasks();
        tasks.retain(|task| running.iter().any(|(_, running)| running.address == task.address));
    }
    let line = out.progress("stacks");
    let progress: &mortis_kernel::scan::Progress = &line;
    progress.expect(tasks.len() as u64);
    let mut first = true;
    in_order(
        tasks.chunks(TASKS),
        |tasks| {
            progress.advance(tasks.len() as u64).map_err(|_| Stop::Interrupted)?;
            let hits = tasks.iter().map(|&task| {
                let run = kernel.stack_run(task);
                (task, memory_search::hits(searched, run, &rows.request.needle))
            });
            Ok::<_, Stop>(hits.filter(|(_, hits)| !hits.is_empty()).collect::<Vec<_>>())
        },
        |found| -> Result<(), Stop> {
            for (task, hits) in found? {
                if out.face() == Face::Text {
                    let mut header = if first { String::new() } else { "\n".to_owned() };
                    TaskHeader::read(kernel, task).render(&mut header, Style::default());
                    out.layout(&header)?;
                }
                first = false;
                for hit in hits {
                    out.emit(&rows.row(hit, Some(task)))?;
                }
            }
            Ok(())
        },
    )?;
    Ok(())
}
