//! Why a question about the kernel could not be answered.

use mortis_debuginfo::types::TypeError;
use mortis_memory::{ReadError, VirtAddr};

/// An answer that could not be had. Each variant names the address, symbol or member in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Memory that is not in the dump.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A type description that is damaged.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// No symbol of that name.
    #[error("symbol not found: {0}")]
    NoSymbol(String),
    /// No type of that name.
    #[error("type not found: {0}")]
    NoType(String),
    /// A structure without the member.
    #[error("struct {structure} has no member named {member}")]
    NoMember {
        /// The structure's tag.
        structure: String,
        /// The member, all its historical names joined by `|`.
        member: String,
    },
    /// No symbols at all.
    #[error("no symbols: {0}")]
    NoSymbols(String),
    /// No types at all.
    #[error("no types: {0}")]
    NoTypes(String),
    /// A list that loops, or runs into nonsense.
    #[error("{list}: {problem} at {at:x}")]
    DamagedList {
        /// What is listed.
        list: &'static str,
        /// What is wrong.
        problem: &'static str,
        /// The entry where it shows.
        at: VirtAddr,
    },
    /// Nothing wrong: the user wants no more of it.
    #[error("interrupted")]
    Interrupted,
    /// The dump lacks something that the question needs.
    #[error("{0}")]
    Unsupported(String),
}

impl KernelError {
    /// The read failure at the bottom, where there is one.
    pub fn read_error(&self) -> Option<ReadError> {
        match self {
            KernelError::Read(error) => Some(*error),
            _ => None,
        }
    }
}

/// The result of a question about the kernel.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;
