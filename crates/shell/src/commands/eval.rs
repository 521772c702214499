//! `eval`: a number, or two and an operator, in every base.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::number::number;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use serde::Serialize;

/// `eval`.
pub const COMMAND: Command = Command {
    name: "eval",
    aliases: &[],
    summary: "a number or an expression in every base",
    synopsis: "[-b][-l] (expression) | value",
    options: &[flag('b', "which bits are set"), flag('l', "in 64 bits, as always here")],
    help: "A value is a number, decimal where its digits allow that and else hexadecimal, or a symbol.\n\
           A number may end in k, m or g, and begin with ~. An expression is two values and one of\n\
           + - * / % & | ^ << >> and # (to the power of); what is none is taken for one of C.\n\
           Parentheses protect | and > from being taken for a pipe and a redirection.\n\n\
           Examples:\n  eval 128m\n  eval 128 * 1m\n  eval -b 41dc065\n  eval (1 | 2)\n  \
           eval linux_banner + 10",
    run,
};

/// A number and what crash tells of it.
#[derive(Serialize)]
struct Evaluated {
    hexadecimal: Hex,
    unsigned: u64,
    signed: i64,
    octal: String,
    binary: String,
    /// The bits that are set, highest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<Vec<u32>>,
}

impl Evaluated {
    fn new(value: u64, bits: bool) -> Self {
        let set = || (0..u64::BITS).rev().filter(|bit| value >> bit & 1 == 1).collect();
        Self {
            hexadecimal: Hex(value),
            unsigned: value,
            signed: value.cast_signed(),
            octal: format!("{value:o}"),
            binary: format!("{value:064b}"),
            bits: bits.then(set),
        }
    }
}

impl Render for Evaluated {
    fn render(&self, out: &mut String, _: Style) {
        let value = self.unsigned;
        let units = [(1u64 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
        let size = units.iter().find(|(unit, _)| value != 0 && value.is_multiple_of(*unit));
        // crash prints the quotient as a signed number.
        let size = size.map_or(String::new(), |(unit, name)| format!("({}{name})", value / unit));
        let negative = if self.signed < 0 { format!("({})", self.signed) } else { String::new() };
        out.push_str(&format!(
            "hexadecimal: {value:x}  {size}\n    decimal: {value}  {negative}\n      octal: {}\n     \
             binary: {}\n",
            self.octal, self.binary
        ));
        if let Some(bits) = &self.bits {
            render_bits(bits, out);
        }
    }
}

/// The numbers of the bits, broken where crash breaks the line.
fn render_bits(bits: &[u32], out: &mut String) {
    const HEADING: &str = "   bits set: ";
    out.push_str(HEADING);
    let mut column = HEADING.len();
    for bit in bits {
        let bit = format!("{bit} ");
        out.push_str(&bit);
        column += bit.len();
        if column >= 77 {
            out.push_str(&format!("\n{}", " ".repeat(HEADING.len())));
            column = HEADING.len();
        }
    }
    out.push('\n');
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    // `eval -b` alone is an expression to crash, and a wrong one.
    let Some(first) = arguments.first() else {
        return Err(CommandError::Usage(format!("Usage: eval {}", COMMAND.synopsis)));
    };
    let text = if first.starts_with('(') { first.to_owned() } else { arguments.joined() };
    let value = evaluate(session, &text)?;
    Ok(out.emit(&Evaluated::new(value, arguments.has('b')))?)
}

/// The number that `text` stands for, in crash's arithmetic or else in C's.
///
/// # Errors
/// When it stands for none.
pub(super) fn evaluate(session: &Session, text: &str) -> Result<u64, CommandError> {
    let simple = simple(session, text);
    if let Some(value) = simple {
        return Ok(value);
    }
    let shown = if text.starts_with('(') { text.to_owned() } else { format!("({text})") };
    let invalid = || CommandError::Message(format!("invalid expression: {shown}"));
    // More than one operator, members, casts: C.
    let has_operator = text.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ' ');
    match session.address(text) {
        Ok(address) if has_operator => Ok(address.0),
        _ => Err(invalid()),
    }
}

/// crash's own grammar: a value, or two with an operator between them, perhaps in parentheses.
fn simple(session: &Session, text: &str) -> Option<u64> {
    let text = match text.strip_prefix('(') {
        Some(inner) => inner.strip_suffix(')')?,
        None => text,
    };
    if text.contains(['(', ')']) {
        return None;
    }
    // A sign in front is subtracted from nothing.
    let negative = text.starts_with('-').then(|| format!("0{text}"));
    let text = negative.as_deref().unwrap_or(text);
    let value = |word: &str| value(session, word.trim());
    let Some(at) = text.find(['#', '>', '<', '+', '-', '&', '|', '*', '/', '%', '^']) else {
        return value(text);
    };
    let (left, rest) = text.split_at(at);
    let (operator, right) = match rest.get(..2) {
        Some(shift @ ("<<" | ">>")) => (shift, &rest[2..]),
        _ => rest.split_at(1),
    };
    apply(operator, value(left)?, value(right)?)
}

fn apply(operator: &str, left: u64, right: u64) -> Option<u64> {
    let shift = u32::try_from(right).ok();
    Some(match operator {
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" => left.checked_div(right)?,
        "%" => left.checked_rem(right)?,
        "&" => left & right,
        "|" => left | right,
        "^" => left ^ right,
        "<<" => shift.and_then(|by| left.checked_shl(by)).unwrap_or(0),
        ">>" => shift.and_then(|by| left.checked_shr(by)).unwrap_or(0),
        "#" => power(left, right),
        _ => return None,
    })
}

/// The lowest 64 bits of a power.
fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1u64, base);
    while exponent != 0 {
        if exponent & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        exponent >>= 1;
    }
    result
}

