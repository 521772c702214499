//! Mnemonics that binutils spells otherwise than `iced-x86`.

use iced_x86::{Instruction, Mnemonic};

/// Turns the mnemonic `name` of `iced-x86` into that of binutils.
pub(crate) fn respell(decoded: &Instruction, name: &mut String) {
    match decoded.mnemonic() {
        // Of a far one iced gives the size of the offset.
        Mnemonic::Call | Mnemonic::Jmp => drop_suffix(
            name,
            if decoded.is_call_far_indirect() || decoded.is_jmp_far_indirect() { 'l' } else { 'q' },
        ),
        Mnemonic::Push | Mnemonic::Pop if !decoded.op0_kind().eq(&iced_x86::OpKind::Register) => {
            drop_suffix(name, 'q');
        }
        Mnemonic::Retf => drop_suffix(name, 'l'),
        Mnemonic::Iretd => drop_suffix(name, 'l'),
        Mnemonic::Sal => name.replace_range(..3, "shl"),
        _ => {}
    }
}

fn drop_suffix(name: &mut String, suffix: char) {
    if name.ends_with(suffix) {
        name.pop();
    }
}

/// The operands of instructions that have none in machine code, yet print some.
pub(crate) fn fixed_operands(decoded: &Instruction) -> Option<&'static str> {
    match decoded.mnemonic() {
        Mnemonic::Monitor => Some("%rax,%ecx,%edx"),
        Mnemonic::Mwait => Some("%eax,%ecx"),
        Mnemonic::Monitorx => Some("%rax,%ecx,%edx"),
        Mnemonic::Mwaitx => Some("%eax,%ecx,%ebx"),
        _ => None,
    }
}
