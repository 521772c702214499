//! The interactive prompt: line editing, history, and what a terminal user expects of both.

use crate::run::{Outcome, run_line};
use crate::session::Session;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use std::path::PathBuf;

/// Lines that the history keeps.
const HISTORY_LINES: usize = 10_000;

/// Where the history is kept: `$XDG_STATE_HOME/mortis/history`, else under `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"))
    })?;
    Some(state.join("mortis").join("history"))
}

/// Reads lines from the terminal and runs them until `exit` or Ctrl-D.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run_prompt(session: &mut Session) -> Result<(), ReadlineError> {
    let config = Config::builder().max_history_size(HISTORY_LINES)?.auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config)?;
    let history = history_file();
    if let Some(history) = &history {
        // No history yet is no failure.
        let _ = editor.load_history(history);
    }
    let prompt = if session.settings.style.color { "\x1b[1mmortis>\x1b[0m " } else { "mortis> " };
    loop {
        match editor.readline(prompt) {
            Ok(line) => {
                if run_line(session, &line) == Outcome::Exit {
                    break;
                }
            }
            // Ctrl-C at the prompt drops the line that was being typed.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(history) = history {
        if let Some(folder) = history.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        // A read-only home is no reason to complain when leaving.
        let _ = editor.save_history(&history);
    }
    Ok(())
}
