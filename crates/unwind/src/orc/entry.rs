//! One ORC entry, whatever version of the format it was written in.

use super::OrcFormat;
use crate::Register;

/// What the stack looks like at an address (`ORC_TYPE_*`, arch/x86/include/asm/orc_types.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrcKind {
    /// objtool knows nothing of this code.
    Undefined,
    /// Nothing called this code.
    EndOfStack,
    /// A function's frame: the base is the caller's stack pointer.
    Call,
    /// The base is the address of a whole `struct pt_regs`.
    Regs,
    /// The base is the address of the frame that the CPU pushes: the last five words of a
    /// `struct pt_regs`.
    RegsPartial,
    /// No version of the format has this type.
    Unknown(u8),
}

/// What an entry counts from (`ORC_REG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrcRegister {
    /// Nothing: the register has the value it has in the caller.
    Undefined,
    /// The caller's stack pointer, as it comes out of this very entry.
    PreviousSp,
    /// A register of the frame.
    Register(Register),
    /// What the word at SP points to.
    SpIndirect,
    /// What the word at BP plus the offset points to.
    BpIndirect,
    /// No version of the format has this number.
    Unknown(u8),
}

/// How to find the caller's registers from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrcEntry {
    /// Added to the value of `sp_reg`.
    pub sp_offset: i16,
    /// Added to the value of `bp_reg`: where the caller's BP is saved.
    pub bp_offset: i16,
    /// What the caller's stack pointer is counted from.
    pub sp_reg: OrcRegister,
    /// What the place of the caller's BP is counted from.
    pub bp_reg: OrcRegister,
    /// What is to be found there.
    pub kind: OrcKind,
    /// Whether the address found is the very instruction and no return address.
    pub signal: bool,
}

impl OrcEntry {
    /// Bytes of an entry in every version.
    pub const SIZE: usize = 6;

    /// What the kernel assumes of generated code that no table covers: a frame pointer
    /// (`orc_fp_entry`; ae6a45a08689 "x86/unwind/orc: Fall back to using frame pointers for
    /// generated code", 5.2).
    pub const FRAME_POINTER: OrcEntry = OrcEntry {
        sp_offset: 16,
        bp_offset: -16,
        sp_reg: OrcRegister::Register(Register::Rbp),
        bp_reg: OrcRegister::PreviousSp,
        kind: OrcKind::Call,
        signal: false,
    };

    /// Decodes an entry. Any bytes give one; numbers without a meaning come out as `Unknown`.
    pub fn decode(bytes: [u8; Self::SIZE], format: OrcFormat) -> Self {
        let [sp_low, sp_high, bp_low, bp_high, registers, flags] = bytes;
        let sp_reg = format.register(registers & 0xf);
        let (kind, signal) = format.kind(flags, sp_reg);
        Self {
            sp_offset: i16::from_le_bytes([sp_low, sp_high]),
            bp_offset: i16::from_le_bytes([bp_low, bp_high]),
            sp_reg,
            bp_reg: format.register(registers >> 4),
            kind,
            signal,
        }
    }
}
