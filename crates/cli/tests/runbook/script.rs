//! The runbook: lines, the values that they need from the dump, and why answers may differ.
//!
//! ```text
//! let MM = p -x init_task.active_mm ~ (0x[0-9a-f]+)     a value, by asking mortis
//! class vendor: why it is different                     a class of difference, and what
//!   drop ^LICENCE                                       it does to both answers before
//!   replace cpu [0-9]+ => cpu N                         they are compared
//! vm -M {MM}                                            a line
//! @vendor sys                                           a line with a class
//! ```
//!
//! A class that ends with the word `whole` lets an answer be entirely different, as long as there
//! is one.

use crate::answers::Program;
use regex_lite::Regex;
use std::collections::HashMap;

/// A line for both programs.
pub struct Line {
    pub text: String,
    classes: Vec<String>,
}

enum Change {
    Drop(Regex),
    Replace(Regex, String),
}

#[derive(Default)]
struct Class {
    whole: bool,
    changes: Vec<Change>,
}

struct Value {
    name: String,
    command: String,
    pattern: Regex,
}

pub struct Script {
    values: Vec<Value>,
    classes: HashMap<String, Class>,
    lines: Vec<Line>,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

impl Script {
    pub fn read(text: &str) -> Self {
        let mut script = Self { values: vec![], classes: HashMap::new(), lines: vec![] };
        let mut class = String::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(change) = line.strip_prefix("  ") {
                let class = script.classes.get_mut(&class).expect("a change belongs to a class");
                class.changes.push(match change.split_once(' ') {
                    Some(("drop", pattern)) => Change::Drop(regex(pattern)),
                    Some(("replace", rest)) => {
                        let (pattern, text) = rest.split_once(" =>").expect("PATTERN => TEXT");
                        Change::Replace(regex(pattern), text.trim_start().to_owned())
                    }
                    _ => panic!("drop or replace: {line}"),
                });
            } else if let Some(rest) = line.strip_prefix("let ") {
                let (name, rest) = rest.split_once(" = ").expect("let NAME = COMMAND ~ PATTERN");
                let (command, pattern) = rest.rsplit_once(" ~ ").expect("COMMAND ~ PATTERN");
                script.values.push(Value {
                    name: format!("{{{name}}}"),
                    command: command.to_owned(),
                    pattern: regex(pattern),
                });
            } else if let Some(rest) = line.strip_prefix("class ") {
                let (name, why) = rest.split_once(": ").expect("class NAME: WHY");
                class = name.to_owned();
                let whole = why.ends_with(" whole");
                script.classes.insert(class.clone(), Class { whole, ..Class::default() });
            } else {
                let mut classes = Vec::new();
                let mut text = line;
                while let Some(rest) = text.strip_prefix('@') {
                    let (class, line) = rest.split_once(' ').expect("@CLASS LINE");
                    assert!(script.classes.contains_key(class), "no class {class}");
                    classes.push(class.to_owned());
                    text = line;
                }
                script.lines.push(Line { text: text.to_owned(), classes });
            }
        }
        script
    }

    /// The lines with `only` in them, with the dump's values put in.
    pub fn filled(&self, mortis: &Program, only: &str) -> Vec<Line> {
        let mut values: Vec<(&str, String)> = Vec::new();
        let fill = |text: &str, values: &[(&str, String)]| {
            values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
        };
        for value in &self.values {
            let command = fill(&value.command, &values);
            let answer = mortis.run(&format!("{command}\n"));
            let captures = value.pattern.captures(&answer);
            let found = captures.and_then(|captures| Some(captures.get(1)?.as_str().to_owned()));
            let found = found.unwrap_or_else(|| panic!("{}: {command}: {answer:.500}", value.name));
            values.push((&value.name, found));
        }
        let lines = self.lines.iter().filter(|line| line.text.contains(only));
        lines
            .map(|line| Line { text: fill(&line.text, &values), classes: line.classes.clone() })
            .collect()
    }

    /// What is left to compare of an answer to `line`.
    pub fn normalised(&self, line: &Line, answer: &str) -> String {
        let mut text = answer.to_owned();
        for change in line.classes.iter().flat_map(|class| &self.classes[class].changes) {
            text = match change {
                Change::Drop(pattern) => {
                    text.split_inclusive('\n').filter(|line| !pattern.is_match(line)).collect()
                }
                Change::Replace(pattern, with) => {
                    pattern.replace_all(&text, with.replace("\\n", "\n").as_str()).into_owned()
                }
            };
        }
        text
    }

    /// Whether the classes of `line` say why its two answers differ.
    pub fn explains(&self, line: &Line, ours: &str, theirs: &str) -> bool {
        let whole = line.classes.iter().any(|class| self.classes[class].whole);
        (whole && !ours.is_empty()) || self.normalised(line, ours) == self.normalised(line, theirs)
    }
}
