//! `ascii`: the table of characters, and the characters in numbers.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::number;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use serde::Serialize;

/// `ascii`.
pub const COMMAND: Command = Command {
    name: "ascii",
    aliases: &[],
    summary: "hexadecimal numbers as text, or the table of characters",
    synopsis: "value...",
    options: &[],
    help: "The bytes of each value come as they lie in memory, lowest first.\n\n\
           Examples:\n  ascii\n  ascii 62696c2f7273752f",
    run,
};

/// Hexadecimal digits of a value.
const DIGITS: usize = 16;

/// The names of the characters that have no picture.
const CONTROLS: [&str; 33] = [
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR",
    "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC",
    "FS", "GS", "RS", "US", "SP",
];

/// A number and its bytes as characters.
#[derive(Serialize)]
struct Translated {
    value: Hex,
    text: String,
}

impl Render for Translated {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:016x}: {}\n", self.value.0, self.text));
    }
}

fn character(byte: u8) -> String {
    match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        0x7f => "<DEL>".to_owned(),
        _ => match CONTROLS.get(usize::from(byte)) {
            Some(name) => format!("<{name}>"),
            None => format!("<{byte:02x}>"),
        },
    }
}

/// A row of the table: the characters with this low digit.
#[derive(Serialize)]
struct TableRow {
    low_digit: u8,
    characters: Vec<String>,
}

impl Render for TableRow {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("  {:X} |", self.low_digit));
        for (column, name) in self.characters.iter().enumerate() {
            // Pictures stand in the middle of their column, names of two and three to the right.
            let cell = match (name.len(), column) {
                (1, _) => format!(" {name} "),
                _ => format!("{name:>3}"),
            };
            out.push_str(&format!(" {cell}"));
        }
        let end = out.trim_end().len();
        out.truncate(end);
        out.push('\n');
    }
}

impl TableRow {
    fn new(low_digit: u8) -> Self {
        let name = |column: u8| match column << 4 | low_digit {
            0x7f => "DEL".to_owned(),
            byte => match CONTROLS.get(usize::from(byte)) {
                Some(name) => (*name).to_owned(),
                None => char::from(byte).to_string(),
            },
        };
        Self { low_digit, characters: (0..8).map(name).collect() }
    }
}

fn run(_: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.words.is_empty() {
        out.layout(
            "\n      0    1   2   3   4   5   6   7\n    +-------------------------------\n",
        )?;
        for low_digit in 0..16 {
            out.emit(&TableRow::new(low_digit))?;
        }
        return Ok(out.layout("\n")?);
    }
    for word in &arguments.words {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        if digits.len() > DIGITS {
            return Err(CommandError::Message(format!(
                "input string too large: \"{digits}\" ({} vs {DIGITS})",
                digits.len()
            )));
        }
        let value = number::parse_address(word)?;
        let text = value.to_le_bytes().map(character).concat();
        out.emit(&Translated { value: Hex(value), text })?;
    }
    Ok(())
}
