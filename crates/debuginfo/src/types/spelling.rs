//! How C spells a type.

use super::base_names;
use super::{Compound, CompoundKind, Enum, Function, Qualifier, Type, TypeId, TypeSource};
use std::cell::Cell;

/// Pointers to arrays of functions … inside each other: far fewer.
const MAX_DEPTH: usize = 64;

/// Functions that take functions that take functions …
const MAX_NESTING: usize = 8;

/// Types that one spelling visits: a damaged function that takes itself many times over would
/// fill memory.
const MAX_VISITS: usize = 4096;

/// How much a spelling may still visit.
#[derive(Clone, Copy)]
pub(super) struct Budget<'a> {
    nesting: usize,
    visits: &'a Cell<usize>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(visits: &'a Cell<usize>) -> Self {
        visits.set(MAX_VISITS);
        Self { nesting: MAX_NESTING, visits }
    }

    /// The budget of a function's parameters; `None` when there is none left.
    fn nested(self) -> Option<Self> {
        Some(Self { nesting: self.nesting.checked_sub(1)?, visits: self.visits })
    }

    fn spend(self) -> Option<()> {
        self.visits.set(self.visits.get().checked_sub(1)?);
        Some(())
    }
}

/// The name of a type: `struct list_head *`, `int (*)(struct file *, int)`, `char [16]`. A struct
/// without a tag is `struct {...}`. What cannot be decoded is `<damaged type>`.
pub fn type_name(source: &dyn TypeSource, id: TypeId) -> String {
    declarator(source, id, "")
}

/// A declaration of `name` with a type: `struct list_head *name`, `int (*name)(void)`.
pub fn declarator(source: &dyn TypeSource, id: TypeId, name: &str) -> String {
    let visits = Cell::new(0);
    declare(source, id, name, Budget::new(&visits), Typedefs::Keep, &|_, ty| tag(ty))
}

/// What is done with a typedef that the pointers and arrays lead to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Typedefs {
    /// Its name is the spelling.
    Keep,
    /// What it stands for is spelled.
    Resolve,
}

/// A declaration of `name` within `budget`; `base` spells the struct, union or enum that all the pointers and
/// arrays lead to.
pub(super) fn declare(
    source: &dyn TypeSource,
    id: TypeId,
    name: &str,
    budget: Budget<'_>,
    typedefs: Typedefs,
    base: &dyn Fn(TypeId, &Type) -> String,
) -> String {
    let mut at = id;
    // What stands around the name so far, and whether it begins with a pointer: then what
    // follows binds tighter and it needs parentheses.
    let mut inner = name.to_owned();
    let mut pointer = false;
    // Qualifiers stand in front of the base and behind a star.
    let mut qualifiers = Vec::new();
    for _ in 0..MAX_DEPTH {
        let (Ok(ty), Some(())) = (source.get(at), budget.spend()) else {
            return join("<damaged type>", &inner);
        };
        match &*ty {
            Type::Qualified { qualifier, target } => {
                qualifiers.push(*qualifier);
                at = *target;
            }
            Type::Pointer { target, .. } => {
                let words = words(&qualifiers);
                let follows = !inner.is_empty() && !inner.starts_with('[');
                let gap = if !words.is_empty() && follows { " " } else { "" };
                let gap_before = if words.is_empty() { "" } else { " " };
                inner = format!("*{gap_before}{words}{gap}{inner}");
                qualifiers.clear();
                pointer = true;
                at = *target;
            }
            Type::Array { element, count } => {
                let outer = group(inner, pointer);
                inner = match count {
                    Some(count) => format!("{outer}[{count}]"),
                    None => format!("{outer}[]"),
                };
                pointer = false;
                at = *element;
            }
            Type::Function(function) => {
                inner =
                    format!("{}{}", group(inner, pointer), parameters(source, function, budget));
                pointer = false;
                at = function.result;
            }
            Type::Typedef { target, .. } if typedefs == Typedefs::Resolve => at = *target,
            other => {
                let spelled = base(at, other);
                let words = words(&qualifiers);
                let spelled = if words.is_empty() { spelled } else { format!("{words} {spelled}") };
                return join(&spelled, &inner);
            }
        }
    }
    join("<damaged type>", &inner)
}

fn group(inner: String, pointer: bool) -> String {
    if pointer { format!("({inner})") } else { inner }
}

fn join(base: &str, inner: &str) -> String {
    if inner.is_empty() { base.to_owned() } else { format!("{base} {inner}") }
}

/// Qualifiers in gdb's order.
fn words(qualifiers: &[Qualifier]) -> String {
    let order = [
        (Qualifier::Const, "const"),
        (Qualifier::Volatile, "volatile"),
        (Qualifier::Restrict, "restrict"),
        (Qualifier::Atomic, "_Atomic"),
    ];
    let present: Vec<&str> = order
        .iter()
        .filter(|(qualifier, _)| qualifiers.contains(qualifier))
        .map(|(_, word)| *word)
        .collect();
    present.join(" ")
}

fn parameters(source: &dyn TypeSource, function: &Function, budget: Budget<'_>) -> String {
    let Some(budget) = budget.nested() else { return "(...)".to_owned() };
    let mut types: Vec<String> = Vec::new();
    for (_, id) in &function.parameters {
        if budget.spend().is_none() {
            types.push("...".to_owned());
            break;
        }
        types.push(declare(source, *id, "", budget, Typedefs::Keep, &|_, ty| tag(ty)));
    }
    if function.variadic {
        types.push("...".to_owned());
    }
    if types.is_empty() {
        types.push("void".to_owned());
    }
    format!("({})", types.join(", "))
}

/// How a type that is no pointer, array or function is referred to.
pub(super) fn tag(ty: &Type) -> String {
    match ty {
        Type::Void => "void".to_owned(),
        Type::Int { name, .. } => base_names::shown(name).to_owned(),
        Type::Float { name, .. } | Type::Typedef { name, .. } => name.to_string(),
        Type::Compound(Compound { kind, name, .. }) => {
            let keyword = keyword(*kind);
            match name {
                Some(name) => format!("{keyword} {name}"),
                None => format!("{keyword} {{...}}"),
            }
        }
        Type::Enum(Enum { name, .. }) => match name {
            Some(name) => format!("enum {name}"),
            None => "enum {...}".to_owned(),
        },
        Type::Pointer { .. } | Type::Array { .. } | Type::Qualified { .. } | Type::Function(_) => {
            "<damaged type>".to_owned()
        }
    }
}

pub(super) const fn keyword(kind: CompoundKind) -> &'static str {
    match kind {
        CompoundKind::Struct => "struct",
        CompoundKind::Union => "union",
    }
}
