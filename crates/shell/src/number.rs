//! Numbers as crash reads them.

use crate::command::CommandError;

/// Whether a word is a number: digits, hexadecimal ones too, `0x` before them or not.
pub fn is_number(word: &str) -> bool {
    number(word).is_some()
}

/// A number as crash reads it where no radix is said: hexadecimal with `0x` or where a digit says
/// so, decimal otherwise, however long.
pub fn number(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let plain = digits.unwrap_or(word);
    if plain.is_empty() || !plain.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    if digits.is_none() && plain.bytes().all(|digit| digit.is_ascii_digit()) {
        return plain.parse().ok();
    }
    u64::from_str_radix(plain, 16).ok()
}

/// An address: hexadecimal digits, `0x` before them or not.
pub fn address(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    let all = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    all.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// An address, or what crash says of a word that is none.
///
/// # Errors
/// When it is none.
pub fn parse_address(word: &str) -> Result<u64, CommandError> {
    address(word).ok_or_else(|| CommandError::Message(format!("invalid input: \"{word}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_tell_the_radix() {
        assert_eq!(number("16777343"), Some(0x0100_007f));
        assert_eq!(number("0100007f"), Some(0x0100_007f));
        assert_eq!(number("1041236234"), Some(1_041_236_234));
        assert_eq!(number("0x10"), Some(16));
        for wrong in ["", "0x", "xyz", "+1", "-1", "10000000000000000000000"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
        assert_eq!(address("10"), Some(16));
        assert_eq!(address("0xg"), None);
    }
}
