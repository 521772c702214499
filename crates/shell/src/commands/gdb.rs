//! `gdb`: crash hands a line to the gdb inside it. There is none inside Mortis; what people use
//! it for is translated, with gdb's layout, and for the rest there is a word on what to use.

mod examine;
mod facts;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::{Face, Output, Text};
use crate::run::{capture, run_within};
use crate::session::Session;

/// `gdb`.
pub const COMMAND: Command = Command {
    name: "gdb",
    aliases: &[],
    summary: "commands of gdb, translated",
    synopsis: "command ...",
    options: &[],
    help: "There is no gdb inside Mortis. Understood are: print, inspect, call and output (with\n\
           /x /d /u), ptype, whatis, x (with a count, x d u o t a c s i, and b h w g), list,\n\
           disassemble, backtrace, and info with symbol, address, line, functions and variables.\n\
           After 'set gdb on' every line is gdb's, and 'crash COMMAND' is a command of Mortis.\n\n\
           Examples:\n  gdb ptype struct list_head\n  gdb x/4xg &init_task\n  \
           gdb print/x jiffies\n  gdb info symbol schedule",
    run,
};

/// gdb's commands that crash refuses to hand on: they are for programs that run.
const PROHIBITED: &[&str] = &[
    "run",
    "r",
    "break",
    "b",
    "tbreak",
    "hbreak",
    "thbreak",
    "rbreak",
    "watch",
    "rwatch",
    "awatch",
    "attach",
    "continue",
    "c",
    "fg",
    "detach",
    "finish",
    "handle",
    "interrupt",
    "jump",
    "kill",
    "next",
    "nexti",
    "signal",
    "step",
    "s",
    "stepi",
    "target",
    "until",
    "delete",
    "clear",
    "disable",
    "enable",
    "condition",
    "ignore",
    "catch",
    "tcatch",
    "return",
    "file",
    "exec-file",
    "core-file",
    "symbol-file",
    "load",
    "si",
    "ni",
    "shell",
    "sy",
];

/// What to use for a command of gdb that has no translation.
const INSTEAD: &[(&str, &str)] = &[
    ("add-symbol-file", "symbols of modules come from the dump; 'mod' lists them"),
    ("apropos", "'help' lists the commands"),
    ("define", "'alias' makes commands, '< file' runs files of them"),
    ("down", "'bt -f' shows all frames with their memory"),
    ("dump", "'rd -r file address count' copies memory"),
    ("echo", "'!echo' prints text"),
    ("find", "'search' finds values in memory"),
    ("frame", "'bt -f' shows all frames with their memory"),
    ("help", "'help' lists the commands, 'help gdb' what of gdb is translated"),
    ("printf", "'p' prints values"),
    ("python", "'--json' gives every answer to any language"),
    ("show", "'set -v' shows the settings"),
    ("source", "'< file' runs a file of commands"),
    ("thread", "'set PID' chooses a task"),
    ("up", "'bt -f' shows all frames with their memory"),
];

/// Whether an unknown word at the start of a line is one of gdb's, as crash takes it.
pub fn is_word(name: &str) -> bool {
    let name = name.split('/').next().unwrap_or(name);
    matches!(
        name,
        "print"
            | "inspect"
            | "call"
            | "output"
            | "ptype"
            | "x"
            | "info"
            | "disassemble"
            | "backtrace"
            | "where"
    ) || INSTEAD.iter().any(|(known, _)| *known == name)
        || PROHIBITED.contains(&name)
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let Some((first, rest)) = arguments.words.split_first() else {
        return Err(CommandError::Usage(String::new()));
    };
    let (name, format) = first.split_once('/').unwrap_or((first, ""));
    // `x /4xg` is the same as `x/4xg`.
    let (format, rest) = match rest.split_first() {
        Some((next, behind)) if format.is_empty() && next.starts_with('/') => (&next[1..], behind),
        _ => (format, rest),
    };
    let text = rest.join(" ");
    let mut call = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        run_within(session, &words, out)
    };
    match name {
        "p" | "print" | "inspect" | "call" => {
            let expression = format!("({text})");
            match radix(format)? {
                Some(radix) => call(&["p", radix, &expression]),
                None => call(&["p", &expression]),
            }
        }
        "output" => {
            let radix = radix(format)?.unwrap_or("");
            let text = captured(session, &format!("p {radix} ({text})"))?;
            let value = text.split_once(" = ").map_or(&*text, |(_, value)| value);
            emit(out, value.trim_end())
        }
        "ptype" => emit(out, &facts::ptype(session, &text)?),
        "whatis" => emit(out, &facts::whatis(session, &text)?),
        "x" => examine::run(session, format, &text, out),
        "info" | "i" | "inf" => match rest.split_first() {
            Some((what, of)) => facts::info(session, what, &of.join(" "), out),
            None => Err(failed(&arguments.joined(), "'help gdb' says what of gdb is translated")),
        },
        "list" | "l" => call(&["dis", "-s", &text]),
        "disassemble" | "disas" => {
            let of = rest.iter().find(|word| !word.starts_with('/')).cloned().unwrap_or_default();
            examine::function(session, of.split(',').next().unwrap_or(""), out)
        }
        "bt" | "backtrace" | "where" => call(&["bt"]),
        "set" => match rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["output-radix", radix] => call(&["set", "radix", radix]),
            ["print", "elements", count] => call(&["set", "print_max", count]),
            ["gdb", on] => call(&["set", "gdb", on]),
            _ => Err(failed(&arguments.joined(), "'set -v' shows the settings there are")),
        },
        name if PROHIBITED.contains(&name) => {
            Err(CommandError::Message(format!("prohibited gdb command: {name}")))
        }
        name => {
            let instead = INSTEAD.iter().find(|(known, _)| *known == name);
            let instead =
                instead.map_or("'help gdb' says what of gdb is translated", |found| found.1);
            Err(failed(&arguments.joined(), instead))
        }
    }
}

fn failed(line: &str, instead: &str) -> CommandError {
    CommandError::Message(format!("gdb request failed: {line}; {instead}"))
}

/// The option of `p` for a format's letter.
fn radix(format: &str) -> Result<Option<&'static str>, CommandError> {
    match format {
        "" => Ok(None),
        "x" | "a" | "z" => Ok(Some("-x")),
        "d" | "u" => Ok(Some("-d")),
        other => Err(CommandError::Message(format!(
            "format letter \"{other}\" is not translated; x and d are, 'eval' shows octal and binary"
        ))),
    }
}

fn emit(out: &mut Output, text: &str) -> Result<(), CommandError> {
    Ok(out.emit(&Text { text: format!("{text}\n") })?)
}

/// The text of another command.
fn captured(session: &mut Session, line: &str) -> Result<String, CommandError> {
    let gdb = std::mem::replace(&mut session.settings.gdb, false);
    let text = capture(session, line, Face::Text);
    session.settings.gdb = gdb;
    text.map_err(CommandError::Message)
}
