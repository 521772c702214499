//! `kmem -f` and `-F`: the lists of free memory.

use super::Target;
use super::nodes::{centered, centered_right, zone_map};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::free_lists::{FreeBlock, FreeList, FreeLists};
use mortis_kernel::scan::in_order;
use mortis_kernel::zones::{Node, Zone};
use mortis_memory::{Pfn, PhysicalMemory};
use serde::Serialize;

const ZONE_HEADING: &str =
    "ZONE  NAME        SIZE    FREE      MEM_MAP       START_PADDR  START_MAPNR\n";

/// A zone whose lists follow.
#[derive(Clone, Serialize)]
struct ZoneRow {
    node: u32,
    zone: usize,
    name: Known<String>,
    /// Page frames, holes included.
    size: u64,
    /// Free pages, as the zone counts them.
    free: u64,
    mem_map: Option<Hex>,
    start: Hex,
    /// Its first frame, counted from the node's.
    start_mapnr: u64,
}

impl ZoneRow {
    fn new(kernel: &Kernel, lists: &FreeLists<'_>, node: &Node, zone: &Zone) -> Self {
        let map = zone_map(kernel, lists.sections(), node, zone);
        Self {
            node: node.id,
            zone: zone.index,
            name: zone.name.clone().into(),
            size: zone.spanned,
            free: free_pages(zone),
            mem_map: map.map(|(page, _)| Hex(page.0)),
            start: Hex(lists.map().physical(zone.start).0),
            start_mapnr: map.map_or(0, |(_, number)| number),
        }
    }
}

impl Render for ZoneRow {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(ZONE_HEADING);
        out.push_str(&format!(
            "{:>3}   {:<9} {:>6}  {:>6}  {}  {}  {}\n",
            self.zone,
            self.name,
            self.size,
            self.free,
            centered(&format!("{:x}", self.mem_map.map_or(0, |map| map.0)), 16),
            centered_right(&format!("{:x}", self.start.0), 11),
            centered_right(&self.start_mapnr.to_string(), 11),
        ));
    }
}

/// The zone's counter of free pages.
fn free_pages(zone: &Zone) -> u64 {
    let counter = zone.counters.iter().find(|counter| &*counter.name == "NR_FREE_PAGES");
    counter.map_or(0, |counter| counter.value)
}

/// A list of free blocks.
#[derive(Serialize)]
struct ListRow {
    order: u32,
    /// Bytes of a block.
    block_size: u64,
    free_list: Hex,
    migrate_type: Option<String>,
    blocks: u64,
    pages: u64,
    /// Why there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// What stands before the numbers of a list.
fn list_head(order: u32, page_size: u64, address: u64) -> String {
    let kib = (page_size << order.min(40)) / 1024;
    format!("{order:>3}  {:>7}  {}  ", format!("{kib}k"), centered(&format!("{address:x}"), 16))
}

impl Render for ListRow {
    fn render(&self, out: &mut String, _: Style) {
        let page_size = self.block_size >> self.order.min(40);
        out.push_str(&list_head(self.order, page_size, self.free_list.0));
        out.push_str(&format!("{:>6} {:>6}\n", self.blocks, self.pages));
    }
}

/// A list with its blocks below.
#[derive(Serialize)]
struct ListHeading {
    order: u32,
    block_size: u64,
    free_list: Hex,
    migrate_type: Option<String>,
}

impl Render for ListHeading {
    fn render(&self, out: &mut String, _: Style) {
        let page_size = self.block_size >> self.order.min(40);
        let head = list_head(self.order, page_size, self.free_list.0);
        out.push_str(&format!("AREA    SIZE  FREE_AREA_STRUCT\n{head}\n"));
    }
}

/// A free block.
#[derive(Serialize)]
struct BlockRow {
    page: Hex,
    physical: Hex,
}

impl Render for BlockRow {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:x}\n", self.page.0));
    }
}

/// The sum over all zones.
#[derive(Serialize)]
struct Total {
    /// As the zones count.
    nr_free_pages: u64,
    /// On their lists.
    found: u64,
}

impl Render for Total {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("\nnr_free_pages: {}  ", self.nr_free_pages));
        match self.found == self.nr_free_pages {
            true => out.push_str("(verified)\n"),
            false => out.push_str(&format!("(found {})\n", self.found)),
        }
    }
}

