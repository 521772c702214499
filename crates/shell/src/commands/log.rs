//! `log`: what the kernel said.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::date;
use crate::output::{Output, Render, Stop, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::log::{Caller, LogRecord, SafeBuffer};
use mortis_kernel::system::Clocks;
use serde::Serialize;

/// `log`.
pub const COMMAND: Command = Command {
    name: "log",
    aliases: &[],
    summary: "what the kernel said",
    synopsis: "[-TtdmascR]",
    options: &[
        flag('T', "dates, in UTC, instead of seconds since boot"),
        flag('t', "no time stamps"),
        flag('d', "the device and subsystem that a record is about"),
        flag('m', "the level of each record"),
        flag('c', "who logged each record: a task T<pid> or a CPU C<number>"),
        flag('R', "plain names for the mangled ones of Rust functions"),
        flag('a', "audit messages that no daemon had fetched"),
        flag('s', "messages that printk had kept aside in per-CPU buffers (4.11 to 5.14)"),
    ],
    help: "Records whose pages are missing are left out and counted.\n\n\
           Examples:\n  log\n  log -T | tail -100\n  log -mc | grep '<[0-3]>'",
    run,
};

/// How records are to look.
#[derive(Clone, Copy, Default)]
struct Format {
    stamps: Stamps,
    dictionary: bool,
    level: bool,
    /// The width of the caller's column; 0 without one.
    caller_width: usize,
    demangle: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stamps {
    #[default]
    Seconds,
    Dates,
    None,
}

/// A record of the log.
#[derive(Serialize)]
struct Line {
    seq: Option<u64>,
    nanoseconds: Option<u64>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<i64>,
    level: Option<u8>,
    facility: u8,
    /// `T<pid>` or `C<cpu>`.
    caller: Option<String>,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dictionary: Vec<(String, String)>,
    #[serde(skip)]
    format: Format,
}

impl Line {
    fn new(record: LogRecord, format: Format, clocks: Option<&Clocks>) -> Self {
        let text = if format.demangle { demangled(&record.text) } else { record.text };
        Self {
            seq: record.seq,
            nanoseconds: record.ts_nsec,
            date: clocks.zip(record.ts_nsec).map(|(clocks, stamp)| clocks.wall_seconds_at(stamp)),
            level: record.level,
            facility: record.facility,
            caller: record.caller.map(|caller| match caller {
                Caller::Task(pid) => format!("T{pid}"),
                Caller::Cpu(cpu) => format!("C{cpu}"),
            }),
            text,
            dictionary: record.dictionary,
            format,
        }
    }

    fn prefix(&self) -> String {
        let mut prefix = String::new();
        match (self.format.stamps, self.nanoseconds) {
            (Stamps::Seconds, Some(stamp)) => prefix.push_str(&format!(
                "[{:>5}.{:06}] ",
                stamp / 1_000_000_000,
                stamp % 1_000_000_000 / 1000
            )),
            (Stamps::Dates, _) => {
                let date = self.date.map_or("unknown".to_owned(), date::utc);
                prefix.push_str(&format!("[{date}] "));
            }
            _ => {}
        }
        if let (width @ 1.., Some(caller)) = (self.format.caller_width, &self.caller) {
            prefix.push_str(&format!("[{caller:>width$}] "));
        }
        if let (true, Some(level)) = (self.format.level, self.level) {
            prefix.push_str(&format!("<{level:x}>"));
        }
        prefix
    }
}

/// Text that is safe to write to a terminal: what does not print is a dot.
fn push_printable(out: &mut String, text: &str, indent: usize) {
    for c in text.chars() {
        match c {
            '\n' => {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
            }
            '\t' => out.push('\t'),
            c if c.is_control() => out.push('.'),
            c => out.push(c),
        }
    }
}

impl Render for Line {
    fn render(&self, out: &mut String, style: Style) {
        let prefix = self.prefix();
        let indent = prefix.len();
        out.push_str(&style.dim(&prefix));
        // Levels 0 to 3 are KERN_EMERG to KERN_ERR.
        if style.color && self.level.is_some_and(|level| level <= 3) {
            let mut text = String::new();
            push_printable(&mut text, &self.text, indent);
            out.push_str(&style.alarm(&text));
        } else {
            push_printable(out, &self.text, indent);
        }
        if self.format.dictionary {
            for (key, value) in &self.dictionary {
                push_printable(out, &format!("\n{key}={value}"), indent);
            }
        }
        out.push('\n');
    }
}

/// `text` with the mangled names of Rust functions made readable.
fn demangled(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let name = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(name);
        match rustc_demangle::try_demangle(word) {
            Ok(name) => plain.push_str(&format!("{name:#}")),
            Err(_) => plain.push_str(word),
        }
        let gap = behind.find(is_name).unwrap_or(behind.len());
        plain.push_str(&behind[..gap]);
        rest = &behind[gap..];
    }
    plain
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.has('a') {
        return audit(session, out);
    }
    if arguments.has('s') {
        for buffer in session.kernel.safe_buffers()? {
            out.emit(&WaitingMessages::new(buffer))?;
        }
        return Ok(());
    }
    let kernel = &*session.kernel;
    let stamps = match (arguments.has('t'), arguments.has('T')) {
        (true, _) => Stamps::None,
        (_, true) => Stamps::Dates,
        _ => Stamps::Seconds,
    };
    let clocks = if stamps == Stamps::Dates { Some(kernel.clocks()?) } else { None };
    let format = Format {
        stamps,
        dictionary: arguments.has('d'),
        level: arguments.has('m'),
        caller_width: if arguments.has('c') { caller_width(kernel.pid_max().ok()) } else { 0 },
        demangle: arguments.has('R'),
    };
    let mut stopped: Option<Stop> = None;
    let end = kernel.log(&mut |record| {
        stopped = out.emit(&Line::new(record, format, clocks.as_ref())).err();
        stopped.is_none()
    })?;
    if let Some(stop) = stopped {
        return Err(stop.into());
    }
    if let Some(why) = end.why {
        out.warn(format!("{} records of the log cannot be read: {why}", end.missing));
    }
    // Kernels without such buffers, and dumps without types, have nothing more to say.
    for buffer in kernel.safe_buffers().unwrap_or_default() {
        if !buffer.bytes.is_empty() {
            out.emit(&WaitingMessages { name: Some(buffer.name), ..WaitingMessages::new(buffer) })?;
        }
    }
    Ok(())
}

/// As wide as the highest process id and the letter before it.
fn caller_width(pid_max: Option<u64>) -> usize {
    match pid_max {
        Some(..=99_999) => 6,
        Some(..=999_999) => 7,
        _ => 8,
    }
}

/// An audit message.
#[derive(Serialize)]
struct Audit {
    #[serde(rename = "type")]
    kind: u16,
    text: String,
}

impl Render for Audit {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("type={} ", self.kind));
        push_printable(out, &self.text, 0);
        out.push('\n');
    }
}

