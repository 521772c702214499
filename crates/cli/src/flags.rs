//! The command line: one flag is one entry of [`FLAGS`], from which `--help` follows.

use anyhow::{Result, bail};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

/// A flag of the command line.
pub struct Flag {
    /// Its letter, where it has one.
    pub short: Option<char>,
    /// Its long name, without the dashes.
    pub long: &'static str,
    /// What its value is called; `None` for a switch.
    pub value: Option<&'static str>,
    /// What it does, in one line.
    pub help: &'static str,
    apply: fn(&mut Invocation, OsString) -> Result<()>,
}

/// What the command line asks for.
#[derive(Debug, Default)]
pub struct Invocation {
    /// The dump and its vmlinux, in any order.
    pub files: Vec<PathBuf>,
    /// Commands to run, in order.
    pub commands: Vec<String>,
    /// Files of commands to run behind those.
    pub scripts: Vec<PathBuf>,
    /// No summary when opening.
    pub silent: bool,
    /// JSON instead of text.
    pub json: bool,
    /// When to use colour.
    pub color: Color,
    /// Types from DWARF even where the dump has BTF.
    pub without_btf: bool,
    /// Show the help and end.
    pub help: bool,
    /// Show the version and end.
    pub version: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// All flags, in the order of the help.
pub const FLAGS: &[Flag] = &[
    Flag {
        short: Some('c'),
        long: "command",
        value: Some("COMMAND"),
        help: "run COMMAND and exit; may be given many times",
        apply: |invocation, value| {
            invocation.commands.push(text(value)?);
            Ok(())
        },
    },
    Flag {
        short: Some('i'),
        long: "input",
        value: Some("FILE"),
        help: "run the commands in FILE and exit",
        apply: |invocation, value| {
            invocation.scripts.push(value.into());
            Ok(())
        },
    },
    Flag {
        short: Some('s'),
        long: "silent",
        value: None,
        help: "do not show the summary when opening",
        apply: |invocation, _| {
            invocation.silent = true;
            Ok(())
        },
    },
    Flag {
        short: None,
        long: "json",
        value: None,
        help: "answer in JSON, one object a command (docs/json.md)",
        apply: |invocation, _| {
            invocation.json = true;
            Ok(())
        },
    },
    Flag {
        short: None,
        long: "color",
        value: Some("WHEN"),
        help: "auto (the default), always or never",
        apply: |invocation, value| {
            invocation.color = match text(value)?.as_str() {
                "auto" => Color::Auto,
                "always" => Color::Always,
                "never" => Color::Never,
                other => bail!("--color takes auto, always or never, not '{other}'"),
            };
            Ok(())
        },
    },
    Flag {
        short: None,
        long: "no-btf",
        value: None,
        help: "take types from the vmlinux's DWARF, not from the dump",
        apply: |invocation, _| {
            invocation.without_btf = true;
            Ok(())
        },
    },
    Flag {
        short: Some('h'),
        long: "help",
        value: None,
        help: "show this and exit",
        apply: |invocation, _| {
            invocation.help = true;
            Ok(())
        },
    },
    Flag {
        short: Some('V'),
        long: "version",
        value: None,
        help: "show the version and exit",
        apply: |invocation, _| {
            invocation.version = true;
            Ok(())
        },
    },
];

fn text(value: OsString) -> Result<String> {
    match value.into_string() {
        Ok(text) => Ok(text),
        Err(value) => bail!("not valid UTF-8: {}", value.display()),
    }
}

/// Reads the command line.
///
/// # Errors
/// An unknown flag, or one whose value is missing or wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation> {
    let mut invocation = Invocation::default();
    let mut parser = lexopt::Parser::from_iter(arguments);
    while let Some(argument) = parser.next()? {
        let flag = match &argument {
            Short(letter) => FLAGS.iter().find(|flag| flag.short == Some(*letter)),
            Long(name) => FLAGS.iter().find(|flag| flag.long == *name),
            Value(file) => {
                invocation.files.push(file.into());
                continue;
            }
        };
        let Some(flag) = flag else { return Err(argument.unexpected().into()) };
        let value = if flag.value.is_some() { parser.value()? } else { OsString::new() };
        (flag.apply)(&mut invocation, value)?;
    }
    Ok(invocation)
}

/// The text of `--help`.
pub fn help() -> String {
    let mut help = String::from(
        "mortis opens a Linux kernel crash dump and says what happened and why.\n\n\
         Usage: mortis [OPTIONS] VMCORE [VMLINUX]\n\n\
         The dump brings its own symbols, types and unwind tables; a vmlinux adds source lines,\n\
         inlined calls and macros. Files may stand in any order. Without -c and -i, and on a\n\
         terminal, a prompt opens; otherwise commands are read from standard input.\n\nOptions:\n",
    );
    for flag in FLAGS {
        let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
        help.push_str(&format!(
            "  {short}{:<22} {}\n",
            format!("--{}{value}", flag.long),
            flag.help
        ));
    }
    help.push_str(
        "\nExamples:\n  \
         mortis vmcore                      open a dump\n  \
         mortis vmlinux vmcore              with source lines\n  \
         mortis vmcore -c log -c 'bt -a'    run commands and exit\n  \
         mortis vmcore --json -c ps         the same for programs\n\n\
         Exit status: 0 success, 1 a command failed, 2 the dump could not be opened.\n",
    );
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Invocation> {
        parse(std::iter::once("mortis").chain(arguments.iter().copied()).map(OsString::from))
    }

    #[test]
    fn files_and_flags_in_any_order() {
        let invocation = parsed(&["vmcore", "-sc", "bt", "vmlinux", "--command=log", "--json"])
            .expect("a valid command line");
        assert_eq!(invocation.files, [PathBuf::from("vmcore"), PathBuf::from("vmlinux")]);
        assert_eq!(invocation.commands, ["bt", "log"]);
        assert!(invocation.silent && invocation.json);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |arguments: &[&str]| parsed(arguments).expect_err("invalid").to_string();
        assert!(error(&["--frobnicate"]).contains("--frobnicate"));
        assert!(error(&["-c"]).contains("-c"));
        assert!(error(&["--color", "red"]).contains("'red'"));
    }

    #[test]
    fn every_flag_is_in_the_help() {
        let help = help();
        assert!(FLAGS.iter().all(|flag| help.contains(&format!("--{}", flag.long))));
    }
}
