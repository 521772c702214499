//! AT&T operands that binutils spells otherwise than `iced-x86`.

use crate::Instruction;
use crate::address::{Address, push_signed, register_name, source_segment};
use crate::encoding::{is_shift_by_one, selector_register};
use iced_x86::{Mnemonic, OpKind, Register};

/// Operand number `number` of `instruction`, which `iced-x86` spells `text`.
pub(super) fn respell(instruction: &Instruction, number: u32, text: &str) -> String {
    let decoded = instruction.decoded();
    match decoded.op_kind(number) {
        OpKind::Memory => memory(instruction, text),
        OpKind::MemorySegRSI => format!("%{}:(%rsi)", source_segment(decoded)),
        OpKind::MemorySegESI => format!("%{}:(%esi)", source_segment(decoded)),
        OpKind::MemorySegRDI => format!("%{}:(%rdi)", source_segment(decoded)),
        OpKind::MemorySegEDI => format!("%{}:(%edi)", source_segment(decoded)),
        OpKind::MemoryESRDI => "%es:(%rdi)".to_owned(),
        OpKind::MemoryESEDI => "%es:(%edi)".to_owned(),
        OpKind::Register => register(instruction, number, text),
        OpKind::Immediate8 if is_shift_by_one(instruction) => "$1".to_owned(),
        _ => text.to_owned(),
    }
}

fn register(instruction: &Instruction, number: u32, text: &str) -> String {
    let register = instruction.decoded().op_register(number);
    if let Some(named) = selector_register(instruction, register) {
        return format!("%{}", register_name(named));
    }
    match register {
        Register::DX if is_port_io(instruction.decoded().mnemonic()) => format!("({text})"),
        register if register.is_dr() => text.replace("%dr", "%db"),
        _ => text.to_owned(),
    }
}

fn is_port_io(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::In
            | Mnemonic::Out
            | Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
    )
}

/// `*%gs:-0x8(%rax,%rbx,4){1to8}`; the star and what is in braces are taken from `text`.
fn memory(instruction: &Instruction, text: &str) -> String {
    let decoded = instruction.decoded();
    if decoded.mnemonic() == Mnemonic::Xlatb {
        let base = register_name(decoded.memory_base());
        return format!("%{}:(%{base})", source_segment(decoded));
    }
    let address = Address::of(instruction);
    let mut out = String::new();
    if text.starts_with('*') {
        out.push('*');
    }
    if let Some(segment) = address.segment {
        out.push_str(&format!("%{segment}:"));
    }
    if let Some(absolute) = address.absolute() {
        out.push_str(&format!("{absolute:#x}"));
    } else {
        if let Some(displacement) = address.displacement {
            push_signed(&mut out, displacement);
        }
        out.push('(');
        if let Some(base) = address.base {
            out.push_str(&format!("%{base}"));
        }
        if let Some((index, scale)) = address.index {
            out.push_str(&format!(",%{index},{scale}"));
        }
        out.push(')');
    }
    if let Some(brace) = text.find('{') {
        out.push_str(&text[brace..]);
    }
    out
}

/// An x87 stack register: `%st(1)`.
pub(super) fn stack_register(register: Register) -> String {
    format!("%st({})", register.number())
}
