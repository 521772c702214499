//! A [`Value`] as gdb prints it with `set print pretty on`.

use super::string::{quote_character, quote_string};
use super::{EnumMeaning, PointedString, Value, ValueLimits};
use crate::types::{Type, TypeId, TypeSource, strip, strip_qualifiers, type_name};
use mortis_memory::Unavailable;

/// How numbers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Radix {
    /// `10`, and characters beside their numbers.
    #[default]
    Decimal,
    /// `0xa`.
    Hexadecimal,
}

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// The radix of integers.
    pub radix: Radix,
    /// Characters of an array of `char` (`set print elements`).
    pub elements: u64,
    /// More equal elements in a row than this are shown as one (`set print repeats`).
    pub repeats: u64,
    /// How deep the value stands in what is printed around it: two columns each.
    pub level: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        let ValueLimits { elements, repeats, .. } = ValueLimits::default();
        Self { radix: Radix::Decimal, elements, repeats, level: 0 }
    }
}

impl Value {
    /// The value as text, without a line feed at its end.
    pub fn text(&self, options: &TextOptions) -> String {
        let mut text = String::new();
        write(&mut text, self, options.level, options);
        text
    }

    /// The value as the answer to `print`: a pointer says its type, unless it is to `char`:
    /// `(struct mm_struct *) 0x0`.
    pub fn answer(&self, source: &dyn TypeSource, ty: TypeId, options: &TextOptions) -> String {
        let text = self.text(options);
        let is_string = |target| {
            let target = strip_qualifiers(source, target).map(|(_, target)| target);
            matches!(target.as_deref(), Ok(Type::Int { name, .. }) if **name == *"char")
        };
        match (strip(source, ty).as_ref().map(|(_, ty)| &**ty), source.get(ty).as_deref()) {
            (Ok(Type::Pointer { .. }), Ok(Type::Pointer { target, .. })) if is_string(*target) => {
                text
            }
            (Ok(Type::Pointer { .. }), _) => format!("({}) {text}", type_name(source, ty)),
            _ => text,
        }
    }
}

fn write(text: &mut String, value: &Value, level: usize, options: &TextOptions) {
    let hexadecimal = options.radix == Radix::Hexadecimal;
    match value {
        Value::Void => text.push_str("void"),
        Value::Integer { value, size, .. } if hexadecimal => {
            let unused = 128u32.saturating_sub((*size as u32).saturating_mul(8)).min(127);
            text.push_str(&format!("{:#x}", (*value as u128) << unused >> unused));
        }
        Value::Integer { value, character, .. } => {
            text.push_str(&value.to_string());
            if *character {
                text.push(' ');
                quote_character(text, *value as u8);
            }
        }
        Value::Boolean(value) if hexadecimal => text.push_str(&format!("{value:#x}")),
        Value::Boolean(0) => text.push_str("false"),
        Value::Boolean(1) => text.push_str("true"),
        Value::Boolean(value) => text.push_str(&value.to_string()),
        Value::Float { value, size } => {
            let digits = if *size == 4 { 9 } else { 17 };
            text.push_str(&significant(*value, digits));
        }
        Value::Enum { value, meaning } => write_enum(text, *value, meaning),
        Value::Pointer { address, symbol, string } => {
            write_address(text, address.0, symbol.as_deref());
            match string {
                Some(Ok(PointedString { bytes, terminated })) => {
                    text.push(' ');
                    quote_string(text, bytes, !terminated, options);
                }
                Some(Err(Unavailable::Unmapped)) => {
                    text.push_str(&format!(
                        " <error: Cannot access memory at address {:#x}>",
                        address.0
                    ));
                }
                Some(Err(why)) => text.push_str(&format!(" <{}>", why.code())),
                None => {}
            }
        }
        Value::Text(bytes) => quote_string(text, bytes, false, options),
        Value::Array { elements, omitted } => {
            text.push('{');
            let mut first = true;
            for element in elements {
                if !first {
                    text.push_str(", ");
                }
                first = false;
                write(text, &element.value, level + 1, options);
                if element.times > 1 {
                    text.push_str(&format!(" <repeats {} times>", element.times));
                }
            }
            if *omitted > 0 {
                text.push_str("...");
            }
            text.push('}');
        }
        Value::Compound(fields) if fields.is_empty() => text.push_str("{<No data fields>}"),
        Value::Compound(fields) => {
            text.push('{');
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push('\n');
                text.push_str(&" ".repeat(2 + 2 * level));
                if let Some(name) = &field.name {
                    text.push_str(name);
                    text.push_str(" = ");
                }
                write(text, &field.value, level + 1, options);
            }
            text.push('\n');
            text.push_str(&" ".repeat(2 * level));
            text.push('}');
        }
        Value::Function { ty, address, symbol } => {
            text.push_str(&format!("{{{ty}}} "));
            write_address(text, address.0, symbol.as_deref());
        }
        Value::Unavailable(why) => text.push_str(&format!("<{}>", why.code())),
        Value::Elided => text.push_str("{...}"),
        Value::Damaged(error) => text.push_str(&format!("<{error}>")),
    }
}

fn write_address(text: &mut String, address: u64, symbol: Option<&str>) {
    text.push_str(&format!("{address:#x}"));
    if let Some(symbol) = symbol {
        text.push_str(&format!(" <{symbol}>"));
    }
}

fn write_enum(text: &mut String, value: i128, meaning: &EnumMeaning) {
    match meaning {
        EnumMeaning::Name(name) => text.push_str(name),
        EnumMeaning::Unknown => text.push_str(&value.to_string()),
        EnumMeaning::Flags { names, unknown: 0 } if names.is_empty() => text.push('0'),
        EnumMeaning::Flags { names, unknown } => {
            text.push('(');
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    text.push_str(" | ");
                }
                text.push_str(name);
            }
            if *unknown != 0 {
                let separator = if names.is_empty() { "" } else { " | " };
                text.push_str(&format!("{separator}unknown: {unknown:#x}"));
            }
            text.push(')');
        }
    }
}

/// A number with at most `digits` significant digits: C's `%.{digits}g`.
fn significant(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:.precision$e}", precision = digits.saturating_sub(1));
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}
