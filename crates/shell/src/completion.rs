//! What Tab offers: commands, options with their help, symbols, types and members, tasks, files.
//!
//! What an argument may be follows from the words by which a command's synopsis and options call
//! it, so that a new command is completed without a word about it here.

mod names;
mod place;

use crate::alias::Aliases;
use crate::command::Command;
use crate::commands::set::variables;
use crate::commands::{TABLE, find};
use crate::foreign;
use crate::session::Session;
use mortis_kernel::Kernel;
use names::Found;
use place::{Place, Position};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Something to offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What comes into the line.
    pub text: String,
    /// What it is, in a few words.
    pub description: Option<String>,
    /// Whether a blank follows: it is whole.
    pub whole: bool,
}

impl Candidate {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), description: None, whole: true }
    }

    fn about(text: impl Into<String>, description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..Self::new(text) }
    }
}

/// What is offered at one place of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Where the text begins that a candidate replaces, in bytes. It ends at the cursor.
    pub start: usize,
    /// In order.
    pub candidates: Vec<Candidate>,
    /// What all that there is begins with, also what was left out of `candidates`.
    pub common: String,
}

/// What a word may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Symbol,
    Type,
    Pid,
    TaskName,
    File,
    Cpu,
    Module,
    Alias,
    Topic,
    Variable,
    Words(&'static [&'static str]),
}

/// Completes lines over one kernel.
pub struct Completer {
    kernel: Arc<Kernel>,
    /// The session's aliases; it tells of new ones.
    aliases: Arc<Mutex<Aliases>>,
    task_names: OnceLock<Vec<(u32, String)>>,
}

impl Completer {
    /// A completer for the kernel of `session`.
    pub fn new(session: &Session) -> Self {
        Self {
            kernel: session.kernel.clone(),
            aliases: Arc::new(Mutex::new(session.aliases.clone())),
            task_names: OnceLock::new(),
        }
    }

    /// Where the session puts its aliases when they change.
    pub fn aliases(&self) -> Arc<Mutex<Aliases>> {
        Arc::clone(&self.aliases)
    }

    /// What is offered at the byte `at` of `line`.
    pub fn complete(&self, line: &str, at: usize) -> Completion {
        let Some(before) = line.get(..at) else { return Completion::default() };
        let mut found = Found::default();
        let place = Place::of(before);
        self.offer(&place, &mut found);
        let (mut candidates, common) = found.finish();
        let start = before.len() - place.prefix_len(&common);
        // Nothing is left to complete.
        if let [only] = &candidates[..]
            && before.get(start..) == Some(&*only.text)
            && !only.whole
        {
            candidates.clear();
        }
        Completion { start, candidates, common }
    }

    fn offer(&self, place: &Place, found: &mut Found) {
        let word = place.word;
        match place.position {
            Position::Shell | Position::Redirect => names::files(word, found),
            Position::Command => self.offer_commands(word, found),
            Position::Argument => {
                let expanded = self.alias_of(place.words[0]);
                let mut words: Vec<&str> = expanded.split_whitespace().collect();
                words.extend(&place.words[1..]);
                // `repeat -1 ps`, `foreach ps`: what matters is the command inside.
                let inner = match words[0] {
                    "repeat" => words.iter().skip(1).position(|word| !word.starts_with('-')),
                    "foreach" => words.iter().skip(1).position(|word| find(word).is_some()),
                    _ => None,
                };
                match (words[0], inner) {
                    ("repeat", None) => self.offer_commands(word, found),
                    (_, Some(inner)) => self.offer_arguments(&words[inner + 1..], word, found),
                    _ => self.offer_arguments(&words, word, found),
                }
            }
        }
    }

    fn alias_of(&self, name: &str) -> String {
        let aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        aliases.get(name).map_or_else(|| name.to_owned(), |alias| alias.line.clone())
    }

