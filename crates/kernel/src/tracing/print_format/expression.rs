//! Expressions of C over a record, worked out as they are read.

use super::super::formats::{Field, Format};
use super::values::{Value, dynamic, element_size, elements, read_field};
use crate::kernel::Kernel;
use mortis_debuginfo::types::TypeSource;

/// Expressions within each other; a line of C that is nested deeper is none of a kernel's.
const MAX_DEPTH: u32 = 200;

/// An array that is printed is not longer.
const MAX_ELEMENTS: usize = 1024;

/// Reads expressions, and works them out at once.
pub(super) struct Parser<'p> {
    kernel: &'p Kernel,
    format: &'p Format,
    record: &'p [u8],
    rest: &'p str,
    depth: u32,
}

/// Operators of two operands, the loosest first.
const BINARY: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl<'p> Parser<'p> {
    /// Reads the line of C of `format`, for that record.
    pub(super) fn new(kernel: &'p Kernel, format: &'p Format, record: &'p [u8]) -> Self {
        Self { kernel, format, record, rest: format.print_fmt.as_str(), depth: 0 }
    }

    /// Whether everything was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.trim().is_empty()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Goes past `token` if it is next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.eat(token).then_some(())
    }

    fn word(&mut self) -> Option<&'p str> {
        self.skip_blanks();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(word)
    }

    /// String literals, one behind another.
    pub(super) fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut any = false;
        while self.eat("\"") {
            any = true;
            let mut characters = self.rest.char_indices();
            loop {
                let (at, c) = characters.next()?;
                match c {
                    '"' => {
                        self.rest = &self.rest[at + 1..];
                        break;
                    }
                    '\\' => match characters.next()?.1 {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        '0' => text.push('\0'),
                        other => text.push(other),
                    },
                    other => text.push(other),
                }
            }
        }
        any.then_some(text)
    }

    pub(super) fn expression(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let condition = self.binary(0)?;
        let value = if self.eat("?") {
            let yes = self.expression()?;
            self.expect(":")?;
            let no = self.expression()?;
            if condition.number()? != 0 { yes } else { no }
        } else {
            condition
        };
        self.depth -= 1;
        Some(value)
    }

    /// The operator of `level` that is next, which is not the start of a longer one.
    fn operator(&mut self, level: usize) -> Option<&'static str> {
        self.skip_blanks();
        let operators = BINARY.get(level)?;
        let found = operators.iter().find(|operator| self.rest.starts_with(**operator))?;
        let behind = self.rest[found.len()..].chars().next();
        let is_longer = match *found {
            "|" => behind == Some('|'),
            "&" => behind == Some('&'),
            "<" | ">" => behind.map(|c| c.to_string()).as_deref() == Some(found),
            "-" => behind == Some('>'),
            _ => false,
        };
        if is_longer {
            return None;
        }
        self.rest = &self.rest[found.len()..];
        Some(found)
    }

    fn binary(&mut self, level: usize) -> Option<Value> {
        if level >= BINARY.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(level) {
            let right = self.binary(level + 1)?;
            left = Value::Number(operate(operator, left.number()?, right.number()?)?);
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = if self.eat("!") {
            Value::Number(i128::from(self.unary()?.number()? == 0))
        } else if self.eat("~") {
            Value::Number(!self.unary()?.number()?)
        } else if self.eat("-") {
            Value::Number(self.unary()?.number()?.checked_neg()?)
        } else if self.eat("&") || self.eat("*") {
            // An address of a member, or what a pointer to the record leads to: the member.
            self.unary()?
        } else if let Some(cast) = self.cast() {
            let value = self.unary()?;
            convert(value, &cast)
        } else {
            let value = self.primary()?;
            self.postfix(value)?
        };
        self.depth -= 1;
        Some(value)
    }

    /// A type in parentheses, if it is next.
    fn cast(&mut self) -> Option<String> {
        self.skip_blanks();
        let inner = self.rest.strip_prefix('(')?;
        let end = inner.find(')')?;
        let ty = inner[..end].trim();
        const WORDS: &[&str] = &[
            "unsigned", "signed", "int", "long", "short", "char", "void", "const", "struct",
            "enum", "union", "bool", "_Bool", "size_t", "ssize_t", "volatile", "__force",
        ];
        let is_word = |word: &str| {
            WORDS.contains(&word)
                || word.ends_with("_t")
                || matches!(word, "u8" | "u16" | "u32" | "u64" | "s8" | "s16" | "s32" | "s64")
                || matches!(word, "__u8" | "__u16" | "__u32" | "__u64" | "__s32" | "__s64")
                || matches!(word, "__le16" | "__le32" | "__le64" | "__be16" | "__be32" | "__be64")
        };
        let mut words = ty.split(|c: char| c.is_whitespace() || c == '*').filter(|w| !w.is_empty());
        let tagged =
            ["struct ", "enum ", "union ", "const struct "].iter().any(|tag| ty.starts_with(tag));
        let plain = ty.bytes().all(|b| b.is_ascii_alphanumeric() || b" _*".contains(&b));
        if !plain || ty.is_empty() || !(tagged || words.all(is_word)) {
            return None;
        }
        self.rest = &inner[end + 1..];
        Some(ty.to_owned())
    }

    fn postfix(&mut self, mut value: Value) -> Option<Value> {
        while self.eat("[") {
            let index = usize::try_from(self.expression()?.number()?).ok()?;
            self.expect("]")?;
            value = match value {
                Value::Bytes(bytes) => Value::Number(i128::from(*bytes.get(index)?)),
                _ => return None,
            };
        }
        Some(value)
    }

    fn primary(&mut self) -> Option<Value> {
        self.skip_blanks();
        let first = self.rest.chars().next()?;
        if first == '"' {
            return self.string().map(Value::Text);
        }
        if first == '(' {
            self.rest = &self.rest[1..];
            let value = self.expression()?;
            self.expect(")")?;
            return Some(value);
        }
        if first == '\'' {
            let mut characters = self.rest.chars().skip(1);
            let c = characters.next()?;
            self.rest = self.rest.get(1 + c.len_utf8() + 1..)?;
            return Some(Value::Number(i128::from(c as u32)));
        }
        let word = self.word()?;
        if first.is_ascii_digit() {
            return number(word).map(Value::Number);
        }
        if word == "REC" {
            self.expect("->")?;
            let name = self.word()?;
            let field = self.format.field(name)?;
            let element = element_size(&field);
            let value = read_field(&field, self.record)?;
            // Elements of arrays of anything wider than a byte.
            if let (Value::Bytes(bytes), Some(size)) = (&value, element)
                && self.eat("[")
            {
                let index = usize::try_from(self.expression()?.number()?).ok()?;
                self.expect("]")?;
                return elements(bytes, size).nth(index).map(|n| Value::Number(i128::from(n)));
            }
            return Some(value);
        }
        if self.eat("(") {
            return self.call(word);
        }
        // The value of an enumeration's constant; most stand as numbers already.
        let known = self.kernel.type_set().enumerator(word)?;
        Some(Value::Number(i128::from(known.1)))
    }

    /// The member that a function's argument names.
    fn argument_field(&mut self) -> Option<Field> {
        let name = self.word()?;
        self.expect(")")?;
        self.format.field(name)
    }

    fn call(&mut self, function: &str) -> Option<Value> {
        match function {
            "__get_str" | "__get_rel_str" => {
                let field = self.argument_field()?;
                let bytes = dynamic(&field, self.record)?.to_vec();
                Some(Value::Text(Value::Bytes(bytes).text()))
            }
            "__get_dynamic_array"
            | "__get_rel_dynamic_array"
            | "__get_sockaddr"
            | "__get_rel_sockaddr" => {
                let field = self.argument_field()?;
                Some(Value::Bytes(dynamic(&field, self.record)?.to_vec()))
            }
            "__get_dynamic_array_len" | "__get_rel_dynamic_array_len" => {
                let field = self.argument_field()?;
                Some(Value::Number(dynamic(&field, self.record)?.len() as i128))
            }
            "__get_bitmask" | "__get_cpumask" | "__get_rel_bitmask" | "__get_rel_cpumask" => {
                let field = self.argument_field()?;
                Some(Value::Text(bitmask(dynamic(&field, self.record)?)))
            }
            "__print_flags" | "__print_flags_u64" => {
                let bits = self.expression()?.number()?;
                self.expect(",")?;
                let delimiter = self.expression()?.text();
                let pairs = self.pairs()?;
                Some(Value::Text(flags(bits as u64, &delimiter, &pairs)))
            }
            "__print_symbolic" | "__print_symbolic_u64" => {
                let value = self.expression()?.number()?;
                let pairs = self.pairs()?;
                let known = pairs.into_iter().find(|(number, _)| *number as u64 == value as u64);
                Some(Value::Text(known.map_or_else(|| format!("{:#x}", value as u64), |(_, n)| n)))
            }
            "__print_hex" | "__print_hex_str" => {
                let bytes = self.expression()?;
                self.expect(",")?;
                let count = usize::try_from(self.expression()?.number()?).ok()?;
                self.expect(")")?;
                let Value::Bytes(bytes) = bytes else { return None };
                let between = if function == "__print_hex" { " " } else { "" };
                let digits = bytes.iter().take(count).map(|byte| format!("{byte:02x}"));
                Some(Value::Text(digits.collect::<Vec<_>>().join(between)))
            }
            "__print_array" => {
                let bytes = self.expression()?;
                self.expect(",")?;
                let count = usize::try_from(self.expression()?.number()?).ok()?;
                self.expect(",")?;
                let size = usize::try_from(self.expression()?.number()?).ok()?;
                self.expect(")")?;
                let Value::Bytes(bytes) = bytes else { return None };
                if !matches!(size, 1 | 2 | 4 | 8) {
                    return None;
                }
                let shown = elements(&bytes, size).take(count.min(MAX_ELEMENTS));
                let shown: Vec<String> = shown.map(|number| format!("{number:#x}")).collect();
                Some(Value::Text(format!("{{{}}}", shown.join(","))))
            }
            "sizeof" => {
                let end = self.rest.find(')')?;
                let ty = self.rest[..end].trim();
                let size = match ty {
                    "u8" | "char" | "unsigned char" | "__u8" => 1,
                    "u16" | "short" | "__u16" => 2,
                    "u32" | "int" | "unsigned int" | "__u32" => 4,
                    "u64" | "long" | "unsigned long" | "__u64" | "void *" => 8,
                    _ => return None,
                };
                self.rest = &self.rest[end + 1..];
                Some(Value::Number(size))
            }
            // Functions of one argument that give it back.
            "__builtin_constant_p" => {
                self.expression()?;
                self.expect(")")?;
                Some(Value::Number(0))
            }
            "__fswab16" | "__swab16" | "__builtin_bswap16" | "ntohs" | "be16_to_cpu" => {
                let number = self.expression()?.number()? as u16;
                self.expect(")")?;
                Some(Value::Number(i128::from(number.swap_bytes())))
            }
            "__fswab32" | "__swab32" | "__builtin_bswap32" | "ntohl" | "be32_to_cpu" => {
                let number = self.expression()?.number()? as u32;
                self.expect(")")?;
                Some(Value::Number(i128::from(number.swap_bytes())))
            }
            _ => None,
        }
    }

    /// `, {1, "ONE"}, {2, "TWO"})`.
    fn pairs(&mut self) -> Option<Vec<(i128, String)>> {
        let mut pairs = Vec::new();
        while self.eat(",") {
            self.expect("{")?;
            let number = self.expression()?.number()?;
            self.expect(",")?;
            pairs.push((number, self.expression()?.text()));
            self.expect("}")?;
        }
        self.expect(")")?;
        Some(pairs)
    }
}

