//! Running a line: finding the command, opening its output, telling what went wrong.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands;
use crate::line::{self, Destination, Line};
use crate::output::{Face, Output, Stop, Style};
use crate::session::Session;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::process::{Child, Stdio};

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

/// Runs one typed line, printing its answer and its errors.
pub fn run_line(session: &mut Session, line: &str) -> Outcome {
    match line::parse(line) {
        Ok(Line::Empty) => Outcome::Success,
        Ok(Line::Shell(command)) => run_shell(&command),
        Ok(Line::Command { words, destination }) => run_words(session, &words, &destination),
        Err(error) => {
            eprintln!("mortis: {error}");
            Outcome::Failure
        }
    }
}

fn run_shell(command: &str) -> Outcome {
    let program = if command.is_empty() { "exec \"${SHELL:-sh}\"" } else { command };
    match std::process::Command::new("sh").arg("-c").arg(program).status() {
        Ok(status) if status.success() => Outcome::Success,
        Ok(_) => Outcome::Failure,
        Err(error) => {
            eprintln!("mortis: cannot run a shell: {error}");
            Outcome::Failure
        }
    }
}

fn run_words(session: &mut Session, words: &[String], destination: &Destination) -> Outcome {
    let Some((name, arguments)) = words.split_first() else { return Outcome::Success };
    if matches!(name.as_str(), "exit" | "q" | "quit") {
        return Outcome::Exit;
    }
    let Some((command, arguments)) = commands::resolve(session, name, arguments) else {
        let hint = commands::similar(name)
            .map_or(String::new(), |known| format!("; did you mean '{known}'?"));
        eprintln!("mortis: command not found: {name}{hint}");
        return Outcome::Failure;
    };
    let mut sink = match Sink::open(destination) {
        Ok(sink) => sink,
        Err(message) => {
            eprintln!("{}: {message}", command.name);
            return Outcome::Failure;
        }
    };
    let outcome = run_command(session, command, &arguments, &mut sink);
    sink.close().and(outcome)
}

impl Outcome {
    /// The worse of the two.
    #[must_use]
    fn and(self, other: Outcome) -> Outcome {
        if self == Outcome::Success { other } else { self }
    }
}

/// Runs `command` with its answer going to `sink`, and prints its error.
fn run_command(
    session: &mut Session,
    command: &Command,
    words: &[String],
    sink: &mut Sink,
) -> Outcome {
    session.interrupt.clear();
    let style = if sink.is_redirected() { Style::default() } else { session.settings.style };
    let face = session.settings.face;
    let begun = Output::begin(sink, face, style, session.interrupt.clone(), command.name, words);
    let mut output = match begun {
        Ok(output) => output,
        Err(stop) => return report_stop(command.name, &stop),
    };
    let result = Arguments::parse(command, words)
        .and_then(|arguments| (command.run)(session, &arguments, &mut output));
    let error = match &result {
        Ok(()) | Err(CommandError::Stop(Stop::Closed)) => None,
        Err(error) => Some(error.to_string()),
    };
    let finished = output.finish(error.as_deref());
    match (result, finished) {
        (Err(CommandError::Stop(stop)), _) | (Ok(()), Err(stop)) => {
            report_stop(command.name, &stop)
        }
        (Err(error), _) => {
            eprintln!("{}: {error}", command.name);
            Outcome::Failure
        }
        (Ok(()), Ok(())) => Outcome::Success,
    }
}

fn report_stop(command: &str, stop: &Stop) -> Outcome {
    match stop {
        // A reader that has seen enough is no failure.
        Stop::Closed => Outcome::Success,
        Stop::Interrupted | Stop::Write(_) => {
            eprintln!("{command}: {stop}");
            Outcome::Failure
        }
    }
}

/// An open destination.
enum Sink {
    Standard(io::Stdout),
    File(File),
    Pipe(Child),
}

impl Sink {
    fn open(destination: &Destination) -> Result<Self, String> {
        match destination {
            Destination::Standard => Ok(Sink::Standard(io::stdout())),
            Destination::Write(path) => File::create(path)
                .map(Sink::File)
                .map_err(|error| format!("cannot write {}: {error}", path.display())),
            Destination::Append(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map(Sink::File)
                .map_err(|error| format!("cannot write {}: {error}", path.display())),
            Destination::Pipe(command) => std::process::Command::new("sh")
                .arg("-c")
                .arg(command)
                .stdin(Stdio::piped())
                .spawn()
                .map(Sink::Pipe)
                .map_err(|error| format!("cannot run a shell: {error}")),
        }
    }

    fn is_redirected(&self) -> bool {
        !matches!(self, Sink::Standard(_))
    }

    /// Waits for a pipe's command to end.
    fn close(self) -> Outcome {
        match self {
            Sink::Pipe(mut child) => {
                drop(child.stdin.take());
                match child.wait() {
                    // What a shell says of a program that it cannot start. Other codes are the
                    // program's own: grep's 1 for nothing found is an answer.
                    Ok(status) if matches!(status.code(), Some(126 | 127)) => Outcome::Failure,
                    Ok(_) => Outcome::Success,
                    Err(_) => Outcome::Failure,
                }
            }
            Sink::Standard(_) | Sink::File(_) => Outcome::Success,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Standard(stdout) => stdout.write(bytes),
            Sink::File(file) => file.write(bytes),
            Sink::Pipe(child) => match child.stdin.as_mut() {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Standard(stdout) => stdout.flush(),
            Sink::File(file) => file.flush(),
            Sink::Pipe(child) => match child.stdin.as_mut() {
                Some(stdin) => stdin.flush(),
                None => Ok(()),
            },
        }
    }
}

/// Runs one line and gives its text back instead of printing it: for tests and embedding.
///
/// # Errors
/// The command's error as text, or that there is no such command.
pub fn capture(session: &mut Session, line: &str, face: Face) -> Result<String, String> {
    let words = match line::parse(line) {
        Ok(Line::Command { words, .. }) => words,
        Ok(_) => return Ok(String::new()),
        Err(error) => return Err(error.to_string()),
    };
    let Some((name, arguments)) = words.split_first() else { return Ok(String::new()) };
    let (command, arguments) = commands::resolve(session, name, arguments)
        .ok_or_else(|| format!("command not found: {name}"))?;
    let mut text = Vec::new();
    let interrupt = session.interrupt.clone();
    let mut output =
        Output::begin(&mut text, face, Style::default(), interrupt, command.name, &arguments)
            .map_err(|stop| stop.to_string())?;
    let result = Arguments::parse(command, &arguments)
        .and_then(|arguments| (command.run)(session, &arguments, &mut output));
    let error = result.err().map(|error| error.to_string());
    output.finish(error.as_deref()).map_err(|stop| stop.to_string())?;
    match error {
        Some(error) => Err(error),
        None => Ok(String::from_utf8_lossy(&text).into_owned()),
    }
}