    fn offer_commands(&self, word: &str, found: &mut Found) {
        if let Some(reference) = word.strip_prefix('*') {
            found.add_behind("*", |found| names::types(&self.kernel, reference, found));
            return;
        }
        if word.contains('.') || word.contains("->") {
            names::members_of_type(&self.kernel, word, found);
            names::members_of_value(&self.kernel, word, found);
            return;
        }
        for command in TABLE {
            found.offer(word, || Candidate::about(command.name, command.summary), command.name);
        }
        let aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        for alias in aliases.iter() {
            let about = || Candidate::about(&alias.name, format!("= {}", alias.line));
            found.offer(word, about, &alias.name);
        }
        for program in foreign::PROGRAMS {
            found.offer(word, || Candidate::about(*program, "the program"), program);
        }
        // A type or a symbol is a command as well; offered where no command is meant.
        if found.is_empty() && !word.is_empty() {
            names::types(&self.kernel, word, found);
            names::symbols(&self.kernel, word, found);
        }
    }

    /// The arguments of the command `words[0]`, behind `words`.
    fn offer_arguments(&self, words: &[&str], word: &str, found: &mut Found) {
        let Some(command) = find(words[0]) else {
            // A type by its name, and then where one is.
            return self.offer_kind(Kind::Symbol, word, found);
        };
        let options_end = words.contains(&"--");
        if let Some(letters) = word.strip_prefix('-')
            && !options_end
            && !command.takes_a_command()
        {
            return offer_options(command, letters, found);
        }
        if let Some(value) = awaited_value(command, words) {
            for kind in kinds_of(value) {
                self.offer_kind(kind, word, found);
            }
            return;
        }
        let index = words[1..].iter().filter(|word| !word.starts_with('-')).count();
        match command.name {
            "set" if index == 1 => {
                let name = words.iter().skip(1).find(|word| !word.starts_with('-')).unwrap_or(&"");
                self.offer_kind(Kind::Words(variables::values(name)), word, found);
                if *name == "namelist" || *name == "error" {
                    names::files(word, found);
                }
            }
            "set" => {
                self.offer_kind(Kind::Variable, word, found);
                self.offer_kind(Kind::Pid, word, found);
            }
            "help" => self.offer_kind(Kind::Topic, word, found),
            "alias" if index > 0 => self.offer_kind(Kind::Command, word, found),
            "extend" => names::files(word, found),
            "foreach" => {
                self.offer_kind(Kind::Words(FOREACH), word, found);
                self.offer_kind(Kind::Pid, word, found);
                self.offer_kind(Kind::TaskName, word, found);
            }
            "struct" | "union" | "*" if index == 0 => self.offer_kind(Kind::Type, word, found),
            "whatis" => {
                self.offer_kind(Kind::Type, word, found);
                self.offer_kind(Kind::Symbol, word, found);
            }
            "gdb" if index == 0 => self.offer_kind(Kind::Words(GDB), word, found),
            "gdb" if matches!(words.get(1), Some(&"ptype" | &"whatis")) => {
                self.offer_kind(Kind::Type, word, found);
                self.offer_kind(Kind::Symbol, word, found);
            }
            "gdb" => self.offer_kind(Kind::Symbol, word, found),
            "sys" => self.offer_kind(Kind::Words(&["config"]), word, found),
            _ => {
                for kind in kinds_of(command.synopsis) {
                    self.offer_kind(kind, word, found);
                }
            }
        }
    }

    fn offer_kind(&self, kind: Kind, word: &str, found: &mut Found) {
        let kernel = &*self.kernel;
        match kind {
            Kind::Command => {
                for command in TABLE {
                    let about = || Candidate::about(command.name, command.summary);
                    found.offer(word, about, command.name);
                }
            }
            Kind::Symbol => {
                if word.contains('.') || word.contains("->") {
                    names::members_of_value(kernel, word, found);
                } else {
                    names::symbols(kernel, names::last_operand(word), found);
                }
            }
            Kind::Type => match word.contains('.') {
                true => names::members_of_type(kernel, word, found),
                false => names::types(kernel, word, found),
            },
            Kind::Pid => names::pids(self.tasks(), word, found),
            Kind::TaskName => names::task_names(self.tasks(), word, found),
            Kind::File => names::files(word, found),
            Kind::Cpu => {
                let cpus = kernel.cpus().map(|cpus| cpus.possible.clone()).unwrap_or_default();
                let all = cpus.iter().map(u32::to_string).chain(["a".to_owned()]);
                all.for_each(|cpu| found.offer(word, || Candidate::new(cpu.clone()), &cpu));
            }
            Kind::Module => names::modules(kernel, word, found),
            Kind::Alias => {
                let aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
                for alias in aliases.iter() {
                    let about = || Candidate::about(&alias.name, format!("= {}", alias.line));
                    found.offer(word, about, &alias.name);
                }
            }
            Kind::Topic => {
                self.offer_kind(Kind::Command, word, found);
                self.offer_kind(Kind::Alias, word, found);
                self.offer_kind(Kind::Words(crate::commands::help::TOPICS), word, found);
            }
            Kind::Variable => {
                variables::names()
                    .for_each(|name| found.offer(word, || Candidate::new(name), name));
            }
            Kind::Words(words) => {
                words.iter().for_each(|name| found.offer(word, || Candidate::new(*name), name));
            }
        }
    }

