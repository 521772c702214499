//! `repeat`: a command again and again.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::Output;
use crate::run::run_within;
use crate::session::Session;
use std::thread;
use std::time::{Duration, Instant};

/// `repeat`.
pub const COMMAND: Command = Command {
    name: "repeat",
    aliases: &[],
    summary: "a command again and again",
    synopsis: "[-seconds] command",
    options: &[],
    help: "Until Ctrl-C, or until the program that reads the output ends. A dump does not change:\n\
           this is of use with commands that look outside, and for runbooks that have it.\n\n\
           Examples:\n  repeat -1 p jiffies | head -3",
    run,
};

/// How often a waiting command looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let usage = || CommandError::Usage(String::new());
    let mut words = &arguments.words[..];
    let mut delay = Duration::ZERO;
    if let Some((first, rest)) = words.split_first()
        && let Some(seconds) = first.strip_prefix('-')
    {
        delay = Duration::from_secs(seconds.parse::<u32>().map_err(|_| usage())?.into());
        words = rest;
    }
    if words.first().is_none_or(|name| name == COMMAND.name) {
        return Err(usage());
    }
    loop {
        run_within(session, words, out)?;
        out.flush()?;
        out.check()?;
        let started = Instant::now();
        while started.elapsed() < delay {
            thread::sleep(LOOK.min(delay));
            out.check()?;
        }
    }
}
