//! What only an instruction's bytes tell: prefixes, opcode, SIB byte.

use crate::Instruction;
use crate::prefix::FWAIT;
use iced_x86::{Mnemonic, OpKind, Register};

/// Whether this is a `mov` between the accumulator and an address that stands in the instruction
/// whole, without a ModRM byte.
pub(crate) fn has_absolute_offset(instruction: &Instruction) -> bool {
    instruction.decoded().mnemonic() == Mnemonic::Mov
        && matches!(instruction.opcode(), Some(0xa0..=0xa3))
}

/// Whether there is a memory operand that a ModRM byte encodes.
pub(crate) fn has_modrm_memory(instruction: &Instruction) -> bool {
    instruction.decoded().op_kinds().any(|kind| kind == OpKind::Memory)
        && instruction.decoded().mnemonic() != Mnemonic::Xlatb
        && !has_absolute_offset(instruction)
}

/// Whether this is a shift or rotation that has its 1 in the opcode.
pub(crate) fn is_shift_by_one(instruction: &Instruction) -> bool {
    matches!(instruction.opcode(), Some(0xd0 | 0xd1))
}

/// The name that binutils gives `register`, which holds a selector: 16 bits count, as many are
/// named as the operand size says.
pub(crate) fn selector_register(instruction: &Instruction, register: Register) -> Option<Register> {
    let decoded = instruction.decoded();
    let holds_selector = match decoded.mnemonic() {
        Mnemonic::Lldt | Mnemonic::Ltr | Mnemonic::Lkgs | Mnemonic::Verr | Mnemonic::Verw => true,
        Mnemonic::Mov => register.is_gpr() && decoded.op0_register().is_segment_register(),
        _ => false,
    };
    holds_selector.then(|| {
        if instruction.has_rex_w() {
            register.full_register()
        } else if instruction.prefix_bytes().contains(&0x66) {
            register
        } else {
            register.full_register32()
        }
    })
}

/// The factor in the SIB byte, where there is one.
pub(crate) fn sib_scale(instruction: &Instruction) -> Option<u32> {
    if has_absolute_offset(instruction) {
        return None;
    }
    let opcode = instruction.bytes().get(instruction.prefix_bytes().len()..)?;
    let modrm_at = match *opcode {
        [0x0f, 0x38 | 0x3a, ..] => 3,
        [0x0f, ..] => 2,
        [0x62, ..] => 5,
        [0xc4, ..] => 4,
        [0xc5, ..] => 3,
        // XOP; with another second byte 8F is `pop`.
        [0x8f, second, ..] if second & 0x1f >= 8 => 4,
        [FWAIT, ..] => 2,
        _ => 1,
    };
    match opcode.get(modrm_at..)? {
        [modrm, sib, ..] if modrm & 7 == 4 && modrm >> 6 != 3 => Some(1 << (sib >> 6)),
        _ => None,
    }
}
