//! `set`: the task in focus, and the settings of the session.

pub mod variables;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::context::Context;
use crate::output::{Output, Render, Style};
use crate::session::{DisassemblyFlavor, Radix, Session};
use crate::task_header::Hex;
use serde::Serialize;

/// `set`.
pub const COMMAND: Command = Command {
    name: "set",
    aliases: &[],
    summary: "the task in focus, and the settings",
    synopsis: "[[-a] [pid | taskp] | [-c cpu] | -p] | [crash_variable [setting]] | -v",
    options: &[
        flag('p', "focus on the task that died"),
        value('c', "cpu", "focus on the task that was running on a CPU"),
        value('a', "pid|task", "take a task for the one that was running on its CPU"),
        flag('v', "all settings"),
    ],
    help: "Commands that work on one task work on the one in focus: at first the one that died.\n\n\
           Variables:\n  \
           radix 10|16, dec, hex               how numbers are shown where a command leaves it open\n  \
           scroll on|off|less|more|CRASHPAGER  page long output on a terminal, and with what\n  \
           print_max N                         array elements that p and struct show\n  \
           edit emacs|vi                       the keys of the line editor\n  \
           null-stop on|off                    end arrays of characters at their first NUL\n  \
           src DIRECTORY                       where the kernel's sources are, for dis -s\n  \
           disassembly att|intel               the spelling of instructions\n  \
           silent on|off                       no echo of the lines of input files\n  \
           gdb on|off                          take lines for gdb's\n\
           The other variables of crash are accepted and have no effect.\n\n\
           Examples:\n  set 1\n  set -c 1\n  set hex\n  set disassembly intel",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if let Some(cpu) = arguments.value('c') {
        return set_cpu(session, cpu, out);
    }
    if arguments.has('p') {
        let task = session.kernel.panic_task();
        let task = task.ok_or_else(|| CommandError::message("no panic task found!"))?;
        session.set_context(task);
        return show_context(session, out);
    }
    if arguments.has('v') {
        return variables::show_all(session, out);
    }
    if let Some(word) = arguments.value('a') {
        return mark_running(session, word, out);
    }
    let Some(name) = arguments.first() else { return show_context(session, out) };
    let value = arguments.words.get(1).map(String::as_str);
    if variables::set(session, name, value, out)? {
        return Ok(());
    }
    let task = session.task(name)?;
    session.set_context(task);
    show_context(session, out)
}

fn show_context(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let context = Context::read(session, session.context()?);
    Ok(out.emit(&context)?)
}

fn set_cpu(session: &mut Session, cpu: &str, out: &mut Output) -> Result<(), CommandError> {
    let count = session.kernel.cpus()?.present.len();
    let invalid =
        || CommandError::Message(format!("invalid cpu number: system has only {count} cpus"));
    let cpu: u32 = cpu.parse().map_err(|_| invalid())?;
    let running = session.running_tasks();
    let task = running.iter().find(|(on, _)| *on == cpu).map(|(_, task)| *task);
    session.set_context(task.ok_or_else(invalid)?);
    show_context(session, out)
}

/// What `set -a` did.
#[derive(Serialize)]
struct Marked {
    command: String,
    task: Hex,
    cpu: u32,
}

impl Render for Marked {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!(
            "\"{}\" task {:x} has been marked as the active task on cpu {}\n",
            self.command, self.task.0, self.cpu
        ));
    }
}

fn mark_running(session: &mut Session, word: &str, out: &mut Output) -> Result<(), CommandError> {
    let task = session.task(word)?;
    let count = session.kernel.tasks().count_of_pid(task.pid);
    if count > 1 && word.parse() == Ok(task.pid) {
        return Err(CommandError::Message(format!(
            "pid {} has {count} tasks: use a task address",
            task.pid
        )));
    }
    let cpu = task.cpu(&session.kernel)?;
    session.mark_running(cpu, task);
    let command = task.comm(&session.kernel).unwrap_or_default();
    Ok(out.emit(&Marked { command, task: Hex(task.address.0), cpu })?)
}
