//! `alias`: other names for commands.

use crate::alias::{Alias, Origin};
use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use serde::Serialize;

/// `alias`.
pub const COMMAND: Command = Command {
    name: "alias",
    aliases: &[],
    summary: "other names for commands",
    synopsis: "[alias] [command string]",
    options: &[],
    help: "Without a word, lists all aliases; with one, shows what it stands for; with more, makes\n\
           an alias of the first for the rest. An empty string takes the alias away. Quotes keep a\n\
           pipe in the alias: alias ko \"mod | grep -w\". In ~/.mortisrc or ~/.crashrc an alias is\n\
           there every time.\n\n\
           Examples:\n  alias\n  alias kt ps -k\n  alias kt \"\"",
    run,
};

/// A row of the list.
#[derive(Serialize)]
struct Row {
    name: String,
    command: String,
    origin: String,
    /// How wide the first column is.
    #[serde(skip)]
    width: usize,
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(&format!(
            "{:<width$}  {}  {} \n",
            self.origin,
            style.name(&format!("{:<7}", self.name)),
            self.command,
            width = self.width
        ));
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let Some((name, line)) = arguments.words.split_first() else {
        return list(session, None, out);
    };
    if line.is_empty() {
        return list(session, Some(name), out);
    }
    if commands::find(name).is_some() {
        return Err(CommandError::Message(format!("cannot alias existing command name: {name}")));
    }
    let line = line.join(" ").trim().to_owned();
    if line.is_empty() {
        if session.aliases.remove(name) {
            out.layout(&format!("alias deleted: {name}\n"))?;
        }
        return Ok(());
    }
    let called = line.split_whitespace().next().unwrap_or("");
    if commands::find(called).is_none() && called != "clear" {
        return Err(CommandError::Message(format!(
            "invalid alias attempt on non-existent command: {called}"
        )));
    }
    let origin = session.reading.clone().map_or(Origin::Runtime, Origin::File);
    session.aliases.set(Alias { name: name.clone(), line, origin });
    list(session, Some(name), out)
}

fn list(session: &Session, only: Option<&str>, out: &mut Output) -> Result<(), CommandError> {
    let origins = session.aliases.iter().map(|alias| alias.origin.to_string().len());
    let width = origins.max().unwrap_or(0).max("builtin".len());
    out.layout(&format!("{:<width$}  ALIAS    COMMAND\n", "ORIGIN"))?;
    let wanted = |alias: &&Alias| only.is_none_or(|only| alias.name == *only);
    let mut found = false;
    for alias in session.aliases.iter().filter(wanted) {
        found = true;
        out.emit(&Row {
            name: alias.name.clone(),
            command: alias.line.clone(),
            origin: alias.origin.to_string(),
            width,
        })?;
    }
    match only {
        Some(name) if !found => Err(CommandError::Message(format!("alias does not exist: {name}"))),
        _ => Ok(()),
    }
}
