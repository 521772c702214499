//! Running a line: finding the command, opening its output, telling what went wrong.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands;
use crate::foreign;
use crate::hints;
use crate::history::Recall;
use crate::line::{self, Destination, Line};
use crate::messages;
use crate::output::{Face, Output, Stop, Style};
use crate::script;
use crate::session::Session;
use crate::sink::Sink;
use std::io::{self, Write};
use std::process::Stdio;

/// How a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// A message was printed.
    Failure,
    /// The session is to end.
    Exit,
}

impl Outcome {
    /// The worse of the two.
    #[must_use]
    pub fn and(self, other: Outcome) -> Outcome {
        if self == Outcome::Success { other } else { self }
    }
}

/// Files of commands that read each other, at most.
const MAX_DEPTH: usize = 8;

/// Runs one typed line, printing its answer and its errors.
pub fn run_line(session: &mut Session, line: &str) -> Outcome {
    run(session, line, None)
}

/// The same, for a line of a file: its output goes to `outer` where the line says nothing else.
pub fn run_line_into(session: &mut Session, line: &str, outer: &mut Sink) -> Outcome {
    run(session, line, Some(outer))
}

fn run(session: &mut Session, line: &str, outer: Option<&mut Sink>) -> Outcome {
    let line = match Recall::parse(line) {
        Recall::No => line.trim().to_owned(),
        Recall::List => return list_history(session, outer),
        recall => match recall.find(&session.typed) {
            Ok(line) => {
                println!("{}{line}", script::prompt(session));
                line
            }
            Err(error) => return failed(&error),
        },
    };
    if session.reading.is_none() && session.depth == 0 && !line.is_empty() {
        session.typed.push(line.clone());
    }
    match line::parse(&expanded(session, &line)) {
        Ok(Line::Empty) => Outcome::Success,
        Ok(Line::Shell(command)) => run_shell(&command, outer),
        Ok(Line::Input { file, destination }) => {
            if session.depth >= MAX_DEPTH {
                return failed("embedded input files not allowed!");
            }
            session.depth += 1;
            let outcome = with_sink(session, &destination, outer, "mortis", |session, sink| {
                session.interrupt.clear();
                script::run_file(session, &file, sink)
            });
            session.depth -= 1;
            outcome
        }
        Ok(Line::Command { words, text, verbatim, destination }) => {
            let typed = Typed { words, text, verbatim, destination };
            run_command_line(session, &typed, outer)
        }
        Err(error) => failed(&error.to_string()),
    }
}

/// The line with its alias replaced; while lines are gdb's, as one of ours.
fn expanded(session: &Session, line: &str) -> String {
    let line = session.aliases.expand(line);
    let is_command = matches!(line::parse(&line), Ok(Line::Command { .. }));
    match (session.settings.gdb && is_command, line.strip_prefix("crash ")) {
        (true, Some(ours)) => ours.trim().to_owned(),
        (true, None) if !matches!(line.as_str(), "q" | "exit") => format!("gdb {line}"),
        _ => line,
    }
}

fn failed(message: &str) -> Outcome {
    messages::error("mortis", message);
    Outcome::Failure
}

fn list_history(session: &Session, outer: Option<&mut Sink>) -> Outcome {
    if session.typed.is_empty() {
        return failed("no commands entered!");
    }
    let lines = session.typed.iter().enumerate();
    let list: String = lines.map(|(index, line)| format!("[{}] {line}\n", index + 1)).collect();
    let written = match outer {
        Some(sink) => sink.write_all(list.as_bytes()),
        None => io::stdout().write_all(list.as_bytes()),
    };
    if written.is_ok() { Outcome::Success } else { Outcome::Failure }
}

fn run_shell(command: &str, outer: Option<&mut Sink>) -> Outcome {
    let program = if command.is_empty() { "exec \"${SHELL:-sh}\"" } else { command };
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(program);
    let status = match outer {
        Some(sink) if sink.is_redirected() => {
            shell.stdout(Stdio::piped()).spawn().and_then(|mut child| {
                if let Some(mut output) = child.stdout.take() {
                    io::copy(&mut output, sink)?;
                }
                child.wait()
            })
        }
        _ => shell.status(),
    };
    match status {
        Ok(status) if status.success() => Outcome::Success,
        Ok(_) => Outcome::Failure,
        Err(error) => failed(&format!("cannot run a shell: {error}")),
    }
}

