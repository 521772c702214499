//! Output on a terminal: as it comes while it fits the screen, through a pager once it does not.

use crate::progress_line;
use crate::session::PagerChoice;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A sink that is the terminal. What was printed before the screen was full is taken back and
/// shown again by the pager, so that one can scroll up to the first line.
pub struct Paged {
    choice: PagerChoice,
    size: Size,
    /// All that was written, while no pager runs.
    held: Vec<u8>,
    /// How much of it is on the screen.
    shown: usize,
    pager: Option<Child>,
    /// There is no pager to be had: all is printed as it comes.
    plain: bool,
}

/// The screen's, in cells.
#[derive(Clone, Copy)]
struct Size {
    columns: usize,
    rows: usize,
}

impl Paged {
    /// A sink for a terminal of the size it has now.
    pub fn new(choice: PagerChoice) -> Self {
        let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
        let size = Size { columns: usize::from(columns).max(1), rows: usize::from(rows).max(2) };
        Self { choice, size, held: Vec::new(), shown: 0, pager: None, plain: false }
    }

    fn show(&mut self) -> io::Result<()> {
        if self.shown < self.held.len() {
            progress_line::aside(|| {
                let mut stdout = io::stdout().lock();
                stdout.write_all(self.held.get(self.shown..).unwrap_or_default())?;
                stdout.flush()
            })?;
            self.shown = self.held.len();
        }
        Ok(())
    }

    fn start_pager(&mut self) -> io::Result<()> {
        let Some(mut pager) = command(self.choice) else {
            self.plain = true;
            return self.show();
        };
        progress_line::leave_screen(true);
        let up = rows(self.held.get(..self.shown).unwrap_or_default(), self.size.columns);
        if up > 0 {
            let mut stdout = io::stdout().lock();
            write!(stdout, "\r\x1b[{up}A\x1b[J")?;
            stdout.flush()?;
        }
        match pager.stdin(Stdio::piped()).spawn() {
            Ok(child) => self
                .pager
                .insert(child)
                .stdin
                .as_mut()
                .map_or(Ok(()), |stdin| stdin.write_all(&std::mem::take(&mut self.held))),
            Err(_) => {
                progress_line::leave_screen(false);
                (self.plain, self.shown) = (true, 0);
                self.show()
            }
        }
    }

    /// Shows what is left, and waits until the user has read it.
    pub fn close(mut self) -> io::Result<()> {
        match self.pager.take() {
            Some(mut pager) => {
                drop(pager.stdin.take());
                let ended = pager.wait();
                progress_line::leave_screen(false);
                ended.map(drop)
            }
            None => self.show(),
        }
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(pager) = &mut self.pager {
            return match pager.stdin.as_mut() {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            };
        }
        if self.plain {
            self.held.clear();
            self.shown = 0;
        }
        self.held.extend_from_slice(bytes);
        match self.plain {
            true => self.show()?,
            // The prompt needs a row of its own.
            false if rows(&self.held, self.size.columns) >= self.size.rows => self.start_pager()?,
            false => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.pager.as_mut().and_then(|pager| pager.stdin.as_mut()) {
            Some(stdin) => stdin.flush(),
            None => self.show(),
        }
    }
}

/// How many rows of a screen `columns` wide a text takes. Counts no more than a screen could have.
fn rows(text: &[u8], columns: usize) -> usize {
    /// No terminal is higher.
    const ENOUGH: usize = 4096;
    let mut rows = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n').take(ENOUGH) {
        rows += width(line).div_ceil(columns).max(1);
    }
    rows
}

/// The cells that a line takes: its characters, without escapes.
fn width(line: &[u8]) -> usize {
    let mut width = 0;
    let mut escape = false;
    for &byte in line {
        match byte {
            0x1b => escape = true,
            _ if escape => escape = !byte.is_ascii_alphabetic(),
            b'\t' => width = (width / 8 + 1) * 8,
            // The later bytes of a character, and the line's end.
            0x80..=0xbf | b'\n' => {}
            _ => width += 1,
        }
    }
    width
}

/// The pager that is wanted, or one that is there.
fn command(choice: PagerChoice) -> Option<Command> {
    let variable = |name| {
        let value = std::env::var(name).ok()?;
        let words: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(words)
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let less = || Some(words("less -RFX"));
    let more = || Some(words("more"));
    let wanted = match choice {
        PagerChoice::Less => less(),
        PagerChoice::More => more(),
        PagerChoice::CrashPager => variable("CRASHPAGER"),
        PagerChoice::Default => variable("CRASHPAGER").or_else(|| variable("PAGER")),
    };
    let candidates = [wanted, less(), more()];
    let words = candidates.into_iter().flatten().find(|words| place(&words[0]).is_some())?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    if std::env::var_os("LESS").is_none() {
        // For a plain `less` in $PAGER: colours pass, what fits the screen ends it.
        command.env("LESS", "FRX");
    }
    Some(command)
}

/// What `set scroll` calls the pager.
pub fn name(choice: PagerChoice) -> String {
    match choice {
        _ if !io::stdout().is_terminal() => "none".to_owned(),
        PagerChoice::CrashPager => {
            format!("CRASHPAGER: {}", std::env::var("CRASHPAGER").unwrap_or_default())
        }
        choice => command(choice).map_or("none".to_owned(), |command| {
            let program = command.get_program().to_string_lossy().into_owned();
            place(&program).map_or(program, |place| place.display().to_string())
        }),
    }
}

/// Where a program is.
fn place(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_as_a_terminal_wraps_them() {
        assert_eq!(rows(b"", 10), 0);
        assert_eq!(rows(b"\n\n", 10), 2);
        assert_eq!(rows(b"0123456789\n01234567890\nx", 10), 4);
        assert_eq!(rows("\x1b[1;31m━━━━━━━━━━\x1b[0m\n".as_bytes(), 10), 1);
        assert_eq!(width(b"a\tb"), 9);
    }
}
