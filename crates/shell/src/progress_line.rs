//! How far a long command is, on standard error: one line, there only while it is of use.
//!
//! Nothing is shown for the first half second, nor when standard error is no terminal.

use crate::output::Interrupt;
use mortis_kernel::scan::Progress;
use std::io::{IsTerminal, Write};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What ends sooner needs no telling how far it is.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the line changes.
const TICK: Duration = Duration::from_millis(200);

/// A [`Progress`] that the user sees. Dropping it takes the line away.
pub struct ProgressLine {
    progress: Progress,
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ProgressLine {
    /// Starts to show how far `what` is. The work ends when `interrupt` says so.
    pub fn start(what: &'static str, interrupt: &Interrupt) -> Self {
        let progress = Progress::new(Arc::clone(&interrupt.0));
        let drawing = std::io::stderr().is_terminal().then(|| {
            let (end, ended) = mpsc::channel();
            let progress = progress.clone();
            let thread = thread::spawn(move || {
                let started = Instant::now();
                let mut wait = PATIENCE;
                while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    wait = TICK;
                    eprint!("\r\x1b[K{}", line(what, progress.fraction(), started.elapsed()));
                    let _ = std::io::stderr().flush();
                }
                if wait == TICK {
                    eprint!("\r\x1b[K");
                    let _ = std::io::stderr().flush();
                }
            });
            (end, thread)
        });
        Self { progress, drawing }
    }
}

impl Deref for ProgressLine {
    type Target = Progress;

    fn deref(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.drawing.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// The line: what is done, how far it is, and how long it will take.
fn line(what: &str, fraction: Option<f64>, elapsed: Duration) -> String {
    match fraction {
        Some(fraction) if fraction > 0.0 => {
            let left = elapsed.as_secs_f64() * (1.0 - fraction) / fraction;
            format!("{what}: {:.0}%, about {} left", fraction * 100.0, span(left))
        }
        _ => format!("{what}: {}", span(elapsed.as_secs_f64())),
    }
}

/// A span of time to the second.
fn span(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{}:{:02} min", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_once_there_is_something_to_estimate_from() {
        let ten = Duration::from_secs(10);
        assert_eq!(line("search", Some(0.25), ten), "search: 25%, about 30 s left");
        assert_eq!(line("search", Some(0.1), ten), "search: 10%, about 1:30 min left");
        assert_eq!(line("search", None, ten), "search: 10 s");
    }
}