/// A line that is a command.
struct Typed {
    words: Vec<String>,
    text: String,
    verbatim: bool,
    destination: Destination,
}

/// Runs `work` with what `destination` says, or else with `outer`.
fn with_sink(
    session: &mut Session,
    destination: &Destination,
    outer: Option<&mut Sink>,
    who: &str,
    work: impl FnOnce(&mut Session, &mut Sink) -> Outcome,
) -> Outcome {
    let opened = match (outer, destination) {
        (Some(sink), Destination::Standard) => return work(session, sink),
        (Some(_), _) => Sink::open(destination),
        (None, _) => Sink::open_for_reader(session, destination),
    };
    match opened {
        Ok(mut sink) => {
            let outcome = work(session, &mut sink);
            let closed = sink.close();
            if outcome == Outcome::Exit { outcome } else { closed.and(outcome) }
        }
        Err(message) => {
            messages::error(who, message);
            Outcome::Failure
        }
    }
}

fn run_command_line(session: &mut Session, typed: &Typed, outer: Option<&mut Sink>) -> Outcome {
    let Some((name, arguments)) = typed.words.split_first() else { return Outcome::Success };
    if matches!(name.as_str(), "exit" | "q" | "quit" | "Q") {
        return Outcome::Exit;
    }
    let is_program = commands::find(name).is_none() && foreign::PROGRAMS.contains(&name.as_str());
    if is_program {
        return with_sink(session, &typed.destination, outer, name, |_, sink| {
            run_shell(&typed.text, Some(sink))
        });
    }
    let Some((command, arguments)) = commands::resolve(session, name, arguments) else {
        return unknown(session, name);
    };
    let lists = match typed.verbatim || command.takes_a_command() {
        true => Ok(None),
        false => script::argument_lines(&typed.words),
    };
    let calls = match lists {
        Ok(None) => vec![arguments],
        // The command's name may stand for options of its own: `task_struct < addresses`.
        Ok(Some(lines)) => lines
            .iter()
            .filter_map(|words| commands::resolve(session, name, words.get(1..)?))
            .map(|(_, arguments)| arguments)
            .collect(),
        Err(error) => {
            messages::error(command.name, error);
            return Outcome::Failure;
        }
    };
    with_sink(session, &typed.destination, outer, command.name, |session, sink| {
        let mut outcome = Outcome::Success;
        session.interrupt.clear();
        for arguments in &calls {
            outcome = run_command(session, command, arguments, sink).and(outcome);
            if session.interrupt.check().is_err() {
                break;
            }
        }
        outcome
    })
}

fn unknown(session: &Session, name: &str) -> Outcome {
    if let Some(why) = foreign::why_not(name) {
        messages::error("mortis", format!("{name}: {why}"));
        return Outcome::Failure;
    }
    messages::error("mortis", format!("command not found: {name}"));
    if let Some(known) = commands::similar(session, name) {
        messages::tell(&messages::hint_line(&format!("did you mean '{known}'?")));
    }
    Outcome::Failure
}

/// Runs `command` with its answer going to `sink`, and prints its error.
fn run_command(
    session: &mut Session,
    command: &Command,
    words: &[String],
    sink: &mut Sink,
) -> Outcome {
    let style = if sink.is_redirected() { Style::default() } else { session.settings.style };
    let is_paged = matches!(sink, Sink::Paged(_));
    let face = session.settings.face;
    let begun = Output::begin(sink, face, style, session.interrupt.clone(), command.name, words);
    let mut output = match begun {
        Ok(output) => output,
        Err(stop) => return report_stop(command.name, &stop),
    };
    if is_paged {
        output.put_messages_inline();
    }
    let result = Arguments::parse(command, words)
        .and_then(|arguments| (command.run)(session, &arguments, &mut output));
    let error = match &result {
        Ok(()) | Err(CommandError::Stop(Stop::Closed)) => None,
        Err(error) => Some(error.told(command)),
    };
    if face == Face::Text
        && let (Err(failure), Some(text)) = (&result, &error)
        && !matches!(failure, CommandError::Stop(_))
    {
        output.say(&error_lines(session, command, failure, text));
    }
    let finished = output.finish(error.as_deref());
    match (result, finished) {
        (Err(CommandError::Stop(stop)), _) | (Ok(()), Err(stop)) => {
            report_stop(command.name, &stop)
        }
        (Err(_), _) => {
            if let (Face::Json, Some(text)) = (face, error) {
                messages::error(command.name, text);
            }
            Outcome::Failure
        }
        (Ok(()), Ok(())) => Outcome::Success,
    }
}

