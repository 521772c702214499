//! `kmem`: where the memory went: totals, slab caches, zones.

mod hugepages;
mod percpu;
mod slab_contents;
mod slabs;
mod usage;
mod vmstat;
mod zones;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::Output;
use crate::session::Session;
use mortis_memory::VirtAddr;

/// `kmem`.
pub const COMMAND: Command = Command {
    name: "kmem",
    aliases: &[],
    summary: "kernel memory: totals, slab caches, zones",
    synopsis: "[-i[=shared] | -z | -V | -h | -o] | [-s | -S[=cpu,...] | -r] [slab | list] [-I slab[,slab]...]",
    options: &[
        value('i', "=shared", "general memory usage; 'shared' looks at every page, too"),
        flag('s', "the slab caches; with a name that one, with 'list' only addresses and names"),
        value('S', "=cpu,...", "the slab caches, their slabs and the objects of CPUs' slabs"),
        flag('r', "the root slab caches with their children added (kernels before 5.9)"),
        value('I', "slab,...", "leave these caches out (with -s and -S)"),
        flag('z', "each zone's size, watermarks and counters"),
        flag('V', "the counters of zones, nodes and events"),
        flag('h', "the pools of huge pages"),
        flag('o', "what is added to per-CPU addresses, by CPU"),
        flag('f', "(not in this version) free memory"),
        flag('F', "(not in this version) free memory with its pages"),
        flag('p', "(not in this version) page structures"),
        value('m', "member,...", "(not in this version) members of page structures"),
        flag('v', "(not in this version) regions of vmalloc"),
        flag('n', "(not in this version) nodes, zones and memory sections"),
        flag('g', "(not in this version) page flags"),
        flag('c', "(not in this version) the page cache's hash table of old kernels"),
        flag('C', "(not in this version) the page cache's hash table of old kernels"),
        flag('P', "(not in this version) the address is physical"),
    ],
    help: "\
Counts are in pages of the machine's size (4 KiB on x86_64) where no unit is shown.

ALLOCATED of -s is what /proc/slabinfo calls active objects: all but those on the free lists of
slabs on the nodes' partial lists. Objects that are free but held ready by a CPU count as
allocated; as JSON, free_on_cpus tells how many they are. A '?' stands where the dump does not
tell, and a warning says why.

Examples:
  kmem -i
  kmem -s
  kmem -s dentry
  kmem -s -I kmalloc-8,kmalloc-16
  kmem -S task_struct
  kmem -z",
    run,
};

/// Options that show something; only one at a time, as in crash. Only the zones, the last, may be
/// shown besides.
const SHOWS: &[char] =
    &['i', 's', 'S', 'r', 'V', 'h', 'o', 'f', 'F', 'p', 'm', 'v', 'n', 'g', 'c', 'C', 'z'];

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let usage = |what: &str| {
        CommandError::Usage(format!("{what}\nUsage: {} {}", COMMAND.name, COMMAND.synopsis))
    };
    let mut shows: Vec<char> =
        SHOWS.iter().copied().filter(|&letter| arguments.has(letter)).collect();
    let with_zones = shows.pop_if(|last| *last == 'z').is_some();
    if shows.len() > 1 {
        return Err(usage("only one flag allowed!"));
    }
    let show = shows.first().copied();
    if show.is_none() && !with_zones {
        let address = arguments.first().and_then(|word| session.parse_number(word));
        return Err(match address {
            Some(_) => CommandError::message("searching for an address is not in this version"),
            None => usage("an option is needed"),
        });
    }
    if !matches!(show, Some('s' | 'S')) && !arguments.words.is_empty() {
        return Err(usage("no address arguments allowed with this option"));
    }
    let kernel = &*session.kernel;
    match show {
        None => {}
        Some('i') => {
            let shared = match arguments.value('i') {
                None => false,
                Some("shared") => true,
                Some(other) => return Err(usage(&format!("-i={other}: only -i=shared is known"))),
            };
            usage::run(kernel, shared, out)?;
        }
        Some('s') => slabs::run(kernel, arguments, out)?,
        Some('S') => {
            let cpus = session.cpus(arguments.value('S').unwrap_or("all"))?;
            slab_contents::run(kernel, &cpus, arguments, out)?;
        }
        Some('V') => vmstat::run(kernel, out)?,
        Some('h') => hugepages::run(kernel, out)?,
        Some('o') => percpu::run(kernel, out)?,
        Some(unknown @ ('r' | 'c' | 'C')) => {
            return Err(CommandError::Message(format!(
                "-{unknown} option not supported or applicable on this architecture or kernel"
            )));
        }
        Some(later) => {
            return Err(CommandError::Message(format!("-{later} is not in this version")));
        }
    }
    if with_zones { zones::run(kernel, out) } else { Ok(()) }
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
