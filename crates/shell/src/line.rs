//! A typed line taken apart: the command's words, and where its output goes.
//!
//! Quotes (`"…"`, `'…'`) and parentheses protect blanks and the characters `|`, `>` and `!`. Single
//! quotes stay part of the word, as in crash, where they mark a regular expression. The
//! `>` of `->` never redirects, so that `p init_task.parent->pid` needs neither.

use std::path::{Path, PathBuf};

/// Where a command's output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The terminal, or whatever standard output is.
    Standard,
    /// `| command`: into a shell command, which may have pipes of its own.
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
    /// `!command` or `|command`: a shell command; an empty one is a shell to type into.
    Shell(String),
    /// `< file`: the commands in a file.
    Input {
        /// The file.
        file: PathBuf,
        /// Where their output goes.
        destination: Destination,
    },
    /// A command of Mortis.
    Command {
        /// Its words; the first is its name.
        words: Vec<String>,
        /// The same as typed, quotes and all.
        text: String,
        /// Whether `< file` among the words is just words: the line began with a `\`.
        verbatim: bool,
        /// Where its output goes.
        destination: Destination,
    },
}

/// Why a line cannot be understood. The words are crash's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A quote that does not close.
    #[error("unterminated {0} in the line")]
    Unterminated(&'static str),
    /// `>` with nothing behind it.
    #[error("no file name after {0}")]
    NoFile(&'static str),
    /// `|` with nothing behind it.
    #[error("no shell command after '{0}'")]
    NoProgram(&'static str),
    /// A pipe that ends in a `|`.
    #[error("pipe to nowhere?")]
    PipeToNowhere,
    /// `< file` without the file.
    #[error("no input file entered!")]
    NoInput,
    /// `> file` with no command before it.
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
    if let Some(command) = line.strip_prefix(['!', '|']) {
        return Ok(Line::Shell(command.trim().to_owned()));
    }
    let (verbatim, line) = match line.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (words, rest) = split_words(line)?;
    let text = match rest {
        None => line,
        // What follows the operator is a suffix of the line.
        Some((operator, target)) => &line[..line.len() - target.len() - operator.len()],
    };
    let destination = match rest {
        None => Destination::Standard,
        Some((operator, target)) => self::destination(operator, target, words.is_empty())?,
    };
    let input = match &words[..] {
        [first, file, ..] if first == "<" => Some(file.as_str()),
        [first, ..] => first.strip_prefix('<').filter(|file| !file.starts_with('<')),
        [] => None,
    };
    match input.filter(|_| !verbatim) {
        Some("") => Err(LineError::NoInput),
        Some(file) => Ok(Line::Input { file: home(file), destination }),
        None => Ok(Line::Command { words, text: text.trim().to_owned(), verbatim, destination }),
    }
}

fn destination(
    operator: &'static str,
    target: &str,
    nothing_before: bool,
) -> Result<Destination, LineError> {
    let target = target.trim();
    let to_file = operator.starts_with('>');
    if nothing_before {
        return Err(LineError::NoCommand(operator));
    }
    match (target.is_empty(), to_file) {
        (true, true) => return Err(LineError::NoFile(operator)),
        (true, false) => return Err(LineError::NoProgram(operator)),
        (false, _) => {}
    }
    match operator {
        ">" => Ok(Destination::Write(home(unquote(target)))),
        ">>" => Ok(Destination::Append(home(unquote(target)))),
        _ if target.ends_with('|') => Err(LineError::PipeToNowhere),
        _ => Ok(Destination::Pipe(target.to_owned())),
    }
}

/// `~/file` as a path.
fn home(file: &str) -> PathBuf {
    let below = file.strip_prefix("~/").and_then(|rest| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(rest))
    });
    below.unwrap_or_else(|| file.into())
}

/// Splits words only, as for the lines of a file of arguments.
///
/// # Errors
/// [`LineError::Unterminated`].
pub fn words(text: &str) -> Result<Vec<String>, LineError> {
    Ok(split_words(text)?.0)
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
            Line::Command { words, destination, .. } => (words, destination),
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
    }

    #[test]
    fn what_is_missing_is_told_as_crash_does() {
        assert_eq!(parse("ps >"), Err(LineError::NoFile(">")));
        assert_eq!(parse("ps >> "), Err(LineError::NoFile(">>")));
        assert_eq!(parse("ps |"), Err(LineError::NoProgram("|")));
        assert_eq!(parse("ps | cat |"), Err(LineError::PipeToNowhere));
        assert_eq!(parse("> file"), Err(LineError::NoCommand(">")));
        assert_eq!(parse("<"), Err(LineError::NoInput));
    }

    #[test]
    fn input_files_with_and_without_a_blank() {
        let input = |file: &str, destination| Line::Input { file: file.into(), destination };
        assert_eq!(parse("< a b"), Ok(input("a", Destination::Standard)));
        assert_eq!(parse("<a > b"), Ok(input("a", Destination::Write("b".into()))));
        assert_eq!(command("sym < names").0, ["sym", "<", "names"]);
        assert!(matches!(
            parse("\\sym < 'x' | cat"),
            Ok(Line::Command { verbatim: true, text, .. }) if text == "sym < 'x'"
        ));
    }

    #[test]
    fn comments_and_the_shell() {
        assert_eq!(parse("  # note"), Ok(Line::Empty));
        assert_eq!(parse("!ls -l"), Ok(Line::Shell("ls -l".into())));
        assert_eq!(parse("| wc"), Ok(Line::Shell("wc".into())));
        assert_eq!(parse("!"), Ok(Line::Shell(String::new())));
    }
}
