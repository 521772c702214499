//! `help`: what the commands are, and how each is used.
//!
//! Examples come with what they answer on the sample in the repository: `cargo xtask docs` runs
//! them and keeps the answers in `help/examples.txt`.

mod internals;

use crate::alias;
use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands::{self, TABLE, nearest};
use crate::foreign;
use crate::output::{Output, Render, Style, Text};
use crate::session::Session;
use serde::Serialize;

/// `help`.
pub const COMMAND: Command = Command {
    name: "help",
    aliases: &[],
    summary: "the commands, and how each is used",
    synopsis: "[command | all | input | output | commands]",
    options: internals::OPTIONS,
    help: "Without a word, lists all commands. With one, shows how it is used, and examples with\n\
           their answers. 'help input' tells what a line may be, 'help output' where answers go,\n\
           'help commands' what each command shows, 'help all' everything.\n\n\
           Examples:\n  help alias",
    run,
};

/// What `help` tells of besides commands.
pub const TOPICS: &[&str] = &["all", "commands", "input", "output"];

const INPUT: &str = include_str!("help/input.txt");
const OUTPUT: &str = include_str!("help/output.txt");
const EXAMPLES: &str = include_str!("help/examples.txt");

/// crash's commands, in the order of its list. Others are ours.
const OF_CRASH: &[&str] = &[
    "*", "alias", "ascii", "bpf", "bt", "btop", "dev", "dis", "eval", "exit", "extend", "files",
    "foreach", "fuser", "gdb", "help", "ipcs", "irq", "kmem", "list", "log", "mach", "mod",
    "mount", "net", "p", "ps", "pte", "ptob", "ptov", "rd", "repeat", "runq", "rustfilt",
    "sbitmapq", "search", "set", "sig", "struct", "swap", "sym", "sys", "task", "timer", "tree",
    "union", "vm", "vtop", "waitq", "whatis", "wr", "q",
];

/// Names in a row of the list, and how wide each is.
const COLUMNS: usize = 5;
const WIDTH: usize = 15;

/// Characters of a line of a command's help.
const LINE: usize = 100;

/// A command's help.
#[derive(Serialize)]
struct CommandHelp {
    name: &'static str,
    /// The aliases that stand for it alone.
    aliases: Vec<&'static str>,
    summary: &'static str,
    synopsis: &'static str,
    options: Vec<OptionHelp>,
    help: &'static str,
    /// Lines worth trying.
    examples: Vec<&'static str>,
}

#[derive(Serialize)]
struct OptionHelp {
    letter: char,
    value: Option<&'static str>,
    help: &'static str,
}

/// One line of `help commands`.
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

/// The list of commands.
#[derive(Serialize)]
struct List {
    of_crash: Vec<&'static str>,
    ours: Vec<&'static str>,
    version: &'static str,
}

