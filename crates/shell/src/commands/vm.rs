//! `vm`: the memory of processes: their areas, and where each page is.

mod flags;
mod listing;
mod pages;
mod process;
mod reference;
mod structures;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::number;
use crate::output::Output;
use crate::session::Session;
use crate::typed_value::ValueStyle;
use mortis_kernel::slab::SlabFinder;
use mortis_kernel::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use reference::Reference;

/// `vm`.
pub const COMMAND: Command = Command {
    name: "vm",
    aliases: &[],
    summary: "the memory of processes",
    synopsis: "[-p | -P vma | -M mm | -v | -m | -x | -d | [-R reference] [pid | task]]\n     \
               [-f vm_flags]",
    options: &[
        flag('p', "where each page of each area is: in memory, in swap, in its file or nowhere"),
        value('P', "vma", "the same for the one area whose vm_area_struct has this address"),
        value('M', "mm", "of an exiting task: its mm_struct, which the task no longer knows"),
        flag('v', "each area's vm_area_struct"),
        flag('m', "the mm_struct"),
        value(
            'R',
            "reference",
            "only areas and pages that have to do with this: an mm_struct, a page directory, a \
             vm_area_struct, vm_flags, part of a path, a virtual or physical address, an offset \
             in a file or in swap",
        ),
        value('f', "vm_flags", "what these flags of an area mean"),
        flag('x', "-m, -v: numbers in hexadecimal"),
        flag('d', "-m, -v: numbers in decimal"),
    ],
    help: "Without an argument, the task in focus. RSS and TOTAL_VM are in KiB.\n\
           A page that is not in memory is in swap (SWAP: and the page number there), can be had \
           from its file again (FILE: and the offset), or was never touched.\n\n\
           Examples:\n  vm\n  vm -p 1\n  vm -R busybox 1\n  vm -f 8000075\n  foreach user vm -m",
    run,
};

/// What is shown of each process.
enum Mode {
    /// Its areas.
    Areas,
    /// `-p`: where their pages are.
    Pages,
    /// `-P`: the same of one area.
    OneArea(VirtAddr),
    /// `-m`.
    Structure,
    /// `-v`.
    AreaStructures,
    /// `-R`: what has to do with something.
    Reference(Reference),
}

/// What `vm` was asked for.
struct Request {
    mode: Mode,
    /// `-M`.
    forced_mm: Option<VirtAddr>,
    /// How `-m` and `-v` show values.
    style: ValueStyle,
}

fn usage() -> CommandError {
    CommandError::Usage(format!("Usage: vm {}", COMMAND.synopsis))
}

/// A number in hexadecimal digits, as crash takes addresses.
fn hexadecimal(word: &str) -> Result<u64, CommandError> {
    number::address(word).ok_or_else(|| CommandError::Message(format!("invalid input: \"{word}\"")))
}

impl Request {
    fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        if arguments.has('x') && arguments.has('d') {
            return Err(CommandError::message("-d and -x are mutually exclusive"));
        }
        let modes = ['p', 'P', 'm', 'v'].into_iter().filter(|letter| arguments.has(*letter));
        let modes = modes.count();
        if modes > 1 || arguments.has('R') && modes > 0 && !arguments.has('p') {
            return Err(usage());
        }
        let mode = match (arguments.value('R'), arguments.value('P')) {
            (Some(reference), _) => Mode::Reference(Reference::parse(reference)),
            (_, Some(area)) => Mode::OneArea(VirtAddr(hexadecimal(area)?)),
            _ if arguments.has('p') => Mode::Pages,
            _ if arguments.has('m') => Mode::Structure,
            _ if arguments.has('v') => Mode::AreaStructures,
            _ => Mode::Areas,
        };
        let forced_mm = arguments.value('M').map(|word| forced_mm(session, word)).transpose()?;
        let style = ValueStyle::new(session, arguments.has('x'), arguments.has('d'));
        Ok(Self { mode, forced_mm, style })
    }
}

/// The `struct mm_struct` that `-M` names: an object of the cache of them, and in use.
fn forced_mm(session: &Session, word: &str) -> Result<VirtAddr, CommandError> {
    let kernel = &*session.kernel;
    let mm = VirtAddr(hexadecimal(word)?);
    // Kernel addresses are the upper half.
    if mm.0 >> 63 == 0 || kernel.read_u64(mm).is_err() {
        return Err(CommandError::Message(format!("invalid mm_struct address: {word}")));
    }
    let finder = SlabFinder::new(kernel)?;
    let object = finder.object_at(kernel, mm);
    let cache = object.and_then(|object| object.cache.name.as_ref().ok());
    if cache.is_none_or(|name| !name.starts_with("mm_struct")) {
        return Err(CommandError::message("invalid mm_struct address"));
    }
    match kernel.mm_users(mm) {
        Ok(0) => Err(CommandError::message("stale mm_struct address")),
        _ => Ok(mm),
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if let Some(flags) = arguments.value('f') {
        return flags::explain(&session.kernel, hexadecimal(flags)?, out);
    }
    let request = Request::parse(session, arguments)?;
    let (tasks, invalid) = super::task::named_tasks(session, &arguments.words)?;
    listing::show(session, &request, &tasks, out)?;
    invalid.map_or(Ok(()), Err)
}

/// For `foreach`: `vm` with these options for each of `tasks`.
///
/// # Errors
/// When it was called wrongly. What is wrong with one task stands in its answer.
pub fn run_for(
    session: &Session,
    tasks: &[Task],
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    let modes = ['p', 'm', 'v'].into_iter().filter(|letter| arguments.has(*letter)).count();
    if modes > 1 {
        return Err(CommandError::message("vm command accepts only one of -p, -m or -v flags"));
    }
    if let Some(letter) = ['m', 'v'].into_iter().find(|letter| arguments.has(*letter))
        && arguments.has('R')
    {
        let message = format!("vm: -{letter} is not applicable to the -R option");
        return Err(CommandError::Message(message));
    }
    listing::show(session, &Request::parse(session, arguments)?, tasks, out)
}
