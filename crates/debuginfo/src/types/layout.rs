//! Sizes, and what lies under typedefs and qualifiers.

use super::{Namespace, Type, TypeError, TypeId, TypeSource};
use std::sync::Arc;

/// Typedefs and qualifiers that a sane type has on top of each other: far fewer.
const MAX_CHAIN: usize = 64;

/// The type that `id` stands for, without typedefs and qualifiers, and its id. A struct, union or
/// enum that is only declared where `id` comes from is looked up by name, in case another source
/// defines it.
///
/// # Errors
/// [`TypeError`] when a type on the way is damaged or the chain does not end.
pub fn strip(source: &dyn TypeSource, id: TypeId) -> Result<(TypeId, Arc<Type>), TypeError> {
    let mut at = id;
    for _ in 0..MAX_CHAIN {
        let ty = source.get(at)?;
        match &*ty {
            Type::Typedef { target, .. } | Type::Qualified { target, .. } => at = *target,
            _ => return complete(source, at, ty),
        }
    }
    Err(TypeError::Endless(id.0))
}

/// The type under the qualifiers of `id`, typedefs kept.
///
/// # Errors
/// As [`strip`].
pub fn strip_qualifiers(
    source: &dyn TypeSource,
    id: TypeId,
) -> Result<(TypeId, Arc<Type>), TypeError> {
    let mut at = id;
    for _ in 0..MAX_CHAIN {
        let ty = source.get(at)?;
        match &*ty {
            Type::Qualified { target, .. } => at = *target,
            _ => return Ok((at, ty)),
        }
    }
    Err(TypeError::Endless(id.0))
}

/// The definition of a type that is only declared, where there is one.
fn complete(
    source: &dyn TypeSource,
    id: TypeId,
    ty: Arc<Type>,
) -> Result<(TypeId, Arc<Type>), TypeError> {
    let (namespace, name) = match &*ty {
        Type::Compound(compound) if compound.incomplete => {
            (Namespace::of_compound(compound.kind), compound.name.as_deref())
        }
        Type::Enum(declared) if declared.incomplete => (Namespace::Enum, declared.name.as_deref()),
        _ => return Ok((id, ty)),
    };
    match name.and_then(|name| source.lookup(namespace, name)) {
        Some(defined) if defined != id => Ok((defined, source.get(defined)?)),
        _ => Ok((id, ty)),
    }
}

/// Bytes of a value of type `id`. A flexible array has none, and as in GNU C `void` and a
/// function have one.
///
/// # Errors
/// [`TypeError`] when a type on the way is damaged or has no size.
pub fn size_of(source: &dyn TypeSource, id: TypeId) -> Result<u64, TypeError> {
    let mut at = id;
    let mut times = 1u64;
    for _ in 0..MAX_CHAIN {
        let (_, ty) = strip(source, at)?;
        let size = match &*ty {
            Type::Void | Type::Function(_) => 1,
            Type::Int { size, .. } | Type::Float { size, .. } | Type::Pointer { size, .. } => *size,
            Type::Compound(compound) if compound.incomplete => {
                return Err(TypeError::NoSize(super::type_name(source, at)));
            }
            Type::Compound(compound) => compound.size,
            Type::Enum(kind) => kind.size,
            Type::Array { element, count } => {
                times = times.saturating_mul(count.unwrap_or(0));
                at = *element;
                continue;
            }
            // `strip` leaves none.
            Type::Typedef { .. } | Type::Qualified { .. } => 0,
        };
        return Ok(times.saturating_mul(size));
    }
    Err(TypeError::Endless(id.0))
}

/// What a pointer of type `id` points to, or the type of an array's elements.
///
/// # Errors
/// [`TypeError`] when a type on the way is damaged.
pub fn element_type(source: &dyn TypeSource, id: TypeId) -> Result<Option<TypeId>, TypeError> {
    Ok(match &*strip(source, id)?.1 {
        Type::Pointer { target, .. } => Some(*target),
        Type::Array { element, .. } => Some(*element),
        _ => None,
    })
}
