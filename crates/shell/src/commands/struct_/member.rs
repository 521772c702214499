//! Single members of a structure in memory.

use super::invalid_reference;
use super::request::StructType;
use crate::command::CommandError;
use crate::typed_value::{TypedValue, ValueStyle};
use mortis_debuginfo::types::{Compound, Type, TypeId, TypeSource, strip, type_name};
use mortis_debuginfo::value::Value as Tree;
use mortis_kernel::expression::{Evaluator, Place, Value};
use serde::Serialize;

/// Anonymous structs and unions inside each other: far fewer.
const MAX_DEPTH: usize = 32;

/// A member and its value.
#[derive(Serialize)]
pub(in crate::commands) struct MemberValue {
    /// Its path: `se.load`.
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub address: Option<String>,
    pub value: TypedValue,
    #[serde(skip)]
    position: Position,
}

/// Where a member stands in the text of the whole structure, which crash cuts it out of.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Anonymous structs and unions around it.
    pub depth: usize,
    /// Whether nothing follows it in the innermost struct or union around it.
    pub is_last: bool,
}

impl MemberValue {
    pub fn read(
        evaluator: &Evaluator,
        ty: &StructType,
        base: &Value,
        path: &str,
        style: ValueStyle,
    ) -> Result<Self, CommandError> {
        let value = evaluator.member(base, path)?;
        let tree = evaluator.decode(&value, &style.limits())?;
        let position = position(evaluator.types(), ty.id, path)
            .ok_or_else(|| invalid_reference(&format!("{}.{path}", ty.name)))?;
        Ok(Self::new(path, type_name(evaluator.types(), value.ty), value.place, tree, position))
    }

    /// The member `path`, of the type so called, that was found at `place`.
    pub(super) fn new(
        path: &str,
        ty: String,
        place: Place,
        value: Tree,
        position: Position,
    ) -> Self {
        Self {
            name: path.to_owned(),
            ty,
            address: match place {
                Place::Memory { address, .. } => Some(format!("{:#x}", address.0)),
                Place::Computed(_) => None,
            },
            value: TypedValue(value),
            position,
        }
    }

    pub fn render(&self, out: &mut String, style: ValueStyle) {
        let level = 1 + self.position.depth;
        let value = self.value.0.text(&style.text(level));
        let comma = if self.position.is_last { "" } else { "," };
        out.push_str(&format!("{}{} = {value}{comma}\n", " ".repeat(2 * level), self.name));
    }
}

/// Where the member that `path` names stands. Nested members stand in the first column.
pub(super) fn position(types: &dyn TypeSource, ty: TypeId, path: &str) -> Option<Position> {
    let (outer, name) = path.rsplit_once('.').unwrap_or(("", path));
    let name = name.split('[').next().unwrap_or(name);
    let ty = if outer.is_empty() {
        ty
    } else {
        mortis_debuginfo::types::find_member(types, ty, outer).ok()?.ty
    };
    let (_, stripped) = strip(types, ty).ok()?;
    let Type::Compound(compound) = &*stripped else { return None };
    let found = search(types, compound, name, 0)?;
    Some(if outer.is_empty() { found } else { Position { depth: 0, ..found } })
}

fn search(
    types: &dyn TypeSource,
    compound: &Compound,
    name: &str,
    depth: usize,
) -> Option<Position> {
    if depth == MAX_DEPTH {
        return None;
    }
    let named = compound.members.iter().position(|member| member.name.as_deref() == Some(name));
    if let Some(index) = named {
        return Some(Position { depth, is_last: index + 1 == compound.members.len() });
    }
    compound.members.iter().filter(|member| member.name.is_none()).find_map(|member| match &*strip(
        types, member.ty,
    )
    .ok()?
    .1
    {
        Type::Compound(inner) => search(types, inner, name, depth + 1),
        _ => None,
    })
}