/// What is said of a failure: the error, and what may have been meant.
fn error_lines(session: &Session, command: &Command, error: &CommandError, text: &str) -> String {
    // How a command is called needs no name before it.
    let nameless = text.starts_with("Usage:") || matches!(error, CommandError::Plain(_));
    let mut lines = match error {
        CommandError::Shown(_) => String::new(),
        _ => messages::error_line(if nameless { "" } else { command.name }, text),
    };
    if let Some(hint) = hints::hint(session, command, error) {
        lines.push_str(&messages::hint_line(&hint));
    }
    lines
}

fn report_stop(command: &str, stop: &Stop) -> Outcome {
    match stop {
        // A reader that has seen enough is no failure.
        Stop::Closed => Outcome::Success,
        Stop::Interrupted | Stop::Write(_) => {
            messages::error(command, stop);
            Outcome::Failure
        }
    }
}

/// Runs the command that `words` call, its answer being part of another command's: what `repeat`
/// and `gdb` do.
///
/// # Errors
/// The command's error, or that there is no such command.
pub fn run_within(
    session: &mut Session,
    words: &[String],
    out: &mut Output,
) -> Result<(), CommandError> {
    let (command, arguments) = called(session, words)?;
    let parsed = Arguments::parse(command, &arguments);
    let result = parsed.and_then(|arguments| (command.run)(session, &arguments, out));
    result.map_err(|error| match error {
        CommandError::Usage(_) => CommandError::Message(error.told(command)),
        error => error,
    })
}

/// The command that `words` call, by its name or an alias.
fn called(
    session: &Session,
    words: &[String],
) -> Result<(&'static Command, Vec<String>), CommandError> {
    let Some((name, rest)) = words.split_first() else {
        return Err(CommandError::message("no command"));
    };
    let mut words = line::words(&session.aliases.expand(name))
        .map_err(|error| CommandError::message(error.to_string()))?;
    words.extend_from_slice(rest);
    let found = words.split_first().and_then(|(name, rest)| commands::resolve(session, name, rest));
    found.ok_or_else(|| match foreign::why_not(name) {
        Some(why) => CommandError::Message(format!("{name}: {why}")),
        None => CommandError::Message(format!("command not found: {name}")),
    })
}

/// Runs one line and gives its text back instead of printing it: for tests and embedding.
///
/// # Errors
/// The command's error as text, or that there is no such command.
pub fn capture(session: &mut Session, line: &str, face: Face) -> Result<String, String> {
    let words = match line::parse(&expanded(session, line)) {
        Ok(Line::Command { words, .. }) => words,
        Ok(_) => return Ok(String::new()),
        Err(error) => return Err(error.to_string()),
    };
    if words.is_empty() {
        return Ok(String::new());
    }
    let (command, arguments) = called(session, &words).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let interrupt = session.interrupt.clone();
    let mut output =
        Output::begin(&mut text, face, Style::default(), interrupt, command.name, &arguments)
            .map_err(|stop| stop.to_string())?;
    let result = Arguments::parse(command, &arguments)
        .and_then(|arguments| (command.run)(session, &arguments, &mut output));
    let error = result.err().map(|error| error.told(command));
    output.finish(error.as_deref()).map_err(|stop| stop.to_string())?;
    match error {
        Some(error) => Err(error),
        None => Ok(String::from_utf8_lossy(&text).into_owned()),
    }
}
