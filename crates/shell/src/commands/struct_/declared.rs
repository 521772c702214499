//! The layout of a structure, as `ptype` declares it.

use super::member::position;
use super::request::{Request, StructType};
use super::{CommandError, invalid_reference};
use crate::output::{Output, Render, Style};
use mortis_debuginfo::types::{
    Compound, Offsets, Type, TypeSource, declaration, declarator, find_member, strip, type_name,
};
use mortis_kernel::expression::Evaluator;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// A structure's layout.
#[derive(Serialize)]
pub(in crate::commands) struct Layout {
    #[serde(rename = "type")]
    ty: String,
    size: u64,
    members: Vec<MemberLayout>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct MemberLayout {
    /// Null for an anonymous struct or union, whose members follow.
    name: Option<String>,
    #[serde(rename = "type")]
    ty: String,
    /// Bytes from the start of the structure.
    offset: u64,
    /// The first bit in that byte, and how many, of a bit field.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<(u64, u32)>,
}

impl Render for Layout {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}

/// Shows the layout: of the whole, or of the members that were asked for. With an
/// address, offsets are addresses.
pub(super) fn show(
    evaluator: &Evaluator,
    request: &Request,
    address: Option<VirtAddr>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let offsets = match (address, request.hexadecimal) {
        (Some(address), _) => Offsets::Addresses(address.0),
        (None, true) => Offsets::Hexadecimal,
        (None, false) => Offsets::Decimal,
    };
    if request.members.is_empty() {
        let offsets = if request.offsets { offsets } else { Offsets::None };
        return Ok(out.emit(&whole(
            evaluator.types(),
            &request.ty,
            offsets,
            request.hexadecimal,
        )?)?);
    }
    let (ty, paths) = (&request.ty, &request.members);
    Ok(out.emit(&members(evaluator.types(), ty, paths, offsets, request.hexadecimal)?)?)
}

/// The layout of a whole structure, with its size.
pub(in crate::commands) fn whole(
    types: &dyn TypeSource,
    ty: &StructType,
    offsets: Offsets,
    hexadecimal: bool,
) -> Result<Layout, CommandError> {
    let declared = declaration(types, ty.id, offsets)?;
    let size = if hexadecimal { format!("{:#x}", ty.size) } else { ty.size.to_string() };
    let text = match ty.is_typedef {
        true => format!("typedef {declared} {};\nSIZE: {size}\n", ty.name),
        false => format!("{declared}\nSIZE: {size}\n"),
    };
    let mut members = Vec::new();
    if let Type::Compound(compound) = &*strip(types, ty.id)?.1 {
        list(types, compound, 0, 0, &mut members);
    }
    Ok(Layout { ty: ty.shown(), size: ty.size, members, text })
}

/// Anonymous structs inside each other: far fewer.
const MAX_DEPTH: usize = 32;

fn list(
    types: &dyn TypeSource,
    compound: &Compound,
    outer: u64,
    depth: usize,
    members: &mut Vec<MemberLayout>,
) {
    for member in &compound.members {
        let bit_offset = outer.wrapping_add(member.bit_offset);
        members.push(MemberLayout {
            name: member.name.as_deref().map(str::to_owned),
            ty: type_name(types, member.ty),
            offset: bit_offset / 8,
            bits: member.bit_size.map(|bits| (bit_offset % 8, bits)),
        });
        if member.name.is_none()
            && depth < MAX_DEPTH
            && let Ok((_, inner)) = strip(types, member.ty)
            && let Type::Compound(inner) = &*inner
        {
            list(types, inner, bit_offset, depth + 1, members);
        }
    }
}

/// Single members, each on a line with its offset, in the columns where they stand in the whole.
pub(in crate::commands) fn members(
    types: &dyn TypeSource,
    ty: &StructType,
    paths: &[String],
    offsets: Offsets,
    hexadecimal: bool,
) -> Result<Layout, CommandError> {
    let size = match hexadecimal {
        true => format!("{:#x}", ty.size),
        false => ty.size.to_string(),
    };
    // crash makes the column as wide as the structure's size in brackets, with two blanks.
    let width = size.len() + 4;
    let mut text = format!("{} {{\n", ty.shown());
    let mut members = Vec::new();
    for path in paths {
        let missing = |_| invalid_reference(&format!("{}.{path}", ty.name));
        let found = find_member(types, ty.id, path).map_err(missing)?;
        let depth = position(types, ty.id, path).map_or(0, |position| position.depth);
        let offset = match offsets {
            Offsets::Addresses(base) => format!("  [{:x}]", base.wrapping_add(found.offset())),
            Offsets::Hexadecimal => format!("  [{:#x}]", found.offset()),
            Offsets::Decimal | Offsets::None => format!("  [{}]", found.offset()),
        };
        let bits = found.bit_size.map_or(String::new(), |bits| format!(" : {bits}"));
        let declared = declarator(types, found.ty, path);
        let indent = " ".repeat(1 + 4 * depth);
        text.push_str(&format!("{offset:>width$}{indent}{declared}{bits};\n"));
        members.push(MemberLayout {
            name: Some(path.clone()),
            ty: type_name(types, found.ty),
            offset: found.offset(),
            bits: found.bit_size.map(|bits| (found.bit_offset % 8, bits)),
        });
    }
    text.push_str("}\n");
    Ok(Layout { ty: ty.shown(), size: ty.size, members, text })
}
