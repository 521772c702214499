//! `dev`: device numbers, resources, PCI devices, disks.

mod device_dumps;
mod disks;
mod numbers;
mod pci;
mod resources;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::Output;
use crate::session::Session;

/// `dev`.
pub const COMMAND: Command = Command {
    name: "dev",
    aliases: &[],
    summary: "devices: numbers, I/O ports, PCI, disks",
    synopsis: "[-i | -p | -d | -D ] [-V | -v index [file]]",
    options: &[
        flag('i', "who uses which I/O ports and which physical addresses"),
        flag('p', "the PCI devices by bus"),
        flag('d', "the disks and how many requests each has in flight"),
        flag('D', "the same of disks that have some"),
        flag('V', "the dumps that drivers made of their devices"),
        value('v', "index", "one of them, or with a file, its bytes in there"),
    ],
    help: "Without an option, the registered character and block devices.\n\
           `blk` shows the requests themselves, and what disks of the device mapper are made of.\n\n\
           Examples:\n  dev\n  dev -i\n  dev -p\n  dev -d\n  dev -v 0 /tmp/nic.dump",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let usage = || {
        let (name, synopsis) = (COMMAND.name, COMMAND.synopsis);
        CommandError::Usage(format!("too many arguments\nUsage: {name} {synopsis}"))
    };
    let kernel = &*session.kernel;
    if arguments.has('d') || arguments.has('D') {
        return disks::run(kernel, !arguments.has('d'), out);
    }
    if arguments.has('i') {
        return resources::run(kernel, out);
    }
    if arguments.has('p') {
        return pci::run(kernel, out);
    }
    if arguments.has('V') {
        return device_dumps::list(kernel, out);
    }
    if let Some(index) = arguments.value('v') {
        return match arguments.words.as_slice() {
            [] => device_dumps::show(kernel, index, None, out),
            [file] => device_dumps::show(kernel, index, Some(file.as_ref()), out),
            _ => Err(usage()),
        };
    }
    match arguments.words.is_empty() {
        true => numbers::run(kernel, out),
        false => Err(usage()),
    }
}
