//! Values of C types as commands show them: gdb's text and JSON of the one tree.
//!
//! In JSON a struct is an object of its members, those of anonymous structs and unions among
//! them as in C; numbers are numbers, booleans booleans, `char` arrays strings. A pointer is
//! `{"pointer":"0x…","symbol":"init_task","string":"…"}`, an enumerator `{"enum":"NAME","value":1}`.
//! More than ten equal elements of an array in a row are `{"repeat":8190,"value":0}`, and elements
//! that are left out `{"omitted":12}`.

use crate::session::{Radix, Session};
use mortis_debuginfo::value::{
    self, EnumMeaning, Field, Repeated, TextOptions, Value, ValueLimits,
};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A [`Value`] that serializes.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedValue(pub Value);

/// How values are shown, from a command's options and what the user has set.
#[derive(Clone, Copy, Debug)]
pub struct ValueStyle {
    /// The radix of numbers.
    pub radix: value::Radix,
    /// Elements of arrays and characters of strings (`set print elements`).
    pub elements: u64,
    /// Whether arrays of characters end at their first NUL.
    pub stop_at_null: bool,
}

/// crash has gdb show equal elements in a row one by one, however many.
const REPEATS: u64 = u64::MAX;

impl ValueStyle {
    /// The session's, in hexadecimal or decimal where a command's `-x` or `-d` says so.
    pub fn new(session: &Session, hexadecimal: bool, decimal: bool) -> Self {
        let hexadecimal = hexadecimal || (!decimal && session.settings.radix == Radix::Hexadecimal);
        let radix = if hexadecimal { value::Radix::Hexadecimal } else { value::Radix::Decimal };
        Self {
            radix,
            elements: session.settings.print_max as u64,
            stop_at_null: session.settings.null_stop,
        }
    }

    /// How much is decoded.
    pub fn limits(self) -> ValueLimits {
        ValueLimits {
            elements: self.elements,
            repeats: REPEATS,
            stop_at_null: self.stop_at_null,
            ..ValueLimits::default()
        }
    }

    /// How it is shown, `level` structs inside what is printed around it.
    pub fn text(self, level: usize) -> TextOptions {
        TextOptions { radix: self.radix, elements: self.elements, repeats: REPEATS, level }
    }
}

impl Serialize for TypedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Tree(&self.0).serialize(serializer)
    }
}

/// Equal elements in a row that are told one by one.
const SHORT_ROW: u64 = 10;

struct Tree<'a>(&'a Value);

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Void => serializer.serialize_unit(),
            Value::Integer { value, .. } => integer(*value, serializer),
            Value::Boolean(0) => serializer.serialize_bool(false),
            Value::Boolean(1) => serializer.serialize_bool(true),
            Value::Boolean(value) => serializer.serialize_u64(*value),
            Value::Float { value, .. } => serializer.serialize_f64(*value),
            Value::Enum { value, meaning } => enumerator(*value, meaning, serializer),
            Value::Pointer { address, symbol, string } => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("pointer", &format!("{:#x}", address.0))?;
                if let Some(symbol) = symbol {
                    map.serialize_entry("symbol", symbol)?;
                }
                match string {
                    Some(Ok(string)) => map.serialize_entry("string", &text(&string.bytes))?,
                    Some(Err(why)) => map.serialize_entry("string", &Unavailable(why.code()))?,
                    None => {}
                }
                map.end()
            }
            Value::Text(bytes) => serializer.serialize_str(&text(bytes)),
            Value::Array { elements, omitted } => array(elements, *omitted, serializer),
            Value::Compound(fields) => {
                let mut map = serializer.serialize_map(None)?;
                members(fields, &mut map)?;
                map.end()
            }
            Value::Function { ty, address, symbol } => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("function", ty)?;
                map.serialize_entry("address", &format!("{:#x}", address.0))?;
                map.serialize_entry("symbol", symbol)?;
                map.end()
            }
            Value::Unavailable(why) => Unavailable(why.code()).serialize(serializer),
            Value::Elided => Unavailable("elided").serialize(serializer),
            Value::Damaged(_) => Unavailable("unknown").serialize(serializer),
        }
    }
}

struct Unavailable(&'static str);

impl Serialize for Unavailable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("unavailable", self.0)?;
        map.end()
    }
}

