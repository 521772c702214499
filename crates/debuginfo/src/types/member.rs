//! Members by path: `a.b[2].c`.

use super::{Compound, Member, Type, TypeError, TypeId, TypeSource, size_of, strip};

/// Anonymous structs and unions inside each other: far fewer.
const MAX_DEPTH: usize = 32;

/// Structs and unions that one search looks into.
const MAX_VISITS: usize = 4096;

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundMember {
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the outermost type.
    pub bit_offset: u64,
    /// Width in bits of a bit field; `None` otherwise.
    pub bit_size: Option<u32>,
}

impl FoundMember {
    /// Bytes from the start of the outermost type; for a bit field, of the byte it begins in.
    pub const fn offset(&self) -> u64 {
        self.bit_offset / 8
    }
}

/// Why a member was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// There is none of that name.
    #[error("{ty} has no member named {member}")]
    NoMember {
        /// The type that was searched.
        ty: String,
        /// The name.
        member: String,
    },
    /// `[…]` behind what is no array, or `.` behind what has no members.
    #[error("{ty} is no {wanted}")]
    WrongKind {
        /// The type as it is.
        ty: String,
        /// What the path takes it for.
        wanted: &'static str,
    },
    /// The path is not one.
    #[error("malformed member path {0:?}")]
    Path(String),
    /// A type on the way is damaged.
    #[error(transparent)]
    Type(#[from] TypeError),
}

/// Finds the member that `path` names in `ty`, a struct or union under any typedefs: names
/// joined by `.`, and `[index]`es into arrays. Members of anonymous structs and unions are found
/// by their own names, as in C.
///
/// # Errors
/// [`MemberError`] says what of the path does not fit.
pub fn find_member(
    source: &dyn TypeSource,
    ty: TypeId,
    path: &str,
) -> Result<FoundMember, MemberError> {
    let mut found = FoundMember { ty, bit_offset: 0, bit_size: None };
    for step in steps(path) {
        let step = step.ok_or_else(|| MemberError::Path(path.to_owned()))?;
        let next = match step {
            Step::Name(name) => named(source, found.ty, name)?,
            Step::Index(index) => indexed(source, found.ty, index)?,
        };
        found = FoundMember { bit_offset: found.bit_offset.wrapping_add(next.bit_offset), ..next };
    }
    Ok(found)
}

enum Step<'a> {
    Name(&'a str),
    Index(u64),
}

/// The steps of a path; `None` for one that is malformed.
fn steps(path: &str) -> impl Iterator<Item = Option<Step<'_>>> {
    path.split('.').flat_map(|part| {
        let mut pieces = part.split('[');
        let name = pieces.next().unwrap_or("").trim();
        let valid = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let name = std::iter::once(valid.then_some(Step::Name(name)));
        name.chain(pieces.map(|piece| {
            let digits = piece.trim_end().strip_suffix(']')?.trim();
            let index = match digits.strip_prefix("0x") {
                Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
                None => digits.parse(),
            };
            index.ok().map(Step::Index)
        }))
    })
}

fn indexed(source: &dyn TypeSource, ty: TypeId, index: u64) -> Result<FoundMember, MemberError> {
    match &*strip(source, ty)?.1 {
        Type::Array { element, .. } => {
            let bits = size_of(source, *element)?.saturating_mul(8).saturating_mul(index);
            Ok(FoundMember { ty: *element, bit_offset: bits, bit_size: None })
        }
        _ => Err(MemberError::WrongKind { ty: super::type_name(source, ty), wanted: "array" }),
    }
}

fn named(source: &dyn TypeSource, ty: TypeId, name: &str) -> Result<FoundMember, MemberError> {
    match &*strip(source, ty)?.1 {
        Type::Compound(compound) => {
            let mut visits = MAX_VISITS;
            search(source, compound, name, 0, &mut visits)?.ok_or_else(|| MemberError::NoMember {
                ty: super::type_name(source, ty),
                member: name.to_owned(),
            })
        }
        _ => Err(MemberError::WrongKind {
            ty: super::type_name(source, ty),
            wanted: "struct or union",
        }),
    }
}

fn search(
    source: &dyn TypeSource,
    compound: &Compound,
    name: &str,
    depth: usize,
    visits: &mut usize,
) -> Result<Option<FoundMember>, TypeError> {
    let found = |member: &Member| FoundMember {
        ty: member.ty,
        bit_offset: member.bit_offset,
        bit_size: member.bit_size,
    };
    if let Some(member) =
        compound.members.iter().find(|member| member.name.as_deref() == Some(name))
    {
        return Ok(Some(found(member)));
    }
    if depth == MAX_DEPTH {
        return Ok(None);
    }
    let Some(left) = visits.checked_sub(1) else { return Ok(None) };
    *visits = left;
    for member in compound.members.iter().filter(|member| member.name.is_none()) {
        // One anonymous member that is damaged does not hide the others.
        let Ok((_, ty)) = strip(source, member.ty) else { continue };
        if let Type::Compound(inner) = &*ty
            && let Some(inner) = search(source, inner, name, depth + 1, visits)?
        {
            let bit_offset = member.bit_offset.wrapping_add(inner.bit_offset);
            return Ok(Some(FoundMember { bit_offset, ..inner }));
        }
    }
    Ok(None)
}
