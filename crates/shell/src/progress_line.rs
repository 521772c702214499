//! How far a long command is, on standard error: one line, there only while it is of use.
//!
//! Nothing is shown for the first half second, nor when standard error is no terminal, nor while a
//! pager has the screen.
//!
//! ```text
//! search  ━━━━━━━━━━━━━━━━━━╸             57%  about 12 s left  Ctrl-C ends it
//! ```

use crate::output::Interrupt;
use mortis_kernel::scan::Progress;
use std::io::{IsTerminal, Write};
use std::ops::Deref;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What ends sooner needs no telling how far it is.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the line changes.
const TICK: Duration = Duration::from_millis(100);

/// An estimate from less than this is a guess.
const ESTIMATE_AFTER: Duration = Duration::from_secs(1);

/// The cells of the bar, on a terminal that is wide enough.
const BAR: usize = 30;

/// What standard error's terminal shows besides text: there is one, whatever runs.
#[derive(Default)]
struct Screen {
    /// A progress line is on it.
    drawn: bool,
    /// A pager has it.
    taken: bool,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen { drawn: false, taken: false });

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Screen {
    fn draw(&mut self, line: &str) {
        if !self.taken {
            self.drawn = true;
            put(&format!("\r{line}\x1b[K"));
        }
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            put("\r\x1b[K");
        }
    }
}

fn put(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Runs `write`, which writes to the terminal, with no progress line in its way.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let mut screen = screen();
    screen.erase();
    write()
}

/// Leaves the screen to a pager, or takes it back.
pub fn leave_screen(taken: bool) {
    let mut screen = screen();
    screen.erase();
    screen.taken = taken;
}

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
            (end, thread::spawn(move || draw(what, &progress, &ended)))
        });
        Self { progress, drawing }
    }
}

/// Draws until whoever holds the other end of `ended` lets go of it.
fn draw(what: &str, progress: &Progress, ended: &mpsc::Receiver<()>) {
    let started = Instant::now();
    let mut wait = PATIENCE;
    while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        wait = TICK;
        let width = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        screen().draw(&line(what, progress.fraction(), started.elapsed(), width));
    }
    screen().erase();
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

/// The line: what is done, how far it is, and how long it will take; as much of it as fits into
/// `width` columns. It never fills the last one, where some terminals begin a new line.
fn line(what: &str, fraction: Option<f64>, elapsed: Duration, width: usize) -> String {
    let Some(fraction) = fraction else {
        return fitting(&[what, &span(elapsed.as_secs_f64()), "Ctrl-C ends it"], width);
    };
    let fraction = fraction.clamp(0.0, 1.0);
    let percent = format!("{:>3.0}%", (fraction * 100.0).floor());
    let left = match elapsed >= ESTIMATE_AFTER && fraction > 0.0 {
        true => format!("about {} left", span(elapsed.as_secs_f64() * (1.0 - fraction) / fraction)),
        false => String::new(),
    };
    let with_bar = fitting(&[what, &bar(fraction), &percent, &left, "Ctrl-C ends it"], width);
    match with_bar.contains(percent.trim()) {
        true => with_bar,
        false => fitting(&[what, &percent, &left], width),
    }
}

/// The parts from the left on that fit, two blanks apart.
fn fitting(parts: &[&str], width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let gap = if used == 0 { 0 } else { 2 };
        let len = part.chars().count();
        if used + gap + len >= width {
            break;
        }
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(part);
        used += gap + len;
    }
    line
}

fn bar(fraction: f64) -> String {
    let halves = (fraction * (2 * BAR) as f64) as usize;
    let mut bar = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        bar.push('╸');
    }
    let drawn = bar.chars().count();
    bar.extend(std::iter::repeat_n(' ', BAR.saturating_sub(drawn)));
    bar
}

/// A span of time, to what matters of it.
fn span(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        seconds => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_once_there_is_something_to_estimate_from() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            line("search", Some(0.25), ten, 80),
            format!("search  {:<30}   25%  about 30 s left  Ctrl-C ends it", "━━━━━━━")
                .replace("━━━━━━━ ", "━━━━━━━╸")
        );
        assert!(line("search", Some(0.1), ten, 80).contains("about 1:30 min left"));
        assert!(line("search", Some(0.001), ten, 80).contains("about 2:46 h left"));
        assert!(!line("search", Some(0.25), Duration::from_millis(600), 80).contains("left"));
        assert_eq!(line("search", None, ten, 80), "search  10 s  Ctrl-C ends it");
    }

    #[test]
    fn a_narrow_terminal_gets_what_fits() {
        let ten = Duration::from_secs(10);
        for width in 0..100 {
            for fraction in [None, Some(0.0), Some(0.5), Some(7.0)] {
                let shown = line("search", fraction, ten, width).chars().count();
                assert!(shown < width.max(1), "{width}");
            }
        }
        assert_eq!(line("search", Some(0.5), ten, 28), "search   50%");
        assert_eq!(line("search", Some(0.5), ten, 32), "search   50%  about 10 s left");
    }
}
