//! `vm` over tasks: on all cores, and in order.

use super::pages::PageBlock;
use super::process::{Process, Processes, TaskMemory, damage_of, render_totals};
use super::structures::{AreaStructures, MmStructure};
use super::{Mode, Request};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Face, Output, Render, Rendered, Stop, Style};
use crate::session::Session;
use crate::task_facts::FactsReader;
use mortis_kernel::Kernel;
use mortis_kernel::error::Result as KernelResult;
use mortis_kernel::scan;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::sync::Arc;

/// What the workers need.
struct Reader<'k> {
    kernel: &'k Kernel,
    tasks: FactsReader<'k>,
    processes: Processes<'k>,
    request: &'k Request,
    face: Face,
    style: Style,
}

/// What a damaged process is warned of is told once, and of further ones their number.
#[derive(Default)]
struct Damages {
    first: Option<String>,
    others: u64,
    last: Option<String>,
}

impl Damages {
    fn note(&mut self, damage: Option<String>) {
        // Threads share the damage.
        if damage.is_none() || damage == self.last || damage == self.first {
            return;
        }
        match &self.first {
            None => self.first = damage,
            Some(_) => {
                self.others += 1;
                self.last = damage;
            }
        }
    }

    fn warn(self, out: &mut Output) {
        match (self.first, self.others) {
            (Some(first), 0) => out.warn(first),
            (Some(first), others) => out.warn(format!("{first}; and {others} more like it")),
            (None, _) => {}
        }
    }
}

/// Shows what was asked for of each of `tasks`.
pub(super) fn show(
    session: &Session,
    request: &Request,
    tasks: &[Task],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let reader = Reader {
        kernel,
        tasks: FactsReader::new(session, tasks, out)?,
        processes: Processes::new(kernel),
        request,
        face: out.face(),
        style: out.style(),
    };
    match &request.mode {
        Mode::Areas => reader.each(tasks, out, |reader, task| Some(reader.memory(task))),
        Mode::Structure => reader.each(tasks, out, |reader, task| {
            Some(MmStructure::read(reader.kernel, reader.memory(task), reader.request.style))
        }),
        Mode::AreaStructures => reader.each(tasks, out, |reader, task| {
            Some(AreaStructures::read(reader.kernel, reader.memory(task), reader.request.style))
        }),
        Mode::Reference(reference) => reader
            .each(tasks, out, |reader, task| reference.search(reader.kernel, reader.memory(task))),
        Mode::Pages | Mode::OneArea(_) => reader.pages(tasks, out),
    }
}

/// An answer that may tell of damage.
pub(super) trait OfProcess {
    /// The process that it is of.
    fn process(&self) -> &Option<Arc<Process>>;
}

impl OfProcess for TaskMemory {
    fn process(&self) -> &Option<Arc<Process>> {
        &self.process
    }
}

