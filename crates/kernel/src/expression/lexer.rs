//! Text into tokens.

use super::ExpressionError;

/// A token and where its text starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Number {
        value: u64,
        unsigned: bool,
        long: bool,
    },
    /// `1.5`, `1e3`; the size of its type in bytes.
    Float {
        value: f64,
        size: u64,
    },
    /// `'a'`.
    Character(u8),
    Name(String),
    /// `SYMBOL:CPU`.
    PerCpu {
        symbol: String,
        cpu: u32,
    },
    /// `$1`; without a number `$`, the last.
    History(Option<usize>),
    /// An operator or a bracket, spelled as in C.
    Symbol(&'static str),
    End,
}

/// Longest first, so that `->` is not `-`.
const SYMBOLS: &[&str] = &[
    "->", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "(", ")", "[", "]", ".", "+", "-", "*",
    "/", "%", "&", "|", "^", "~", "!", "<", ">", "@", "?", ":", ",", "{", "}",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let (kind, len) = if let Some(float) = float(rest) {
            float
        } else if c.is_ascii_digit() {
            number(rest)?
        } else if c == '\'' {
            character(rest)?
        } else if c == '$' {
            history(rest)
        } else if is_name_start(c) {
            name(rest)
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (TokenKind::Symbol(symbol), symbol.len())
        } else {
            return Err(syntax("unexpected character", rest));
        };
        tokens.push(Token { kind, at });
        at += len;
    }
    tokens.push(Token { kind: TokenKind::End, at: text.len() });
    Ok(tokens)
}

pub(super) fn syntax(message: &'static str, rest: &str) -> ExpressionError {
    ExpressionError::Syntax { message, rest: rest.to_owned() }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Symbols made by the compiler hold dots (`foo.cold`, `bar.isra.0`); those are told from member
/// access by what C cannot have: a name followed by `.` and one of the compiler's words.
fn name(text: &str) -> (TokenKind, usize) {
    let word = |text: &str| {
        text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
    };
    let mut len = word(text);
    while let Some(rest) = text[len..].strip_prefix('.') {
        let part = &rest[..word(rest)];
        let made = matches!(part, "cold" | "isra" | "constprop" | "part" | "llvm" | "lto_priv")
            || (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        if !made {
            break;
        }
        len += 1 + part.len();
    }
    let symbol = text[..len].to_owned();
    if let Some(rest) = text[len..].strip_prefix(':') {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if let Ok(cpu) = rest[..digits].parse() {
            return (TokenKind::PerCpu { symbol, cpu }, len + 1 + digits);
        }
    }
    (TokenKind::Name(symbol), len)
}

fn history(text: &str) -> (TokenKind, usize) {
    let digits = text[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - 1);
    (TokenKind::History(text[1..=digits].parse().ok()), 1 + digits)
}

/// A number with a point or an exponent. `88810e5000` is an address without its `0x`: exponents
/// that a `double` has are short.
fn float(text: &str) -> Option<(TokenKind, usize)> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or("");
        from + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
    };
    let whole = digits(0);
    let mut end = whole;
    if whole > 0 && text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if end == 0 {
        return None;
    }
    let exponent = text[end..].strip_prefix(['e', 'E']).map(|rest| {
        let sign = usize::from(rest.starts_with(['+', '-']));
        (end + 1 + sign, digits(end + 1 + sign))
    });
    if let Some((from, to)) = exponent.filter(|(from, to)| (1..=3).contains(&(to - from))) {
        debug_assert!(from < to);
        end = to;
    }
    if end == whole {
        return None;
    }
    let value = text[..end].parse().ok()?;
    let (size, suffix) = match text[end..].chars().next() {
        Some('f' | 'F') => (4, 1),
        Some('l' | 'L') => (8, 1),
        _ => (8, 0),
    };
    let len = end + suffix;
    let ends = !text[len..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    ends.then_some((TokenKind::Float { value, size }, len))
}

fn number(text: &str) -> Result<(TokenKind, usize), ExpressionError> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let word = text[..end].to_ascii_lowercase();
    let (radix, digits) = match word.strip_prefix("0x") {
        Some(digits) => (16, digits),
        None if word.len() > 1 && word.starts_with('0') => (8, &word[1..]),
        None => (10, word.as_str()),
    };
    let suffix_at = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at(suffix_at);
    let (unsigned, long) = match suffix {
        "" => (false, false),
        "u" => (true, false),
        "l" | "ll" => (false, true),
        "ul" | "ull" | "lu" | "llu" => (true, true),
        // Addresses are typed without `0x`, as crash prints them.
        _ => match u64::from_str_radix(&word, 16) {
            Ok(value) => {
                return Ok((TokenKind::Number { value, unsigned: true, long: true }, end));
            }
            Err(_) => return Err(syntax("not a number", text)),
        },
    };
    let value =
        u64::from_str_radix(digits, radix).map_err(|_| syntax("not a 64-bit number", text))?;
    Ok((TokenKind::Number { value, unsigned, long }, end))
}

fn character(text: &str) -> Result<(TokenKind, usize), ExpressionError> {
    let mut chars = text.char_indices().skip(1);
    let invalid = || syntax("not a character", text);
    let (_, first) = chars.next().ok_or_else(invalid)?;
    let value = if first == '\\' {
        match chars.next().ok_or_else(invalid)?.1 {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            '0' => 0,
            other => u8::try_from(other).map_err(|_| invalid())?,
        }
    } else {
        u8::try_from(first).map_err(|_| invalid())?
    };
    match chars.next() {
        Some((at, '\'')) => Ok((TokenKind::Character(value), at + 1)),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text).expect("tokens").into_iter().map(|token| token.kind).collect()
    }

    fn plain(value: u64) -> TokenKind {
        TokenKind::Number { value, unsigned: false, long: false }
    }

    #[test]
    fn numbers_in_every_spelling() {
        assert_eq!(kinds("10 0x1F 017")[..3], [plain(10), plain(0x1f), plain(15)]);
        let characters = [TokenKind::Character(b'a'), TokenKind::Character(b'\n')];
        assert_eq!(kinds("'a' '\\n'")[..2], characters);
        let unsigned_long = |value| TokenKind::Number { value, unsigned: true, long: true };
        assert_eq!(kinds("5ul ")[0], unsigned_long(5));
        assert_eq!(kinds("8100ff00")[0], unsigned_long(0x8100_ff00));
        assert!(tokens("0x1ffffffffffffffff").is_err());
        assert!(tokens("5xyz").is_err());
    }

    #[test]
    fn names_of_the_compiler_and_of_cpus() {
        assert_eq!(kinds("foo.cold.2 a.b")[0], TokenKind::Name("foo.cold.2".into()));
        assert_eq!(kinds("a.b")[1], TokenKind::Symbol("."));
        let runqueues = TokenKind::PerCpu { symbol: "runqueues".into(), cpu: 1 };
        assert_eq!(kinds("runqueues:1.nr_running")[..2], [runqueues, TokenKind::Symbol(".")]);
    }

    #[test]
    fn values_shown_before_have_numbers() {
        assert_eq!(kinds("$12.x")[0], TokenKind::History(Some(12)));
        assert_eq!(kinds("$")[0], TokenKind::History(None));
        assert_eq!(kinds("$ + 1")[1], TokenKind::Symbol("+"));
    }

    #[test]
    fn operators_are_taken_longest_first() {
        assert_eq!(kinds("a->b>>1")[1], TokenKind::Symbol("->"));
        assert_eq!(kinds("a->b>>1")[3], TokenKind::Symbol(">>"));
        assert!(tokens("a # b").is_err());
    }
}
