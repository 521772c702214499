//! What `mortis` does besides opening a dump: `mortis info FILE`. One subcommand is one entry of
//! [`SUBCOMMANDS`], from which its help, the manual page and the completions follow. Its name counts
//! as the first word of a command line only; a file of that name opens as `./info`.

mod convert;
mod info;

use anyhow::{Result, bail};
use lexopt::prelude::*;
use mortis_dump::Layout;
use mortis_shell::commands::{help, nearest};
use mortis_shell::messages;
use mortis_shell::open::Input;
use mortis_shell::output::{Face, Interrupt, Output, Stop, Style};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// A subcommand.
pub struct Subcommand {
    /// The word by which it is called.
    pub name: &'static str,
    /// What follows it.
    pub usage: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// More of it, lines of at most 100 characters.
    pub about: &'static str,
    /// Its options; `--help` is every subcommand's.
    pub flags: &'static [SubcommandFlag],
    /// Does it.
    run: fn(&Call) -> Result<ExitCode>,
}

/// An option of a subcommand.
pub struct SubcommandFlag {
    /// Its letter, where it has one.
    pub short: Option<char>,
    /// Its long name, without the dashes.
    pub long: &'static str,
    /// What its value is called, or the words that it may be, with `|` between them; `None` for a
    /// switch.
    pub value: Option<&'static str>,
    /// What it does, in one line.
    pub help: &'static str,
}

const JSON: SubcommandFlag = switch("json", "answer in JSON, one object (docs/json.md)");
const SNAPSHOT: SubcommandFlag = SubcommandFlag {
    value: Some("NAME"),
    ..switch("snapshot", "the snapshot to open, of a disk image with several")
};
const LAYOUT: SubcommandFlag = SubcommandFlag {
    value: Some("PIECES"),
    ..switch("layout", "raw memory: FILE@PHYS or FILE:OFFSET+LEN@PHYS, comma-separated")
};
const HELP: SubcommandFlag =
    SubcommandFlag { short: Some('h'), ..switch("help", "show this and exit") };

const fn switch(long: &'static str, help: &'static str) -> SubcommandFlag {
    SubcommandFlag { short: None, long, value: None, help }
}

/// All of them, in the order of the help.
pub static SUBCOMMANDS: &[Subcommand] = &[
    info::SUBCOMMAND,
    convert::SUBCOMMAND,
    Subcommand {
        name: "help",
        usage: "[SUBCOMMAND|COMMAND]",
        summary: "show how a subcommand or a command is used",
        about: "Without a name, the options of mortis itself.",
        flags: &[JSON],
        run: |call| match call.words.first() {
            None if call.is_set("json") => Ok(crate::print(&json())),
            None => Ok(crate::print(&crate::flags::help())),
            Some(topic) => show_help(&topic.to_string_lossy()),
        },
    },
];

/// A subcommand's words and options.
pub struct Call {
    /// What is no option.
    pub words: Vec<OsString>,
    /// As they were given, by their long names.
    flags: Vec<(&'static str, OsString)>,
    /// Is set by Ctrl-C.
    pub interrupt: Interrupt,
}

impl Call {
    /// Whether an option was given.
    pub fn is_set(&self, long: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == long)
    }

    /// An option's value, the last where it was given several times.
    ///
    /// # Errors
    /// When it is not valid UTF-8.
    pub fn value(&self, long: &str) -> Result<Option<&str>> {
        match self.flags.iter().rev().find(|(name, _)| *name == long) {
            None => Ok(None),
            Some((_, value)) => match value.to_str() {
                Some(text) => Ok(Some(text)),
                None => bail!("--{long}: not valid UTF-8: {}", value.display()),
            },
        }
    }

    /// The words as files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.words.iter().map(PathBuf::from).collect()
    }

    /// What is to be opened: `files`, by the options that all who open a dump have.
    ///
    /// # Errors
    /// When an option's value is wrong.
    pub fn input(&self, files: Vec<PathBuf>) -> Result<Input> {
        let mut layout: Option<Layout> = None;
        for (_, value) in self.flags.iter().filter(|(name, _)| *name == LAYOUT.long) {
            let Some(text) = value.to_str() else {
                bail!("--layout: not valid UTF-8: {}", value.display())
            };
            let more: Layout = text.parse()?;
            match &mut layout {
                Some(layout) => layout.pieces.extend(more.pieces),
                none => *none = Some(more),
            }
        }
        let snapshot = self.value("snapshot")?.map(str::to_owned);
        Ok(Input { files, snapshot, layout, interrupt: self.interrupt.clone() })
    }

    /// Answers on standard output, as text or JSON, and ends with `status`.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn answer(
        &self,
        command: &str,
        status: u8,
        emit: impl FnOnce(&mut Output<'_>) -> Result<(), Stop>,
    ) -> Result<ExitCode> {
        let face = if self.is_set("json") { Face::Json } else { Face::Text };
        let color = std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal();
        let words: Vec<String> =
            self.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut stdout = std::io::stdout();
        let style = Style { color };
        let answered =
            Output::begin(&mut stdout, face, style, Interrupt::default(), command, &words)
                .and_then(|mut output| emit(&mut output).and_then(|()| output.finish(None)));
        match answered {
            Ok(()) | Err(Stop::Closed) => Ok(ExitCode::from(status)),
            Err(stop) => Err(stop.into()),
        }
    }
}

