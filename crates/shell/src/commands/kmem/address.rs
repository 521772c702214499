//! `kmem address`: what an address is of: a symbol, an area of vmalloc, an object of a slab, free
//! memory, a task or its stack; and the page it lies in.

use super::Target;
use super::free_lists;
use super::page_map;
use super::slab_contents::SlabSearch;
use super::vmalloc::{self, AreaRow};
use crate::command::CommandError;
use crate::commands::sym::line_of;
use crate::context::Context;
use crate::output::{Face, Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::free_lists::FreeLists;
use mortis_kernel::tasks::Task;
use mortis_memory::{PhysAddr, VirtAddr};
use serde::Serialize;

/// An address whose page frame is none of the machine's.
#[derive(Serialize)]
struct NotFound {
    address: Hex,
    memory: &'static str,
}

impl Render for NotFound {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!(
            "{:x}: {} address not found in mem map\n",
            self.address.0, self.memory
        ));
    }
}

/// Everything a search of several addresses reads once.
struct Search<'s> {
    session: &'s Session,
    kernel: &'s Kernel,
    areas: mortis_kernel::vmalloc::VmapAreas,
    lists: FreeLists<'s>,
    slabs: SlabSearch<'s>,
    failure: Option<CommandError>,
}

pub(super) fn run(
    session: &Session,
    targets: &[Target],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let mut search = Search {
        session,
        kernel,
        areas: vmalloc::areas(kernel, out)?,
        lists: FreeLists::new(kernel)?,
        slabs: SlabSearch::new(kernel)?,
        failure: None,
    };
    for (index, &target) in targets.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        search.show(target, out)?;
    }
    search.failure.map_or(Ok(()), Err)
}

impl Search<'_> {
    fn show(&mut self, target: Target, out: &mut Output) -> Result<(), CommandError> {
        let address = match target {
            Target::Virtual(address) => Some(address),
            Target::Physical(address) => self.kernel.memory().direct_address(address),
        };
        if let Some(address) = address.filter(|address| self.is_symbol(*address)) {
            self.show_symbol(address, out)?;
        }
        let found = match target {
            Target::Virtual(address) => self.show_area(address, out)?,
            Target::Physical(address) => self.show_mapping(address, out)?,
        };
        if let Some(physical) = found {
            let target = Target::Physical(physical);
            page_map::show(self.kernel, self.lists.sections(), target, out)?;
            return Ok(());
        }
        if let Target::Virtual(address) = target
            && self.kernel.memory().translate(address).is_err()
        {
            let warning = "cannot make virtual-to-physical translation";
            out.warn(format_args!("{warning}: {:x}", address.0));
        }
        if let Some(address) = address
            && self.slabs.show(address, out)?
        {
            out.layout("\n")?;
        }
        match free_lists::show(self.kernel, &self.lists, target, out) {
            Ok(true) => out.layout("\n")?,
            Ok(false) => {}
            Err(stop @ CommandError::Stop(_)) => return Err(stop),
            Err(error) => self.failure = self.failure.take().or(Some(error)),
        }
        if let Some(task) = address.and_then(|address| self.task_of(address)) {
            self.show_task(task, out)?;
        }
        let shown =
            address.is_some() && page_map::show(self.kernel, self.lists.sections(), target, out)?;
        if !shown {
            let memory = match target {
                Target::Virtual(_) => "kernel virtual",
                Target::Physical(_) => "physical",
            };
            out.emit(&NotFound { address: Hex(target.value()), memory })?;
        }
        Ok(())
    }

    /// Whether an address is in the kernel's image or a module, where symbols are.
    fn is_symbol(&self, address: VirtAddr) -> bool {
        let symbol = |name| self.kernel.symbol(name).map(|at: VirtAddr| at.0);
        let image = symbol("_stext").ok().zip(symbol("_end").ok());
        image.is_some_and(|(start, end)| (start..=end).contains(&address.0))
            || self.kernel.module_at(address).is_some()
    }

    fn show_symbol(&self, address: VirtAddr, out: &mut Output) -> Result<(), CommandError> {
        if let Some((symbol, offset)) = self.kernel.symbol_within(address) {
            out.emit(&line_of(self.kernel, &symbol, offset))?;
            out.layout("\n")?;
        }
        Ok(())
    }

    fn show_task(&self, task: Task, out: &mut Output) -> Result<(), CommandError> {
        out.emit(&Context::read(self.session, task))?;
        Ok(out.layout("\n")?)
    }

    /// The area of vmalloc that `address` lies in, and the physical address behind it.
    fn show_area(
        &self,
        address: VirtAddr,
        out: &mut Output,
    ) -> Result<Option<PhysAddr>, CommandError> {
        let Some(area) = self.areas.at(address) else { return Ok(None) };
        if let Some(task) = self.task_on_stack(address) {
            self.show_task(task, out)?;
        }
        let Ok(physical) = self.kernel.memory().translate(address) else { return Ok(None) };
        out.layout(vmalloc::HEADING)?;
        out.emit(&AreaRow::new(self.kernel, area, out.face() == Face::Json))?;
        out.layout("\n")?;
        Ok(Some(physical))
    }

    /// The same for an area that maps the page of a physical address.
    fn show_mapping(
        &self,
        physical: PhysAddr,
        out: &mut Output,
    ) -> Result<Option<PhysAddr>, CommandError> {
        let Some((area, address)) = vmalloc::mapping_of(self.kernel, &self.areas, physical) else {
            return Ok(None);
        };
        if let Some(task) = self.task_on_stack(address) {
            self.show_task(task, out)?;
        }
        self.show_symbol(address, out)?;
        out.layout(vmalloc::HEADING)?;
        out.emit(&AreaRow::new(self.kernel, area, out.face() == Face::Json))?;
        out.layout("\n")?;
        Ok(Some(physical))
    }

    /// The task in whose `struct task_struct`, or on whose stack, `address` lies.
    fn task_of(&self, address: VirtAddr) -> Option<Task> {
        let size = self.kernel.task_struct().map_or(0, |layout| layout.size_of);
        let tasks = &self.kernel.tasks().tasks;
        let holds = |task: &&Task| {
            address.0.checked_sub(task.address.0).is_some_and(|offset| offset < size)
        };
        tasks.iter().find(holds).copied().or_else(|| self.task_on_stack(address))
    }

    fn task_on_stack(&self, address: VirtAddr) -> Option<Task> {
        let on_stack = |task: &&Task| {
            let stack = self.kernel.task_stack(**task).ok().flatten();
            stack.is_some_and(|stack| (stack.low.0..stack.high.0).contains(&address.0))
        };
        self.kernel.tasks().tasks.iter().find(on_stack).copied()
    }
}
