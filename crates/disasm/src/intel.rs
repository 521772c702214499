//! Intel syntax, spelled as binutils spells it.

use crate::address::{Address, push_signed, register_name, source_segment};
use crate::att::{assemble, bad, push_addresses};
use crate::encoding::{has_absolute_offset, is_shift_by_one, selector_register};
use crate::prefix::{self, Leading};
use crate::{Flow, Instruction, TextOptions};
use iced_x86::{
    Code, FormatMnemonicOptions, Formatter, IntelFormatter, MemorySizeOptions, Mnemonic, OpKind,
    Register,
};

/// Mnemonic and operands.
pub(crate) fn text(instruction: &Instruction, options: &TextOptions<'_>) -> String {
    if instruction.flow == Flow::Bad {
        return bad(instruction);
    }
    let decoded = instruction.decoded();
    let mut formatter = formatter();
    let Leading { mut words, hint } = prefix::leading(instruction);
    // Here the static prediction stays the prefix that it is.
    words.push_str(match hint {
        ",pn" => "cs ",
        ",pt" => "ds ",
        _ => "",
    });

    let mut name = String::new();
    formatter.format_mnemonic_options(decoded, &mut name, FormatMnemonicOptions::NO_PREFIXES);
    respell_mnemonic(instruction, &mut name);

    let operands = operands(instruction, &mut formatter);
    let mut text = assemble(words, &name, "", &operands);
    push_addresses(&mut text, instruction, options);
    text
}

/// Turns the mnemonic `name` of `iced-x86` into that of binutils.
fn respell_mnemonic(instruction: &Instruction, name: &mut String) {
    let decoded = instruction.decoded();
    if instruction.waits() && name.starts_with("fn") {
        name.remove(1);
    }
    match decoded.mnemonic() {
        _ if is_string_instruction(instruction) => {
            name.pop();
        }
        Mnemonic::Mov
            if decoded.code() == Code::Mov_r64_imm64
                || has_absolute_offset(instruction) && decoded.memory_displ_size() == 8 =>
        {
            "movabs".clone_into(name);
        }
        Mnemonic::Nop | Mnemonic::Reservednop if decoded.code() == Code::Nopq => {
            "nop".clone_into(name);
        }
        Mnemonic::Reservednop => "nop".clone_into(name),
        Mnemonic::Sal => "shl".clone_into(name),
        Mnemonic::Push
            if decoded.code() == Code::Push_imm16 || decoded.code() == Code::Pushw_imm8 =>
        {
            "pushw".clone_into(name)
        }
        Mnemonic::Pushfq => "pushf".clone_into(name),
        Mnemonic::Popfq => "popf".clone_into(name),
        Mnemonic::Retf => {
            name.replace_range(.., if instruction.has_rex_w() { "retfq" } else { "retf" });
        }
        Mnemonic::Iretd => "iret".clone_into(name),
        Mnemonic::Sysexit if !instruction.has_rex_w() => "sysexitd".clone_into(name),
        Mnemonic::Jmp | Mnemonic::Call => {
            if let Some(far) = name.find(" far") {
                name.truncate(far);
            }
        }
        Mnemonic::Sysret => "sysretd".clone_into(name),
        _ => {}
    }
}

fn operands(instruction: &Instruction, formatter: &mut IntelFormatter) -> String {
    let decoded = instruction.decoded();
    if is_string_instruction(instruction) {
        // iced leaves out the accumulator and the port.
        let operands: Vec<String> =
            (0..decoded.op_count()).map(|number| implied(instruction, number)).collect();
        return operands.join(",");
    }
    let mut operands: Vec<String> = (0..formatter.operand_count(decoded))
        .map(|number| {
            let mut text = String::new();
            // The number is below the count: it cannot fail.
            let _ = formatter.format_operand(decoded, &mut text, number);
            match formatter.get_instruction_operand(decoded, number) {
                Ok(Some(of)) => respell_operand(instruction, of, text),
                _ => text,
            }
        })
        .collect();
    match decoded.mnemonic() {
        Mnemonic::Imul if operands.len() == 2 && decoded.op_count() == 3 => {
            let destination = operands.first().cloned();
            operands.splice(..0, destination);
        }
        _ if decoded.code() == Code::Nopq => operands.clear(),
        _ if operands.is_empty() && decoded.op1_register().is_st() => {
            operands.extend(x87_registers(decoded));
        }
        // The x87 stack's top goes without saying where memory is the other operand.
        _ if operands.iter().any(|operand| operand == "st")
            && decoded.op_kinds().any(|kind| kind == OpKind::Memory) =>
        {
            operands.retain(|operand| operand != "st");
        }
        Mnemonic::Reservednop => operands.truncate(1),
        // Their registers are always the same.
        Mnemonic::Monitor
        | Mnemonic::Monitorx
        | Mnemonic::Mwait
        | Mnemonic::Mwaitx
        | Mnemonic::Pvalidate
        | Mnemonic::Invlpga
        | Mnemonic::Invlpgb
        | Mnemonic::Vmload
        | Mnemonic::Vmrun
        | Mnemonic::Vmsave => operands.clear(),
        // So is this one, yet it is printed.
        Mnemonic::Blendvpd | Mnemonic::Blendvps | Mnemonic::Pblendvb | Mnemonic::Sha256rnds2
            if operands.len() == 2 =>
        {
            operands.push("xmm0".to_owned());
        }
        _ => {}
    }
    operands.join(",")
}

