//! `kmem -v`: areas of virtually contiguous memory.

use super::Target;
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::vmalloc::{VmStruct, VmapArea, VmapAreas};
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};
use serde::Serialize;

/// The heading of the areas.
pub(super) const HEADING: &str =
    "   VMAP_AREA         VM_STRUCT                 ADDRESS RANGE                SIZE\n";

/// An area.
#[derive(Serialize)]
pub(super) struct AreaRow {
    vmap_area: Hex,
    vm_struct: Hex,
    start: Hex,
    end: Hex,
    /// Bytes.
    size: u64,
    /// Who asked for it.
    caller: Option<String>,
    /// Pages that back it, where the kernel counts them.
    pages: Option<u64>,
}

impl AreaRow {
    pub(super) fn new(kernel: &Kernel, area: &VmapArea, with_caller: bool) -> Self {
        let layout = kernel.layout::<VmStruct>().ok().filter(|_| with_caller);
        let caller = layout.as_ref().and_then(|layout| {
            kernel.symbolize(layout.caller.pointer(kernel, area.vm_struct).ok()?)
        });
        Self {
            vmap_area: Hex(area.address.0),
            vm_struct: Hex(area.vm_struct.0),
            start: Hex(area.start.0),
            end: Hex(area.end.0),
            size: area.end.0.wrapping_sub(area.start.0),
            caller,
            pages: layout.and_then(|layout| layout.nr_pages.u64(kernel, area.vm_struct).ok()),
        }
    }
}

impl Render for AreaRow {
    fn render(&self, out: &mut String, _: Style) {
        let Self { vmap_area, vm_struct, start, end, size, .. } = self;
        out.push_str(&format!(
            "{:<16x}  {:<16x}  {:>16x} - {:<16x}  {size:>7}\n",
            vmap_area.0, vm_struct.0, start.0, end.0
        ));
    }
}

/// The areas that have a `vm_struct`, and a warning where there may be more.
pub(super) fn areas(kernel: &Kernel, out: &mut Output) -> Result<VmapAreas, CommandError> {
    let mut areas = kernel.vmap_areas()?;
    // As crash and /proc/vmallocinfo's first column do.
    areas.areas.retain(|area| !area.vm_struct.is_null());
    if let Some(damage) = &areas.damage {
        if areas.areas.is_empty() {
            return Err(damage.clone().into());
        }
        out.warn(format_args!("invalid/corrupt list of vmap areas: {damage}"));
    }
    Ok(areas)
}

/// The address in an area that maps the page of `physical`.
pub(super) fn mapping_of<'a>(
    kernel: &Kernel,
    areas: &'a VmapAreas,
    physical: PhysAddr,
) -> Option<(&'a VmapArea, VirtAddr)> {
    let page_size = kernel.memory().physical().page_size().max(1);
    let (page, offset) = (physical.0 / page_size, physical.0 % page_size);
    areas.areas.iter().find_map(|area| {
        let pages = (area.start.0..area.end.0).step_by(page_size as usize);
        // An area's size comes out of the dump: none is larger than the machine's memory.
        let limit = kernel.memory_map().map_or(1 << 20, |map| map.end.0) as usize;
        let found = pages.take(limit.saturating_add(1)).find(|at| {
            kernel.memory().translate(VirtAddr(*at)).is_ok_and(|to| to.0 / page_size == page)
        })?;
        Some((area, VirtAddr(found + offset)))
    })
}

pub(super) fn run(
    kernel: &Kernel,
    targets: &[Target],
    out: &mut Output,
) -> Result<(), CommandError> {
    let with_caller = out.face() == crate::output::Face::Json;
    let areas = areas(kernel, out)?;
    if !areas.areas.is_empty() {
        out.layout(HEADING)?;
    }
    if targets.is_empty() {
        for area in &areas.areas {
            out.emit(&AreaRow::new(kernel, area, with_caller))?;
        }
        return Ok(());
    }
    for target in targets {
        let found = match target {
            Target::Virtual(address) => areas.at(*address),
            Target::Physical(address) => mapping_of(kernel, &areas, *address).map(|(area, _)| area),
        };
        if let Some(area) = found {
            out.emit(&AreaRow::new(kernel, area, with_caller))?;
        }
    }
    Ok(())
}