/// A number as in C, with its suffix.
fn number(word: &str) -> Option<i128> {
    let digits = word.trim_end_matches(['u', 'U', 'l', 'L']);
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => i128::from_str_radix(hexadecimal, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8).ok(),
        None => digits.parse().ok(),
    }
}

fn operate(operator: &str, left: i128, right: i128) -> Option<i128> {
    let shift = || u32::try_from(right).ok().filter(|&bits| bits < 64);
    Some(match operator {
        "||" => i128::from(left != 0 || right != 0),
        "&&" => i128::from(left != 0 && right != 0),
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "==" => i128::from(left == right),
        "!=" => i128::from(left != right),
        "<=" => i128::from(left <= right),
        ">=" => i128::from(left >= right),
        "<" => i128::from(left < right),
        ">" => i128::from(left > right),
        "<<" => left.checked_mul(1i128.checked_shl(shift()?)?)?,
        ">>" => left >> shift()?,
        "+" => left.checked_add(right)?,
        "-" => left.checked_sub(right)?,
        "*" => left.checked_mul(right)?,
        "/" => left.checked_div(right)?,
        "%" => left.checked_rem(right)?,
        _ => return None,
    })
}

/// A value cast to a C type.
fn convert(value: Value, ty: &str) -> Value {
    let Value::Number(number) = value else { return value };
    if ty.contains('*') {
        return Value::Number(number);
    }
    let unsigned =
        ty.starts_with('u') || ty.starts_with("__u") || ty.contains("unsigned") || ty == "size_t";
    let bits = match ty {
        ty if ty.contains("char") || ty.ends_with("u8") || ty.ends_with("s8") => 8,
        ty if ty.contains("short") || ty.ends_with("16") => 16,
        ty if ty.contains("long") || ty.ends_with("64") || ty.ends_with("size_t") => 64,
        ty if ty.contains("int") || ty.ends_with("32") || ty == "unsigned" => 32,
        _ => return Value::Number(number),
    };
    let low = number & ((1i128 << bits) - 1);
    let is_negative = !unsigned && low >> (bits - 1) & 1 == 1;
    Value::Number(if is_negative { low - (1i128 << bits) } else { low })
}

