//! `kmem`: where the memory went: totals, slab caches, zones.

mod address;
mod free_lists;
mod hugepages;
mod nodes;
mod page_flags;
mod page_map;
mod page_members;
mod percpu;
mod slab_contents;
mod slabs;
mod usage;
mod vmalloc;
mod vmstat;
mod zones;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::Output;
use crate::session::Session;
use mortis_memory::{PhysAddr, VirtAddr};

/// `kmem`.
pub const COMMAND: Command = Command {
    name: "kmem",
    aliases: &[],
    summary: "kernel memory: totals, slab caches, zones, pages, vmalloc; what an address is of",
    synopsis: "[-f|-F|-c|-C|-i[=shared]|-v|-V|-n|-z|-o|-h] [-p | -m member[,member]]\n       [[-s|-S|-S=cpu[s]|-r] [slab] [-I slab[,slab]]] [-g [flags]] [[-P] address]]",
    options: &[
        flag('f', "the lists of free memory, checked against the counters; with addresses, theirs"),
        flag('F', "the same with every free block"),
        value('i', "=shared", "general memory usage; 'shared' looks at every page, too"),
        flag('v', "the areas of vmalloc; with addresses, those they lie in"),
        flag('V', "the counters of zones, nodes and events"),
        flag('n', "nodes, zones, sections and blocks of memory"),
        flag('z', "each zone's size, watermarks and counters"),
        flag('o', "what is added to per-CPU addresses, by CPU"),
        flag('h', "the pools of huge pages"),
        flag('p', "what each page's struct page says; with addresses, theirs"),
        value('m', "member,...", "members of each struct page; with addresses, theirs"),
        flag('s', "the slab caches; with a name that one, with 'list' only addresses and names"),
        value('S', "=cpu,...", "the slab caches, their slabs and the objects of CPUs' slabs"),
        flag('r', "the root slab caches with their children added (kernels before 5.9)"),
        value('I', "slab,...", "leave these caches out (with -s and -S)"),
        flag('g', "the flags of pages; with a value, those set in it"),
        flag('P', "the addresses are physical"),
        flag('c', "the page cache's hash table, which no kernel since 2.6 has"),
        flag('C', "the page cache's hash table, which no kernel since 2.6 has"),
        value('l', "a|i|ic|id", "lists of pages, which no kernel since 2.6 has"),
        value('L', "a|i|ic|id", "lists of pages, which no kernel since 2.6 has"),
    ],
    help: "\
Counts are in pages of the machine's size (4 KiB on x86_64) where no unit is shown.

An address alone is looked up everywhere: the symbol, area of vmalloc, object of a slab, free block
or task that it lies in is shown, and the page. One that is no kernel address is physical.

ALLOCATED of -s is what /proc/slabinfo calls active objects: all but those on the free lists of
slabs on the nodes' partial lists. Objects that are free but held ready by a CPU count as
allocated; as JSON, free_on_cpus tells how many they are. A '?' stands where the dump does not
tell, and a warning says why.

Examples:
  kmem -i
  kmem -s dentry
  kmem -s -I kmalloc-8,kmalloc-16
  kmem -S task_struct
  kmem ffff8f190123a100
  kmem -P 1001000
  kmem -p 123a000
  kmem -m flags,_refcount,lru.next
  kmem -g 7ffffc0002000
  kmem -z",
    run,
};

/// Options that show something; only one at a time, as in crash. The nodes and zones may be shown
/// besides.
const SHOWS: &[char] =
    &['s', 'S', 'p', 'f', 'F', 'V', 'o', 'v', 'C', 'c', 'i', 'l', 'L', 'g', 'h', 'r'];

/// Options that take addresses.
const TAKE_ADDRESSES: &[char] = &['s', 'S', 'p', 'm', 'f', 'v', 'c', 'l', 'g', 'P', 'I'];

/// Columns that physical addresses are wide at least.
const PHYSICAL_WIDTH: usize = 8;

