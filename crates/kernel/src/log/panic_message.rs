//! Which line of the log says why the kernel died.

use super::LogRecord;
use crate::error::Result;
use crate::kernel::Kernel;
use memchr::memmem::Finder;

/// What a dying kernel says, the gravest first: a panic often follows an oops, and then says that
/// only. The newest of the gravest kind counts, for an oops need not be the end.
const PATTERNS: &[&str] = &[
    "SysRq : Crash",
    "SysRq : Trigger a crash",
    "SysRq : Netdump",
    "Kernel panic: ",
    "Kernel panic - ",
    "Kernel BUG at",
    "kernel BUG at",
    "Unable to handle kernel paging request",
    "Unable to handle kernel NULL pointer dereference",
    "BUG: unable to handle kernel ",
    "general protection fault: ",
    "double fault: ",
    "divide error: ",
    "stack segment: ",
    "[Hardware Error]: ",
    "Bad mode in ",
    "Oops: ",
    // A kernel that dies of `echo c > /proc/sysrq-trigger` says at least this.
    "sysrq: Trigger a crash",
];

/// The line of the log that says why the kernel died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicMessage {
    /// The line, without its time stamp.
    pub text: String,
    /// The number of its record, where the log keeps one.
    pub seq: Option<u64>,
    /// When it was logged, in nanoseconds since boot.
    pub ts_nsec: Option<u64>,
}

impl PanicMessage {
    /// Whether it only announces an oops, whose details stand elsewhere in the log.
    pub fn is_oops(&self) -> bool {
        self.text.contains("Oops: ")
    }
}

impl Kernel {
    /// The line of the log that says why the kernel died; `None` when no line does.
    ///
    /// # Errors
    /// When the log cannot be found.
    pub fn panic_message(&self) -> Result<Option<PanicMessage>> {
        let mut search = Search::new();
        self.log(&mut |record| {
            search.look_at(&record);
            true
        })?;
        Ok(search.best.map(|(_, message)| message))
    }
}

struct Search {
    finders: Vec<Finder<'static>>,
    /// The place in [`PATTERNS`] of the best line so far, and the line.
    best: Option<(usize, PanicMessage)>,
}

impl Search {
    fn new() -> Self {
        Self { finders: PATTERNS.iter().map(Finder::new).collect(), best: None }
    }

    fn look_at(&mut self, record: &LogRecord) {
        for line in record.text.lines() {
            // The end of a report repeats its first line (panic() in kernel/panic.c).
            if line.starts_with("---[ end ") {
                continue;
            }
            // What is less grave than the best line so far need not be looked for.
            let worth = self.best.as_ref().map_or(self.finders.len(), |(rank, _)| rank + 1);
            let rank = self.finders[..worth]
                .iter()
                .position(|finder| finder.find(line.as_bytes()).is_some());
            if let Some(rank) = rank {
                let message = PanicMessage {
                    text: line.to_owned(),
                    seq: record.seq,
                    ts_nsec: record.ts_nsec,
                };
                self.best = Some((rank, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(lines: &[&str]) -> Option<String> {
        let mut search = Search::new();
        for line in lines {
            search.look_at(&LogRecord { text: (*line).to_owned(), ..LogRecord::default() });
        }
        search.best.map(|(_, message)| message.text)
    }

    #[test]
    fn the_gravest_line_wins() {
        let log =
            ["Oops: 0002 [#1] SMP", "RIP: 0010:x", "Kernel panic - not syncing: Fatal", "---"];
        assert_eq!(message(&log).as_deref(), Some("Kernel panic - not syncing: Fatal"));
        assert_eq!(message(&["all is well"]), None);
    }

    #[test]
    fn the_end_of_a_panic_is_not_another() {
        let log = [
            "Kernel panic - not syncing: sysrq triggered crash",
            "---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
        ];
        assert_eq!(message(&log).as_deref(), Some(log[0]));
    }

    #[test]
    fn of_two_oopses_the_last_was_the_end() {
        let log = ["Oops: 0000 [#1] SMP", "Oops: 0002 [#2] SMP"];
        assert_eq!(message(&log).as_deref(), Some("Oops: 0002 [#2] SMP"));
    }

    #[test]
    fn a_line_within_a_record_is_found() {
        let log = ["first\nkernel BUG at mm/slub.c:1!\nlast"];
        assert_eq!(message(&log).as_deref(), Some("kernel BUG at mm/slub.c:1!"));
    }
}