impl Reader<'_> {
    fn memory(&self, task: Task) -> TaskMemory {
        let facts = self.tasks.read(task);
        let answer = TaskMemory { task: facts.header(), process: None, unknown: None };
        let mm = match (&facts.mm, self.request.forced_mm) {
            (Known::Value(VirtAddr(0)), Some(forced)) => forced,
            (Known::Value(mm) | Known::Guessed(mm, _), _) => *mm,
            (Known::Unavailable(why), _) => return TaskMemory { unknown: Some(why), ..answer },
        };
        if mm.is_null() {
            return answer;
        }
        let tgid = facts.tgid.value().copied().unwrap_or(task.pid);
        TaskMemory { process: Some(self.processes.get(mm, tgid)), ..answer }
    }

    /// Does `work` for each task, and gives the answers in order with empty lines between.
    fn each<T: Serialize + Render + OfProcess + Send>(
        &self,
        tasks: &[Task],
        out: &mut Output,
        work: impl Fn(&Self, Task) -> Option<T> + Sync,
    ) -> Result<(), CommandError> {
        let progress = out.progress("vm");
        progress.expect(tasks.len() as u64);
        let mut damages = Damages::default();
        // Matches of a reference end in an empty line, others stand between empty lines.
        let separated = !matches!(self.request.mode, Mode::Reference(_));
        let mut begun = false;
        scan::in_order(
            tasks.iter().copied(),
            |task| -> KernelResult<_> {
                progress.advance(1)?;
                let Some(item) = work(self, task) else { return Ok(None) };
                let damage = damage_of(item.process());
                Ok(Some((Rendered::new(item, self.face, self.style), damage)))
            },
            |answer| -> Result<(), CommandError> {
                let Some((item, damage)) = answer? else { return Ok(()) };
                if std::mem::replace(&mut begun, true) && separated {
                    out.layout("\n")?;
                }
                damages.note(damage);
                Ok(out.emit(&item)?)
            },
        )?;
        damages.warn(out);
        Ok(())
    }

    /// `-p` and `-P`: what is between two areas' pages is work of its own, for a process may be
    /// as large as all others together.
    fn pages(&self, tasks: &[Task], out: &mut Output) -> Result<(), CommandError> {
        let progress = out.progress("vm -p");
        progress.expect(tasks.len() as u64);
        let mut damages = Damages::default();
        let blocks = tasks.iter().enumerate().flat_map(|(index, &task)| {
            let memory = self.memory(task);
            let damage = damage_of(&memory.process);
            let blocks = self.blocks(memory, index > 0);
            let progress = &progress;
            blocks.into_iter().enumerate().map(move |(number, block)| {
                let checked = match number {
                    0 => progress.advance(1),
                    _ => progress.check(),
                };
                (checked, block, damage.clone().filter(|_| number == 0))
            })
        });
        scan::in_order(
            blocks,
            |(checked, block, damage): (KernelResult<()>, Block, _)| -> KernelResult<_> {
                checked?;
                Ok((self.render(block), damage))
            },
            |answer: KernelResult<(RenderedBlock, Option<String>)>| -> Result<(), CommandError> {
                let (block, damage) = answer?;
                damages.note(damage);
                Ok(block.emit(out)?)
            },
        )?;
        damages.warn(out);
        Ok(())
    }

    /// What is to be shown of a task's pages, in parts.
    fn blocks(
        &self,
        memory: TaskMemory,
        separate: bool,
    ) -> Box<dyn Iterator<Item = Block> + Send + '_> {
        let wanted = match self.request.mode {
            Mode::OneArea(wanted) => Some(wanted),
            _ => None,
        };
        let process = memory.process.clone();
        let task = memory.task.clone();
        let areas = process.as_ref().map_or(0, |process| process.areas().len());
        let chosen = move |process: &Option<Arc<Process>>, index: usize| {
            let area = process.as_ref()?.areas().get(index)?;
            wanted.is_none_or(|wanted| area.vma.0 == wanted.0).then_some(())
        };
        let found = (0..areas).any(|index| chosen(&process, index).is_some());
        let head = Block::Head { memory, separate, one: wanted.is_some(), found };
        let rest =
            (0..areas).filter(move |&index| chosen(&process, index).is_some()).collect::<Vec<_>>();
        let process = match &head {
            Block::Head { memory, .. } => memory.process.clone(),
            Block::Pages(_) => None,
        };
        let pages = rest.into_iter().flat_map(move |index| {
            let blocks = process.as_ref().map(|process| PageBlock::of_area(process, index, &task));
            blocks.into_iter().flatten().map(Block::Pages)
        });
        Box::new(std::iter::once(head).chain(pages))
    }

    fn render(&self, block: Block) -> RenderedBlock {
        match block {
            Block::Head { memory, separate, one, found } => {
                let item = PagesHead { memory, separate, one, found };
                RenderedBlock::Head(Rendered::new(item, self.face, self.style))
            }
            Block::Pages(mut block) => {
                block.fill(self.kernel, self.face);
                RenderedBlock::Pages(Rendered::new(block, self.face, self.style))
            }
        }
    }
}

/// A part of `-p`'s answer.
enum Block {
    Head { memory: TaskMemory, separate: bool, one: bool, found: bool },
    Pages(PageBlock),
}

/// A part with its text.
enum RenderedBlock {
    Head(Rendered<PagesHead>),
    Pages(Rendered<PageBlock>),
}

impl RenderedBlock {
    fn emit(&self, out: &mut Output) -> Result<(), Stop> {
        match self {
            RenderedBlock::Head(head) => out.emit(head),
            RenderedBlock::Pages(block) => out.emit(block),
        }
    }
}

/// What stands over the pages of a task.
struct PagesHead {
    memory: TaskMemory,
    separate: bool,
    /// Whether only one area was asked for.
    one: bool,
    found: bool,
}

impl Serialize for PagesHead {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl Render for PagesHead {
    fn render(&self, out: &mut String, style: Style) {
        if self.separate {
            out.push('\n');
        }
        self.memory.task.render(out, style);
        if let Some(why) = self.memory.unknown {
            out.push_str(&format!("<{why}>\n"));
        } else if !self.one {
            render_totals(self.memory.process.as_deref(), out);
        } else if self.memory.process.is_some() && !self.found {
            out.push_str("(not found)\n");
        }
    }
}
