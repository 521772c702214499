//! Values of C types: bytes and a type to a tree, and the tree to text as gdb prints it.
//!
//! [`decode_value`] makes a [`Value`] of an object's bytes; text ([`Value::text`]) and JSON are
//! renderings of that one tree. Bytes that are not in the dump spoil the members they belong to
//! and no more.

mod bytes;
mod decode;
mod string;
mod text;

pub use bytes::ObjectBytes;
pub use decode::decode_value;
pub use text::{Radix, TextOptions};

use crate::types::TypeError;
use mortis_memory::{Unavailable, VirtAddr};
use std::sync::Arc;

/// A value of a C type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of `void`.
    Void,
    /// A number.
    Integer {
        /// The number.
        value: i128,
        /// Bytes of its type, for hexadecimal digits of negative numbers.
        size: u64,
        /// Whether its type is a `char`.
        character: bool,
    },
    /// A `_Bool`; 0 and 1 where memory is sane.
    Boolean(u64),
    /// A floating point number.
    Float {
        /// The number.
        value: f64,
        /// Bytes of its type.
        size: u64,
    },
    /// An enumerator, or flags.
    Enum {
        /// The number.
        value: i128,
        /// What it means.
        meaning: EnumMeaning,
    },
    /// A pointer, or an array without a size, which is shown as one.
    Pointer {
        /// Where it points to.
        address: VirtAddr,
        /// The symbol there, with an offset: `init_task+192`.
        symbol: Option<String>,
        /// What a `char *` points to.
        string: Option<Result<PointedString, Unavailable>>,
    },
    /// An array of `char`, up to its last byte.
    Text(Vec<u8>),
    /// An array.
    Array {
        /// Its elements, long rows of equal ones as one.
        elements: Vec<Repeated>,
        /// How many elements more there are.
        omitted: u64,
    },
    /// A struct or union: its members in order.
    Compound(Vec<Field>),
    /// A function.
    Function {
        /// Its type: `int (int)`.
        ty: String,
        /// Where it is.
        address: VirtAddr,
        /// Its symbol.
        symbol: Option<String>,
    },
    /// Its bytes cannot be had.
    Unavailable(Unavailable),
    /// Left out: nested too deep, or too much of it.
    Elided,
    /// Its type is damaged.
    Damaged(TypeError),
}

/// What the number of an enumeration stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnumMeaning {
    /// This enumerator.
    Name(Arc<str>),
    /// These enumerators, each of one bit, and bits that none has.
    Flags {
        /// Their names.
        names: Vec<Arc<str>>,
        /// The other bits.
        unknown: u64,
    },
    /// None.
    Unknown,
}

/// The string that a `char *` points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointedString {
    /// Its bytes, without the NUL.
    pub bytes: Vec<u8>,
    /// Whether the NUL was found.
    pub terminated: bool,
}

/// Equal elements of an array, in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeated {
    /// One of them.
    pub value: Value,
    /// How many; more than [`ValueLimits::repeats`] where not 1.
    pub times: u64,
}

/// A member and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name, or `None` for an anonymous struct or union.
    pub name: Option<Arc<str>>,
    /// Its value.
    pub value: Value,
}

/// What a value is decoded with besides its bytes.
pub trait ValueContext {
    /// `symbol+offset` for an address, `symbol` at its very start; `None` where no symbol is.
    fn symbolize(&self, address: VirtAddr) -> Option<String>;

    /// The string at `address`, at most `max` bytes of it.
    ///
    /// # Errors
    /// [`Unavailable`] when its first byte cannot be had.
    fn string(&self, address: VirtAddr, max: usize) -> Result<PointedString, Unavailable>;
}

/// Knows nothing: pointers are numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContext;

impl ValueContext for NoContext {
    fn symbolize(&self, _: VirtAddr) -> Option<String> {
        None
    }

    fn string(&self, _: VirtAddr, _: usize) -> Result<PointedString, Unavailable> {
        Err(Unavailable::Unmapped)
    }
}

/// How much of a value is decoded. The defaults are gdb's, and crash's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueLimits {
    /// Elements of an array (`set print elements`), and bytes of a string that is pointed to.
    /// Equal elements in a row count as `repeats`.
    pub elements: u64,
    /// More equal elements in a row than this are shown as one (`set print repeats`).
    pub repeats: u64,
    /// Structs, unions and arrays inside each other (`set print max-depth`).
    pub depth: usize,
    /// Whether strings are read that are pointed to.
    pub strings: bool,
    /// Whether arrays of characters end at their first NUL (`set print null-stop`).
    pub stop_at_null: bool,
}

impl Default for ValueLimits {
    fn default() -> Self {
        Self { elements: 200, repeats: 10, depth: 20, strings: true, stop_at_null: false }
    }
}

#[cfg(test)]
mod tests;
