//! What a command is: one entry of the table, from which parsing, help and completion follow.

use crate::arguments::Arguments;
use crate::output::{Output, Stop};
use crate::session::Session;
use mortis_kernel::error::KernelError;

/// A command of the shell.
pub struct Command {
    /// The name it is called by.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// One line: what it shows.
    pub summary: &'static str,
    /// What may follow the name: `[-l] [-r] [address | symbol] [count]`.
    pub synopsis: &'static str,
    /// The options it takes.
    pub options: &'static [Opt],
    /// The rest of its help: paragraphs, and examples.
    pub help: &'static str,
    /// What it does.
    pub run: fn(&mut Session, &Arguments, &mut Output) -> Result<(), CommandError>,
}

/// An option of a command.
pub struct Opt {
    /// Its letter.
    pub letter: char,
    /// What its value is called in the help; `None` for a flag.
    pub value: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

/// A flag: an option without a value.
pub const fn flag(letter: char, help: &'static str) -> Opt {
    Opt { letter, value: None, help }
}

/// An option with a value.
pub const fn value(letter: char, value: &'static str, help: &'static str) -> Opt {
    Opt { letter, value: Some(value), help }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Called wrongly; says how.
    #[error("{0}")]
    Usage(String),
    /// The kernel's memory does not tell.
    #[error(transparent)]
    Kernel(KernelError),
    /// Anything else worth one line.
    #[error("{0}")]
    Message(String),
    /// Anything else, laid out by crash without the command's name before it.
    #[error("{0}")]
    Plain(String),
    /// The answer said it already; it is for JSON and for the exit code only.
    #[error("{0}")]
    Shown(String),
    /// Nothing wrong: the reader went away, or the user pressed Ctrl-C.
    #[error(transparent)]
    Stop(#[from] Stop),
}

impl From<KernelError> for CommandError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Interrupted => CommandError::Stop(Stop::Interrupted),
            error => CommandError::Kernel(error),
        }
    }
}

impl From<mortis_memory::ReadError> for CommandError {
    fn from(error: mortis_memory::ReadError) -> Self {
        KernelError::from(error).into()
    }
}

impl From<mortis_debuginfo::types::TypeError> for CommandError {
    fn from(error: mortis_debuginfo::types::TypeError) -> Self {
        KernelError::from(error).into()
    }
}

impl From<mortis_kernel::expression::ExpressionError> for CommandError {
    fn from(error: mortis_kernel::expression::ExpressionError) -> Self {
        match error {
            mortis_kernel::expression::ExpressionError::Kernel(error) => error.into(),
            error => CommandError::Message(error.to_string()),
        }
    }
}

impl Command {
    /// Whether what follows the name is another command's: its words are left as they are.
    pub fn takes_a_command(&self) -> bool {
        self.options.is_empty()
            && self.synopsis.split(|c: char| !c.is_alphanumeric()).any(|word| word == "command")
    }

    /// How it is called, behind what is wrong about a call.
    pub fn usage(&self, wrong: &str) -> String {
        let line = if wrong.is_empty() { String::new() } else { format!("{wrong}\n") };
        format!(
            "{line}Usage:\n  {name} {}\nEnter \"help {name}\" for details.",
            self.synopsis,
            name = self.name
        )
    }
}

impl CommandError {
    /// What the user of `command` is to read.
    pub fn told(&self, command: &Command) -> String {
        match self {
            // However a command spells how it is called, it is spelled one way.
            CommandError::Usage(text) => {
                command.usage(text.split("Usage: ").next().unwrap_or("").trim_end())
            }
            error => error.to_string(),
        }
    }

    /// A one-line failure.
    pub fn message(message: impl Into<String>) -> Self {
        CommandError::Message(message.into())
    }
}
