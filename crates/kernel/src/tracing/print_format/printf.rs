//! The kernel's `sprintf()` (lib/vsprintf.c), with what its `%p` knows besides pointers.

use super::symbol;
use super::values::Value;
use crate::kernel::Kernel;
use mortis_memory::VirtAddr;

/// A conversion of a format string: flags, width, precision, and what it converts.
struct Conversion<'f> {
    flags: &'f str,
    width: usize,
    precision: Option<usize>,
    /// Bytes of the number.
    size: usize,
    kind: char,
}

/// Prints what `trace_printk()` was given.
pub(crate) fn printf_numbers(
    kernel: &Kernel,
    format: &str,
    arguments: &[PrintArgument],
) -> Option<String> {
    let values: Vec<Value> = arguments
        .iter()
        .map(|argument| match argument {
            PrintArgument::Number(number) => Value::Number(i128::from(*number)),
            PrintArgument::Text(text) => Value::Text(text.clone()),
        })
        .collect();
    printf(kernel, format, &values)
}

/// An argument of `trace_printk()`.
pub(crate) enum PrintArgument {
    /// A number or a pointer.
    Number(u64),
    /// A string, copied when the event was recorded.
    Text(String),
}

pub(super) fn printf(kernel: &Kernel, format: &str, arguments: &[Value]) -> Option<String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            out.push('%');
            rest = behind;
            continue;
        }
        let flags_end = rest.find(|c| !"-+ #0".contains(c))?;
        let (flags, behind) = rest.split_at(flags_end);
        rest = behind;
        let mut count = |rest: &mut &str| -> Option<usize> {
            if let Some(behind) = rest.strip_prefix('*') {
                *rest = behind;
                return usize::try_from(arguments.next()?.number()?).ok();
            }
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, behind) = rest.split_at(end);
            *rest = behind;
            Some(digits.parse().unwrap_or(0))
        };
        let width = count(&mut rest)?.min(1024);
        let precision = match rest.strip_prefix('.') {
            Some(behind) => {
                rest = behind;
                Some(count(&mut rest)?)
            }
            None => None,
        };
        let mut size = 4;
        loop {
            let (bytes, length) = match rest.as_bytes() {
                [b'h', b'h', ..] => (1, 2),
                [b'h', ..] => (2, 1),
                [b'l', b'l', ..] => (8, 2),
                [b'l' | b'L' | b'z' | b't' | b'q' | b'j', ..] => (8, 1),
                _ => break,
            };
            size = bytes;
            rest = &rest[length..];
        }
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        let conversion = Conversion { flags, width, precision, size, kind };
        let value = arguments.next()?;
        if kind == 'p' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let (extension, behind) = pointer_extension(&rest[..end], rest);
            out.push_str(&pad(&pointer(kernel, extension, value), &conversion));
            rest = behind;
        } else {
            out.push_str(&convert_value(&conversion, value)?);
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Takes the letters of `%pI4` and the like off: as many as the kernel knows (lib/vsprintf.c).
fn pointer_extension<'f>(letters: &'f str, rest: &'f str) -> (&'f str, &'f str) {
    let known = [
        "I6c", "I4", "I6", "i4", "i6", "ISpc", "ISp", "IS", "Ub", "Ul", "MF", "MR", "NF", "ad",
        "ap",
    ];
    let length = match known.iter().find(|known| letters.starts_with(**known)) {
        Some(known) => known.len(),
        None => match letters.as_bytes().first() {
            Some(
                b'S' | b's' | b'F' | b'f' | b'B' | b'x' | b'K' | b'M' | b'm' | b'U' | b'd' | b'D'
                | b'e' | b't' | b'h',
            ) => 1,
            _ => 0,
        },
    };
    (&letters[..length], &rest[length..])
}

/// A pointer as `%p` with its letters prints it.
fn pointer(kernel: &Kernel, extension: &str, value: &Value) -> String {
    if let Value::Bytes(bytes) = value {
        match (extension, bytes.as_slice()) {
            ("I4" | "i4", [a, b, c, d, ..]) => return format!("{a}.{b}.{c}.{d}"),
            ("I6c" | "I6", _) if bytes.len() >= 16 => {
                if let Some(octets) = bytes.first_chunk::<16>() {
                    return std::net::Ipv6Addr::from(*octets).to_string();
                }
            }
            ("M", [_, _, _, _, _, _, ..]) => {
                let octets: Vec<String> =
                    bytes.iter().take(6).map(|b| format!("{b:02x}")).collect();
                return octets.join(":");
            }
            ("U" | "Ub", _) if bytes.len() >= 16 => {
                let digits: String = bytes.iter().take(16).map(|b| format!("{b:02x}")).collect();
                let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
                let parts: Vec<&str> =
                    parts.into_iter().filter_map(|part| digits.get(part)).collect();
                return parts.join("-");
            }
            ("h" | "", _) => {
                let octets: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
                return octets.join(" ");
            }
            _ => {}
        }
    }
    let address = VirtAddr(value.number().unwrap_or(0) as u64);
    match extension {
        "S" | "F" | "B" => symbol(kernel, address, true),
        "s" | "f" => symbol(kernel, address, false),
        _ => match value {
            Value::Text(text) => text.clone(),
            _ => format!("{:016x}", address.0),
        },
    }
}

fn pad(text: &str, conversion: &Conversion<'_>) -> String {
    let width = conversion.width;
    match conversion.flags.contains('-') {
        true => format!("{text:<width$}"),
        false => format!("{text:>width$}"),
    }
}

fn convert_value(conversion: &Conversion<'_>, value: &Value) -> Option<String> {
    let bits = 8 * conversion.size as u32;
    let number = || value.number().map(|number| number as u64 & (u64::MAX >> (64 - bits)));
    let signed = || number().map(|number| (number << (64 - bits)).cast_signed() >> (64 - bits));
    let alternate = conversion.flags.contains('#');
    let (sign, digits) = match conversion.kind {
        's' => {
            let text = value.text();
            let limit = conversion.precision.unwrap_or(usize::MAX);
            return Some(pad(&text.chars().take(limit).collect::<String>(), conversion));
        }
        'c' => return Some(pad(&char::from(number()? as u8).to_string(), conversion)),
        'd' | 'i' => {
            let number = signed()?;
            let plus = if conversion.flags.contains('+') { "+" } else { "" };
            (if number < 0 { "-" } else { plus }, number.unsigned_abs().to_string())
        }
        'u' => ("", number()?.to_string()),
        'x' => (if alternate { "0x" } else { "" }, format!("{:x}", number()?)),
        'X' => (if alternate { "0X" } else { "" }, format!("{:X}", number()?)),
        'o' => (if alternate { "0" } else { "" }, format!("{:o}", number()?)),
        _ => return None,
    };
    let digits = match conversion.precision {
        Some(precision) => format!("{digits:0>width$}", width = precision.min(64)),
        None => digits,
    };
    let zeros = conversion.flags.contains('0') && !conversion.flags.contains('-');
    if zeros && conversion.precision.is_none() {
        let width = conversion.width.saturating_sub(sign.len());
        return Some(format!("{sign}{digits:0>width$}"));
    }
    Some(pad(&format!("{sign}{digits}"), conversion))
}
