//! Mnemonics that binutils spells otherwise than `iced-x86`.

use super::operand::stack_register;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Turns the mnemonic `name` of `iced-x86` into that of binutils.
pub(super) fn respell(instruction: &crate::Instruction, name: &mut String) {
    let decoded = instruction.decoded();
    if instruction.waits() && name.starts_with("fn") {
        name.remove(1);
    }
    match decoded.mnemonic() {
        // With a REX prefix that does not reach R8, opcode 90 still does nothing.
        _ if decoded.code() == Code::Nopq => "nop".clone_into(name),
        _ if matches!(
            decoded.code(),
            Code::Jmp_rel16 | Code::Call_rel16 | Code::Retnw | Code::Retnw_imm16
        ) && !name.ends_with('w') =>
        {
            name.push('w')
        }
        // Of a far one iced gives the size of the offset.
        Mnemonic::Call | Mnemonic::Jmp if matches!(name.as_str(), "lcalll" | "ljmpl") => {
            drop_suffix(name, 'l');
        }
        Mnemonic::Call | Mnemonic::Jmp => drop_suffix(name, 'q'),
        Mnemonic::Push | Mnemonic::Pop if decoded.op0_kind() != OpKind::Register => {
            drop_suffix(name, 'q');
        }
        Mnemonic::Retf | Mnemonic::Iretd => drop_suffix(name, 'l'),
        // `prefetchit` is a nop without a RIP-relative operand.
        Mnemonic::Prefetchit0 | Mnemonic::Prefetchit1 if decoded.memory_base() != Register::RIP => {
            "nopl".clone_into(name);
        }
        Mnemonic::Reservednop => {
            let suffix = match decoded.memory_size().size() {
                _ if decoded.op0_kind() == OpKind::Register => "",
                2 => "w",
                8 => "q",
                _ => "l",
            };
            *name = format!("nop{suffix}");
        }
        Mnemonic::Movsx if name == "movsxw" => "movsww".clone_into(name),
        Mnemonic::Movzx if name == "movzxw" => "movzww".clone_into(name),
        Mnemonic::Sal => name.replace_range(..3, "shl"),
        _ => {}
    }
}

fn drop_suffix(name: &mut String, suffix: char) {
    if name.ends_with(suffix) {
        name.pop();
    }
}

/// Adds the operands that `iced-x86` leaves to the assembler and binutils prints, and takes away
/// those that binutils does not.
pub(super) fn complete_operands(decoded: &Instruction, operands: &mut Vec<String>) {
    match decoded.mnemonic() {
        // The destination that is also the source.
        Mnemonic::Imul if operands.len() == 2 && decoded.op_count() == 3 => {
            operands.extend(operands.last().cloned());
        }
        _ if decoded.code() == Code::Nopq => operands.clear(),
        Mnemonic::Reservednop => operands.drain(..operands.len().saturating_sub(1)).for_each(drop),
        Mnemonic::Faddp
        | Mnemonic::Fmulp
        | Mnemonic::Fsubp
        | Mnemonic::Fsubrp
        | Mnemonic::Fdivp
        | Mnemonic::Fdivrp
            if operands.len() < 2 =>
        {
            *operands = vec!["%st".to_owned(), stack_register(decoded.op0_register())];
        }
        _ if operands.is_empty() && decoded.op1_register().is_st() => {
            operands.push(stack_register(decoded.op1_register()));
        }
        _ => {}
    }
}

/// The operands of instructions that have none in machine code, yet print some.
pub(super) fn fixed_operands(decoded: &Instruction) -> Option<&'static str> {
    match decoded.mnemonic() {
        Mnemonic::Monitor => Some("%rax,%ecx,%edx"),
        Mnemonic::Mwait => Some("%eax,%ecx"),
        Mnemonic::Monitorx => Some("%rax,%ecx,%edx"),
        Mnemonic::Mwaitx => Some("%eax,%ecx,%ebx"),
        _ => None,
    }
}
