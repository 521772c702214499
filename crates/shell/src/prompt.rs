//! The interactive prompt: line editing, history, completion, and what a terminal user expects of
//! them.

use crate::alias::Aliases;
use crate::commands::find;
use crate::completion::Completer;
use crate::foreign;
use crate::messages;
use crate::run::{Outcome, run_line};
use crate::script;
use crate::session::{Editing, Session};
use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, CompletionResult, DefaultHinter, EditCommand, EditMode, Emacs, FileBackedHistory,
    Highlighter, KeyCode, KeyModifiers, Keybindings, MenuBuilder, Partial, Prompt, PromptEditMode,
    PromptHistorySearch, PromptHistorySearchStatus, PromptViMode, Reedline, ReedlineEvent,
    ReedlineMenu, Signal, Span, StyledText, Suggestion, Vi, default_emacs_keybindings,
    default_vi_insert_keybindings, default_vi_normal_keybindings, default_vi_visual_keybindings,
};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that the history keeps.
const HISTORY_LINES: usize = 10_000;

/// The name of the completion menu.
const MENU: &str = "completion";

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
pub fn run_prompt(session: &mut Session) -> std::io::Result<()> {
    session.at_terminal = true;
    let mut editing = session.settings.editing;
    let mut editor = Editor::new(session);
    loop {
        if session.settings.editing != editing {
            editing = session.settings.editing;
            editor = Editor::new(session);
        }
        editor.note_aliases(session);
        match editor.lines.read_line(&ShownPrompt::of(session)) {
            Ok(Signal::Success(line)) => {
                // Lines of files of commands that were pasted come one by one.
                for line in line.lines() {
                    if run_line(session, line) == Outcome::Exit {
                        return Ok(());
                    }
                }
            }
            Ok(Signal::CtrlD) => return Ok(()),
            // Ctrl-C at the prompt drops the line that was being typed.
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The line editor, and what it is told from outside.
struct Editor {
    lines: Reedline,
    aliases: Arc<Mutex<Aliases>>,
}

impl Editor {
    fn new(session: &Session) -> Self {
        let color = session.settings.style.color;
        let completer = Completer::new(session);
        let aliases = completer.aliases();
        let menu = ColumnarMenu::default()
            .with_name(MENU)
            .with_columns(4)
            .with_column_padding(2)
            .with_marker("> ")
            .with_text_style(Style::new())
            .with_description_text_style(Style::new().dimmed())
            .with_selected_text_style(Style::new().reverse())
            .with_match_text_style(Style::new().bold())
            .with_selected_match_text_style(Style::new().reverse().bold());
        let hint = Style::new().dimmed();
        let mut lines = Reedline::create()
            .with_ansi_colors(color)
            .use_bracketed_paste(true)
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_completer(Box::new(Offers(completer)))
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
            .with_highlighter(Box::new(Colors { aliases: Arc::clone(&aliases) }))
            .with_hinter(Box::new(DefaultHinter::default().with_style(hint).with_min_chars(2)))
            .with_edit_mode(edit_mode(session.settings.editing));
        if let Some(file) = history_file() {
            if let Some(folder) = file.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            // A read-only home is no reason to do without a prompt.
            match FileBackedHistory::with_file(HISTORY_LINES, file) {
                Ok(history) => lines = lines.with_history(Box::new(history)),
                Err(error) => messages::tell(&messages::warning_line(&format!(
                    "the history is not kept: {error}"
                ))),
            }
        }
        Self { lines, aliases }
    }

    fn note_aliases(&self, session: &Session) {
        *self.aliases.lock().unwrap_or_else(PoisonError::into_inner) = session.aliases.clone();
    }
}

fn edit_mode(editing: Editing) -> Box<dyn EditMode> {
    match editing {
        Editing::Emacs => {
            let mut keys = default_emacs_keybindings();
            bind(&mut keys);
            Box::new(Emacs::new(keys))
        }
        Editing::Vi => {
            let mut insert = default_vi_insert_keybindings();
            bind(&mut insert);
            // As crash binds them where vi's keys are wanted.
            insert.add_binding(KeyModifiers::CONTROL, KeyCode::Char('p'), ReedlineEvent::Up);
            insert.add_binding(KeyModifiers::CONTROL, KeyCode::Char('n'), ReedlineEvent::Down);
            Box::new(Vi::new(
                insert,
                default_vi_normal_keybindings(),
                default_vi_visual_keybindings(),
            ))
        }
    }
}

/// Tab completes, and goes through what it offers; Shift-Tab goes back.
fn bind(keys: &mut Keybindings) {
    let next = ReedlineEvent::UntilFound(vec![
        ReedlineEvent::Menu(MENU.to_owned()),
        ReedlineEvent::MenuNext,
        ReedlineEvent::Edit(vec![EditCommand::Complete]),
    ]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, next);
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
}

/// The prompt: whose lines are read, and which keys are.
struct ShownPrompt {
    left: &'static str,
    color: bool,
}

impl ShownPrompt {
    fn of(session: &Session) -> Self {
        let left = script::prompt(session).trim_end().trim_end_matches('>');
        Self { left, color: session.settings.style.color }
    }
}

impl Prompt for ShownPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        self.left.into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, mode: PromptEditMode) -> Cow<'_, str> {
        match mode {
            PromptEditMode::Vi(PromptViMode::Normal) => ": ".into(),
            _ => "> ".into(),
        }
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "      > ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "no ",
        };
        format!("> ({failing}match for '{}') ", search.term).into()
    }

    fn get_prompt_color(&self) -> Color {
        if self.color { Color::Cyan } else { Color::Default }
    }

    fn get_indicator_color(&self) -> Color {
        if self.color { Color::DarkGray } else { Color::Default }
    }
}