fn audit(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let messages = session.kernel.audit_messages()?;
    if messages.is_empty() {
        return Ok(out.layout("log: kernel audit log is empty\n")?);
    }
    for message in messages {
        out.emit(&Audit { kind: message.kind, text: message.text })?;
    }
    Ok(())
}

/// Messages that printk had kept aside.
#[derive(Serialize)]
struct WaitingMessages {
    buffer: &'static str,
    cpu: u32,
    address: Hex,
    length: usize,
    messages_lost: u32,
    messages: Vec<String>,
    /// What to write before each message instead of a heading over them.
    #[serde(skip)]
    name: Option<&'static str>,
}

impl WaitingMessages {
    fn new(buffer: SafeBuffer) -> Self {
        // Each message begins with a byte 1 and the digit of its level (KERN_SOH).
        let messages = buffer.bytes.split(|&byte| byte == 1).filter(|message| !message.is_empty());
        let messages = messages.map(|message| {
            let text = message.split_first().map_or(message, |(_, text)| text);
            String::from_utf8_lossy(text).trim_end_matches('\n').to_owned()
        });
        Self {
            buffer: buffer.name,
            cpu: buffer.cpu,
            address: Hex(buffer.address.0),
            length: buffer.bytes.len(),
            messages_lost: buffer.lost,
            messages: messages.collect(),
            name: None,
        }
    }
}

impl Render for WaitingMessages {
    fn render(&self, out: &mut String, _: Style) {
        let prefix = match self.name {
            Some(name) => format!("[{name}] "),
            None => {
                out.push_str(&format!(
                    "PRINTK_SAFE_SEQ_BUF: {}\nCPU: {}  ADDR: {:x} LEN: {}  MESSAGE_LOST: {}\n",
                    self.buffer, self.cpu, self.address.0, self.length, self.messages_lost
                ));
                "  ".to_owned()
            }
        };
        for message in &self.messages {
            out.push_str(&prefix);
            push_printable(out, message, prefix.len());
            out.push('\n');
        }
        if self.messages.is_empty() {
            out.push_str(&prefix);
            out.push_str("(empty)\n");
        }
        if self.name.is_none() {
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, text: &str) -> String {
        let record = LogRecord {
            ts_nsec: Some(14_501_965_123),
            level: Some(4),
            caller: Some(Caller::Task(207)),
            text: text.to_owned(),
            dictionary: vec![("SUBSYSTEM".to_owned(), "pci".to_owned())],
            ..LogRecord::default()
        };
        let mut out = String::new();
        Line::new(record, format, None).render(&mut out, Style::default());
        out
    }

    #[test]
    fn further_lines_stand_under_the_first() {
        assert_eq!(line(Format::default(), "a\nb"), "[   14.501965] a\n               b\n");
        let all = Format { level: true, caller_width: 6, dictionary: true, ..Format::default() };
        assert_eq!(
            line(all, "a"),
            format!("[   14.501965] [  T207] <4>a\n{}SUBSYSTEM=pci\n", " ".repeat(27))
        );
        let none = Format { stamps: Stamps::None, ..Format::default() };
        assert_eq!(line(none, "a\nb\tc\x1b[0m"), "a\nb\tc.[0m\n");
    }

    #[test]
    fn rust_names_become_plain() {
        let text = " ? _ZN4core3fmt5Write9write_fmt17h0123456789abcdefE+0x1/0x2 [mod]";
        assert_eq!(demangled(text), " ? core::fmt::Write::write_fmt+0x1/0x2 [mod]");
        assert_eq!(demangled("__schedule+0x4ea/0xb30"), "__schedule+0x4ea/0xb30");
    }

    #[test]
    fn the_callers_column_fits_the_highest_pid() {
        assert_eq!(caller_width(Some(32_768)), 6);
        assert_eq!(caller_width(Some(4_194_304)), 8);
        assert_eq!(caller_width(None), 8);
    }
}