/// Every list of every zone.
pub(super) fn run(kernel: &Kernel, with_pages: bool, out: &mut Output) -> Result<(), CommandError> {
    let lists = FreeLists::new(kernel)?;
    let names = kernel.migrate_type_names();
    let nodes = kernel.nodes()?;
    let mut total = Total { nr_free_pages: 0, found: 0 };
    let mut damage = None;
    for (number, node) in nodes.iter().enumerate() {
        for (index, (_, zone)) in kernel.zones(node)?.into_iter().enumerate() {
            out.check()?;
            if index == 0 && nodes.len() > 1 {
                if number > 0 {
                    out.layout(&format!("\n{}\n\n", "-".repeat(74)))?;
                }
                out.layout(&format!("NODE\n {:>2}\n", node.id))?;
            } else if index > 0 {
                out.layout("\n")?;
            }
            let zone = match zone {
                Ok(zone) => zone,
                Err(error) => {
                    damage.get_or_insert(error);
                    continue;
                }
            };
            let row = ZoneRow::new(kernel, &lists, node, &zone);
            out.emit(&row)?;
            total.nr_free_pages = total.nr_free_pages.wrapping_add(row.free);
            // The kernel's counter may lag, yet crash shows the lists of a zone that has any.
            if row.free == 0 {
                continue;
            }
            let of_zone = lists.of(&zone)?;
            let shown = match with_pages {
                true => list_pages(kernel, &lists, &of_zone, &names, &mut damage, out)?,
                false => list_counts(kernel, &lists, &of_zone, &names, &mut damage, out)?,
            };
            total.found = total.found.saturating_add(shown);
        }
    }
    out.emit(&total)?;
    if let Some(damage) = damage {
        out.warn(format_args!("corrupted free list: {damage}"));
    }
    Ok(())
}

fn page_size(kernel: &Kernel) -> u64 {
    kernel.memory().physical().page_size()
}

/// How many blocks each list has.
fn list_counts(
    kernel: &Kernel,
    lists: &FreeLists<'_>,
    of_zone: &[FreeList],
    names: &[String],
    damage: &mut Option<KernelError>,
    out: &mut Output,
) -> Result<u64, CommandError> {
    out.layout("AREA    SIZE  FREE_AREA_STRUCT  BLOCKS  PAGES\n")?;
    let mut found = 0u64;
    in_order(
        of_zone.iter().copied(),
        |list| (list, lists.count(list)),
        |(list, (blocks, error))| {
            let pages = blocks.saturating_mul(list.block_pages());
            found = found.saturating_add(pages);
            let row = ListRow {
                order: list.order,
                block_size: page_size(kernel) << list.order.min(40),
                free_list: Hex(list.address.0),
                migrate_type: names.get(list.migrate_type as usize).cloned(),
                blocks,
                pages,
                damage: error.as_ref().map(ToString::to_string),
            };
            if let Some(error) = error {
                damage.get_or_insert(error);
            }
            out.emit(&row)
        },
    )?;
    Ok(found)
}

/// The blocks of each list.
fn list_pages(
    kernel: &Kernel,
    lists: &FreeLists<'_>,
    of_zone: &[FreeList],
    names: &[String],
    damage: &mut Option<KernelError>,
    out: &mut Output,
) -> Result<u64, CommandError> {
    let mut found = 0u64;
    for &list in of_zone {
        out.emit(&ListHeading {
            order: list.order,
            block_size: page_size(kernel) << list.order.min(40),
            free_list: Hex(list.address.0),
            migrate_type: names.get(list.migrate_type as usize).cloned(),
        })?;
        for block in lists.blocks(list) {
            match block {
                Ok(block) => {
                    found = found.saturating_add(list.block_pages());
                    let physical = Hex(lists.map().physical(block.start).0);
                    out.emit(&BlockRow { page: Hex(block.page.0), physical })?;
                }
                Err(error) => {
                    damage.get_or_insert(error);
                }
            }
        }
    }
    Ok(found)
}

/// The free block that an address lies in.
#[derive(Serialize)]
struct FoundBlock {
    #[serde(flatten)]
    zone: ZoneRow,
    order: u32,
    block_size: u64,
    free_list: Hex,
    migrate_type: Option<String>,
    page: Hex,
    address: Hex,
    /// Which of the block's pages it is in, from 0.
    page_in_block: u64,
    #[serde(skip)]
    show_node: bool,
    #[serde(skip)]
    is_virtual: bool,
}

