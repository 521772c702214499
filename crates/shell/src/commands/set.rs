//! `set`: the task in focus, and the settings of the session.

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
    synopsis: "[[-a] pid | task] | [-c cpu] | -p | -v | [variable [value]]",
    options: &[
        flag('p', "focus on the task that died"),
        value('c', "cpu", "focus on the task that was running on a CPU"),
        value('a', "pid|task", "take a task for the one that was running on its CPU"),
        flag('v', "all settings"),
    ],
    help: "Commands that work on one task work on the one in focus: at first the one that died.\n\n\
           Variables:\n  \
           radix 10|16, dec, hex     how numbers are shown where a command leaves the choice\n  \
           scroll on|off             page long output on a terminal\n  \
           print_max N               array elements that p and struct show\n  \
           disassembly att|intel     the spelling of instructions\n\
           Variables of crash that mean nothing here are accepted and have no effect.\n\n\
           Examples:\n  set 1\n  set -c 3\n  set hex\n  set disassembly intel",
    run,
};

/// Variables of crash that concern gdb, live systems or itself.
const WITHOUT_EFFECT: &[&str] = &[
    "console",
    "core",
    "debug",
    "edit",
    "emacs",
    "error",
    "gdb",
    "hash",
    "namelist",
    "null-stop",
    "offline",
    "print_array",
    "redzone",
    "refresh",
    "scope",
    "silent",
    "unwind",
    "vi",
    "zero_excluded",
];

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
        return show_settings(session, out);
    }
    if let Some(word) = arguments.value('a') {
        return mark_running(session, word, out);
    }
    let Some(name) = arguments.first() else { return show_context(session, out) };
    let value = arguments.words.get(1).map(String::as_str);
    if set_variable(session, name, value, out)? {
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

/// A setting.
#[derive(Serialize)]
struct Setting {
    name: &'static str,
    value: String,
    /// What crash writes where it says the value on a change; the same where empty.
    #[serde(skip)]
    width: usize,
}

impl Setting {
    fn new(name: &'static str, value: impl ToString) -> Self {
        Self { name, value: value.to_string(), width: 0 }
    }
}

impl Render for Setting {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:>width$}: {}\n", self.name, self.value, width = self.width));
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn flavor(flavor: DisassemblyFlavor) -> &'static str {
    match flavor {
        DisassemblyFlavor::Att => "att",
        DisassemblyFlavor::Intel => "intel",
    }
}

fn show_settings(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let settings = &session.settings;
    let radix = match settings.radix {
        Radix::Decimal => "10 (decimal)",
        Radix::Hexadecimal => "16 (hexadecimal)",
    };
    let namelist = session.files.vmlinux.as_ref();
    let all = [
        Setting::new("scroll", on_off(settings.scroll)),
        Setting::new("radix", radix),
        Setting::new("print_max", settings.print_max),
        Setting::new("disassembly", flavor(settings.disassembly)),
        Setting::new(
            "namelist",
            namelist.map_or("(none)".into(), |path| path.display().to_string()),
        ),
        Setting::new("dumpfile", session.files.dump.display()),
    ];
    for setting in all {
        out.emit(&Setting { width: 14, ..setting })?;
    }
    Ok(())
}

/// Sets or shows the variable `name`; says whether there is one.
fn set_variable(
    session: &mut Session,
    name: &str,
    value: Option<&str>,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let wrong = |value: &str| CommandError::Message(format!("{name}: invalid value: {value}"));
    let settings = &mut session.settings;
    let setting = match (name, value) {
        ("radix" | "hex" | "dec", _) => {
            settings.radix = match (name, value) {
                ("hex", _) => Radix::Hexadecimal,
                ("dec", _) => Radix::Decimal,
                (_, None) => settings.radix,
                (_, Some("10")) => Radix::Decimal,
                (_, Some("16")) => Radix::Hexadecimal,
                (_, Some(word)) if word.starts_with("dec") => Radix::Decimal,
                (_, Some(word)) if word.starts_with("hex") => Radix::Hexadecimal,
                (_, Some(word)) => return Err(wrong(word)),
            };
            let radix = match settings.radix {
                Radix::Decimal => "10 (decimal)",
                Radix::Hexadecimal => "16 (hex)",
            };
            Setting::new("output radix", radix)
        }
        ("scroll", value) => {
            settings.scroll = match value {
                None => settings.scroll,
                Some("on" | "less" | "more" | "1") => true,
                Some("off" | "0") => false,
                Some(word) => return Err(wrong(word)),
            };
            Setting::new("scroll", on_off(settings.scroll))
        }
        ("print_max", value) => {
            if let Some(word) = value {
                settings.print_max = word.parse().map_err(|_| wrong(word))?;
            }
            Setting::new("print_max", settings.print_max)
        }
        ("disassembly" | "disassembly-flavor", value) => {
            settings.disassembly = match value {
                None => settings.disassembly,
                Some("att") => DisassemblyFlavor::Att,
                Some("intel") => DisassemblyFlavor::Intel,
                Some(word) => return Err(wrong(word)),
            };
            Setting::new("disassembly", flavor(settings.disassembly))
        }
        (name, _) => return Ok(WITHOUT_EFFECT.contains(&name)),
    };
    out.emit(&setting)?;
    Ok(true)
}