/// As `trace_print_flags_seq()`.
fn flags(mut bits: u64, delimiter: &str, pairs: &[(i128, String)]) -> String {
    let mut names = Vec::new();
    for (mask, name) in pairs {
        let mask = *mask as u64;
        if mask & bits != mask || bits == 0 {
            continue;
        }
        names.push(name.clone());
        bits &= !mask;
    }
    if bits != 0 {
        names.push(format!("{bits:#x}"));
    }
    names.join(delimiter)
}

/// As `%*pb` prints it: words of 32 bits, the highest first.
fn bitmask(bytes: &[u8]) -> String {
    let words: Vec<String> = elements(bytes, 4).map(|word| format!("{word:08x}")).collect();
    words.into_iter().rev().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        assert_eq!(number("0x1fUL"), Some(31));
        assert_eq!(number("017"), Some(15));
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("12u"), Some(12));
        assert_eq!(number("x"), None);
    }

    #[test]
    fn casts_cut_and_extend() {
        let cast = |number, ty| convert(Value::Number(number), ty);
        assert_eq!(cast(0x1ff, "u8"), Value::Number(0xff));
        assert_eq!(cast(-1, "unsigned long"), Value::Number(i128::from(u64::MAX)));
        assert_eq!(cast(0xffff_ffff, "int"), Value::Number(-1));
        assert_eq!(cast(5, "gfp_t"), Value::Number(5));
    }

    #[test]
    fn flags_are_joined_and_what_is_left_is_a_number() {
        let pairs = [(3, "both".to_owned()), (1, "one".to_owned()), (4, "four".to_owned())];
        assert_eq!(flags(7, "|", &pairs), "both|four");
        assert_eq!(flags(9, "|", &pairs), "one|0x8");
        assert_eq!(flags(0, "|", &pairs), "");
    }

    #[test]
    fn arithmetic_neither_overflows_nor_divides_by_nothing() {
        assert_eq!(operate("/", 1, 0), None);
        assert_eq!(operate("<<", 1, 200), None);
        assert_eq!(operate("<<", 1, 63), Some(1 << 63));
        assert_eq!(operate("*", i128::MAX, 2), None);
    }
}
