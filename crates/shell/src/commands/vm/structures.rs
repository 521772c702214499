//! `vm -m` and `vm -v`: the kernel's own structures.

use super::listing::OfProcess;
use super::process::{Process, TaskMemory};
use crate::output::{Render, Style};
use crate::structure::Structure;
use crate::task_header::TaskHeader;
use crate::typed_value::ValueStyle;
use mortis_kernel::Kernel;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::sync::Arc;

/// A task's `struct mm_struct`.
#[derive(Serialize)]
pub(super) struct MmStructure {
    #[serde(flatten)]
    task: TaskHeader,
    mm_struct: Option<Structure>,
    #[serde(skip)]
    process: Option<Arc<Process>>,
}

impl MmStructure {
    pub fn read(kernel: &Kernel, memory: TaskMemory, style: ValueStyle) -> Self {
        let process = memory.process;
        let mm = process.as_ref().map(|process| VirtAddr(process.mm.0));
        let mm_struct = mm.and_then(|mm| Structure::read(kernel, "mm_struct", mm, style).ok());
        Self { task: memory.task, mm_struct, process: None }
    }
}

impl OfProcess for MmStructure {
    fn process(&self) -> &Option<Arc<Process>> {
        &self.process
    }
}

impl Render for MmStructure {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        if let Some(structure) = &self.mm_struct {
            structure.render(out, style);
        }
    }
}

/// The `struct vm_area_struct` of each area of a task.
#[derive(Serialize)]
pub(super) struct AreaStructures {
    #[serde(flatten)]
    task: TaskHeader,
    areas: Vec<Structure>,
    #[serde(skip)]
    process: Option<Arc<Process>>,
}

impl AreaStructures {
    pub fn read(kernel: &Kernel, memory: TaskMemory, style: ValueStyle) -> Self {
        let process = memory.process;
        let areas = process.as_ref().map_or(&[][..], |process| process.areas());
        let areas = areas
            .iter()
            .map(|area| VirtAddr(area.vma.0))
            .filter_map(|area| Structure::read(kernel, "vm_area_struct", area, style).ok())
            .collect();
        Self { task: memory.task, areas, process }
    }
}

impl OfProcess for AreaStructures {
    fn process(&self) -> &Option<Arc<Process>> {
        &self.process
    }
}

impl Render for AreaStructures {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        for area in &self.areas {
            area.render(out, style);
        }
    }
}
