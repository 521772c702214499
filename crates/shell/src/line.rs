//! A typed line taken apart: the command's words, and where its output goes.
//!
//! Quotes (`"…"`, `'…'`) and parentheses protect blanks and the characters `|`, `>` and `!`. Single
//! quotes stay part of the word, as in crash, where they mark a regular expression. The
//! `>` of `->` never redirects, so that `p init_task.parent->pid` needs neither.

use std::path::PathBuf;

/// Where a command's output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The terminal, or whatever standard output is.
    Standard,
    /// `| command`: into a shell command.
    Pipe(String),
    /// `> file`.
    Write(PathBuf),
    /// `>> file`.
    Append(PathBuf),
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Blank, or a comment.
    Empty,
    /// `!command`: a shell command.
    Shell(String),
    /// A command of Mortis.
    Command {
        /// Its words; the first is its name.
        words: Vec<String>,
        /// Where its output goes.
        destination: Destination,
    },
}

/// Why a line cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A quote that does not close.
    #[error("unterminated {0} in the line")]
    Unterminated(&'static str),
    /// `>` or `|` with nothing behind it.
    #[error("nothing after '{0}'")]
    NoDestination(&'static str),
    /// `| cmd` or `> file` with no command before it.
    #[error("no command before '{0}'")]
    NoCommand(&'static str),
}

/// Takes a line apart.
///
/// # Errors
/// [`LineError`].
pub fn parse(line: &str) -> Result<Line, LineError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
        return Ok(Line::Empty);
    }
    if let Some(command) = line.strip_prefix('!') {
        return Ok(Line::Shell(command.trim().to_owned()));
    }
    let (words, rest) = split_words(line)?;
    let destination = match rest {
        None => Destination::Standard,
        Some((operator, target)) => {
            let target = target.trim();
            if words.is_empty() {
                return Err(LineError::NoCommand(operator));
            }
            if target.is_empty() {
                return Err(LineError::NoDestination(operator));
            }
            match operator {
                ">" => Destination::Write(unquote(target).into()),
                ">>" => Destination::Append(unquote(target).into()),
                _ => Destination::Pipe(target.to_owned()),
            }
        }
    };
    Ok(Line::Command { words, destination })
}

fn unquote(target: &str) -> &str {
    let inner = |quote| target.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(target)
}

type Rest<'a> = Option<(&'static str, &'a str)>;

/// Splits off the words up to an unprotected `|`, `!`, `>` or `>>`; returns that and what follows.
fn split_words(line: &str) -> Result<(Vec<String>, Rest<'_>), LineError> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut depth = 0u32;
    let mut quote: Option<char> = None;
    let mut previous = ' ';
    let mut rest = None;
    for (at, c) in line.char_indices() {
        let before = std::mem::replace(&mut previous, c);
        if let Some(open) = quote {
            if c == open {
                quote = None;
            }
            if c != open || c == '\'' {
                word.push(c);
            }
            continue;
        }
        match c {
            // An apostrophe within a word is C's character constant or part of a name.
            '"' | '\'' if depth == 0 && (before == ' ' || c == '"') => {
                quote = Some(c);
                quoted = true;
                if c == '\'' {
                    word.push(c);
                }
            }
            '(' => {
                depth += 1;
                word.push(c);
            }
            ')' => {
                depth = depth.saturating_sub(1);
                word.push(c);
            }
            c if c.is_whitespace() && depth == 0 => {
                if !word.is_empty() || quoted {
                    words.push(std::mem::take(&mut word));
                    quoted = false;
                }
            }
            '|' | '!' if depth == 0 && !(c == '!' && line[at..].starts_with("!=")) => {
                rest = Some(if c == '|' { ("|", &line[at + 1..]) } else { ("!", &line[at + 1..]) });
                break;
            }
            '>' if depth == 0 && before != '-' => {
                rest = Some(match line[at + 1..].strip_prefix('>') {
                    Some(target) => (">>", target),
                    None => (">", &line[at + 1..]),
                });
                break;
            }
            c => word.push(c),
        }
    }
    if quote.is_some() {
        return Err(LineError::Unterminated("quote"));
    }
    if !word.is_empty() || quoted {
        words.push(word);
    }
    Ok((words, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> (Vec<String>, Destination) {
        match parse(line).expect("a valid line") {
            Line::Command { words, destination } => (words, destination),
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn words_pipes_and_files() {
        let (words, destination) = command("ps -k | grep -v \"kworker | x\" > f");
        assert_eq!(words, ["ps", "-k"]);
        assert_eq!(destination, Destination::Pipe("grep -v \"kworker | x\" > f".into()));
        assert_eq!(command("log >> 'a b'").1, Destination::Append("a b".into()));
        assert_eq!(command("log>x").1, Destination::Write("x".into()));
    }

    #[test]
    fn expressions_need_no_quotes() {
        let (words, destination) = command("p init_task.parent->pid + (1 | 2 > 1)");
        assert_eq!(words, ["p", "init_task.parent->pid", "+", "(1 | 2 > 1)"]);
        assert_eq!(destination, Destination::Standard);
        assert_eq!(command("p jiffies != 3").0, ["p", "jiffies", "!=", "3"]);
    }

    #[test]
    fn quotes_keep_blanks() {
        assert_eq!(command("ps \"a b\" \"\"").0, ["ps", "a b", ""]);
        assert_eq!(command("ps '^a b|c'").0, ["ps", "'^a b|c'"]);
        assert_eq!(parse("ps \"a"), Err(LineError::Unterminated("quote")));
        assert_eq!(parse("ps >"), Err(LineError::NoDestination(">")));
        assert_eq!(parse("| wc"), Err(LineError::NoCommand("|")));
    }

    #[test]
    fn comments_and_the_shell() {
        assert_eq!(parse("  # note"), Ok(Line::Empty));
        assert_eq!(parse("!ls -l"), Ok(Line::Shell("ls -l".into())));
    }
}