/// Runs the subcommand that the command line begins with, if it does.
pub fn dispatch(arguments: &[OsString]) -> Option<ExitCode> {
    let (name, rest) = arguments.split_first()?;
    let subcommand = SUBCOMMANDS.iter().find(|subcommand| OsStr::new(subcommand.name) == name)?;
    let status = match parse(subcommand, rest) {
        Ok(None) => Ok(crate::print(&subcommand.help())),
        Ok(Some(call)) => {
            if let Err(error) = crate::heed_ctrl_c(&call.interrupt) {
                let text = format!("Ctrl-C will end the program at once: {error}");
                messages::error("mortis", text);
            }
            (subcommand.run)(&call)
        }
        Err(error) => {
            let name = subcommand.name;
            Err(anyhow::anyhow!("{error}\nTry 'mortis {name} --help'."))
        }
    };
    Some(status.unwrap_or_else(|error| {
        messages::error(&format!("mortis {}", subcommand.name), error);
        ExitCode::from(crate::UNUSABLE)
    }))
}

/// Reads the words behind a subcommand. `None`: its help is wanted.
fn parse(subcommand: &Subcommand, arguments: &[OsString]) -> Result<Option<Call>> {
    let mut call = Call { words: Vec::new(), flags: Vec::new(), interrupt: Interrupt::default() };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        let flags = subcommand.flags.iter().chain([&HELP]);
        let flag = match &argument {
            Short(letter) => flags.clone().find(|flag| flag.short == Some(*letter)),
            Long(name) => flags.clone().find(|flag| flag.long == *name),
            Value(word) => {
                call.words.push(word.clone());
                continue;
            }
        };
        let Some(flag) = flag else {
            let near = match &argument {
                Long(name) => nearest(name, flags.map(|flag| flag.long)),
                _ => None,
            };
            let error = argument.unexpected();
            match near {
                Some(near) => bail!("{error}; did you mean '--{near}'?"),
                None => return Err(error.into()),
            }
        };
        if flag.long == HELP.long {
            return Ok(None);
        }
        let value = match flag.value {
            Some(_) => parser.value()?,
            None => OsString::new(),
        };
        call.flags.push((flag.long, value));
    }
    Ok(Some(call))
}

/// Shows how a subcommand, or else a command, is used.
fn show_help(topic: &str) -> Result<ExitCode> {
    let subcommand = SUBCOMMANDS.iter().find(|subcommand| subcommand.name == topic);
    match subcommand.map(Subcommand::help).or_else(|| help::topic(topic)) {
        Some(text) => Ok(crate::print(&text)),
        None => bail!("no subcommand and no command called {topic}"),
    }
}

impl Subcommand {
    /// How it is used.
    pub fn help(&self) -> String {
        let mut text = format!(
            "mortis {}: {}\n\nUsage: mortis {} {}\n\n{}\n\nOptions:\n",
            self.name, self.summary, self.name, self.usage, self.about
        );
        for flag in self.flags.iter().chain([&HELP]) {
            let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
            let name = format!("--{}{value}", flag.long);
            text.push_str(&match name.len() {
                ..=22 => format!("  {short}{name:<22} {}\n", flag.help),
                _ => format!("  {short}{name}\n{:29}{}\n", "", flag.help),
            });
        }
        text
    }
}

/// All subcommands as JSON, for tools that make documents of them.
fn json() -> String {
    let flag = |flag: &SubcommandFlag| {
        serde_json::json!({
            "short": flag.short,
            "long": flag.long,
            "value": flag.value,
            "help": flag.help,
            "group": "ours",
        })
    };
    let subcommands: Vec<serde_json::Value> = SUBCOMMANDS
        .iter()
        .map(|subcommand| {
            serde_json::json!({
                "name": subcommand.name,
                "usage": subcommand.usage,
                "summary": subcommand.summary,
                "about": subcommand.about,
                "flags": subcommand.flags.iter().chain([&HELP]).map(flag).collect::<Vec<_>>(),
            })
        })
        .collect();
    format!("{}\n", serde_json::Value::from(subcommands))
}
