//! `extend`: how Mortis is given new commands.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::output::{Output, Text};
use crate::session::Session;

/// `extend`.
pub const COMMAND: Command = Command {
    name: "extend",
    aliases: &[],
    summary: "how to add commands",
    synopsis: "[shared-object ...] | [-u [shared-object ...]] | -s",
    options: &[
        flag('u', "unload shared objects"),
        flag('s', "list the shared objects there are"),
        flag('l', "load shared objects"),
    ],
    help: "crash loads extensions as shared objects that are built against its own source. Mortis\n\
           loads none: what the usual ones do (trace, gcore, pykdump's crashinfo) is in its own\n\
           commands, and anything else can be had from any language through --json, or as a command\n\
           of Mortis. Without a word, says how.\n\n\
           Examples:\n  extend",
    run,
};

/// How a command comes to be.
const HOW: &str = "\
No shared objects are loaded: Mortis has no extensions in files of their own.

From any language, without building anything:
  mortis --json -s vmcore -c ps        one JSON object a command (docs/json.md)
  ps | ./my-script                     text into any program, from this prompt

As a command of Mortis, in Rust: one file and one line.
  crates/shell/src/commands/NAME.rs    a `pub const COMMAND: Command`, with its options and help,
                                       and its `run(session, arguments, output)`
  crates/shell/src/commands.rs         `&NAME::COMMAND` in the table
It has help, completion, pipes, JSON and a manual page from there on. CONTRIBUTING.md tells more.
";

fn run(_: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if let Some(object) = arguments.first() {
        let name = object.rsplit('/').next().unwrap_or(object);
        let instead = match name.split('.').next().unwrap_or(name) {
            "gcore" => "; gcore is a command here",
            "trace" => "; trace is a command here",
            _ => "",
        };
        return Err(CommandError::Message(format!(
            "{object}: shared objects of crash cannot be loaded{instead}; \
             'extend' says how to add a command"
        )));
    }
    Ok(out.emit(&Text { text: HOW.to_owned() })?)
}
