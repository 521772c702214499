//! AT&T syntax, spelled as binutils spells it.

mod mnemonic;
mod operand;

use crate::prefix::{self, Leading};
use crate::{Flow, Instruction, TextOptions, address};
use iced_x86::{FormatMnemonicOptions, Formatter, GasFormatter};

/// Mnemonics are padded to this width where operands follow.
const MNEMONIC_WIDTH: usize = 6;

/// Mnemonic and operands.
pub(crate) fn text(instruction: &Instruction, options: &TextOptions<'_>) -> String {
    if instruction.flow == Flow::Bad {
        return bad(instruction);
    }
    let decoded = instruction.decoded();
    let mut formatter = formatter();
    let Leading { words, hint } = prefix::leading(instruction);

    let mut name = String::new();
    formatter.format_mnemonic_options(decoded, &mut name, FormatMnemonicOptions::NO_PREFIXES);
    mnemonic::respell(instruction, &mut name);

    let operands = match mnemonic::fixed_operands(decoded) {
        Some(fixed) => fixed.to_owned(),
        None => operands(instruction, &mut formatter),
    };
    let mut text = assemble(words, &name, hint, &operands);
    push_addresses(&mut text, instruction, options);
    text
}

fn operands(instruction: &Instruction, formatter: &mut GasFormatter) -> String {
    let decoded = instruction.decoded();
    let mut operands: Vec<String> = (0..formatter.operand_count(decoded))
        .map(|number| {
            let mut text = String::new();
            // The number is below the count: it cannot fail.
            let _ = formatter.format_operand(decoded, &mut text, number);
            match formatter.get_instruction_operand(decoded, number) {
                Ok(Some(of)) => operand::respell(instruction, of, &text),
                _ => text,
            }
        })
        .collect();
    mnemonic::complete_operands(decoded, &mut operands);
    operands.join(",")
}

/// Puts the parts side by side.
pub(crate) fn assemble(words: String, name: &str, hint: &str, operands: &str) -> String {
    let mut text = words;
    text.push_str(name);
    text.push_str(hint);
    if !operands.is_empty() {
        for _ in text.len()..MNEMONIC_WIDTH {
            text.push(' ');
        }
        text.push(' ');
        text.push_str(operands);
    }
    text
}

/// Names what the operands point to.
pub(crate) fn push_addresses(
    text: &mut String,
    instruction: &Instruction,
    options: &TextOptions<'_>,
) {
    if let Some(target) = instruction.target {
        options.push_symbol(text, target);
    }
    let decoded = instruction.decoded();
    if decoded.is_ip_rel_memory_operand() {
        let distance = address::relative_displacement(decoded).cast_unsigned();
        let address = instruction.next_address().offset(distance);
        text.push_str(&format!("        # {address:#x}"));
        options.push_symbol(text, address);
    }
}

/// Prefixes that belong to nothing, and bytes that are no instruction.
pub(crate) fn bad(instruction: &Instruction) -> String {
    let mut words: Vec<&str> =
        instruction.prefix_bytes().iter().map(|&byte| prefix::name(byte)).collect();
    if instruction.prefix_bytes().len() < instruction.len() {
        words.push("(bad)");
    }
    words.join(" ")
}

fn formatter() -> GasFormatter {
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_show_zero_displacements(true);
    options.set_rip_relative_addresses(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_displacement_leading_zeros(false);
    formatter
}