/// A symbol's address, or a number with its unit; `~` in front turns its bits around.
fn value(session: &Session, word: &str) -> Option<u64> {
    let (word, turned) = word.strip_prefix('~').map_or((word, false), |word| (word, true));
    let symbol = session.kernel.all_symbols().ok().and_then(|symbols| symbols.address(word));
    let found = match symbol {
        Some(address) => address.0,
        None => with_unit(word)?,
    };
    Some(if turned { !found } else { found })
}

fn with_unit(word: &str) -> Option<u64> {
    let units = [(['k', 'K'], 10), (['m', 'M'], 20), (['g', 'G'], 30)];
    for (letters, shift) in units {
        if let Some(digits) = word.strip_suffix(letters) {
            return Some(number(digits.trim_end())?.wrapping_shl(shift));
        }
    }
    number(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_operators() {
        assert_eq!(with_unit("128m"), Some(128 << 20));
        assert_eq!(with_unit("64 k"), Some(64 << 10));
        assert_eq!(with_unit("0x10K"), Some(16 << 10));
        assert_eq!(with_unit("1t"), None);
        assert_eq!(apply("#", 2, 10), Some(1024));
        assert_eq!(apply("#", 3, 0), Some(1));
        assert_eq!(apply("-", 10, 20), Some(10u64.wrapping_neg()));
        assert_eq!(apply("/", 7, 0), None);
        assert_eq!(apply("%", 7, 0), None);
        assert_eq!((apply("<<", 1, 40), apply("<<", 1, 64)), (Some(1 << 40), Some(0)));
        assert_eq!(apply(">>", 0xff, u64::MAX), Some(0));
    }

    #[test]
    fn bits_are_broken_into_lines() {
        let mut out = String::new();
        Evaluated::new(u64::MAX, true).render(&mut out, Style::default());
        let lines: Vec<&str> = out.lines().skip(4).collect();
        assert_eq!(
            lines[0].trim_end(),
            "   bits set: 63 62 61 60 59 58 57 56 55 54 53 52 51 50 \
                                         49 48 47 46 45 44 43 42"
        );
        assert!(lines[1].starts_with("             41 40"));
    }
}