    /// Every task's process id and name.
    fn tasks(&self) -> &[(u32, String)] {
        self.task_names.get_or_init(|| names::all_tasks(&self.kernel))
    }
}

/// What `foreach` takes besides tasks.
const FOREACH: &[&str] = &[
    "active", "bt", "files", "gleader", "kernel", "net", "ps", "set", "sig", "task", "user", "vm",
    "vtop", "RU", "IN", "UN", "ST", "TR", "ZO", "DE", "ID", "NE",
];

/// What of gdb is translated.
const GDB: &[&str] =
    &["print", "ptype", "whatis", "x", "info", "list", "disassemble", "backtrace", "output"];

fn offer_options(command: &Command, letters: &str, found: &mut Found) {
    // Behind a letter others may be joined, but which is meant only the user knows.
    if !letters.is_empty() {
        if letters.chars().all(|letter| command.options.iter().any(|o| o.letter == letter)) {
            found.push(Candidate::new(format!("-{letters}")));
        }
        return;
    }
    for option in command.options {
        let about = match option.value {
            Some(value) => format!("{}: {}", value.trim_start_matches('='), option.help),
            None => option.help.to_owned(),
        };
        found.push(Candidate::about(format!("-{}", option.letter), about));
    }
}

/// What the option before the cursor waits for.
fn awaited_value(command: &Command, words: &[&str]) -> Option<&'static str> {
    let last = words.get(1..)?.last()?;
    let letter = last.strip_prefix('-')?.chars().last()?;
    let option = command.options.iter().find(|option| option.letter == letter)?;
    option.value.filter(|value| !value.starts_with('='))
}

/// The kinds of argument that the words of a synopsis or of an option's value stand for.
fn kinds_of(synopsis: &str) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for word in synopsis.split(|c: char| !c.is_alphanumeric() && c != '_') {
        let kind = match word {
            "pid" | "task" | "tasks" => Kind::Pid,
            "name" | "comm" | "command" => Kind::TaskName,
            "symbol" | "address" | "addr" | "vaddr" | "expression" | "expr" | "start" | "value"
            | "dentry" | "inode" | "reference" => Kind::Symbol,
            "struct" | "type" | "offset" | "member" => Kind::Type,
            "file" | "dir" | "directory" | "objfile" | "path" => Kind::File,
            "cpu" | "cpus" | "cpuspec" => Kind::Cpu,
            "module" => Kind::Module,
            "alias" => Kind::Alias,
            _ => continue,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_the_synopsis_calls_them() {
        assert_eq!(kinds_of("[-l] [-r] [address | symbol] [count]"), [Kind::Symbol]);
        assert_eq!(kinds_of("[pid | task]..."), [Kind::Pid]);
        assert_eq!(kinds_of("cpus"), [Kind::Cpu]);
        assert_eq!(kinds_of("count"), []);
    }

    #[test]
    fn an_option_says_what_follows_it() {
        let ps = &crate::commands::ps::COMMAND;
        assert!(awaited_value(ps, &["ps", "-k"]).is_none());
        assert!(awaited_value(ps, &["ps", "-C"]).is_some_and(|value| value.contains("cpu")));
    }
}
