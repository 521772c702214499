//! `rustfilt`: the Rust path behind a mangled symbol.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use serde::Serialize;

/// `rustfilt`.
pub const COMMAND: Command = Command {
    name: "rustfilt",
    aliases: &[],
    summary: "the Rust name behind a mangled symbol",
    synopsis: "<symbol>",
    options: &[],
    help: "Examples:\n  rustfilt _RNvMNtCs1_6kernel5printk5print",
    run,
};

/// A symbol and what it is called in Rust.
#[derive(Serialize)]
struct Demangled {
    symbol: String,
    /// Null for what is no Rust symbol.
    name: Option<String>,
}

impl Render for Demangled {
    fn render(&self, out: &mut String, _: Style) {
        match &self.name {
            Some(name) => out.push_str(&format!("{name}\n")),
            None => out.push_str(&format!("Not a rust symbol: \n{}\n", self.symbol)),
        }
    }
}

fn run(_: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.words.is_empty() {
        return Err(CommandError::Usage(format!("Usage: rustfilt {}", COMMAND.synopsis)));
    }
    for symbol in &arguments.words {
        let name = rustc_demangle::try_demangle(symbol).ok().map(|name| format!("{name:#}"));
        out.emit(&Demangled { symbol: symbol.clone(), name })?;
    }
    Ok(())
}
