//! `wr`: what crash has for writing to the memory of a running kernel.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::output::Output;
use crate::session::Session;

/// `wr`.
pub const COMMAND: Command = Command {
    name: "wr",
    aliases: &[],
    summary: "write memory: of running kernels only",
    synopsis: "[-u|-k|-p] [-8|-16|-32|-64] [address|symbol] value",
    options: &[
        flag('u', "a user address"),
        flag('k', "a kernel address"),
        flag('p', "a physical address"),
        flag('f', "an offset in the dump"),
        flag('8', "one byte"),
        flag('1', "two bytes (-16)"),
        flag('3', "four bytes (-32)"),
        flag('6', "eight bytes (-64)"),
        flag('2', "of -32"),
        flag('4', "of -64"),
    ],
    help: "A dump is evidence and never written to, so the answer is no.",
    run,
};

fn run(_: &mut Session, _: &Arguments, _: &mut Output) -> Result<(), CommandError> {
    Err(CommandError::message("not allowed on dumpfiles"))
}
