//! The C types of a kernel, wherever they come from.
//!
//! BTF and DWARF describe the same C types in different words. [`Type`] is the one form that the
//! rest of Mortis sees; a [`TypeSource`] decodes them one at a time, on demand, and keeps what it
//! decoded. A [`TypeId`] is opaque: it means something only to the [`TypeSource`] it came from.

mod base_names;
mod declaration;
mod layout;
mod member;
mod parse;
mod set;
mod spelling;

pub use declaration::{Offsets, declaration};
pub use layout::{element_type, size_of, strip, strip_qualifiers};
pub use member::{FoundMember, MemberError, find_member};
pub use parse::{ParseTypeError, parse_type};
pub use set::TypeSet;
pub use spelling::{declarator, type_name};

use std::sync::Arc;

/// Names one type within the [`TypeSource`] that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u64);

impl TypeId {
    /// `void`, in every source.
    pub const VOID: TypeId = TypeId(0);
}

/// The name spaces of C in which a type is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// `struct NAME`.
    Struct,
    /// `union NAME`.
    Union,
    /// `enum NAME`.
    Enum,
    /// A typedef name.
    Typedef,
    /// A base type, spelled as the compiler does: `long unsigned int`.
    Base,
}

impl Namespace {
    /// That of a struct's or a union's tag.
    pub const fn of_compound(kind: CompoundKind) -> Self {
        match kind {
            CompoundKind::Struct => Namespace::Struct,
            CompoundKind::Union => Namespace::Union,
        }
    }
}

/// How the bits of an integer are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntEncoding {
    /// A number.
    Number,
    /// A character: `char`, `signed char`, `unsigned char`.
    Character,
    /// `_Bool`.
    Boolean,
}

/// One C type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// `void`.
    Void,
    /// An integer type.
    Int {
        /// As the compiler spells it.
        name: Arc<str>,
        /// Bytes.
        size: u64,
        /// Whether it is signed.
        signed: bool,
        /// Number, character or boolean.
        encoding: IntEncoding,
    },
    /// A floating point type.
    Float {
        /// As the compiler spells it.
        name: Arc<str>,
        /// Bytes.
        size: u64,
    },
    /// A pointer.
    Pointer {
        /// What it points to; [`TypeId::VOID`] for `void *`.
        target: TypeId,
        /// Bytes.
        size: u64,
    },
    /// An array.
    Array {
        /// The type of one element.
        element: TypeId,
        /// How many, or `None` for `[]` (a flexible array).
        count: Option<u64>,
    },
    /// A struct or a union.
    Compound(Compound),
    /// An enumeration.
    Enum(Enum),
    /// A typedef.
    Typedef {
        /// Its name.
        name: Arc<str>,
        /// What it stands for.
        target: TypeId,
    },
    /// `const`, `volatile`, `restrict` or `_Atomic`.
    Qualified {
        /// Which.
        qualifier: Qualifier,
        /// The type that is qualified.
        target: TypeId,
    },
    /// A function's type.
    Function(Function),
}

/// A type qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Qualifier {
    Const,
    Volatile,
    Restrict,
    Atomic,
}

/// Whether members follow one another or overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CompoundKind {
    Struct,
    Union,
}

/// A struct or a union.
#[derive(Clone, Debug, PartialEq)]
pub struct Compound {
    /// Struct or union.
    pub kind: CompoundKind,
    /// Its tag, or `None` where it has none.
    pub name: Option<Arc<str>>,
    /// Bytes; 0 when only declared.
    pub size: u64,
    /// Its members in order.
    pub members: Vec<Member>,
    /// Only declared here (`struct foo;`): the source knows no members.
    pub incomplete: bool,
}

/// A member of a struct or union.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name, or `None` for an anonymous struct or union.
    pub name: Option<Arc<str>>,
    /// Its type.
    pub ty: TypeId,
    /// Where it starts, in bits from the start of the compound. Bit fields count from the least
    /// significant bit, as little-endian machines lay them out.
    pub bit_offset: u64,
    /// Width in bits of a bit field; `None` otherwise.
    pub bit_size: Option<u32>,
}

/// An enumeration.
#[derive(Clone, Debug, PartialEq)]
pub struct Enum {
    /// Its tag, or `None` where it has none.
    pub name: Option<Arc<str>>,
    /// Bytes.
    pub size: u64,
    /// Whether its values are signed.
    pub signed: bool,
    /// Names and values, in order. Unsigned 64-bit values keep their bits.
    pub variants: Vec<(Arc<str>, i64)>,
    /// Only declared here.
    pub incomplete: bool,
}

/// A function's type.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// What it returns; [`TypeId::VOID`] for none.
    pub result: TypeId,
    /// Its parameters: name (where known) and type.
    pub parameters: Vec<(Option<Arc<str>>, TypeId)>,
    /// Whether it ends in `...`.
    pub variadic: bool,
}

/// Why a type could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// The id is not one of this source's.
    #[error("no type with id {0:#x}")]
    UnknownId(u64),
    /// A chain of typedefs and qualifiers that does not end, or types that hold themselves.
    #[error("type {0:#x} has no end")]
    Endless(u64),
    /// The size of the type is not known: it is only declared, or is a function.
    #[error("{0} has no size")]
    NoSize(String),
    /// The description is damaged.
    #[error("damaged type description at {section} offset {offset:#x}: {what}")]
    Damaged {
        /// `BTF`, `.debug_info` and the like.
        section: &'static str,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Somewhere types come from. Decodes lazily, remembers what it decoded, and never panics on
/// damaged input.
pub trait TypeSource: Send + Sync {
    /// Where the types come from, for messages: `BTF in the dump`, `DWARF in vmlinux`.
    fn origin(&self) -> &str;

    /// Looks a name up. A definition is preferred to a bare declaration.
    fn lookup(&self, namespace: Namespace, name: &str) -> Option<TypeId>;

    /// Decodes one type.
    ///
    /// # Errors
    /// [`TypeError`] when the id is unknown or the description is damaged.
    fn get(&self, id: TypeId) -> Result<Arc<Type>, TypeError>;

    /// The type of the global or per-CPU variable `name`, where the source knows it. (BTF knows
    /// per-CPU variables only.)
    fn variable(&self, name: &str) -> Option<TypeId>;

    /// The type of the function `name`.
    fn function(&self, name: &str) -> Option<TypeId>;

    /// An enumerator by name: the enumeration it belongs to and its value.
    fn enumerator(&self, name: &str) -> Option<(TypeId, i64)>;

    /// Calls `visit` with every named struct, union, enum and typedef, in no particular order.
    fn for_each_name(&self, visit: &mut dyn FnMut(Namespace, &str, TypeId));
}

#[cfg(test)]
mod tests;
