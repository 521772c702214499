//! `kmem -n`: nodes, their zones, the sections of memory and the blocks that hotplug knows.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::{Radix, Session};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::memory_blocks::MemoryBlock;
use mortis_kernel::sections::{MemorySection, MemorySections};
use mortis_kernel::zones::Node;
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};
use serde::Serialize;

/// `text` in the middle of `width` columns; an odd blank goes to the right.
pub(super) fn centered(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

/// `text` in the middle of `width` columns; an odd blank goes to the left.
pub(super) fn centered_right(text: &str, width: usize) -> String {
    let left = width.saturating_sub(text.len()).div_ceil(2);
    format!("{:<width$}", format!("{:left$}{text}", ""))
}

/// Digits of the highest physical address, which its columns are wide.
pub(super) fn physical_digits(kernel: &Kernel) -> usize {
    let page_size = kernel.memory().physical().page_size();
    let map = kernel.memory_map().map_or(0, |map| map.end.0);
    let frames = kernel.max_pfn().unwrap_or(0).max(map);
    format!("{:x}", frames.saturating_mul(page_size)).len()
}

/// A node with its zones.
#[derive(Serialize)]
struct NodeReport {
    node: u32,
    /// Page frames from its first to its last, holes included.
    size: u64,
    present: u64,
    pglist_data: Hex,
    mem_map: Option<Hex>,
    start: Hex,
    start_pfn: u64,
    zones: Vec<ZonePart>,
    #[serde(skip)]
    first: bool,
}

#[derive(Serialize)]
struct ZonePart {
    zone: usize,
    address: Hex,
    name: Known<String>,
    size: Known<u64>,
    mem_map: Option<Hex>,
    start: Known<Hex>,
    start_pfn: Known<u64>,
}

const RULE: usize = 67;

impl Render for NodeReport {
    fn render(&self, out: &mut String, _: Style) {
        if !self.first {
            out.push_str(&format!("\n{}\n\n", "-".repeat(RULE)));
        }
        out.push_str("NODE    SIZE      PGLIST_DATA       BOOTMEM_DATA       NODE_ZONES   \n");
        let zones = self.zones.first().map_or(0, |zone| zone.address.0);
        let head = format!(
            " {:>2}   {}  {}  {}  ",
            self.node,
            centered(&self.size.to_string(), 8),
            centered(&format!("{:x}", self.pglist_data.0), 16),
            centered("----", 16),
        );
        out.push_str(&format!("{head}{}\n", centered(&format!("{zones:x}"), 16)));
        for zone in self.zones.iter().skip(1) {
            out.push_str(&format!("{:width$}{:x}\n", "", zone.address.0, width = head.len()));
        }
        out.push_str("    MEM_MAP          START_PADDR    START_MAPNR\n");
        let mem_map = self.mem_map.map_or(0, |map| map.0);
        out.push_str(&format!(
            "{}  {}  {}\n",
            centered(&format!("{mem_map:x}"), 16),
            centered_right(&format!("{:x}", self.start.0), 16),
            centered_right(&self.start_pfn.to_string(), 11),
        ));
        out.push_str("\nZONE  NAME         SIZE       MEM_MAP      START_PADDR  START_MAPNR\n");
        for zone in &self.zones {
            let populated = zone.size.value() != Some(&0);
            let start_pfn = zone.start_pfn.clone().map(|pfn| if populated { pfn } else { 0 });
            out.push_str(&format!(
                " {:>2}   {:<9} {:>7}  {:>16x}  {:>11}  {:>11}\n",
                zone.zone,
                zone.name,
                zone.size,
                zone.mem_map.map_or(0, |map| map.0),
                zone.start.clone().map(|start| format!("{:x}", start.0)),
                start_pfn,
            ));
        }
    }
}

impl NodeReport {
    fn new(
        kernel: &Kernel,
        sections: Option<&MemorySections>,
        node: &Node,
        first: bool,
    ) -> Result<Self, CommandError> {
        let map = kernel.memory_map()?;
        let page = |pfn| sections.and_then(|sections| sections.page(&map, pfn)).map(|at| Hex(at.0));
        let zones = kernel.zones(node)?.into_iter().enumerate().map(|(index, (address, zone))| {
            let populated = zone.as_ref().is_ok_and(|zone| zone.spanned > 0);
            ZonePart {
                zone: index,
                address: Hex(address.0),
                size: zone.as_ref().map(|zone| zone.spanned).map_err(Clone::clone).into(),
                mem_map: zone.as_ref().ok().filter(|_| populated).and_then(|z| page(z.start)),
                start: zone
                    .as_ref()
                    .map(|zone| Hex(map.physical(zone.start).0))
                    .map_err(Clone::clone)
                    .into(),
                start_pfn: zone.as_ref().map(|zone| zone.start.0).map_err(Clone::clone).into(),
                name: zone.and_then(|zone| zone.name).into(),
            }
        });
        Ok(Self {
            node: node.id,
            size: node.spanned,
            present: node.present,
            pglist_data: Hex(node.address.0),
            mem_map: page(node.start),
            start: Hex(map.physical(node.start).0),
            start_pfn: node.start.0,
            zones: zones.collect(),
            first,
        })
    }
}

/// A section of memory.
#[derive(Serialize)]
struct SectionRow {
    section: u64,
    address: Hex,
    coded_mem_map: Hex,
    mem_map: Hex,
    pfn: u64,
    has_mem_map: bool,
    online: bool,
    early: bool,
    zone_device: bool,
    #[serde(skip)]
    radix: Radix,
}

impl SectionRow {
    fn new(section: &MemorySection, radix: Radix) -> Self {
        Self {
            section: section.number,
            address: Hex(section.address.0),
            coded_mem_map: Hex(section.coded_mem_map.0),
            mem_map: Hex(section.mem_map.0),
            pfn: section.start.0,
            has_mem_map: section.has_mem_map,
            online: section.online,
            early: section.early,
            zone_device: section.zone_device,
            radix,
        }
    }
}

impl Render for SectionRow {
    fn render(&self, out: &mut String, _: Style) {
        let letters = [
            (true, 'P'),
            (self.has_mem_map, 'M'),
            (self.online, 'O'),
            (self.early, 'E'),
            (self.zone_device, 'D'),
        ];
        let state: String = letters.iter().filter(|(set, _)| *set).map(|(_, c)| *c).collect();
        let pfn = match self.radix {
            Radix::Decimal => self.pfn.to_string(),
            Radix::Hexadecimal => format!("{:x}", self.pfn),
        };
        out.push_str(&format!(
            "{:>2}  {}  {}  {}  {} {pfn:<16}\n",
            self.section,
            centered(&format!("{:x}", self.address.0), 16),
            centered_right(&format!("{:x}", self.coded_mem_map.0), 16),
            centered_right(&format!("{:x}", self.mem_map.0), 16),
            centered(&state, 5),
        ));
    }
}

/// A block of memory.
#[derive(Serialize)]
struct BlockRow {
    memory_block: Hex,
    name: Known<String>,
    start: Hex,
    last: Option<Hex>,
    node: Option<i64>,
    state: Known<Option<String>>,
    start_section: u64,
    #[serde(skip)]
    digits: usize,
}

impl BlockRow {
    fn new(block: MemoryBlock, digits: usize) -> Self {
        let hex = |address: PhysAddr| Hex(address.0);
        Self {
            memory_block: Hex(block.address.0),
            name: block.name.into(),
            start: hex(block.start),
            last: block.last.map(hex),
            node: block.node,
            state: block.state.into(),
            start_section: block.start_section,
            digits,
        }
    }
}

impl Render for BlockRow {
    fn render(&self, out: &mut String, _: Style) {
        let digits = self.digits;
        let range = match self.last {
            Some(last) => format!("{:>digits$x} - {:>digits$x}", self.start.0, last.0),
            None => centered(&format!("{:x}", self.start.0), digits * 2 + 3),
        };
        let name = self.name.to_string();
        let state = self.state.clone().map(|state| state.unwrap_or_else(|| "UNKNOWN".to_owned()));
        let (name, node) = match self.node {
            Some(node) => (centered(&name, 12), format!(" {}", centered(&node.to_string(), 4))),
            None => (centered(&name, 10), String::new()),
        };
        out.push_str(&format!(
            " {:<16x} {name} {range}{node}  {state:<7} {:<12}\n",
            self.memory_block.0, self.start_section
        ));
    }
}

fn block_heading(blocks: &[BlockRow]) -> String {
    let digits = blocks.first().map_or(8, |block| block.digits);
    let range = match blocks.iter().any(|block| block.last.is_some()) {
        true => "PHYSICAL RANGE",
        false => "PHYSICAL START",
    };
    let middle = match blocks.iter().any(|block| block.node.is_some()) {
        true => format!("   {}   NODE  ", centered(range, digits * 2 + 2)),
        false => format!("   {}    ", centered(range, digits * 2)),
    };
    let block = centered("MEM_BLOCK", 16);
    format!("\n{block} {}{middle}{:<7} START_SECTION_NO\n", centered("NAME", 10), "STATE")
}

pub(super) fn run(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let sections = kernel.memory_sections();
    for (index, node) in kernel.nodes()?.iter().enumerate() {
        let report = NodeReport::new(kernel, sections.as_ref().ok(), node, index == 0)?;
        out.emit(&report)?;
    }
    match sections {
        Ok(sections) => {
            out.layout(&format!(
                "\n{}\n\nNR  {}  {}  {}  STATE PFN\n",
                "-".repeat(RULE),
                centered("SECTION", 16),
                centered("CODED_MEM_MAP", 16),
                centered("MEM_MAP", 16)
            ))?;
            for section in &sections.sections {
                out.emit(&SectionRow::new(section, session.settings.radix))?;
            }
            if let Some(damage) = sections.damage {
                out.warn(format_args!("there may be more memory sections: {damage}"));
            }
        }
        Err(error) => out.warn(format_args!("the memory sections: {error}")),
    }
    let digits = physical_digits(kernel);
    let mut rows = Vec::new();
    let mut damage = None;
    match kernel.memory_blocks() {
        Ok(blocks) => {
            for block in blocks {
                match block {
                    Ok(block) => rows.push(BlockRow::new(block, digits)),
                    Err(error) => damage = Some(error),
                }
            }
        }
        Err(error) => damage = Some(error),
    }
    if !rows.is_empty() {
        out.layout(&block_heading(&rows))?;
    }
    for row in &rows {
        out.emit(row)?;
    }
    if let Some(damage) = damage {
        out.warn(format_args!("the blocks of memory: {damage}"));
    }
    Ok(())
}

/// The `struct page` of a zone's first frame, and its number counted from the node's first.
pub(super) fn zone_map(
    kernel: &Kernel,
    sections: &MemorySections,
    node: &Node,
    zone: &mortis_kernel::zones::Zone,
) -> Option<(VirtAddr, u64)> {
    if zone.spanned == 0 {
        return None;
    }
    let map = kernel.memory_map().ok()?;
    let page = sections.page(&map, zone.start)?;
    Some((page, zone.start.0.saturating_sub(node.start.0)))
}