impl Render for FoundBlock {
    fn render(&self, out: &mut String, style: Style) {
        if self.show_node {
            out.push_str(&format!("NODE\n {:>2}\n", self.zone.node));
        }
        self.zone.render(out, style);
        let page_size = self.block_size >> self.order.min(40);
        let head = list_head(self.order, page_size, self.free_list.0);
        out.push_str(&format!("AREA    SIZE  FREE_AREA_STRUCT\n{head}\n"));
        out.push_str(&format!("{:x}  ", self.page.0));
        if self.order > 0 {
            let inside = !self.is_virtual && !self.address.0.is_multiple_of(page_size);
            out.push_str(&format!(
                "({:x} is {}{} of {} pages)",
                self.address.0,
                if inside { "in " } else { "" },
                ordinal(self.page_in_block + 1),
                1u64 << self.order.min(63)
            ));
        }
        out.push('\n');
    }
}

/// `1st`, `2nd`, `11th`.
fn ordinal(number: u64) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// The free block that the frame of `target` lies in, shown; false where it is not free.
pub(super) fn show(
    kernel: &Kernel,
    lists: &FreeLists<'_>,
    target: Target,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let Some(pfn) = frame_of(kernel, lists, target) else { return Ok(false) };
    if lists.sections().page(lists.map(), pfn).is_none() {
        return Err(CommandError::Message(format!(
            "cannot determine page for {:x}",
            target.value()
        )));
    }
    let nodes = kernel.nodes()?;
    for node in &nodes {
        for (_, zone) in kernel.zones(node)? {
            let Ok(zone) = zone else { continue };
            let inside = pfn.0.checked_sub(zone.start.0).is_some_and(|index| index < zone.spanned);
            if !inside {
                continue;
            }
            let Some((list, block)) = find(lists, &zone, pfn, out)? else { continue };
            out.emit(&FoundBlock {
                zone: ZoneRow::new(kernel, lists, node, &zone),
                order: list.order,
                block_size: page_size(kernel) << list.order.min(40),
                free_list: Hex(list.address.0),
                migrate_type: kernel.migrate_type_names().get(list.migrate_type as usize).cloned(),
                page: Hex(block.page.0),
                address: Hex(target.value()),
                page_in_block: pfn.0 - block.start.0,
                show_node: nodes.len() > 1,
                is_virtual: matches!(target, Target::Virtual(_)),
            })?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The frame that an address lies in, or that the `struct page` at it is of.
pub(super) fn frame_of(kernel: &Kernel, lists: &FreeLists<'_>, target: Target) -> Option<Pfn> {
    let size = page_size(kernel).max(1);
    match target {
        Target::Virtual(address) => lists
            .sections()
            .pfn(lists.map(), address)
            .or_else(|| Some(Pfn(kernel.memory().translate(address).ok()?.0 / size))),
        Target::Physical(address) => Some(Pfn(address.0 / size)),
    }
}

fn find(
    lists: &FreeLists<'_>,
    zone: &Zone,
    pfn: Pfn,
    out: &mut Output,
) -> Result<Option<(FreeList, FreeBlock)>, CommandError> {
    let mut damage = None;
    for list in lists.of(zone)? {
        out.check()?;
        for block in lists.blocks(list) {
            match block {
                Ok(block) => {
                    let index = pfn.0.checked_sub(block.start.0);
                    if index.is_some_and(|index| index < list.block_pages()) {
                        return Ok(Some((list, block)));
                    }
                }
                Err(error) => {
                    damage.get_or_insert(error);
                }
            }
        }
    }
    if let Some(damage) = damage {
        out.warn(format_args!("corrupted free list: {damage}"));
    }
    Ok(None)
}

/// `kmem -f address…`.
pub(super) fn run_targets(
    kernel: &Kernel,
    targets: &[Target],
    out: &mut Output,
) -> Result<(), CommandError> {
    let lists = FreeLists::new(kernel)?;
    let mut failure = None;
    for (index, &target) in targets.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        match show(kernel, &lists, target, out) {
            Ok(_) => {}
            Err(stop @ CommandError::Stop(_)) => return Err(stop),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_spelled_in_english() {
        let spelled: Vec<String> = [1, 2, 3, 4, 11, 12, 21, 102, 113].map(ordinal).to_vec();
        assert_eq!(spelled, ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "102nd", "113th"]);
    }
}
