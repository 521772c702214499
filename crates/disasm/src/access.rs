//! What an instruction does with a memory operand or a register.

use iced_x86::OpAccess;

/// What an instruction does with a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads; conditional reads count.
    Read,
    /// It writes; conditional writes count.
    Write,
    /// It reads and writes.
    ReadWrite,
    /// It only computes the address (`lea`, the operand of a `nop`), or names memory without
    /// moving data (`prefetcht0`, `invlpg`).
    AddressOnly,
}

impl Access {
    pub(crate) fn of(access: OpAccess) -> Self {
        match access {
            OpAccess::None | OpAccess::NoMemAccess => Access::AddressOnly,
            OpAccess::Read | OpAccess::CondRead => Access::Read,
            OpAccess::Write | OpAccess::CondWrite => Access::Write,
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => Access::ReadWrite,
        }
    }

    /// Whether memory is read.
    pub const fn reads(self) -> bool {
        matches!(self, Access::Read | Access::ReadWrite)
    }

    /// Whether memory is written.
    pub const fn writes(self) -> bool {
        matches!(self, Access::Write | Access::ReadWrite)
    }

    /// `read`, `write`, `read-write` or `address`: the spelling for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "read-write",
            Access::AddressOnly => "address",
        }
    }
}
