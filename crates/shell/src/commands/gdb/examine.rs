//! `x`: memory, as gdb lays it out.

use crate::command::CommandError;
use crate::output::{Output, Text};
use crate::session::Session;
use mortis_kernel::Kernel;
use mortis_memory::{VirtAddr, VirtualMemory};

/// Units that one command shows, at most.
const MAX_COUNT: u64 = 1 << 20;

/// Bytes of a string, at most.
const MAX_STRING: usize = 200;

/// What is wanted: `4xg`.
#[derive(Debug, PartialEq, Eq)]
struct Format {
    count: u64,
    letter: char,
    /// Bytes of a unit.
    size: u64,
}

impl Format {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, letters) = text.split_at(digits);
        let count = if count.is_empty() { Ok(1) } else { count.parse() };
        let mut format =
            Self { count: count.unwrap_or(MAX_COUNT).min(MAX_COUNT), letter: 'x', size: 0 };
        for letter in letters.chars() {
            match letter {
                'b' => format.size = 1,
                'h' => format.size = 2,
                'w' => format.size = 4,
                'g' => format.size = 8,
                'x' | 'd' | 'u' | 'o' | 't' | 'a' | 'c' | 's' | 'i' | 'z' => format.letter = letter,
                other => {
                    return Err(CommandError::Message(format!(
                        "Undefined output format \"{other}\"."
                    )));
                }
            }
        }
        if format.size == 0 {
            format.size = match format.letter {
                'a' => 8,
                'c' | 's' => 1,
                _ => 4,
            };
        }
        Ok(format)
    }

    fn per_line(&self) -> u64 {
        match (self.letter, self.size) {
            ('a', _) => 2,
            ('t', size) => (8 / size).max(1),
            (_, 1 | 2) => 8,
            (_, size) => 16 / size,
        }
    }

    fn unit(&self, kernel: &Kernel, value: u64) -> String {
        let signed = value.cast_signed() << (64 - 8 * self.size) >> (64 - 8 * self.size);
        let digits = 2 * self.size as usize;
        match self.letter {
            'd' => signed.to_string(),
            'u' => value.to_string(),
            'o' if value == 0 => "0".to_owned(),
            'o' => format!("0{value:o}"),
            't' => format!("{value:0width$b}", width = 8 * self.size as usize),
            'a' => format!("{value:#x}{}", symbol(kernel, VirtAddr(value))),
            'c' => character(value as u8),
            _ => format!("0x{value:0digits$x}"),
        }
    }
}

/// A byte as gdb shows a `char`: `99 'c'`.
fn character(byte: u8) -> String {
    let shown = match byte {
        b'\n' => "\\n".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        0x20..0x7f => char::from(byte).to_string(),
        other => format!("\\{other:03o}"),
    };
    format!("{} '{shown}'", byte.cast_signed())
}

/// ` <symbol+offset>`, where an address has one.
fn symbol(kernel: &Kernel, address: VirtAddr) -> String {
    match kernel.symbol_within(address) {
        Some((symbol, 0)) => format!(" <{}>", symbol.name),
        Some((symbol, offset)) => format!(" <{}+{offset}>", symbol.name),
        None => String::new(),
    }
}

pub(super) fn run(
    session: &mut Session,
    format: &str,
    expression: &str,
    out: &mut Output,
) -> Result<(), CommandError> {
    let format = Format::parse(format)?;
    if expression.is_empty() {
        return Err(CommandError::message("Argument required (starting display address)."));
    }
    let start = session.address(expression)?;
    let kernel = session.kernel.clone();
    match format.letter {
        'i' => return instructions(session, start, format.count, out),
        's' => return strings(&kernel, start, format.count, out),
        _ => {}
    }
    let mut shown = 0;
    while shown < format.count {
        out.check()?;
        let units = format.per_line().min(format.count - shown);
        let address = start.offset(shown * format.size);
        let mut line = format!("{:#x}{}:", address.0, symbol(&kernel, address));
        for unit in 0..units {
            let mut bytes = [0; 8];
            let address = address.offset(unit * format.size);
            if let Some(bytes) = bytes.get_mut(..format.size as usize)
                && kernel.read(address, bytes).is_err()
            {
                if unit > 0 {
                    out.emit(&Text { text: format!("{line}\n") })?;
                }
                return Err(CommandError::Message(format!(
                    "Cannot access memory at address {:#x}",
                    address.0
                )));
            }
            line.push('\t');
            line.push_str(&format.unit(&kernel, u64::from_le_bytes(bytes)));
        }
        out.emit(&Text { text: format!("{line}\n") })?;
        shown += units;
    }
    Ok(())
}

