//! `timer`: what is to run when its time comes.

mod high_resolution;
mod wheels;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::Output;
use crate::session::Session;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_memory::VirtAddr;

/// `timer`.
pub const COMMAND: Command = Command {
    name: "timer",
    aliases: &[],
    summary: "timers that are to run",
    synopsis: "[-r][-C cpu]",
    options: &[
        flag('r', "the high resolution timers, by CPU and clock"),
        value('C', "cpu,...", "only these CPUs"),
    ],
    help: "\
Without -r the timers of the timer wheels, whose times are in jiffies; TTE is how far away they
are, negative where they are overdue. With -r the high resolution timers, whose times are in
nanoseconds of their clock; CURRENT is what the clock showed when the kernel last kept time.

Examples:
  timer
  timer -r -C 0",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let cpus = match arguments.value('C') {
        Some(list) => session.cpus(list)?,
        None => kernel.cpus()?.present.clone(),
    };
    let damage = match arguments.has('r') {
        true => high_resolution::run(kernel, &cpus, out)?,
        false => wheels::run(kernel, &cpus, out)?,
    };
    if let Some(error) = damage {
        out.warn(format_args!("not every timer could be read: {error}"));
    }
    Ok(())
}

/// The first thing that was wrong.
type Damage = Option<KernelError>;

/// The function at `address`, or the one behind the pointer there; without a module's name, as
/// crash has it.
fn function_name(kernel: &Kernel, address: VirtAddr) -> Option<String> {
    use mortis_memory::VirtualMemory;
    let name = |address| {
        let (symbol, offset) = kernel.symbol_at(address)?;
        let name = match offset {
            0 => symbol.name.to_string(),
            offset => format!("{}+{offset}", symbol.name),
        };
        symbol.is_text().then_some(name)
    };
    name(address).or_else(|| name(kernel.read_pointer(address).ok()?))
}
