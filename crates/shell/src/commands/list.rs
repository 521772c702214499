//! `list`: linked lists, with the structures on them.

mod request;
mod walk;

use super::struct_::beside::{Beside, Shown};
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::scan::in_order;
use mortis_memory::{Address, ReadError, Unavailable, VirtAddr};
use request::Request;
pub(super) use request::address as kernel_address_of;
use serde::Serialize;
use walk::Walk;

/// `list`.
pub const COMMAND: Command = Command {
    name: "list",
    aliases: &[],
    summary: "the entries of a linked list",
    synopsis: "[[-o] offset][-e end][-[s|S] struct[.member[,member] [-l offset]] -[x|d]]\n       \
               [-r|-B] [-h [-O head_offset]|-H] start",
    options: &[
        value('o', "offset", "where an entry holds the next one's address: bytes or struct.member"),
        value('e', "end", "the address that ends the list, besides null and the start"),
        flag('h', "the start is a structure that holds a list_head (at the offset)"),
        flag('H', "the start is a list_head outside of the structures: a LIST_HEAD()"),
        value('O', "offset", "with -h, where the head's structure holds it, if elsewhere"),
        value('s', "struct", "show the structure at each entry, or the members after a dot"),
        value('S', "struct", "the same as plain numbers, read straight from memory"),
        value('l', "offset", "with -s or -S, where the structure holds what the list links"),
        flag('r', "backwards, by prev"),
        flag('B', "look for loops by Brent's algorithm, as every long list is looked at here"),
        flag('x', "numbers in hexadecimal"),
        flag('d', "numbers in decimal"),
    ],
    help: "The start is a symbol, an address or an expression. A list ends at a null pointer, at the\n\
           start, at the second entry, at an entry that points to itself, and at the end that -e\n\
           names. A list that ends in any other way ends with a message behind what was found of it.\n\n\
           Examples:\n  list task_struct.tasks -h init_task -s task_struct.pid,comm\n  \
           list -H modules -o module.list -s module.name\n  \
           list -o super_block.s_list -H super_blocks -S super_block.s_id\n  \
           list file_system_type.next -s file_system_type.name ext4_fs_type",
    run,
};

/// An entry of a list.
#[derive(Serialize)]
struct Entry {
    address: Hex,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structs: Vec<Shown>,
}

impl Render for Entry {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(&format!("{:x}\n", self.address.0));
        for shown in &self.structs {
            shown.render(out, style);
        }
    }
}

/// Entries whose structures one core reads at a time.
const ENTRIES_AT_A_TIME: usize = 128;

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let beside = Beside::parse(session, arguments)?;
    let request = Request::parse(session, arguments)?;
    let Some(mut walk) = Walk::start(&*kernel, &request)? else {
        return Ok(out.layout("(empty)\n")?);
    };
    let progress = out.progress("list");
    // One after the other the links are followed; what is shown beside them is read on all cores.
    let chunks = std::iter::from_fn(|| {
        let chunk: Vec<VirtAddr> = walk.by_ref().take(ENTRIES_AT_A_TIME).collect();
        (!chunk.is_empty()).then_some(chunk)
    });
    let read = |chunk: Vec<VirtAddr>| entries(&kernel, &request, &beside, &chunk);
    in_order(chunks, read, |entries| {
        progress.check()?;
        entries.iter().try_for_each(|entry| Ok::<(), CommandError>(out.emit(entry)?))
    })?;
    drop(progress);
    if let Some(problem) = walk.problem() {
        out.warn(problem);
    }
    Ok(())
}

fn entries(kernel: &Kernel, request: &Request, beside: &Beside, chunk: &[VirtAddr]) -> Vec<Entry> {
    let entry = |&link: &VirtAddr| {
        let address = link.back(request.shown_back);
        let structs = match beside.is_empty() {
            true => Vec::new(),
            false => beside.at(kernel, address.back(request.struct_back)),
        };
        Entry { address: Hex(address.0), structs }
    };
    chunk.iter().map(entry).collect()
}

/// What crash says of memory that it cannot read.
fn unreadable(error: ReadError, what: &str) -> String {
    let why = match error.why {
        Unavailable::Unmapped => {
            return format!("invalid {}  type: \"{what}\"", spelled(error.address));
        }
        Unavailable::Excluded => "page excluded",
        Unavailable::Truncated => "seek error",
        Unavailable::Unreadable => "read error",
    };
    format!("{why}: {}  type: \"{what}\"", spelled(error.address))
}

/// `kernel virtual address: ffff888000000000`.
fn spelled(address: Address) -> String {
    let address = address.to_string();
    match address.rsplit_once(' ') {
        Some((space, digits)) => format!("{space}: {digits}"),
        None => address,
    }
}