/// An address to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Virtual(VirtAddr),
    Physical(PhysAddr),
}

impl Target {
    fn value(self) -> u64 {
        match self {
            Target::Virtual(address) => address.0,
            Target::Physical(address) => address.0,
        }
    }
}

fn usage(what: &str) -> CommandError {
    CommandError::Usage(format!("{what}\nUsage: {} {}", COMMAND.name, COMMAND.synopsis))
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let mut shows: Vec<char> =
        SHOWS.iter().copied().filter(|&letter| arguments.has(letter)).collect();
    if arguments.has('m') && !arguments.has('p') {
        shows.push('p');
    }
    if shows.len() > 1 {
        return Err(usage("only one flag allowed!"));
    }
    let show = shows.first().copied();
    let (values, names) = sort_words(arguments);
    if !names.is_empty() && !matches!(show, Some('s' | 'S' | 'r')) {
        return Err(usage(&format!("not an address: {}", names[0])));
    }
    let given = COMMAND.options.iter().map(|option| option.letter);
    let without = |letter: &char| arguments.has(*letter) && !TAKE_ADDRESSES.contains(letter);
    if !values.is_empty() && given.into_iter().any(|letter| without(&letter)) {
        return Err(usage("no address arguments allowed with this option"));
    }
    let is_physical = |value: u64| arguments.has('P') || value >> 63 == 0;
    let target = |&value: &u64| match is_physical(value) {
        true => Target::Physical(PhysAddr(value)),
        false => Target::Virtual(VirtAddr(value)),
    };
    let targets: Vec<Target> = values.iter().map(target).collect();
    let besides = arguments.has('n') || arguments.has('z');
    match show {
        None if besides => {}
        None if targets.is_empty() => return Err(usage("an option or an address is needed")),
        None => return address::run(session, &targets, out),
        // crash shows these behind the nodes and zones.
        Some('V' | 'o' | 'g' | 'l' | 'L') => {}
        Some(show) => show_one(session, arguments, show, &targets, &names, out)?,
    }
    if arguments.has('n') {
        nodes::run(session, out)?;
    }
    if arguments.has('z') {
        zones::run(&session.kernel, out)?;
    }
    match show {
        Some('V') => vmstat::run(&session.kernel, out),
        Some('o') => percpu::run(&session.kernel, out),
        Some('g') => page_flags::run(&session.kernel, &values, out),
        Some(letter @ ('l' | 'L')) => Err(page_list(arguments.value(letter))),
        _ => Ok(()),
    }
}

fn show_one(
    session: &Session,
    arguments: &Arguments,
    show: char,
    targets: &[Target],
    names: &[&str],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    match (show, targets) {
        ('i', _) => match arguments.value('i') {
            Some(what) if what != "shared" => Err(usage(&format!("-i={what}: -i=shared is all"))),
            what => usage::run(kernel, what.is_some(), out),
        },
        ('p', _) => match arguments.value('m') {
            Some(members) => page_map::run_members(session, members, targets, out),
            None => page_map::run(kernel, targets, out),
        },
        ('f' | 'F', []) => free_lists::run(kernel, show == 'F', out),
        ('f', _) => free_lists::run_targets(kernel, targets, out),
        ('h', _) => hugepages::run(kernel, out),
        ('v', _) => vmalloc::run(kernel, targets, out),
        ('s', []) => slabs::run(kernel, arguments, out),
        ('S', []) => slab_contents::run(kernel, &cpus(session, arguments)?, arguments, out),
        ('s' | 'S', _) => {
            if let ([name, ..], [target, ..]) = (names, targets) {
                let address = target.value();
                out.warn(format_args!(
                    "ignoring pre-selected {name} cache for address: {address:x}"
                ));
            }
            show_slabs(session, arguments, show == 'S', targets, out)
        }
        _ => Err(CommandError::Message(format!(
            "-{show} option not supported or applicable on this architecture or kernel"
        ))),
    }
}

