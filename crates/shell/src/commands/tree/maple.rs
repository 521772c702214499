//! Maple trees, whose entries are ranges.

use super::request::Request;
use super::{Shown, end};
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_debuginfo::value::Radix;
use mortis_kernel::Kernel;
use mortis_kernel::maple_tree::{self, MapleAllocRange, MapleTree, Node, NodeKind, Step, Walk};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// A range and what it holds.
#[derive(Serialize)]
struct RangeEntry {
    first: Hex,
    last: Hex,
    entry: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structs: Vec<Shown>,
    #[serde(skip)]
    layout: EntryLayout,
}

/// How an entry is shown.
#[derive(Clone, Copy)]
struct EntryLayout {
    hexadecimal: bool,
    /// With `-v`, how far in.
    depth: Option<usize>,
    /// How many entries came before, this one among them.
    number: u64,
}

impl EntryLayout {
    fn number(self, value: u64) -> String {
        if self.hexadecimal { format!("{value:x}") } else { value.to_string() }
    }
}

impl Render for RangeEntry {
    fn render(&self, out: &mut String, style: Style) {
        let entry = self.entry.0;
        let EntryLayout { hexadecimal, depth, number } = self.layout;
        match depth {
            Some(depth) => {
                range(out, self.first.0, self.last.0, depth, hexadecimal);
                match (maple_tree::value(entry), hexadecimal) {
                    (Some(value), true) => out.push_str(&format!("value {value:#x} [{entry:#x}]")),
                    (Some(value), false) => out.push_str(&format!("value {value} [{entry:#x}]")),
                    (None, true) if entry == ZERO_ENTRY => {
                        out.push_str(&format!("zero ({:#x})", entry >> 2));
                    }
                    (None, false) if entry == ZERO_ENTRY => {
                        out.push_str(&format!("zero ({})", entry >> 2));
                    }
                    _ if entry & 3 == 2 && entry < RESERVED => {
                        out.push_str(&format!("UNKNOWN ENTRY ({entry:#x})"));
                    }
                    (None, true) => out.push_str(&format!("0x{entry:x}")),
                    (None, false) => out.push_str(&entry.to_string()),
                }
                out.push('\n');
            }
            None if entry != 0 => out.push_str(&format!("{}\n", self.layout.number(entry))),
            None => {}
        }
        if let Some(position) = &self.position {
            let index = self.layout.number(number);
            out.push_str(&format!("  index: {index}  position: {position}\n"));
        }
        for shown in &self.structs {
            shown.render(out, style);
        }
    }
}

/// `XA_ZERO_ENTRY`: reserved, and holds nothing.
const ZERO_ENTRY: u64 = 257 << 2 | 2;
/// `MAPLE_RESERVED_RANGE`.
const RESERVED: u64 = 4096;

/// `0-8: `, in front of what covers these indices.
fn range(out: &mut String, first: u64, last: u64, depth: usize, hexadecimal: bool) {
    let indent = " ".repeat(2 * depth);
    out.push_str(&match (first == last, hexadecimal) {
        (true, true) => format!("{indent}{first:x}: "),
        (true, false) => format!("{indent}{first}: "),
        (false, true) => format!("{indent}{first:x}-{last:x}: "),
        (false, false) => format!("{indent}{first}-{last}: "),
    });
}

/// A node, with `-v`.
#[derive(Serialize)]
struct NodeLine {
    node: Hex,
    kind: &'static str,
    parent: Hex,
    first: Hex,
    last: Hex,
    depth: usize,
    #[serde(skip)]
    text: String,
}

impl Render for NodeLine {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}

impl NodeLine {
    fn new(
        node: &Node,
        (first, last): (u64, u64),
        depth: usize,
        gaps: Option<&Gaps>,
        hexadecimal: bool,
    ) -> Self {
        let (number, kind) = match node.kind {
            NodeKind::Leaf => (1, "leaf"),
            NodeKind::Range => (2, "range"),
            NodeKind::AllocRange => (3, "alloc range"),
        };
        let shown = |value: u64| if hexadecimal { format!("{value:x}") } else { value.to_string() };
        // As C's %p.
        let pointer =
            |value: u64| if value == 0 { "(nil)".to_owned() } else { format!("{value:#x}") };
        let mut text = String::new();
        range(&mut text, first, last, depth, hexadecimal);
        text.push_str(&format!(
            "node {:#x} depth {depth} type {number} parent {} contents: ",
            node.address.0,
            pointer(node.parent())
        ));
        if let Some(gaps) = gaps {
            for gap in &gaps.gaps {
                text.push_str(&format!("{} ", shown(*gap)));
            }
            text.push_str(&format!("| {:02X} {:02X}| ", gaps.end, gaps.largest));
        }
        for (slot, pivot) in node.slots().iter().zip(node.pivots()) {
            text.push_str(&format!("{} {} ", pointer(*slot), shown(*pivot)));
        }
        let last_slot = node.slots().last().map_or(String::new(), |slot| pointer(*slot));
        text.push_str(&format!("{last_slot}\n"));
        Self {
            node: Hex(node.address.0),
            kind,
            parent: Hex(node.parent()),
            first: Hex(first),
            last: Hex(last),
            depth,
            text,
        }
    }
}

