//! AT&T operands that binutils spells otherwise than `iced-x86`.

use crate::Instruction;
use crate::prefix::has_absolute_offset;
use iced_x86::{Mnemonic, OpKind, Register};

/// Operand number `number` of `instruction`, which `iced-x86` spells `text`.
pub(crate) fn respell(instruction: &Instruction, number: u32, text: &str) -> String {
    let decoded = instruction.decoded();
    match decoded.op_kind(number) {
        OpKind::Memory => memory(instruction, text),
        OpKind::MemorySegRSI => format!("%{}:(%rsi)", segment(decoded)),
        OpKind::MemorySegESI => format!("%{}:(%esi)", segment(decoded)),
        OpKind::MemorySegRDI => format!("%{}:(%rdi)", segment(decoded)),
        OpKind::MemorySegEDI => format!("%{}:(%edi)", segment(decoded)),
        OpKind::MemoryESRDI => "%es:(%rdi)".to_owned(),
        OpKind::MemoryESEDI => "%es:(%edi)".to_owned(),
        OpKind::Register => register(instruction, number, text),
        OpKind::Immediate8 if is_shift_by_one(instruction) => "$1".to_owned(),
        _ => text.to_owned(),
    }
}

/// FS and GS, or DS: what other prefixes name does not count in 64-bit mode.
fn segment(decoded: &iced_x86::Instruction) -> &'static str {
    match decoded.memory_segment() {
        Register::FS => "fs",
        Register::GS => "gs",
        _ => "ds",
    }
}

fn register(instruction: &Instruction, number: u32, text: &str) -> String {
    let decoded = instruction.decoded();
    let register = decoded.op_register(number);
    if is_port(decoded, number) {
        return format!("({text})");
    }
    match decoded.mnemonic() {
        // Selectors: 16 bits count, as many are named as the operand size says.
        Mnemonic::Lldt | Mnemonic::Ltr | Mnemonic::Lkgs | Mnemonic::Verr | Mnemonic::Verw => {
            let named = match (instruction.has_rex_w(), instruction.prefix_bytes().contains(&0x66))
            {
                (true, _) => register.full_register(),
                (false, false) => register.full_register32(),
                (false, true) => register,
            };
            format!("%{}", register_name(named))
        }
        _ if register.is_dr() => text.replace("%dr", "%db"),
        _ => text.to_owned(),
    }
}

/// The shifts and rotations that have the 1 in their opcode.
fn is_shift_by_one(instruction: &Instruction) -> bool {
    matches!(instruction.opcode(), Some(0xd0 | 0xd1))
}

fn is_port(decoded: &iced_x86::Instruction, number: u32) -> bool {
    decoded.op_register(number) == Register::DX
        && matches!(
            decoded.mnemonic(),
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
    let mut out = String::new();
    if text.starts_with('*') {
        out.push('*');
    }
    if decoded.mnemonic() == Mnemonic::Xlatb {
        let base = if decoded.memory_base() == Register::EBX { "ebx" } else { "rbx" };
        return format!("%{}:(%{base})", segment(decoded));
    }
    if let Register::FS | Register::GS = decoded.segment_prefix() {
        out.push('%');
        out.push_str(segment(decoded));
        out.push(':');
    }
    let base = decoded.memory_base();
    let index = decoded.memory_index();
    let sib = sib(instruction);
    let displacement = decoded.memory_displacement64();
    if base.is_ip() {
        push_signed(&mut out, relative_displacement(decoded));
        out.push_str(if base == Register::EIP { "(%eip)" } else { "(%rip)" });
    } else {
        let narrow = base.size() == 4 || index.size() == 4 && !index.is_vector_register();
        let shown_index = match index {
            Register::None if sib.is_some_and(|sib| sib.shows_no_index(base)) => {
                Some(if narrow { "eiz".to_owned() } else { "riz".to_owned() })
            }
            Register::None => None,
            index => Some(register_name(index)),
        };
        let bare = base == Register::None && shown_index.is_none();
        if bare {
            out.push_str(&format!("{displacement:#x}"));
        } else {
            if decoded.memory_displ_size() != 0 {
                let signed = match narrow {
                    true => i64::from(displacement as u32 as i32),
                    false => displacement.cast_signed(),
                };
                push_signed(&mut out, signed);
            }
            out.push('(');
            if base != Register::None {
                out.push('%');
                out.push_str(&register_name(base));
            }
            if let Some(index) = shown_index {
                let scale = sib.map_or(decoded.memory_index_scale(), |sib| sib.scale);
                out.push_str(&format!(",%{index},{scale}"));
            }
            out.push(')');
        }
    }
    if let Some(brace) = text.find('{') {
        out.push_str(&text[brace..]);
    }
    out
}

fn register_name(register: Register) -> String {
    format!("{register:?}").to_lowercase()
}

fn push_signed(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    out.push_str(&format!("{:#x}", number.unsigned_abs()));
}

/// What a SIB byte without an index says.
#[derive(Clone, Copy, Debug)]
struct Sib {
    scale: u32,
}

impl Sib {
    /// Whether binutils writes the missing index as `%riz`: everywhere but where the SIB byte is
    /// there only because RSP, R12 or an absolute address cannot be encoded without one.
    fn shows_no_index(self, base: Register) -> bool {
        self.scale != 1
            || !matches!(base.full_register(), Register::RSP | Register::R12 | Register::None)
    }
}

/// The distance of a RIP- or EIP-relative operand from the next instruction.
pub(crate) fn relative_displacement(decoded: &iced_x86::Instruction) -> i64 {
    let distance = decoded.memory_displacement64().wrapping_sub(decoded.next_ip());
    match decoded.memory_base() {
        Register::EIP => i64::from(distance as u32 as i32),
        _ => distance.cast_signed(),
    }
}

/// The SIB byte, where there is one.
fn sib(instruction: &Instruction) -> Option<Sib> {
    if has_absolute_offset(instruction) {
        return None;
    }
    let bytes = instruction.bytes();
    let prefixes = instruction.prefix_bytes().len();
    let opcode = |at: usize| bytes.get(prefixes + at).copied();
    let modrm_at = prefixes
        + match (opcode(0)?, opcode(1)?) {
            (0x0f, 0x38 | 0x3a) => 3,
            (0x0f, _) => 2,
            (0x62, _) => 5,
            (0xc4, _) => 4,
            (0xc5, _) => 3,
            (0x8f, second) if second & 0x1f >= 8 => 4,
            (0x9b, _) => 2,
            _ => 1,
        };
    let modrm = *bytes.get(modrm_at)?;
    let sib = *bytes.get(modrm_at + 1)?;
    (modrm & 7 == 4 && modrm >> 6 != 3).then_some(Sib { scale: 1 << (sib >> 6) })
}

/// An x87 stack register: `%st(1)`.
pub(crate) fn stack_register(register: Register) -> String {
    format!("%st({})", register as usize - Register::ST0 as usize)
}
