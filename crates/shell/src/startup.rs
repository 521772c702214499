//! Start-up files: `~/.mortisrc`, then crash's `~/.crashrc` and `./.crashrc`.
//!
//! Each is a list of commands. As crash does, a file is read only if it belongs to the user and
//! nobody else may write it: it comes with the folder one happens to be in. What a file of crash
//! has that means nothing here is told once, in one line.

use crate::commands;
use crate::foreign;
use crate::line::{self, Line};
use crate::messages;
use crate::output::Face;
use crate::run::{Outcome, capture, run_line};
use crate::session::Session;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More than any list of settings.
const MAX_SIZE: u64 = 1 << 20;

/// A start-up file: where it is, and what lists of aliases call it.
struct StartupFile {
    path: PathBuf,
    name: &'static str,
}

fn files() -> Vec<StartupFile> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let at_home =
        |file: &str, name| home.as_ref().map(|home| StartupFile { path: home.join(file), name });
    let mut files: Vec<StartupFile> =
        [at_home(".mortisrc", "$HOME/.mortisrc"), at_home(".crashrc", "$HOME/.crashrc")]
            .into_iter()
            .flatten()
            .collect();
    let here = StartupFile { path: ".crashrc".into(), name: ".crashrc" };
    let same = |file: &StartupFile| {
        let id = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        id(&file.path).is_some() && id(&file.path) == id(&here.path)
    };
    if !files.iter().any(same) {
        files.push(here);
    }
    files
}

/// Runs the start-up files there are. Settings and aliases are taken without a word; with `--json`
/// nothing is run, as nobody asked for those answers.
pub fn run(session: &mut Session) -> Outcome {
    if session.settings.face == Face::Json {
        return Outcome::Success;
    }
    for file in files() {
        let text = match read(&file.path) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(why) => {
                messages::tell(&messages::warning_line(&why));
                continue;
            }
        };
        session.reading = Some(file.name.to_owned());
        let outcome = run_lines(session, &file, &text);
        session.reading = None;
        if outcome == Outcome::Exit {
            return Outcome::Exit;
        }
    }
    Outcome::Success
}

/// The text of a start-up file, where there is one.
fn read(path: &Path) -> Result<Option<String>, String> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    let untrusted = || format!("not using untrusted file: \"{}\"", path.display());
    let metadata = file.metadata().map_err(|_| untrusted())?;
    if !is_trusted(metadata.uid(), metadata.mode()) {
        return Err(untrusted());
    }
    let mut text = Vec::new();
    if file.take(MAX_SIZE).read_to_end(&mut text).is_err() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Whether a file of `owner` with the permissions `mode` may say what is run.
fn is_trusted(owner: u32, mode: u32) -> bool {
    /// S_IWOTH.
    const OTHERS_MAY_WRITE: u32 = 0o002;
    // A process's own entry in /proc belongs to whom it runs for.
    let user = std::fs::metadata("/proc/self").map(|process| process.uid());
    user.is_ok_and(|user| user == owner) && mode & OTHERS_MAY_WRITE == 0
}

fn run_lines(session: &mut Session, file: &StartupFile, text: &str) -> Outcome {
    let mut without_effect = Vec::new();
    for line in text.lines().map(str::trim) {
        match line::parse(line) {
            Ok(Line::Empty) => {}
            Ok(Line::Command { words, .. }) => match words.first().map(String::as_str) {
                Some("set" | "alias") => {
                    if capture(session, line, Face::Text).is_err() {
                        without_effect.push(line);
                    }
                }
                Some(name) if !applies(session, name) => without_effect.push(line),
                _ => {
                    if run_line(session, line) == Outcome::Exit {
                        return Outcome::Exit;
                    }
                }
            },
            Ok(Line::Shell(_) | Line::Input { .. }) => {
                if run_line(session, line) == Outcome::Exit {
                    return Outcome::Exit;
                }
            }
            Err(_) => without_effect.push(line),
        }
    }
    if !without_effect.is_empty() {
        let list = without_effect.join("; ");
        messages::tell(&messages::warning_line(&format!(
            "{}: means nothing here: {list}",
            file.path.display()
        )));
    }
    Outcome::Success
}

fn applies(session: &Session, name: &str) -> bool {
    let is_command = matches!(name, "exit" | "q" | "quit")
        || commands::resolve(session, name, &[]).is_some()
        || foreign::PROGRAMS.contains(&name)
        || session.aliases.get(name).is_some();
    is_command && name != "extend"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_user_that_nobody_else_may_write() {
        let me = std::fs::metadata("/proc/self").expect("this process").uid();
        assert!(is_trusted(me, 0o100644) && is_trusted(me, 0o100664));
        assert!(!is_trusted(me, 0o100646));
        assert!(!is_trusted(me + 1, 0o100644));
    }
}
