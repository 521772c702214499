//! The names of signals (include/uapi/asm-generic/signal.h).

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::signals::SIGNALS;
use serde::Serialize;

/// Signals 1 to 31, with other names where they have some.
const NAMES: [(&str, Option<&str>); 31] = [
    ("SIGHUP", None),
    ("SIGINT", None),
    ("SIGQUIT", None),
    ("SIGILL", None),
    ("SIGTRAP", None),
    ("SIGABRT", Some("SIGIOT")),
    ("SIGBUS", None),
    ("SIGFPE", None),
    ("SIGKILL", None),
    ("SIGUSR1", None),
    ("SIGSEGV", None),
    ("SIGUSR2", None),
    ("SIGPIPE", None),
    ("SIGALRM", None),
    ("SIGTERM", None),
    ("SIGSTKFLT", None),
    ("SIGCHLD", Some("SIGCLD")),
    ("SIGCONT", None),
    ("SIGSTOP", None),
    ("SIGTSTP", None),
    ("SIGTTIN", None),
    ("SIGTTOU", None),
    ("SIGURG", None),
    ("SIGXCPU", None),
    ("SIGXFSZ", None),
    ("SIGVTALRM", None),
    ("SIGPROF", None),
    ("SIGWINCH", None),
    ("SIGIO", Some("SIGPOLL")),
    ("SIGPWR", None),
    ("SIGSYS", Some("SIGUNUSED")),
];

/// The first signal without a meaning of its own.
const SIGRTMIN: u64 = 32;

/// The signal's name.
pub(super) fn name(signal: u64) -> String {
    let middle = SIGRTMIN + (SIGNALS - SIGRTMIN) / 2;
    match signal {
        SIGRTMIN => "SIGRTMIN".to_owned(),
        SIGNALS => "SIGRTMAX".to_owned(),
        above if above > middle => format!("SIGRTMAX-{}", SIGNALS.saturating_sub(above)),
        above if above > SIGRTMIN => format!("SIGRTMIN+{}", above - SIGRTMIN),
        number => {
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            let known = index.and_then(|index| NAMES.get(index));
            known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
        }
    }
}

#[derive(Serialize)]
struct Signal {
    number: u64,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'static str>,
}

impl Render for Signal {
    fn render(&self, out: &mut String, _: Style) {
        let alias = self.alias.map_or(String::new(), |alias| format!("/{alias}"));
        out.push_str(&format!("{:>4} {}{alias}\n", format!("[{}]", self.number), self.name));
    }
}

/// `sig -l`: all of them.
pub(super) fn list(out: &mut Output) -> Result<(), CommandError> {
    for number in 1..=SIGNALS {
        let alias = NAMES.get(number as usize - 1).and_then(|(_, alias)| *alias);
        out.emit(&Signal { number, name: name(number), alias })?;
    }
    Ok(())
}

#[derive(Serialize)]
struct SignalSet {
    set: Hex,
    signals: Vec<String>,
}

/// Columns of a line of names.
const WIDTH: usize = 80;

impl Render for SignalSet {
    fn render(&self, out: &mut String, _: Style) {
        if self.signals.is_empty() {
            out.push_str("(none)\n");
            return;
        }
        let mut column = 0;
        for (index, name) in self.signals.iter().enumerate() {
            let blank = usize::from(index > 0);
            if column + blank + name.len() > WIDTH {
                out.push('\n');
                column = 0;
            } else if blank > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(name);
            column += name.len();
        }
        out.push('\n');
    }
}

/// `sig -s`: those in a set.
pub(super) fn explain(set: u64, out: &mut Output) -> Result<(), CommandError> {
    let signals = (1..=SIGNALS).filter(|signal| set >> (signal - 1) & 1 != 0).map(name);
    Ok(out.emit(&SignalSet { set: Hex(set), signals: signals.collect() })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_signals_count_from_both_ends() {
        let names: Vec<String> = [1, 6, 31, 32, 33, 48, 49, 63, 64].map(name).into();
        let wanted = [
            "SIGHUP",
            "SIGABRT",
            "SIGSYS",
            "SIGRTMIN",
            "SIGRTMIN+1",
            "SIGRTMIN+16",
            "SIGRTMAX-15",
            "SIGRTMAX-1",
            "SIGRTMAX",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn long_sets_are_broken_into_lines() {
        let set = SignalSet { set: Hex(u64::MAX), signals: (1..=SIGNALS).map(name).collect() };
        let mut text = String::new();
        set.render(&mut text, Style::default());
        assert!(text.lines().all(|line| line.len() <= WIDTH && line.starts_with("SIG")), "{text}");
        assert_eq!(text.split_whitespace().count(), 64);
    }
}
