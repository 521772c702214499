//! Intel syntax, spelled as binutils spells it.

use crate::att::{bad, push_addresses};
use crate::prefix::{self, Leading};
use crate::{Flow, Instruction, TextOptions};
use iced_x86::{FormatMnemonicOptions, Formatter, IntelFormatter, MemorySizeOptions};

const MNEMONIC_WIDTH: usize = 6;

/// Mnemonic and operands.
pub(crate) fn text(instruction: &Instruction, options: &TextOptions<'_>) -> String {
    if instruction.flow == Flow::Bad {
        return bad(instruction);
    }
    let decoded = instruction.decoded();
    let mut formatter = formatter();
    let Leading { words: mut text, hint } = prefix::leading(instruction);
    formatter.format_mnemonic_options(decoded, &mut text, FormatMnemonicOptions::NO_PREFIXES);
    text.push_str(hint);

    let mut operands = String::new();
    for operand in 0..formatter.operand_count(decoded) {
        if operand != 0 {
            operands.push(',');
        }
        let _ = formatter.format_operand(decoded, &mut operands, operand);
    }
    if !operands.is_empty() {
        for _ in text.len()..MNEMONIC_WIDTH {
            text.push(' ');
        }
        text.push(' ');
        text.push_str(&operands);
    }
    push_addresses(&mut text, instruction, options);
    text
}

fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_uppercase_keywords(true);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_show_zero_displacements(true);
    options.set_rip_relative_addresses(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_displacement_leading_zeros(false);
    options.set_memory_size_options(MemorySizeOptions::Always);
    formatter
}
