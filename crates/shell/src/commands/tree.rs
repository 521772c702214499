//! `tree`: red-black trees, xarrays and maple trees, with the structures in them.

mod maple;
mod request;

use super::struct_::beside::Shown;
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::rb_tree::{RbNode, RbTree};
use mortis_kernel::scan::in_order;
use mortis_kernel::xarray;
use mortis_memory::VirtAddr;
use request::{Kind, Request};
use serde::Serialize;

/// `tree`.
pub const COMMAND: Command = Command {
    name: "tree",
    aliases: &[],
    summary: "the entries of a red-black tree, xarray, radix tree or maple tree",
    synopsis: "[-t [radix|xarray|rbtree|maple]] [-r offset] [-[s|S] struct[.member[,member]]]\n       \
               -[x|d] [-o offset] [-l] [-p] [-v] [-N] start",
    options: &[
        value('t', "type", "rb (the default), ra, x or m, or more of the name"),
        value('r', "offset", "where the start holds the tree's root: bytes or struct.member"),
        value('o', "offset", "where an entry of a red-black tree holds its rb_node"),
        value('s', "struct", "show the structure at each entry, or the members after a dot"),
        value('S', "struct", "the same as plain numbers, read straight from memory"),
        flag('l', "a red-black tree in order"),
        flag('p', "the way to each entry, from the root down"),
        flag('v', "a maple tree with all its nodes and ranges"),
        flag('N', "the start is a node and not a root"),
        flag('x', "numbers in hexadecimal"),
        flag('d', "numbers in decimal"),
    ],
    help: "The start is the symbol, the address or an expression of a struct rb_root, xarray,\n\
           radix_tree_root or maple_tree. Entries of maple trees are shown in decimal, as crash does,\n\
           unless -x says otherwise. What hangs below a damaged node is left out, and the first\n\
           thing that was wrong is told at the end.\n\n\
           Examples:\n  tree -t rb -o vmap_area.rb_node -s vmap_area.va_start,va_end ffff8f1901055808\n  \
           tree -t xarray -r pid_namespace.idr -s pid.numbers init_pid_ns\n  \
           tree -t maple -x -r mm_struct.mm_mt -p ffff8f1901f72680\n  tree -t maple -v sparse_irqs",
    run,
};

/// An entry of a tree.
#[derive(Serialize)]
struct Entry {
    address: Hex,
    /// Its index in an xarray.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// The way to it, where that was asked for: `root/l/r`, `root/0/17`.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structs: Vec<Shown>,
}

impl Render for Entry {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(&format!("{:x}\n", self.address.0));
        if let Some(position) = &self.position {
            let index = self.index.map_or(String::new(), |index| format!("index: {index}  "));
            out.push_str(&format!("  {index}position: {position}\n"));
        }
        for shown in &self.structs {
            shown.render(out, style);
        }
    }
}

/// Entries whose structures one core reads at a time.
const ENTRIES_AT_A_TIME: usize = 128;

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let request = Request::parse(session, arguments)?;
    match request.kind {
        Kind::RedBlack => {
            let name = "red-black tree";
            let mut tree = match request.is_node {
                true => RbTree::below(&*kernel, name, request.start),
                false => RbTree::new(&*kernel, name, request.start),
            };
            if !request.sorted {
                tree = tree.parent_first();
            }
            let found = std::iter::from_fn(move || tree.next_node());
            show(
                &kernel,
                &request,
                out,
                found.map(|node| node.map(|node| rb_entry(&request, node))),
            )
        }
        Kind::XArray => {
            let mut map = match request.is_node {
                true => xarray::entries_below(&kernel, "xarray", request.start)?,
                false => xarray::entries(&kernel, "xarray", request.start)?,
            };
            let found = std::iter::from_fn(move || map.next_entry());
            show(
                &kernel,
                &request,
                out,
                found.map(|entry| entry.map(|entry| xa_entry(&request, &entry))),
            )
        }
        Kind::Maple => maple::show(&kernel, &request, out),
    }
}

fn rb_entry(request: &Request, node: RbNode) -> Entry {
    let position = || {
        let turns = node.turns().map(|right| if right { "/r" } else { "/l" });
        std::iter::once("root").chain(turns).collect()
    };
    Entry {
        address: Hex(node.address.back(request.node_offset).0),
        index: None,
        position: request.position.then(position),
        structs: Vec::new(),
    }
}

fn xa_entry(request: &Request, entry: &xarray::Entry) -> Entry {
    let position = || match entry.slots.is_empty() {
        // An entry in the root itself.
        true => "direct/0".to_owned(),
        false => {
            let slots = entry.slots.iter().map(|slot| format!("/{slot}"));
            std::iter::once("root".to_owned()).chain(slots).collect()
        }
    };
    Entry {
        address: Hex(entry.entry),
        index: Some(entry.index),
        position: request.position.then(position),
        structs: Vec::new(),
    }
}

/// Shows entries, with the structures there, until the first error, which comes last.
fn show(
    kernel: &Kernel,
    request: &Request,
    out: &mut Output,
    mut entries: impl Iterator<Item = Result<Entry, KernelError>>,
) -> Result<(), CommandError> {
    let progress = out.progress("tree");
    let mut problem = None;
    let chunks = std::iter::from_fn(|| {
        let sound =
            entries.by_ref().map_while(|entry| entry.map_err(|error| problem = Some(error)).ok());
        let chunk: Vec<Entry> = sound.take(ENTRIES_AT_A_TIME).collect();
        (!chunk.is_empty()).then_some(chunk)
    });
    let mut any = false;
    let read = |mut chunk: Vec<Entry>| {
        if !request.beside.is_empty() {
            // An xarray may hold values and marks, too.
            let objects =
                chunk.iter_mut().filter(|entry| xarray::object(entry.address.0).is_some());
            for entry in objects {
                entry.structs = request.beside.at(kernel, VirtAddr(entry.address.0));
            }
        }
        chunk
    };
    in_order(chunks, read, |entries| {
        any = true;
        progress.check()?;
        entries.iter().try_for_each(|entry| Ok::<(), CommandError>(out.emit(entry)?))
    })?;
    drop(progress);
    end(problem, any, out)
}

/// Tells of what was wrong with the tree: as a warning behind what was found, else as the error.
fn end(problem: Option<KernelError>, any: bool, out: &mut Output) -> Result<(), CommandError> {
    match problem {
        Some(problem) if any => {
            out.warn(problem);
            Ok(())
        }
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}
