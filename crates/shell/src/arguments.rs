//! A command's words taken apart into options and the rest, as `getopt` does.

use crate::command::{Command, CommandError};

/// The options and words that a command was called with.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    options: Vec<(char, Option<String>)>,
    /// The words that are no options, in order.
    pub words: Vec<String>,
}

impl Arguments {
    /// Sorts `words` into options and the rest. Options may be joined (`-ac 1`), may follow other
    /// words, and end at `--`. A value that is described with a leading `=` may be left out; given,
    /// it is joined so: `-S=0,1`. One that is described with a leading `[` may be left out at the
    /// end of the line.
    ///
    /// # Errors
    /// [`CommandError::Usage`] for an option that the command does not have, or one whose value
    /// is missing.
    pub fn parse(command: &Command, words: &[String]) -> Result<Self, CommandError> {
        let usage = CommandError::Usage;
        let mut parsed = Self::default();
        if command.takes_a_command() {
            parsed.words = words.to_vec();
            return Ok(parsed);
        }
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.words.extend(words.by_ref().cloned());
                break;
            }
            let Some(letters) = word.strip_prefix('-').filter(|rest| {
                // `-5` is a number where the command has no such option.
                rest.chars().next().is_some_and(|first| {
                    !first.is_ascii_digit() || command.options.iter().any(|o| o.letter == first)
                })
            }) else {
                parsed.words.push(word.clone());
                continue;
            };
            let mut rest = letters.chars();
            while let Some(letter) = rest.next() {
                let Some(option) = command.options.iter().find(|o| o.letter == letter) else {
                    return Err(usage(format!("invalid option -- '{letter}'")));
                };
                let Some(described) = option.value else {
                    parsed.options.push((letter, None));
                    continue;
                };
                let joined = rest.as_str();
                if described.starts_with('=') {
                    let optional = joined.strip_prefix('=').map(str::to_owned);
                    let given = optional.is_some();
                    parsed.options.push((letter, optional));
                    if given {
                        break;
                    }
                    continue;
                }
                if described.starts_with('[') && joined.is_empty() && words.as_slice().is_empty() {
                    parsed.options.push((letter, None));
                    continue;
                }
                let value = if joined.is_empty() {
                    let missing = || usage(format!("option requires an argument -- '{letter}'"));
                    words.next().cloned().ok_or_else(missing)?
                } else {
                    joined.to_owned()
                };
                parsed.options.push((letter, Some(value)));
                break;
            }
        }
        Ok(parsed)
    }

    /// Whether the option `letter` was given.
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(given, _)| *given == letter)
    }

    /// How many times the option `letter` was given.
    pub fn count(&self, letter: char) -> usize {
        self.options.iter().filter(|(given, _)| *given == letter).count()
    }

    /// The last value given to the option `letter`.
    pub fn value(&self, letter: char) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(given, _)| *given == letter)
            .and_then(|(_, value)| value.as_deref())
    }

    /// All values given to the option `letter`, in order.
    pub fn values(&self, letter: char) -> impl Iterator<Item = &str> {
        let given = self.options.iter().filter(move |(given, _)| *given == letter);
        given.filter_map(|(_, value)| value.as_deref())
    }

    /// The letters of all options given, in order.
    pub fn letters(&self) -> impl Iterator<Item = char> {
        self.options.iter().map(|(letter, _)| *letter)
    }

    /// The first word.
    pub fn first(&self) -> Option<&str> {
        self.words.first().map(String::as_str)
    }

    /// All the words as they were typed, joined by single spaces: an expression.
    pub fn joined(&self) -> String {
        self.words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{flag, value};

    const BT: Command = Command {
        name: "bt",
        aliases: &[],
        summary: "",
        synopsis: "[-a|-c cpu] [pid]",
        options: &[flag('a', ""), flag('f', ""), value('c', "cpu", ""), value('S', "=cpus", "")],
        help: "",
        run: |_, _, _| Ok(()),
    };

    fn parse(words: &[&str]) -> Result<Arguments, CommandError> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Arguments::parse(&BT, &words)
    }

    #[test]
    fn options_may_be_joined_and_follow_words() {
        let parsed = parse(&["1", "-ffc2", "3"]).expect("valid options");
        assert_eq!(parsed.words, ["1", "3"]);
        assert_eq!(parsed.count('f'), 2);
        assert_eq!(parsed.value('c'), Some("2"));
        assert!(!parsed.has('a'));
    }

    #[test]
    fn a_value_may_stand_in_the_next_word() {
        assert_eq!(parse(&["-c", "0,1"]).expect("valid").value('c'), Some("0,1"));
        assert!(parse(&["-c"]).expect_err("no value").to_string().contains("requires"));
    }

    #[test]
    fn a_value_after_an_equals_sign_may_be_left_out() {
        let parsed = parse(&["-aS=0,1", "x"]).expect("valid");
        assert_eq!(parsed.value('S'), Some("0,1"));
        assert_eq!(parsed.words, ["x"]);
        let parsed = parse(&["-Sa", "x"]).expect("valid");
        assert!(parsed.has('S') && parsed.has('a'));
        assert_eq!(parsed.value('S'), None);
    }

    #[test]
    fn a_wrong_option_is_named_with_the_usage() {
        let error = parse(&["-z"]).expect_err("no such option").to_string();
        assert_eq!(error, "invalid option -- 'z'");
        assert_eq!(
            CommandError::Usage(error).told(&BT),
            "invalid option -- 'z'\nUsage:\n  bt [-a|-c cpu] [pid]\nEnter \"help bt\" for details."
        );
    }

    #[test]
    fn negative_numbers_are_words() {
        assert_eq!(parse(&["-5"]).expect("a number").words, ["-5"]);
    }
}