impl List {
    fn new() -> Self {
        let of_crash = OF_CRASH.iter().copied().filter(|name| commands::find(name).is_some());
        let names = TABLE.iter().map(|command| command.name);
        Self {
            of_crash: of_crash.collect(),
            ours: names.filter(|name| !OF_CRASH.contains(name)).collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Render for List {
    fn render(&self, out: &mut String, style: Style) {
        out.push('\n');
        columns(&self.of_crash, out, style);
        if !self.ours.is_empty() {
            out.push_str(&format!("\n{}\n", style.heading("Not in crash:")));
            columns(&self.ours, out, style);
        }
        out.push_str(&format!(
            "\nmortis version: {}\n\
             For help on any command above, enter \"help <command>\".\n\
             For help on input options, enter \"help input\".\n\
             For help on output options, enter \"help output\".\n\n",
            self.version
        ));
    }
}

/// Names in columns, down the first, then down the next.
fn columns(names: &[&str], out: &mut String, style: Style) {
    let rows = names.len().div_ceil(COLUMNS);
    for row in 0..rows {
        for name in names.iter().skip(row).step_by(rows.max(1)) {
            out.push_str(&style.name(&format!("{name:<WIDTH$}")));
        }
        out.push('\n');
    }
}

impl CommandHelp {
    fn of(command: &Command) -> Self {
        let aliases = alias::BUILT_IN.iter().filter(|(_, line)| *line == command.name);
        let (help, examples) = split_examples(command.help);
        Self {
            name: command.name,
            aliases: aliases.map(|(name, _)| *name).collect(),
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
            help,
            examples,
        }
    }
}

/// A command's help text, and the example lines at its end.
fn split_examples(help: &'static str) -> (&'static str, Vec<&'static str>) {
    let Some((text, examples)) = help.split_once("Examples:\n") else { return (help, Vec::new()) };
    (text.trim_end(), examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect())
}

/// What the examples of a command answer on the sample.
fn answers(name: &str) -> Option<&'static str> {
    let (_, section) = EXAMPLES.split_once(&format!("\n=== {name}\n"))?;
    Some(section.split("\n=== ").next().unwrap_or(section).trim_end_matches('\n'))
}

/// An option as the help spells it: `-c cpu`, `-S[=cpus]`; switches that do the same as one, `-xd`.
fn spelled(options: &[OptionHelp]) -> String {
    let letters: String = options.iter().map(|option| option.letter).collect();
    match options.first().and_then(|option| option.value) {
        Some(value) if value.starts_with('=') => format!("-{letters}[{value}]"),
        Some(value) => format!("-{letters} {value}"),
        None => format!("-{letters}"),
    }
}

/// The options, switches that stand together and do the same as one.
fn rows(options: &[OptionHelp]) -> impl Iterator<Item = &[OptionHelp]> {
    options
        .chunk_by(|one, next| one.value.is_none() && next.value.is_none() && one.help == next.help)
}

impl Render for CommandHelp {
    fn render(&self, out: &mut String, style: Style) {
        let heading = |text: &str| style.heading(text);
        out.push_str(&format!("\n{}\n  {} - {}\n", heading("NAME"), self.name, self.summary));
        if !self.aliases.is_empty() {
            out.push_str(&format!("  also called {}\n", self.aliases.join(", ")));
        }
        out.push_str(&format!("\n{}\n", heading("SYNOPSIS")));
        for line in format!("  {} {}", self.name, self.synopsis).lines() {
            out.push_str(&broken(line.trim_end(), LINE).join("\n     "));
            out.push('\n');
        }
        if !self.options.is_empty() {
            out.push_str(&format!("\n{}\n", heading("OPTIONS")));
        }
        let width = rows(&self.options).map(|row| spelled(row).len()).max().unwrap_or(0);
        for row in rows(&self.options) {
            out.push_str("  ");
            out.push_str(&style.name(&format!("{:<width$}", spelled(row))));
            let help = row.first().map_or("", |option| option.help);
            let lines = broken(help, LINE.saturating_sub(width + 4));
            out.push_str(&format!("  {}\n", lines.join(&format!("\n{:1$}", "", width + 4))));
        }
        if !self.help.is_empty() {
            out.push_str(&format!("\n{}\n", heading("DESCRIPTION")));
            indented(self.help, out);
        }
        if !self.examples.is_empty() {
            out.push_str(&format!("\n{}\n", heading("EXAMPLES")));
            match answers(self.name) {
                Some(answers) => examples(answers, out, style),
                None => indented(&self.examples.join("\n"), out),
            }
        }
        out.push('\n');
    }
}

/// Text with an indent. A paragraph with a line that is too long is filled anew; one that is indented
/// already is a table, of which only that line is broken.
fn indented(text: &str, out: &mut String) {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    for paragraph in lines.chunk_by(|one, next| is_prose(one) && is_prose(next)) {
        let fits = |line: &&str| line.chars().count() + 2 <= LINE;
        match paragraph.iter().all(fits) {
            true => paragraph.iter().for_each(|line| push_indented(line, out)),
            false => push_indented(&paragraph.join(" "), out),
        }
    }
}

fn push_indented(line: &str, out: &mut String) {
    let words = line.trim_start();
    let indent = " ".repeat(line.len().saturating_sub(words.len()).saturating_add(2));
    for part in broken(words, LINE.saturating_sub(indent.len())) {
        out.push_str(format!("{indent}{part}").trim_end());
        out.push('\n');
    }
}

/// A line in parts of up to `width` characters, broken at blanks.
fn broken(line: &str, width: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), line);
    while let Some((beyond, _)) = rest.char_indices().nth(width) {
        // Blanks at the beginning are an indent.
        let indent = rest.len().saturating_sub(rest.trim_start().len());
        let head = rest.get(..=beyond).unwrap_or(rest);
        let blank = head.rfind(' ').filter(|blank| *blank > indent);
        let Some((part, next)) = blank.and_then(|blank| rest.split_at_checked(blank)) else {
            break;
        };
        parts.push(part);
        rest = next.trim_start();
    }
    parts.push(rest);
    parts
}

