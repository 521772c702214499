//! Other names for commands: crash's own, those of start-up files, and those that the user makes.

use std::fmt;

/// Who made an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is always there.
    BuiltIn,
    /// A start-up file, as the list of aliases names it.
    File(String),
    /// The `alias` command.
    Runtime,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn => f.pad("builtin"),
            Origin::File(name) => f.pad(name),
            Origin::Runtime => f.pad("runtime"),
        }
    }
}

/// A name and what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The word that is typed.
    pub name: String,
    /// What it stands for: a command, its options, a pipe.
    pub line: String,
    /// Who made it.
    pub origin: Origin,
}

/// The aliases that are always there, in crash's order.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("man", "help"),
    ("?", "help"),
    ("quit", "q"),
    ("sf", "set scroll off"),
    ("sn", "set scroll on"),
    ("hex", "set radix 16"),
    ("dec", "set radix 10"),
    ("g", "gdb"),
    ("px", "p -x"),
    ("pd", "p -d"),
    ("for", "foreach"),
    ("size", "*"),
    ("dmesg", "log"),
    ("lsmod", "mod"),
    ("last", "ps -l"),
];

/// All aliases of a session, in the order they were made.
#[derive(Clone, Debug)]
pub struct Aliases(Vec<Alias>);

impl Default for Aliases {
    fn default() -> Self {
        let made = |&(name, line): &(&str, &str)| Alias {
            name: name.to_owned(),
            line: line.to_owned(),
            origin: Origin::BuiltIn,
        };
        Self(BUILT_IN.iter().map(made).collect())
    }
}

impl Aliases {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Alias> {
        self.0.iter()
    }

    /// The alias called `name`.
    pub fn get(&self, name: &str) -> Option<&Alias> {
        self.0.iter().find(|alias| alias.name == name)
    }

    /// Makes an alias, in the place of one of the same name.
    pub fn set(&mut self, alias: Alias) {
        self.remove(&alias.name);
        self.0.push(alias);
    }

    /// Takes an alias away; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|alias| alias.name != name);
        self.0.len() < before
    }

    /// `line` with what its first word stands for in that word's place. What an alias stands for
    /// is not looked up again, so that one may have the name of the command it calls.
    pub fn expand(&self, line: &str) -> String {
        let line = line.trim();
        let end = line.find(|c: char| c.is_whitespace() || c == '|' || c == '>');
        let (name, rest) = line.split_at(end.unwrap_or(line.len()));
        match self.get(name) {
            Some(alias) => format!("{}{rest}", alias.line),
            None => line.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_replaced_once() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.expand("px jiffies | cat"), "p -x jiffies | cat");
        assert_eq!(aliases.expand("lsmod|head"), "mod|head");
        assert_eq!(aliases.expand("p px"), "p px");
        let line = "man -k | grep x".to_owned();
        aliases.set(Alias { name: "man".into(), line, origin: Origin::Runtime });
        assert_eq!(aliases.expand("man"), "man -k | grep x");
        assert!(aliases.remove("man") && !aliases.remove("man"));
        assert_eq!(aliases.expand("man"), "man");
    }
}