fn instructions(
    session: &mut Session,
    start: VirtAddr,
    count: u64,
    out: &mut Output,
) -> Result<(), CommandError> {
    let text = super::captured(session, &format!("dis {:#x} {count}", start.0))?;
    for line in text.lines() {
        let line = match line.split_once(">:") {
            Some((place, instruction)) => format!("   {place}>:\t{}\n", instruction.trim_start()),
            None => format!("{line}\n"),
        };
        out.emit(&Text { text: line })?;
    }
    Ok(())
}

/// `disassemble`.
pub(super) fn function(
    session: &mut Session,
    of: &str,
    out: &mut Output,
) -> Result<(), CommandError> {
    let start = session.address(of)?;
    let name = session.kernel.symbol_within(start).map(|(symbol, _)| symbol.name.to_string());
    let name =
        name.ok_or_else(|| CommandError::message("No function contains specified address."))?;
    let text = super::captured(session, &format!("dis {name}"))?;
    out.emit(&Text { text: format!("Dump of assembler code for function {name}:\n") })?;
    for line in text.lines() {
        let line = match line.split_once(">:") {
            Some((place, instruction)) => {
                let (address, symbol) = place.split_once(' ').unwrap_or((place, ""));
                let offset = symbol.trim_end_matches('>').split_once('+').map_or("0", |at| at.1);
                format!("   {address} <+{offset}>:\t{}\n", instruction.trim_start())
            }
            None => format!("{line}\n"),
        };
        out.emit(&Text { text: line })?;
    }
    Ok(out.emit(&Text { text: "End of assembler dump.\n".to_owned() })?)
}

fn strings(
    kernel: &Kernel,
    start: VirtAddr,
    count: u64,
    out: &mut Output,
) -> Result<(), CommandError> {
    let mut address = start;
    for _ in 0..count {
        out.check()?;
        let mut bytes = Vec::new();
        let mut ended = false;
        while bytes.len() < MAX_STRING {
            let mut byte = [0];
            kernel.read(address.offset(bytes.len() as u64), &mut byte)?;
            if byte == [0] {
                ended = true;
                break;
            }
            bytes.push(byte[0]);
        }
        let text: String = bytes.iter().map(|&byte| escaped(byte)).collect();
        let dots = if ended { "" } else { "..." };
        out.emit(&Text {
            text: format!("{:#x}{}:\t\"{text}\"{dots}\n", address.0, symbol(kernel, address)),
        })?;
        address = address.offset(bytes.len() as u64 + u64::from(ended));
    }
    Ok(())
}

fn escaped(byte: u8) -> String {
    match byte {
        b'"' => "\\\"".to_owned(),
        b'\'' => "'".to_owned(),
        byte => {
            let quoted = character(byte);
            quoted.split_once('\'').map_or(String::new(), |(_, rest)| rest[..rest.len() - 1].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_gdbs() {
        let parsed = |text| Format::parse(text).expect("a format");
        assert_eq!(parsed("4xg"), Format { count: 4, letter: 'x', size: 8 });
        assert_eq!(parsed("s"), Format { count: 1, letter: 's', size: 1 });
        assert_eq!(parsed("99999999999999999999999i").count, MAX_COUNT);
        assert!(Format::parse("4q").is_err());
        assert_eq!(
            (parsed("xb").per_line(), parsed("xw").per_line(), parsed("xg").per_line()),
            (8, 4, 2)
        );
        assert_eq!((character(b'c'), character(0xff)), ("99 'c'".into(), "-1 '\\377'".into()));
    }
}
