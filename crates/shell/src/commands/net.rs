//! `net`: network devices, sockets and neighbours.

mod devices;
mod neighbours;
mod sockets;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::number::number;
use crate::output::{Output, Text};
use crate::session::Session;
use mortis_kernel::tasks::Task;
use sockets::Request;
use std::net::Ipv4Addr;

/// `net`.
pub const COMMAND: Command = Command {
    name: "net",
    aliases: &[],
    summary: "network devices, sockets and neighbours",
    synopsis: "[[-s | -S] [-xd] [-R ref] [pid | task]] [-a] [ -n [pid | task]] [-N addr]",
    options: &[
        flag('s', "the sockets of the task in focus, or of those named"),
        flag('S', "the same with the structures behind them"),
        value('R', "ref", "only this socket, sock or file descriptor"),
        flag('a', "the IPv4 neighbours (the ARP cache)"),
        flag('n', "the devices in the network namespace of the task in focus, or of one named"),
        value('N', "addr", "a number as the IPv4 address that it is in memory"),
        flag('x', "with -S, numbers in hexadecimal"),
        flag('d', "with -S, numbers in decimal"),
    ],
    help: "Without an option, the devices of the first network namespace with their addresses.\n\
           As JSON, sockets tell their protocol, state, path and peer as well.\n\n\
           Examples:\n  net\n  net -n 194\n  net -a\n  net -s 180\n  foreach net -s\n  \
           foreach net -s -R ffff8f190a0ab340\n  net -N 0100007f",
    run,
};

/// What crash says of two options that shut each other out.
fn exclusive() -> CommandError {
    CommandError::message("-d and -x are mutually exclusive")
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let usage = || {
        let (name, synopsis) = (COMMAND.name, COMMAND.synopsis);
        CommandError::Usage(format!("an option is needed\nUsage: {name} {synopsis}"))
    };
    if let Some(word) = arguments.value('N') {
        let address = number(word)
            .ok_or_else(|| CommandError::Message(format!("not a valid number: {word}")))?;
        let address = Ipv4Addr::from((address as u32).to_le_bytes());
        return Ok(out.emit(&Text { text: format!("{address}\n") })?);
    }
    if arguments.has('x') && arguments.has('d') {
        return Err(exclusive());
    }
    let kernel = &*session.kernel;
    if arguments.has('a') {
        neighbours::run(kernel, out)?;
    }
    if arguments.has('s') && arguments.has('S') {
        return Err(CommandError::message("only one -s or -S option allowed"));
    }
    if arguments.has('s') || arguments.has('S') {
        return run_sockets(session, arguments, out);
    }
    if arguments.has('n') {
        let task = match arguments.first() {
            Some(word) => session.task(word)?,
            None => session.context()?,
        };
        let namespace = kernel
            .net_namespace(task)
            .map_err(|_| CommandError::message("cannot determine net_namespace location!"))?;
        return devices::run(kernel, namespace, out);
    }
    match arguments.words.is_empty() && !arguments.has('R') && !arguments.has('x') {
        _ if arguments.has('a') => Ok(()),
        true if !arguments.has('d') => devices::run(kernel, kernel.symbol("init_net")?, out),
        _ => Err(usage()),
    }
}

fn run_sockets(
    session: &Session,
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    let request = Request::parse(session, arguments);
    if arguments.words.is_empty() {
        return request.run(session, &[session.context()?], out);
    }
    let (mut tasks, mut invalid) = (Vec::new(), None);
    for word in &arguments.words {
        match session.task(word) {
            Ok(task) => tasks.push(task),
            Err(error) => {
                invalid.get_or_insert(error);
            }
        }
    }
    request.run(session, &tasks, out)?;
    invalid.map_or(Ok(()), Err)
}

/// For `foreach`: the sockets of each of `tasks`.
///
/// # Errors
/// When types or symbols do not tell what a socket is.
pub fn run_for(
    session: &Session,
    tasks: &[Task],
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    if arguments.has('x') && arguments.has('d') {
        return Err(CommandError::message("net: -x and -d options are mutually exclusive"));
    }
    match (arguments.has('s'), arguments.has('S')) {
        (true, true) => out.warn("net -s and -S options are mutually exclusive!"),
        (false, false) => out.warn("net command requires -s or -S option"),
        _ => {}
    }
    Request::parse(session, arguments).run(session, tasks, out)
}