/// The registers of an x87 instruction, which iced leaves to the assembler.
fn x87_registers(decoded: &iced_x86::Instruction) -> Vec<String> {
    let name = |register: Register| match register.number() {
        0 => "st".to_owned(),
        number => format!("st({number})"),
    };
    let operands = [decoded.op0_register(), decoded.op1_register()];
    match operands.map(Register::number) {
        // With the top first only the other one counts: `fxch st(1)`.
        [0, _] => vec![name(operands[1])],
        _ => operands.map(name).to_vec(),
    }
}

fn is_string_instruction(instruction: &Instruction) -> bool {
    instruction.decoded().op_kinds().any(|kind| {
        matches!(
            kind,
            OpKind::MemorySegESI | OpKind::MemorySegRSI | OpKind::MemoryESEDI | OpKind::MemoryESRDI
        )
    })
}

/// An operand of a string instruction: a register, or memory at RSI or RDI.
fn implied(instruction: &Instruction, number: u32) -> String {
    let decoded = instruction.decoded();
    let size = match decoded.memory_size().size() {
        1 => "BYTE",
        2 => "WORD",
        4 => "DWORD",
        _ => "QWORD",
    };
    match decoded.op_kind(number) {
        OpKind::MemorySegRSI => format!("{size} PTR {}:[rsi]", source_segment(decoded)),
        OpKind::MemorySegESI => format!("{size} PTR {}:[esi]", source_segment(decoded)),
        OpKind::MemoryESRDI => format!("{size} PTR es:[rdi]"),
        OpKind::MemoryESEDI => format!("{size} PTR es:[edi]"),
        _ => register_name(decoded.op_register(number)),
    }
}

fn respell_operand(instruction: &Instruction, number: u32, text: String) -> String {
    let decoded = instruction.decoded();
    match decoded.op_kind(number) {
        OpKind::Memory => memory(instruction, &text),
        OpKind::Register => {
            selector_register(instruction, decoded.op_register(number)).map_or(text, register_name)
        }
        OpKind::Immediate8 if is_shift_by_one(instruction) => "1".to_owned(),
        _ => text,
    }
}

/// `QWORD PTR gs:[rax+rbx*4-0x8]{k1}`; the size and what is in braces are taken from `text`.
fn memory(instruction: &Instruction, text: &str) -> String {
    let mut out = String::new();
    let decoded = instruction.decoded();
    if decoded.mnemonic() == Mnemonic::Xlatb {
        let base = register_name(decoded.memory_base());
        return format!("BYTE PTR {}:[{base}]", source_segment(decoded));
    }
    let size = match decoded.mnemonic() {
        Mnemonic::Lgdt
        | Mnemonic::Lidt
        | Mnemonic::Sgdt
        | Mnemonic::Sidt
        | Mnemonic::Invpcid
        | Mnemonic::Wrssd
        | Mnemonic::Wrssq
        | Mnemonic::Wrussd
        | Mnemonic::Wrussq => None,
        Mnemonic::Mov if has_absolute_offset(instruction) => None,
        Mnemonic::Cmpxchg16b | Mnemonic::Invept | Mnemonic::Invvpid => Some("OWORD"),
        Mnemonic::Invlpg => Some("BYTE"),
        _ => text.split_once(" PTR ").map(|(size, _)| size),
    };
    if let Some(size) = size {
        let kind = if decoded.is_broadcast() { "BCST" } else { "PTR" };
        out.push_str(&format!("{size} {kind} "));
    }
    let address = Address::of(instruction);
    let relative = decoded.is_ip_rel_memory_operand();
    if let Some(absolute) = address.absolute() {
        out.push_str(&format!("{}:{absolute:#x}", address.segment.unwrap_or("ds")));
    } else {
        if let Some(segment) = address.segment {
            out.push_str(&format!("{segment}:"));
        }
        out.push('[');
        let mut plus = "";
        if let Some(base) = address.base {
            out.push_str(&base);
            plus = "+";
        }
        if let Some((index, scale)) = address.index {
            out.push_str(&format!("{plus}{index}*{scale}"));
        }
        if let Some(displacement) = address.displacement {
            if relative {
                // Here a distance backwards has no sign.
                out.push_str(&format!("+{displacement:#x}"));
            } else {
                out.push_str(if displacement >= 0 { "+" } else { "" });
                push_signed(&mut out, displacement);
            }
        }
        out.push(']');
    }
    match text.find('{') {
        // A broadcast is said already; a mask can only follow where memory is the destination.
        Some(brace) if !decoded.is_broadcast() => out.push_str(&text[brace..]),
        _ => {}
    }
    out
}

fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_uppercase_keywords(true);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_memory_size_options(MemorySizeOptions::Always);
    formatter
}
