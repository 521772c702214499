//! Values of a record's members.

use super::super::formats::Field;

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number.
    Number(i128),
    /// A string.
    Text(String),
    /// An array in the record.
    Bytes(Vec<u8>),
}

impl Value {
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Bytes(bytes) => {
                // A pointer to the array, of which only the address is not known.
                let mut word = [0; 8];
                word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                Some(i128::from(u64::from_le_bytes(word)))
            }
            Value::Text(text) => Some(i128::from(!text.is_empty())),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Bytes(bytes) => {
                let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                String::from_utf8_lossy(&bytes[..end]).into_owned()
            }
            Value::Number(number) => format!("{number:#x}"),
        }
    }
}

/// Reads a member of a record.
pub(super) fn read_field(field: &Field, record: &[u8]) -> Option<Value> {
    let bytes = record.get(field.offset..field.offset.checked_add(field.size)?)?;
    // `__data_loc`: where the data is, and its length in the upper half; `__rel_loc`: from the
    // member's end on.
    if field.ty.starts_with("__data_loc") || field.ty.starts_with("__rel_loc") {
        return Some(Value::Bytes(dynamic(field, record)?.to_vec()));
    }
    if field.ty.contains('[') || field.size > 8 {
        return Some(Value::Bytes(bytes.to_vec()));
    }
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let number = u64::from_le_bytes(word);
    let shift = 64 - 8 * field.size.clamp(1, 8) as u32;
    Some(Value::Number(match field.is_signed {
        true => i128::from((number << shift).cast_signed() >> shift),
        false => i128::from(number),
    }))
}

/// The data behind the members that `field` tells of.
pub(super) fn dynamic<'r>(field: &Field, record: &'r [u8]) -> Option<&'r [u8]> {
    let word = record.get(field.offset..field.offset.checked_add(4)?)?;
    let word = u32::from_le_bytes(*word.first_chunk()?);
    let (mut from, length) = ((word & 0xffff) as usize, (word >> 16) as usize);
    if field.ty.starts_with("__rel_loc") {
        from = from.checked_add(field.offset)?.checked_add(field.size)?;
    }
    record.get(from..from.checked_add(length)?)
}

/// A member as text, for events whose line of C is not understood.
pub fn plain_field(field: &Field, record: &[u8]) -> String {
    match read_field(field, record) {
        Some(Value::Bytes(bytes)) if field.ty.contains("char") => Value::Bytes(bytes).text(),
        Some(Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Some(Value::Number(number)) if field.is_signed => number.to_string(),
        Some(Value::Number(number)) => format!("{number:#x}"),
        Some(Value::Text(text)) => text,
        None => "?".to_owned(),
    }
}

/// The size of an array's elements, by its type.
pub(super) fn element_size(field: &Field) -> Option<usize> {
    if !field.ty.contains('[') {
        return None;
    }
    let ty = field.ty.trim_start_matches("__data_loc").trim_start_matches("__rel_loc").trim();
    let element = ty.split('[').next()?.trim();
    Some(match element {
        "u16" | "__u16" | "short" | "unsigned short" => 2,
        "u32" | "__u32" | "int" | "unsigned int" => 4,
        "u64" | "__u64" | "long" | "unsigned long" => 8,
        _ => 1,
    })
}

pub(super) fn elements(bytes: &[u8], size: usize) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(size.max(1)).map(|chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    })
}