/// The completions of a session, as the editor takes them.
struct Offers(Completer);

impl reedline::Completer for Offers {
    fn complete(&mut self, line: &str, at: usize) -> CompletionResult {
        let completion = self.0.complete(line, at);
        let span = Span::new(completion.start, at);
        let typed = line.get(completion.start..at).unwrap_or("");
        let further = completion.candidates.len() > 1 && completion.common.len() > typed.len();
        let partial = further.then(|| Partial { span, insert: completion.common.clone() });
        let suggestions = completion.candidates.into_iter().map(|candidate| Suggestion {
            value: candidate.text,
            description: candidate.description,
            span,
            append_whitespace: candidate.whole,
            ..Suggestion::default()
        });
        CompletionResult::fresh(suggestions.collect::<Vec<_>>()).with_partial(partial)
    }
}

/// Colours for the line as it is typed: a command that there is, strings, and where output goes.
struct Colors {
    aliases: Arc<Mutex<Aliases>>,
}

impl Highlighter for Colors {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        let start = line.len() - line.trim_start().len();
        let name_len = line[start..].find(char::is_whitespace).unwrap_or(line.len() - start);
        let (name, rest) = line.split_at(start + name_len);
        let aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        let word = name.trim();
        let known = find(word).is_some()
            || aliases.get(word).is_some()
            || foreign::PROGRAMS.contains(&word);
        let comment = word.starts_with('#') || word.starts_with("//");
        let style = match (comment, known) {
            (true, _) => Style::new().dimmed(),
            (false, true) => Style::new().bold(),
            (false, false) => Style::new(),
        };
        styled.push((style, name.to_owned()));
        if comment {
            styled.push((Style::new().dimmed(), rest.to_owned()));
            return styled;
        }
        for piece in rest.split_inclusive(' ') {
            let style = match piece.trim() {
                "|" | ">" | ">>" | "<" => Style::new().fg(Color::Yellow),
                word if word.starts_with('-') && word.len() > 1 => Style::new().fg(Color::Cyan),
                _ => Style::new(),
            };
            styled.push((style, piece.to_owned()));
        }
        styled
    }
}
