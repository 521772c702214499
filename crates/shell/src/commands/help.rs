//! `help`: what the commands are, and how each is used.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use serde::Serialize;

/// `help`.
pub const COMMAND: Command = Command {
    name: "help",
    aliases: &["man", "?"],
    summary: "the commands, and how each is used",
    synopsis: "[command]...",
    options: &[],
    help: "Without a command, lists all of them. With one, shows its options and examples.",
    run,
};

/// A command's help.
#[derive(Serialize)]
struct CommandHelp {
    name: &'static str,
    aliases: &'static [&'static str],
    summary: &'static str,
    synopsis: &'static str,
    options: Vec<OptionHelp>,
    help: &'static str,
}

#[derive(Serialize)]
struct OptionHelp {
    letter: char,
    value: Option<&'static str>,
    help: &'static str,
}

/// One line of the list.
#[derive(Serialize)]
struct CommandSummary {
    name: &'static str,
    summary: &'static str,
}

impl Render for CommandSummary {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&format!("{:<9}", self.name));
        out.push_str(&format!("  {name} {}\n", self.summary));
    }
}

impl CommandHelp {
    fn of(command: &Command) -> Self {
        Self {
            name: command.name,
            aliases: command.aliases,
            summary: command.summary,
            synopsis: command.synopsis,
            options: command
                .options
                .iter()
                .map(|option| OptionHelp {
                    letter: option.letter,
                    value: option.value,
                    help: option.help,
                })
                .collect(),
            help: command.help,
        }
    }
}

impl Render for CommandHelp {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(&format!("{} - {}\n\n", style.name(self.name), self.summary));
        out.push_str(&format!("{} {} {}\n", style.heading("usage:"), self.name, self.synopsis));
        if !self.aliases.is_empty() {
            out.push_str(&format!("{} {}\n", style.heading("also:"), self.aliases.join(", ")));
        }
        if !self.options.is_empty() {
            out.push('\n');
        }
        for option in &self.options {
            let spelled = match option.value {
                Some(value) if value.starts_with('=') => format!("-{}[{value}]", option.letter),
                Some(value) => format!("-{} {value}", option.letter),
                None => format!("-{}", option.letter),
            };
            out.push_str(&format!("  {spelled:<12} {}\n", option.help));
        }
        if !self.help.is_empty() {
            out.push_str(&format!("\n{}\n", self.help.trim_end()));
        }
    }
}

fn run(_: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.words.is_empty() {
        for command in commands::TABLE {
            out.emit(&CommandSummary { name: command.name, summary: command.summary })?;
        }
        return Ok(out.layout("\nhelp COMMAND shows how one is used.\n")?);
    }
    for (index, name) in arguments.words.iter().enumerate() {
        let command = commands::find(name)
            .ok_or_else(|| CommandError::Message(format!("no command called {name}")))?;
        if index > 0 {
            out.layout("\n")?;
        }
        out.emit(&CommandHelp::of(command))?;
    }
    Ok(())
}