fn examples(answers: &str, out: &mut String, style: Style) {
    for line in answers.lines() {
        match line.strip_prefix("mortis> ") {
            Some(typed) => out.push_str(&format!("  mortis> {}\n", style.heading(typed))),
            None => {
                out.push_str(format!("  {line}").trim_end());
                out.push('\n');
            }
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.has('z') {
        return Ok(out.emit(&Text { text: internals::list() })?);
    }
    if arguments.has('a') {
        return crate::run::run_within(session, &["alias".to_owned()], out);
    }
    if internals::show(session, arguments, out)? {
        return Ok(());
    }
    if arguments.words.is_empty() {
        return Ok(out.emit(&List::new())?);
    }
    for word in &arguments.words {
        one(session, word, out)?;
    }
    Ok(())
}

fn one(session: &Session, word: &str, out: &mut Output) -> Result<(), CommandError> {
    // By an alias, what it calls.
    let called = session.aliases.get(word).map(|alias| alias.line.as_str());
    let called = called.and_then(|line| line.split_whitespace().next()).unwrap_or(word);
    match called {
        "input" => out.emit(&Text { text: INPUT.to_owned() })?,
        "output" => out.emit(&Text { text: OUTPUT.to_owned() })?,
        "commands" => {
            for command in TABLE {
                out.emit(&CommandSummary { name: command.name, summary: command.summary })?;
            }
        }
        "all" => {
            out.layout(INPUT)?;
            out.layout("\n")?;
            out.layout(OUTPUT)?;
            for command in TABLE {
                out.emit(&CommandHelp::of(command))?;
            }
        }
        name => match (commands::find(name), foreign::why_not(name)) {
            (Some(command), _) => out.emit(&CommandHelp::of(command))?,
            (None, Some(why)) => {
                return Err(CommandError::Message(format!("{name}: {why}")));
            }
            (None, None) => {
                let near = nearest(name, TABLE.iter().map(|command| command.name));
                let near = near.map(|near| format!(" Did you mean \"{near}\"?"));
                return Err(CommandError::Message(format!(
                    "No help data for \"{name}\" is available.{}",
                    near.unwrap_or_default()
                )));
            }
        },
    }
    Ok(())
}

/// The help of a command or topic as text, where there is no session.
pub fn topic(name: &str) -> Option<String> {
    let alias = alias::BUILT_IN.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, line)| line.split(' ').next().unwrap_or(line));
    let of = |command: &Command| {
        let mut text = String::new();
        CommandHelp::of(command).render(&mut text, Style::default());
        text
    };
    match name {
        "input" => Some(INPUT.to_owned()),
        "output" => Some(OUTPUT.to_owned()),
        "commands" => {
            let mut text = String::new();
            for command in TABLE {
                let summary = CommandSummary { name: command.name, summary: command.summary };
                summary.render(&mut text, Style::default());
            }
            Some(text)
        }
        "all" => {
            let commands: String = TABLE.iter().map(|command| of(command)).collect();
            Some(format!("{INPUT}\n{OUTPUT}{commands}"))
        }
        name => commands::find(name).map(of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks() {
        assert_eq!(broken("", 10), [""]);
        assert_eq!(broken("one two", 7), ["one two"]);
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("  one two", 5), ["  one", "two"]);
        assert_eq!(broken("  untold", 5), ["  untold"]);
        assert_eq!(broken("ü ü ü", 3), ["ü ü", "ü"]);
    }

    #[test]
    fn a_paragraph_with_a_long_line_is_filled_anew() {
        let long = ["word"; 21].join(" ");
        let mut text = String::new();
        indented(&format!("{long}\nend.\n\nshort\nlines\n  a table"), &mut text);
        let filled = ["word"; 19].join(" ");
        let expected = format!("  {filled}\n  word word end.\n\n  short\n  lines\n    a table\n");
        assert_eq!(text, expected);
    }

    #[test]
    fn switches_that_do_the_same_stand_in_one_row() {
        let option = |letter, value, help| OptionHelp { letter, value, help };
        let options = [
            option('a', None, "given on"),
            option('b', None, "given on"),
            option('c', Some("cpu"), "given on"),
            option('d', None, "another"),
        ];
        let rows: Vec<String> = rows(&options).map(spelled).collect();
        assert_eq!(rows, ["-ab", "-c cpu", "-d"]);
    }

    #[test]
    fn the_list_goes_down_the_columns() {
        let mut text = String::new();
        columns(&["a", "b", "c", "d", "e", "f", "g"], &mut text, Style::default());
        assert_eq!(
            text,
            format!(
                "{:<15}{:<15}{:<15}{:<15}\n{:<15}{:<15}{:<15}\n",
                "a", "c", "e", "g", "b", "d", "f"
            )
        );
        columns(&[], &mut text, Style::default());
    }

    #[test]
    fn every_command_has_help() {
        for command in TABLE {
            assert!(!command.summary.is_empty(), "{}", command.name);
            assert!(!command.options.is_empty() || !command.help.is_empty(), "{}", command.name);
            for option in command.options {
                assert!(!option.help.is_empty(), "{} -{}", command.name, option.letter);
            }
        }
    }
}