/// The words that are addresses, and those that are names. As in crash every word of hexadecimal
/// digits is an address, `add` too.
fn sort_words(arguments: &Arguments) -> (Vec<u64>, Vec<&str>) {
    let (mut values, mut names) = (Vec::new(), Vec::new());
    for word in &arguments.words {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        match u64::from_str_radix(digits, 16) {
            Ok(value) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                values.push(value);
            }
            _ => names.push(word.as_str()),
        }
    }
    (values, names)
}

/// The CPUs that `-S=…` names.
fn cpus(session: &Session, arguments: &Arguments) -> Result<Vec<u32>, CommandError> {
    let Some(list) = arguments.value('S') else { return session.cpus("all") };
    session.cpus(list).map_err(|error| match error {
        CommandError::Message(_) => {
            CommandError::Message(format!("invalid cpu specification: {list}"))
        }
        error => error,
    })
}

/// `kmem -s address…`: the caches, or the objects' slabs, that addresses are of.
fn show_slabs(
    session: &Session,
    arguments: &Arguments,
    whole: bool,
    targets: &[Target],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let search = slab_contents::SlabSearch::new(kernel)?;
    let mut failure = None;
    for (index, target) in targets.iter().enumerate() {
        let address = match target {
            Target::Virtual(address) => *address,
            Target::Physical(address) => {
                kernel.symbols()?;
                kernel.memory().direct_address(*address).unwrap_or(VirtAddr(address.0))
            }
        };
        if index > 0 {
            out.layout("\n")?;
        }
        if let Some(cache) = search.cache(address) {
            let mut named = arguments.clone();
            named.words = vec![format!("{:x}", cache.address.0)];
            match whole {
                true => {
                    let cpus = cpus(session, arguments)?;
                    slab_contents::run(kernel, &cpus, &named, out)?;
                }
                false => slabs::run(kernel, &named, out)?,
            }
            continue;
        }
        let found = match whole {
            true => search.show_whole(address, out)?,
            false => search.show(address, out)?,
        };
        if !found {
            failure.get_or_insert(CommandError::Message(format!(
                "address is not allocated in slab subsystem: {:x}",
                address.0
            )));
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Why there is no list of pages of that kind.
fn page_list(kind: Option<&str>) -> CommandError {
    let list = match kind {
        Some("a") => "active_list",
        Some("i") => "inactive_list",
        Some("ic") => "inactive_clean_list",
        Some("id") => "inactive_dirty_list",
        _ => return usage("no such list of pages"),
    };
    CommandError::Message(format!("{list} does not exist in this kernel"))
}

/// An address as JSON spells it.
fn hex(address: VirtAddr) -> String {
    format!("{address:#x}")
}

/// An address in JSON's spelling as text shows it.
fn bare(address: &str) -> &str {
    address.strip_prefix("0x").unwrap_or(address)
}

/// Pages as a size, in crash's words: `0`, `676 KB`, `15.1 MB`, `40 MB`.
fn pages_to_size(pages: u64, page_size: u64) -> String {
    const KB: f64 = 1024.0;
    let bytes = pages as f64 * page_size as f64;
    let text = if pages == 0 {
        return "0".to_owned();
    } else if bytes >= KB * KB * KB {
        format!("{:.1} GB", bytes / (KB * KB * KB))
    } else if bytes >= KB * KB {
        format!("{:.1} MB", bytes / (KB * KB))
    } else {
        format!("{} KB", (bytes / KB) as u64)
    };
    text.replacen(".0 ", " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_spelled_as_crash_does() {
        assert_eq!(pages_to_size(0, 4096), "0");
        assert_eq!(pages_to_size(169, 4096), "676 KB");
        assert_eq!(pages_to_size(3854, 4096), "15.1 MB");
        assert_eq!(pages_to_size(10238, 4096), "40 MB");
        assert_eq!(pages_to_size(84206, 4096), "328.9 MB");
        assert_eq!(pages_to_size(1 << 20, 4096), "4 GB");
    }
}