/// JSON has numbers of any size, but few readers take more than 64 bits.
fn integer<S: Serializer>(value: i128, serializer: S) -> Result<S::Ok, S::Error> {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => serializer.serialize_i64(value),
        (_, Ok(value)) => serializer.serialize_u64(value),
        _ => serializer.serialize_str(&format!("{value:#x}")),
    }
}

fn enumerator<S: Serializer>(
    value: i128,
    meaning: &EnumMeaning,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    match meaning {
        EnumMeaning::Name(name) => map.serialize_entry("enum", &**name)?,
        EnumMeaning::Flags { names, .. } => {
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            map.serialize_entry("flags", &names)?;
        }
        EnumMeaning::Unknown => {}
    }
    map.serialize_entry("value", &TypedValue(Value::Integer { value, size: 8, character: false }))?;
    map.end()
}

fn array<S: Serializer>(
    elements: &[Repeated],
    omitted: u64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Row<'a>(&'a Repeated);
    impl Serialize for Row<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(2))?;
            map.serialize_entry("repeat", &self.0.times)?;
            map.serialize_entry("value", &Tree(&self.0.value))?;
            map.end()
        }
    }
    let mut sequence = serializer.serialize_seq(None)?;
    for element in elements {
        if element.times > SHORT_ROW {
            sequence.serialize_element(&Row(element))?;
            continue;
        }
        for _ in 0..element.times {
            sequence.serialize_element(&Tree(&element.value))?;
        }
    }
    if omitted > 0 {
        sequence.serialize_element(&std::collections::BTreeMap::from([("omitted", omitted)]))?;
    }
    sequence.end()
}

/// The members of anonymous structs and unions are told as if they were the outer one's: C lets no
/// two of them have the same name.
fn members<M: SerializeMap>(fields: &[Field], map: &mut M) -> Result<(), M::Error> {
    for field in fields {
        match (&field.name, &field.value) {
            (Some(name), value) => map.serialize_entry(&**name, &Tree(value))?,
            (None, Value::Compound(inner)) => members(inner, map)?,
            // An anonymous union that cannot be read has no names to tell.
            (None, _) => {}
        }
    }
    Ok(())
}

/// A string up to its NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_debuginfo::value::PointedString;
    use mortis_memory::VirtAddr;

    fn json(value: Value) -> String {
        serde_json::to_string(&TypedValue(value)).expect("serializable")
    }

    fn number(value: i128) -> Value {
        Value::Integer { value, size: 8, character: false }
    }

    #[test]
    fn members_of_anonymous_unions_are_the_structs() {
        let inner = Field {
            name: None,
            value: Value::Compound(vec![Field { name: Some("b".into()), value: number(2) }]),
        };
        let outer = Value::Compound(vec![
            Field { name: Some("a".into()), value: number(-1) },
            inner,
            Field {
                name: Some("c".into()),
                value: Value::Unavailable(mortis_memory::Unavailable::Excluded),
            },
        ]);
        assert_eq!(json(outer), r#"{"a":-1,"b":2,"c":{"unavailable":"excluded"}}"#);
    }

    #[test]
    fn numbers_keep_all_their_bits() {
        assert_eq!(json(number(i128::from(u64::MAX))), "18446744073709551615");
        assert_eq!(json(number(1 << 64)), "\"0x10000000000000000\"");
    }

    #[test]
    fn long_rows_of_equal_elements_are_one() {
        let array = Value::Array {
            elements: vec![
                Repeated { value: number(1), times: 2 },
                Repeated { value: number(0), times: 8190 },
            ],
            omitted: 3,
        };
        assert_eq!(json(array), r#"[1,1,{"repeat":8190,"value":0},{"omitted":3}]"#);
    }

    #[test]
    fn pointers_tell_symbol_and_string() {
        let pointer = Value::Pointer {
            address: VirtAddr(0x10),
            symbol: Some("banner".into()),
            string: Some(Ok(PointedString { bytes: b"Linux".to_vec(), terminated: true })),
        };
        assert_eq!(json(pointer), r#"{"pointer":"0x10","symbol":"banner","string":"Linux"}"#);
        assert_eq!(json(Value::Text(b"init\0\0".to_vec())), "\"init\"");
    }
}