/// What a node knows of the gaps below it.
struct Gaps {
    gaps: Vec<u64>,
    /// `meta.end` and `meta.gap`: the last slot, and the one with the largest gap.
    end: u8,
    largest: u8,
}

impl Gaps {
    fn of(node: &Node, layout: &MapleAllocRange) -> Option<Self> {
        let at = layout.gap.offset().ok()? as usize / 8;
        let count = layout.gap.size().ok()? as usize / 8;
        let gaps = node.words().get(at..at.checked_add(count)?)?.to_vec();
        let byte = |offset: u64| {
            let word = node.words().get(offset as usize / 8)?;
            word.to_le_bytes().get(offset as usize % 8).copied()
        };
        let (end, largest) = (layout.meta_end.offset().ok()?, layout.meta_gap.offset().ok()?);
        Some(Self { gaps, end: byte(end)?, largest: byte(largest)? })
    }
}

/// Shows the tree.
pub(super) fn show(
    kernel: &Kernel,
    request: &Request,
    out: &mut Output,
) -> Result<(), CommandError> {
    let hexadecimal = request.beside.style.radix == Radix::Hexadecimal;
    let mut walk = match request.is_node {
        true => maple_tree::entries_below(kernel, "maple tree", request.start.0)?,
        false => {
            if request.verbose {
                heading(kernel, request.start, out)?;
            }
            maple_tree::entries(kernel, "maple tree", request.start)?
        }
    };
    let alloc_range = kernel.layout::<MapleAllocRange>()?;
    let top = if request.is_node { "direct" } else { "root" };
    let (mut number, mut any, mut problem) = (0, false, None);
    while let Some(step) = walk.next_step() {
        out.check()?;
        match step {
            Ok(Step::Node { first, last, depth }) => {
                any = true;
                if let Some(node) = walk.node().filter(|_| request.verbose) {
                    let gaps = match node.kind {
                        NodeKind::AllocRange => Gaps::of(node, &alloc_range),
                        NodeKind::Leaf | NodeKind::Range => None,
                    };
                    let gaps = gaps.as_ref();
                    out.emit(&NodeLine::new(node, (first, last), depth, gaps, hexadecimal))?;
                }
            }
            Ok(Step::Entry { first, last, entry }) => {
                any = true;
                if entry == 0 && !request.verbose {
                    continue;
                }
                number += u64::from(entry != 0);
                let address = maple_tree::object(entry);
                let structs = address.map_or(Vec::new(), |at| request.beside.at(kernel, at));
                let depth = request.verbose.then(|| walk.slots().count());
                let layout = EntryLayout { hexadecimal, depth, number };
                let position = (request.position && entry != 0).then(|| position(top, &walk));
                let (first, last, entry) = (Hex(first), Hex(last), Hex(entry));
                out.emit(&RangeEntry { first, last, entry, position, structs, layout })?;
            }
            Err(error) => problem = Some(error),
        }
    }
    end(problem, any, out)
}

/// What crash tells of the tree itself before its nodes.
fn heading(kernel: &Kernel, tree: VirtAddr, out: &mut Output) -> Result<(), CommandError> {
    let layout = kernel.layout::<MapleTree>()?;
    let flags = layout.flags.u64(kernel, tree)?;
    let root = layout.root.u64(kernel, tree)?;
    let height = maple_tree::height(flags);
    Ok(out.layout(&format!(
        "maple_tree({:x}) flags {flags:X}, height {height} root 0x{root:x}\n\n",
        tree.0
    ))?)
}

/// The way to the entry last come to.
fn position(top: &str, walk: &Walk) -> String {
    let mut slots = walk.slots().peekable();
    // An entry of the root itself stands in no node.
    if slots.peek().is_none() {
        return "/0".to_owned();
    }
    let slots = slots.map(|slot| format!("/{slot}"));
    std::iter::once(top.to_owned()).chain(slots).collect()
}
