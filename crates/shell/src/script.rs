//! Lines from files: `-i file`, `< file`, start-up files, and lists of arguments.

use crate::line::{self, LineError};
use crate::messages;
use crate::output::Face;
use crate::run::{Outcome, run_line_into};
use crate::session::Session;
use crate::sink::Sink;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

/// Longer lines than any command's.
const MAX_LINE: u64 = 1 << 16;

/// Runs every line of the file at `path`; what says nothing of where its output goes, goes to
/// `sink`.
pub fn run_file(session: &mut Session, path: &Path, sink: &mut Sink) -> Outcome {
    let name = path.display().to_string();
    let opened = std::fs::File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    match opened {
        Ok(file) => run_lines(session, BufReader::new(file), &name, sink, true),
        Err(error) => {
            messages::error("mortis", format!("cannot read commands from {name}: {error}"));
            Outcome::Failure
        }
    }
}

/// Runs every line of `input`, which messages call `name`. `echo` shows each before it is run, as
/// crash does, unless all is to be silent. The end of input is success; lines that failed before
/// it count. Ctrl-C ends the whole.
pub fn run_lines(
    session: &mut Session,
    mut input: impl BufRead,
    name: &str,
    sink: &mut Sink,
    echo: bool,
) -> Outcome {
    let mut outcome = Outcome::Success;
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return outcome,
            Ok(len) if len as u64 == MAX_LINE => {
                messages::error(
                    "mortis",
                    format!("{name} is no list of commands: a line is above {MAX_LINE} bytes"),
                );
                return Outcome::Failure;
            }
            Ok(_) => {}
            Err(error) => {
                messages::error("mortis", format!("cannot read commands from {name}: {error}"));
                return Outcome::Failure;
            }
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        let settings = &session.settings;
        if echo && !settings.silent && settings.face == Face::Text && !is_comment(text) {
            let _ = writeln!(sink, "{}{text}", prompt(session));
        }
        match run_line_into(session, text, sink) {
            Outcome::Exit => return Outcome::Exit,
            Outcome::Failure => outcome = Outcome::Failure,
            Outcome::Success => {}
        }
        if echo && session.interrupt.check().is_err() {
            return Outcome::Failure;
        }
    }
}

/// Whether there is nothing to run in a line.
pub fn is_comment(line: &str) -> bool {
    matches!(line::parse(line), Ok(line::Line::Empty))
}

/// What stands before a line that is typed, or shown as if it were.
pub fn prompt(session: &Session) -> &'static str {
    if session.settings.gdb { "gdb> " } else { "mortis> " }
}

/// What `command arguments < file` asks for: the words once for each line of the file, in its
/// place. `None` where no word names a file.
///
/// # Errors
/// Says why the file cannot be taken.
pub fn argument_lines(words: &[String]) -> Result<Option<Vec<Vec<String>>>, String> {
    let mut found = None;
    for (index, word) in words.iter().enumerate().skip(1) {
        if let Some(place) = place(words, index, word)? {
            if found.is_some() {
                return Err("multiple input files are not supported".to_owned());
            }
            found = Some(place);
        }
    }
    let Some(place) = found else { return Ok(None) };
    let text = std::fs::read(place.file)
        .map_err(|error| format!("cannot read arguments from {}: {error}", place.file))?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with('#'));
    let filled: Result<_, LineError> = lines.map(|line| place.fill(words, line)).collect();
    filled.map(Some).map_err(|error| error.to_string())
}

/// Where a file of arguments is among the words.
struct Place<'a> {
    file: &'a str,
    /// The first word that it replaces, and how many.
    index: usize,
    count: usize,
    /// Within an expression in parentheses: the bytes of it that it replaces.
    within: Option<std::ops::Range<usize>>,
}

/// Characters that end a file's name within an expression.
const ENDS_NAME: &[char] =
    &[' ', '*', '?', '!', '|', '\'', '"', '{', '}', '<', '>', ';', ',', '^', '(', ')', '$', '~'];

fn place<'a>(
    words: &'a [String],
    index: usize,
    word: &'a str,
) -> Result<Option<Place<'a>>, String> {
    if word.starts_with('(') {
        let named = word.match_indices('<').find_map(|(at, _)| {
            let behind = &word[at + 1..];
            let name = behind.trim_start();
            let start = at + 1 + (behind.len() - name.len());
            let len = name.find(ENDS_NAME).unwrap_or(name.len());
            let file = &name[..len];
            is_list(file).then_some((file, at..start + len))
        });
        return Ok(named.map(|(file, within)| Place {
            file,
            index,
            count: 1,
            within: Some(within),
        }));
    }
    let Some(file) = word.strip_prefix('<').filter(|file| !file.starts_with('<')) else {
        return Ok(None);
    };
    let (file, count) = match (file, words.get(index + 1)) {
        ("", None) => return Err("< requires a file argument".to_owned()),
        ("", Some(file)) => (file.as_str(), 2),
        (file, _) => (file, 1),
    };
    Ok(is_list(file).then_some(Place { file, index, count, within: None }))
}

/// Whether there is such a file with something in it. Anything else is an operator or a mistake,
/// which the command will tell.
fn is_list(file: &str) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() > 0)
}

impl Place<'_> {
    fn fill(&self, words: &[String], line: &str) -> Result<Vec<String>, LineError> {
        let mut filled = words.to_vec();
        let new = match (&self.within, words.get(self.index)) {
            (Some(within), Some(word)) => {
                let mut word = word.clone();
                word.replace_range(within.clone(), line);
                vec![word]
            }
            _ => line::words(line)?,
        };
        filled.splice(self.index..self.index + self.count, new);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(line: &str) -> Result<Option<Vec<Vec<String>>>, String> {
        argument_lines(&line::words(line).expect("words"))
    }

    #[test]
    fn a_command_is_run_for_each_line_of_a_file() {
        let path = std::env::temp_dir().join(format!("mortis-arguments-{}", std::process::id()));
        let file = path.display();
        std::fs::write(&path, "a 1\n\n# none\n  \"b c\"\n").expect("a temporary file");
        let words = |line: &[&str]| line.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for line in [format!("sym < {file} -l"), format!("sym <{file} -l")] {
            let filled = vec![words(&["sym", "a", "1", "-l"]), words(&["sym", "b c", "-l"])];
            assert_eq!(lines(&line), Ok(Some(filled)));
        }
        let filled = lines(&format!("p (1 + < {file} + 2)")).expect("valid").expect("a file");
        assert_eq!(filled[0], ["p", "(1 + a 1 + 2)"]);
        assert!(lines(&format!("sym < {file} < {file}")).is_err());
        std::fs::remove_file(&path).expect("ours");
    }

    #[test]
    fn what_names_no_file_is_left_to_the_command() {
        assert_eq!(lines("p 1 << 4"), Ok(None));
        assert_eq!(lines("p (1 < 4)"), Ok(None));
        assert_eq!(lines("sym < /no/such/file"), Ok(None));
        assert_eq!(lines("sym <"), Err("< requires a file argument".to_owned()));
    }
}
