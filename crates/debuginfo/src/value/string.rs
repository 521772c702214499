//! Strings and characters as gdb quotes them.

use super::TextOptions;

/// Appends `bytes` in quotes: escapes, runs of one byte as `'x' <repeats 20 times>`, and `...`
/// where the string is cut or `more` follows. One NUL at the end is not shown.
pub(super) fn quote_string(text: &mut String, bytes: &[u8], more: bool, options: &TextOptions) {
    let bytes = match bytes {
        [start @ .., 0] if !more => start,
        whole => whole,
    };
    if bytes.is_empty() {
        text.push_str("\"\"");
        return;
    }
    let mut at = 0;
    let mut open = false;
    while let Some(&byte) = bytes.get(at)
        && (at as u64) < options.elements
    {
        let rest = bytes.get(at..).unwrap_or(&[]);
        let run = rest.iter().position(|&other| other != byte).unwrap_or(rest.len());
        let repeated = run as u64 > options.repeats;
        let left = usize::try_from(options.elements).unwrap_or(usize::MAX).saturating_sub(at);
        let run = if repeated { run } else { run.min(left) };
        if repeated {
            text.push_str(if open {
                "\", "
            } else if at > 0 {
                ", "
            } else {
                ""
            });
            open = false;
            quote_character(text, byte);
            text.push_str(&format!(" <repeats {run} times>"));
        } else {
            if !open {
                text.push_str(if at > 0 { ", \"" } else { "\"" });
                open = true;
            }
            for _ in 0..run {
                escape(text, byte, b'"');
            }
        }
        at += run;
    }
    if open {
        text.push('"');
    }
    if more || at < bytes.len() {
        text.push_str("...");
    }
}

/// Appends a character in quotes.
pub(super) fn quote_character(text: &mut String, byte: u8) {
    text.push('\'');
    escape(text, byte, b'\'');
    text.push('\'');
}

fn escape(text: &mut String, byte: u8, quote: u8) {
    match byte {
        0x07 => text.push_str("\\a"),
        0x08 => text.push_str("\\b"),
        0x0c => text.push_str("\\f"),
        b'\n' => text.push_str("\\n"),
        b'\r' => text.push_str("\\r"),
        b'\t' => text.push_str("\\t"),
        0x0b => text.push_str("\\v"),
        b' '..=b'~' => {
            if byte == quote || byte == b'\\' {
                text.push('\\');
            }
            text.push(char::from(byte));
        }
        _ => text.push_str(&format!("\\{byte:03o}")),
    }
}
