//! Where a line's output goes: the terminal, a file, or a shell command.

use crate::line::Destination;
use crate::pager::Paged;
use crate::run::Outcome;
use crate::session::Session;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

/// An open destination.
pub enum Sink {
    /// Standard output.
    Standard(io::Stdout),
    /// The terminal of somebody who reads, through a pager where needed.
    Paged(Paged),
    /// `> file`, `>> file`.
    File(File),
    /// `| command`.
    Pipe(Child),
}

impl Sink {
    /// Opens a destination.
    ///
    /// # Errors
    /// Says what cannot be opened.
    pub fn open(destination: &Destination) -> Result<Self, String> {
        let cannot = |path: &std::path::Path, error: io::Error| {
            format!("cannot write to {}: {error}", path.display())
        };
        match destination {
            Destination::Standard => Ok(Sink::Standard(io::stdout())),
            Destination::Write(path) => {
                File::create(path).map(Sink::File).map_err(|error| cannot(path, error))
            }
            Destination::Append(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map(Sink::File)
                .map_err(|error| cannot(path, error)),
            Destination::Pipe(command) => Command::new("sh")
                .arg("-c")
                .arg(command)
                .stdin(Stdio::piped())
                .spawn()
                .map(Sink::Pipe)
                .map_err(|error| format!("cannot run a shell: {error}")),
        }
    }

    /// Opens a destination for somebody at a terminal, whose long output is paged.
    ///
    /// # Errors
    /// As [`Sink::open`].
    pub fn open_for_reader(session: &Session, destination: &Destination) -> Result<Self, String> {
        let settings = &session.settings;
        let paged = *destination == Destination::Standard
            && session.at_terminal
            && settings.scroll
            && settings.face == crate::output::Face::Text
            && io::stdout().is_terminal();
        match paged {
            true => Ok(Sink::Paged(Paged::new(settings.pager))),
            false => Self::open(destination),
        }
    }

    /// Whether somebody else than the user reads it: no colours then.
    pub fn is_redirected(&self) -> bool {
        !matches!(self, Sink::Standard(_) | Sink::Paged(_))
    }

    /// Waits for a pipe's command, or the reader of a pager, to end.
    pub fn close(self) -> Outcome {
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
            Sink::Paged(paged) => match paged.close() {
                Ok(()) => Outcome::Success,
                Err(_) => Outcome::Failure,
            },
            Sink::Standard(_) | Sink::File(_) => Outcome::Success,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Standard(stdout) => crate::progress_line::aside(|| stdout.write(bytes)),
            Sink::Paged(paged) => paged.write(bytes),
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
            Sink::Paged(paged) => paged.flush(),
            Sink::File(file) => file.flush(),
            Sink::Pipe(child) => match child.stdin.as_mut() {
                Some(stdin) => stdin.flush(),
                None => Ok(()),
            },
        }
    }
}
