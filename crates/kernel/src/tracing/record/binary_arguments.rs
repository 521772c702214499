//! The arguments of `trace_printk()`, recorded before they are printed.

use super::super::print_format::PrintArgument;
use super::MAX_STRING;

/// The arguments for `format` as `vbin_printf()` stores them: each at a multiple of its size, but
/// of four for eight bytes, and strings as they are.
pub(super) fn binary_arguments(format: &str, buffer: &[u8]) -> Option<Vec<PrintArgument>> {
    let mut arguments = Vec::new();
    let mut at = 0usize;
    let mut take = |size: usize| -> Option<u64> {
        let start = at.checked_next_multiple_of(size.min(4))?;
        at = start.checked_add(size)?;
        let mut word = [0; 8];
        word.get_mut(..size)?.copy_from_slice(buffer.get(start..at)?);
        Some(u64::from_le_bytes(word))
    };
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        rest = &rest[percent + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            rest = behind;
            continue;
        }
        let mut size = 4;
        let kind = loop {
            let c = rest.chars().next()?;
            rest = &rest[c.len_utf8()..];
            match c {
                '*' => arguments.push(PrintArgument::Number(take(4)?)),
                'l' | 'L' | 'z' | 't' | 'q' | 'j' => size = 8,
                'h' => size /= 2,
                c if c.is_ascii_digit() || "-+ #.".contains(c) => {}
                kind => break kind,
            }
        };
        match kind {
            's' => {
                let mut text = Vec::new();
                loop {
                    match take(1)? as u8 {
                        0 => break,
                        byte if text.len() < MAX_STRING => text.push(byte),
                        _ => return None,
                    }
                }
                arguments.push(PrintArgument::Text(String::from_utf8_lossy(&text).into_owned()));
            }
            'c' => arguments.push(PrintArgument::Number(take(1)?)),
            'p' => arguments.push(PrintArgument::Number(take(8)?)),
            _ => arguments.push(PrintArgument::Number(take(size)?)),
        }
    }
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_trace_printk_are_aligned() {
        // %c, %d, %lx, %s: one byte, three of padding, four, eight, a string.
        let mut buffer = vec![b'x', 0, 0, 0];
        buffer.extend(7u32.to_le_bytes());
        buffer.extend(0x1234_5678_9abc_u64.to_le_bytes());
        buffer.extend(b"word\0");
        let found = binary_arguments("%c %d %lx %s", &buffer).expect("well formed");
        let shown: Vec<String> = found
            .iter()
            .map(|argument| match argument {
                PrintArgument::Number(number) => format!("{number:x}"),
                PrintArgument::Text(text) => text.clone(),
            })
            .collect();
        assert_eq!(shown, ["78", "7", "123456789abc", "word"]);
        assert!(binary_arguments("%d %d", &buffer[..6]).is_none());
    }
}
