//! The JSON text at the end of a stream, which says what fields each device's state has and how
//! many bytes each of them takes (`QEMU_VM_VMDESCRIPTION`, since QEMU 2.3).

use crate::big_endian::be32_at;
use crate::source::{Source, read_up_to};
use rustc_hash::FxHashMap;
use serde_json::Value;

/// What is looked at for it: some hundred kilobytes are usual, ten a CPU.
const MAX_TAIL: u64 = 32 << 20;
/// Its section type, and the length behind that.
const KIND: u8 = 6;
const HEADER: usize = 5;
/// A subsection's type, the length of its name, and its version.
const SUBSECTION_HEADER: u64 = 1 + 1 + 4;

/// The size of each device's state.
pub(super) struct Description {
    sizes: FxHashMap<(String, u64), u64>,
}

impl Description {
    /// Looks for the text at the end of a stream.
    pub(super) fn find(source: &dyn Source) -> Option<Self> {
        let len = source.len().min(MAX_TAIL);
        let tail = read_up_to(source, source.len() - len, len);
        Self::parse(text(&tail)?)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(text).ok()?;
        let mut sizes = FxHashMap::default();
        for device in json.get("devices")?.as_array()? {
            let name = device.get("name").and_then(Value::as_str);
            let instance = device.get("instance_id").and_then(Value::as_u64);
            if let (Some(name), Some(instance), Some(size)) = (name, instance, size(device)) {
                sizes.insert((name.to_owned(), instance), size);
            }
        }
        Some(Self { sizes })
    }

    /// Bytes of a device's state.
    pub(super) fn size_of(&self, name: &str, instance: u32) -> Option<u64> {
        self.sizes.get(&(name.to_owned(), instance.into())).copied()
    }
}

/// The text at the end of `tail`, by the length in front of it. What lies behind it, such as the
/// rest of a block of a device, is passed over.
fn text(tail: &[u8]) -> Option<&[u8]> {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    let mut end = tail.len();
    for _ in 0..4 {
        let last = memchr::memrchr(b'}', tail.get(..end)?)?;
        let first = tail.get(..last)?.iter().rposition(|byte| !is_text(byte))? + 1;
        // The lower bytes of the length may look like text.
        let found = (first..first + 4).find_map(|start| {
            let header = tail.get(start.checked_sub(HEADER)?..start)?;
            let len = be32_at(header, 1)? as usize;
            let text = tail.get(start..start.checked_add(len)?)?;
            let fits = header.first() == Some(&KIND) && text.first() == Some(&b'{');
            fits.then_some(text)
        });
        if found.is_some() {
            return found;
        }
        end = first;
    }
    None
}

/// Bytes of a device's fields and subsections. Subsections of a structure within are in its size.
fn size(device: &Value) -> Option<u64> {
    let mut sum = fields(device)?;
    let subsections = device.get("subsections").and_then(Value::as_array);
    for subsection in subsections.into_iter().flatten() {
        let name = subsection.get("vmsd_name")?.as_str()?;
        sum = sum.checked_add(SUBSECTION_HEADER + name.len() as u64)?;
        sum = sum.checked_add(size(subsection)?)?;
    }
    Some(sum)
}

fn fields(device: &Value) -> Option<u64> {
    let Some(fields) = device.get("fields").and_then(Value::as_array) else { return Some(0) };
    let mut sum = 0u64;
    for field in fields {
        let count = field.get("array_len").and_then(Value::as_u64).unwrap_or(1);
        let size = field.get("size")?.as_u64()?.checked_mul(count)?;
        sum = sum.checked_add(size)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_by_its_length() {
        for len in [40usize, 0x1_2040, 0x41] {
            let json = format!("{{\"devices\": [{}]}}", " ".repeat(len - 15));
            assert_eq!(json.len(), len);
            let mut tail = b"binary\x00\xff\x00\x06".to_vec();
            tail.extend((len as u32).to_be_bytes());
            tail.extend(json.as_bytes());
            assert_eq!(text(&tail), Some(json.as_bytes()));
            tail.extend([0; 700]);
            assert_eq!(text(&tail), Some(json.as_bytes()));
            tail.truncate(tail.len() - 701);
            assert_eq!(text(&tail), None);
        }
    }

    #[test]
    fn sizes_are_those_of_all_fields() {
        let json = br#"{"page_size": 4096, "devices": [
            {"name": "a", "instance_id": 1, "fields": [
                {"name": "x", "size": 8, "array_len": 16}, {"name": "y", "size": 4}],
             "subsections": [{"vmsd_name": "a/b", "version": 1, "fields": [{"size": 2}],
                "subsections": [{"vmsd_name": "a/b/c", "fields": []}]}]},
            {"name": "b", "instance_id": 0}, {"name": "c", "instance_id": 0, "fields": [{}]}]}"#;
        let description = Description::parse(json).expect("it is JSON");
        assert_eq!(description.size_of("a", 1), Some(128 + 4 + (6 + 3 + 2) + (6 + 5)));
        assert_eq!(description.size_of("b", 0), Some(0));
        assert_eq!(description.size_of("c", 0), None);
        assert_eq!(description.size_of("a", 0), None);
    }
}
