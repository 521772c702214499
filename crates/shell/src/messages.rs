//! What is said on standard error: errors, warnings, hints. In colour on a terminal only.

use crate::progress_line;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

/// Whether standard error takes colour, once somebody has decided.
static COLOR: OnceLock<bool> = OnceLock::new();

/// Decides on colour, whatever standard error is. Only the first decision counts.
pub fn set_color(color: bool) {
    let _ = COLOR.set(color);
}

fn color() -> bool {
    *COLOR.get_or_init(|| std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal())
}

fn paint(code: &str, text: &str) -> String {
    if color() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// `who: message`, a line. An empty `who` leaves the message alone.
pub fn error_line(who: &str, message: &str) -> String {
    match who {
        "" => format!("{message}\n"),
        who => format!("{} {message}\n", paint("1;31", &format!("{who}:"))),
    }
}

/// `WARNING: message`, a line.
pub fn warning_line(message: &str) -> String {
    format!("{} {message}\n", paint("1;33", "WARNING:"))
}

/// `hint: message`, a line.
pub fn hint_line(message: &str) -> String {
    format!("{} {message}\n", paint("36", "hint:"))
}

/// Writes `lines` to standard error, in the place of a progress line that may be there.
pub fn tell(lines: &str) {
    progress_line::aside(|| {
        let _ = std::io::stderr().write_all(lines.as_bytes());
    });
}

/// Tells that `who` failed.
pub fn error(who: &str, message: impl std::fmt::Display) {
    tell(&error_line(who, &message.to_string()));
}
