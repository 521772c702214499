//! Why a read failed: data that commands show, not only a message.

use crate::{PhysAddr, UserAddr, VirtAddr};
use std::fmt;

/// An address together with the space it lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Physical memory.
    Physical(PhysAddr),
    /// Kernel virtual memory.
    Kernel(VirtAddr),
    /// User virtual memory of some task.
    User(UserAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Physical(address) => write!(f, "physical address {address:x}"),
            Address::Kernel(address) => write!(f, "kernel virtual address {address:x}"),
            Address::User(address) => write!(f, "user virtual address {address:x}"),
        }
    }
}

impl From<PhysAddr> for Address {
    fn from(address: PhysAddr) -> Self {
        Address::Physical(address)
    }
}

impl From<VirtAddr> for Address {
    fn from(address: VirtAddr) -> Self {
        Address::Kernel(address)
    }
}

impl From<UserAddr> for Address {
    fn from(address: UserAddr) -> Self {
        Address::User(address)
    }
}

/// Why bytes cannot be had. The [short code](Unavailable::code) is the one spelling used in text
/// and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// The collector left the page out on purpose (makedumpfile `-d`).
    Excluded,
    /// The dump ends before the page, or was marked incomplete and lost it.
    Truncated,
    /// The page should be there and is not intact: an I/O error, a broken compression stream.
    Unreadable,
    /// No translation, or no physical memory, at the address.
    Unmapped,
}

impl Unavailable {
    /// `excluded`, `truncated`, `unreadable` or `unmapped`.
    pub const fn code(self) -> &'static str {
        match self {
            Unavailable::Excluded => "excluded",
            Unavailable::Truncated => "truncated",
            Unavailable::Unreadable => "unreadable",
            Unavailable::Unmapped => "unmapped",
        }
    }

    /// The reason in words.
    pub const fn description(self) -> &'static str {
        match self {
            Unavailable::Excluded => "page excluded from the dump",
            Unavailable::Truncated => "page lost: the dump is truncated",
            Unavailable::Unreadable => "page unreadable: its data is damaged",
            Unavailable::Unmapped => "not mapped",
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// A read that could not be done: the first address in the way, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {address}: {why}")]
pub struct ReadError {
    /// The first address that could not be read.
    pub address: Address,
    /// Why not.
    pub why: Unavailable,
}

impl ReadError {
    /// A failure at `address`.
    pub fn new(address: impl Into<Address>, why: Unavailable) -> Self {
        Self { address: address.into(), why }
    }

    /// The same reason, told of the address the caller asked for.
    #[must_use]
    pub fn at(self, address: impl Into<Address>) -> Self {
        Self { address: address.into(), why: self.why }
    }
}
