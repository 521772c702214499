//! `kmem -m`: chosen members of `struct page`.

use crate::command::CommandError;
use crate::output::{Render, Style};
use crate::session::Radix;
use crate::task_header::Hex;
use mortis_debuginfo::types::{
    IntEncoding, Namespace, Type, TypeSource, find_member, size_of, strip,
};
use mortis_kernel::Kernel;
use mortis_memory::{ReadError, VirtAddr};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// How a member is shown.
#[derive(Clone, Copy)]
enum Shape {
    Pointer,
    Number {
        signed: bool,
        decimal: bool,
    },
    /// Words of this many bytes each.
    Words(u64),
    Boolean,
}

/// A member that was asked for.
struct Member {
    name: String,
    bit_offset: u64,
    bit_size: Option<u32>,
    /// Bytes of its type.
    size: u64,
    shape: Shape,
}

/// Members of `struct page`.
pub(super) struct PageMembers {
    members: Vec<Member>,
}

/// The members' values in one `struct page`.
pub(super) struct MemberRow<'a> {
    page: Hex,
    names: Vec<&'a str>,
    values: Result<Vec<String>, ReadError>,
}

impl Serialize for MemberRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("page", &self.page)?;
        match &self.values {
            Ok(values) => {
                for (name, value) in self.names.iter().zip(values) {
                    map.serialize_entry(name, value)?;
                }
            }
            Err(error) => map.serialize_entry("unavailable", error.why.code())?,
        }
        map.end()
    }
}

impl Render for MemberRow<'_> {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:x}  ", self.page.0));
        match &self.values {
            Ok(values) => {
                for value in values {
                    out.push_str(value);
                    out.push_str("  ");
                }
            }
            Err(error) => out.push_str(&format!("<{}>", error.why.code())),
        }
        out.push('\n');
    }
}

impl PageMembers {
    /// Understands `member,member.member`.
    pub(super) fn parse(kernel: &Kernel, list: &str, radix: Radix) -> Result<Self, CommandError> {
        if list.ends_with([',', '.']) {
            return Err(CommandError::Message(format!("invalid format: {list}")));
        }
        let types = kernel.type_set();
        let page = types.lookup(Namespace::Struct, "page");
        let page = page.ok_or_else(|| CommandError::message("type not found: struct page"))?;
        let names: Vec<&str> = list.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return Err(CommandError::Message(format!(
                "invalid page struct member list format: {list}"
            )));
        }
        let members = names.into_iter().map(|name| {
            let invalid = || CommandError::Message(format!("invalid page struct member: {name}"));
            let found = find_member(types, page, name).map_err(|_| invalid())?;
            let unsupported =
                || CommandError::Message(format!("unsupported page member reference: page.{name}"));
            let (_, ty) = strip(types, found.ty)?;
            let size = size_of(types, found.ty)?;
            let is_count = name.starts_with("_count") || name.starts_with("_mapcount");
            let decimal = name != "flags" && (is_count || radix == Radix::Decimal);
            let shape = match &*ty {
                Type::Pointer { .. } => Shape::Pointer,
                Type::Int { encoding: IntEncoding::Boolean, .. } => Shape::Boolean,
                Type::Int { signed, size: 1 | 2 | 4 | 8, .. } => {
                    Shape::Number { signed: *signed, decimal }
                }
                // An atomic_t is shown as the number it is.
                Type::Compound(_) if is_count && size >= 4 => {
                    Shape::Number { signed: true, decimal: true }
                }
                Type::Compound(_) if size > 0 && size % 8 == 0 => Shape::Words(8),
                Type::Compound(_) if size > 0 && size % 4 == 0 => Shape::Words(4),
                Type::Compound(_) if size == 2 => Shape::Words(2),
                _ => return Err(unsupported()),
            };
            let size = if is_count && size >= 4 { 4 } else { size };
            let name = name.to_owned();
            Ok(Member { name, bit_offset: found.bit_offset, bit_size: found.bit_size, size, shape })
        });
        Ok(Self { members: members.collect::<Result<_, CommandError>>()? })
    }

    pub(super) fn heading(&self) -> String {
        let names: String =
            self.members.iter().map(|member| format!("  {}", member.name)).collect();
        format!("      PAGE      {names}\n")
    }

    /// The values in the `struct page` at `address` with these bytes.
    pub(super) fn row(
        &self,
        address: VirtAddr,
        page: &[u8],
        missing: Option<ReadError>,
    ) -> MemberRow<'_> {
        let values = match missing {
            Some(error) => Err(error),
            None => Ok(self.members.iter().map(|member| member.value(page)).collect()),
        };
        let names = self.members.iter().map(|member| member.name.as_str()).collect();
        MemberRow { page: Hex(address.0), names, values }
    }
}

impl Member {
    fn value(&self, page: &[u8]) -> String {
        let word = |at: u64, len: u64| {
            let bytes = usize::try_from(at).ok().and_then(|at| page.get(at..at + len as usize));
            let bytes = bytes.unwrap_or(&[]);
            bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let start = self.bit_offset / 8;
        match self.shape {
            Shape::Pointer => format!("{:016x}", word(start, 8)),
            Shape::Boolean => match word(start, 1) {
                0 => "false".to_owned(),
                1 => "true".to_owned(),
                other => other.to_string(),
            },
            Shape::Words(len) => {
                let width = len as usize * 2;
                let words = (0..self.size / len).map(|index| word(start + index * len, len));
                let words: Vec<String> = words.map(|word| format!("{word:0width$x}")).collect();
                words.join(",")
            }
            Shape::Number { signed, decimal } => {
                let (number, bits) = match self.bit_size {
                    None => (word(start, self.size), self.size as u32 * 8),
                    Some(bits) => {
                        let shifted = word(start, 8.min((page.len() as u64).saturating_sub(start)));
                        let shifted = shifted >> (self.bit_offset % 8);
                        (shifted & (u64::MAX >> (64 - bits.clamp(1, 64))), self.size as u32 * 8)
                    }
                };
                let unused = 64 - bits.clamp(1, 64);
                match (decimal, signed) {
                    (true, true) => ((number << unused).cast_signed() >> unused).to_string(),
                    (true, false) => number.to_string(),
                    (false, _) => format!("{number:0width$x}", width = self.size as usize * 2),
                }
            }
        }
    }
}
