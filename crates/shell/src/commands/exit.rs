//! `exit` and `q`: the end of the session.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::Output;
use crate::session::Session;

/// `exit`.
pub const EXIT: Command = Command {
    name: "exit",
    aliases: &[],
    summary: "end the session",
    synopsis: "",
    options: &[],
    help: "The same as q, or Ctrl-D at the prompt.",
    run,
};

/// `q`.
pub const QUIT: Command = Command {
    name: "q",
    aliases: &[],
    summary: "end the session",
    synopsis: "",
    options: &[],
    help: "The same as exit, or Ctrl-D at the prompt.",
    run,
};

/// A line of its own ends the session before it comes to this; within another command, as in
/// `repeat q`, there is nothing to end.
fn run(_: &mut Session, _: &Arguments, _: &mut Output) -> Result<(), CommandError> {
    Ok(())
}
