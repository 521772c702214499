//! Legacy and REX prefixes as binutils reads and prints them.
//!
//! A prefix that changes nothing about the instruction is printed as a word in front of it
//! (`data16`, `cs`, `rex.W`, `addr32`). Of several prefixes of one kind only the last can have an
//! effect. A REX prefix counts only right before the opcode: one that another prefix follows is
//! printed on a line of its own together with what stood before it.

use crate::Instruction;
use crate::disassembler::decode;
use crate::encoding::{has_absolute_offset, has_modrm_memory};
use iced_x86::{Code, Mnemonic, OpKind, Register};

/// The longest that an instruction can be.
pub(crate) const MAX_LENGTH: usize = 15;

/// `fwait`, which is taken together with the x87 instruction behind it.
pub(crate) const FWAIT: u8 = 0x9b;

/// Whether `opcode` is an `fwait` and the x87 instruction that it belongs to.
pub(crate) fn waits(opcode: &[u8]) -> bool {
    matches!(opcode, [FWAIT, 0xd8..=0xdf, ..])
}

/// The prefixes at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// This many prefix bytes, then an opcode.
    Before(usize),
    /// This many prefix bytes that belong to no instruction.
    Stray(usize),
}

/// Counts the prefixes at the start of `bytes`.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let mut rex = false;
    for (count, &byte) in bytes.iter().enumerate().take(MAX_LENGTH) {
        let strays = rex && byte == FWAIT;
        if !is_prefix(byte) && !strays {
            return Scan::Before(count);
        }
        if rex {
            return Scan::Stray(count);
        }
        rex = is_rex(byte);
    }
    Scan::Stray(bytes.len().min(MAX_LENGTH))
}

fn is_rex(byte: u8) -> bool {
    byte & 0xf0 == 0x40
}

/// Whether a byte is a prefix wherever it stands before an opcode.
pub(crate) fn is_prefix(byte: u8) -> bool {
    is_rex(byte) || matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// The word that binutils has for a prefix byte.
pub(crate) fn name(byte: u8) -> &'static str {
    const REX: [&str; 16] = [
        "rex", "rex.B", "rex.X", "rex.XB", "rex.R", "rex.RB", "rex.RX", "rex.RXB", "rex.W",
        "rex.WB", "rex.WX", "rex.WXB", "rex.WR", "rex.WRB", "rex.WRX", "rex.WRXB",
    ];
    match byte {
        0x26 => "es",
        0x2e => "cs",
        0x36 => "ss",
        0x3e => "ds",
        0x64 => "fs",
        0x65 => "gs",
        0x66 => "data16",
        0x67 => "addr32",
        0xf0 => "lock",
        0xf2 => "repnz",
        0xf3 => "repz",
        FWAIT => "fwait",
        _ => REX[usize::from(byte & 0xf)],
    }
}

/// The words to print in front of an instruction's mnemonic, and what its prefixes add to it.
#[derive(Debug, Default)]
pub(crate) struct Leading {
    /// The words, each with a space behind it.
    pub words: String,
    /// `,pn` or `,pt`: the static prediction of a conditional jump.
    pub hint: &'static str,
}

/// What to print for the prefixes of `instruction`.
pub(crate) fn leading(instruction: &Instruction) -> Leading {
    let prefixes = instruction.prefix_bytes();
    let mut leading = Leading::default();
    for (index, &byte) in prefixes.iter().enumerate() {
        let last = !prefixes.iter().skip(index + 1).any(|&other| same_kind(byte, other));
        let meaning = if last { meaning(instruction, index, byte) } else { Meaning::Nothing };
        match meaning {
            Meaning::Absorbed => {}
            Meaning::Hint(hint) => leading.hint = hint,
            Meaning::Word(word) => push_word(&mut leading.words, word),
            Meaning::Nothing => push_word(&mut leading.words, name(byte)),
        }
    }
    if has_evex_twin(instruction) {
        push_word(&mut leading.words, "{vex}");
    }
    leading
}

/// Whether an assembler would choose the EVEX form of this instruction without being told.
fn has_evex_twin(instruction: &Instruction) -> bool {
    matches!(instruction.opcode(), Some(0xc4 | 0xc5))
        && matches!(
            instruction.decoded().mnemonic(),
            Mnemonic::Vpdpbusd
                | Mnemonic::Vpdpbusds
                | Mnemonic::Vpdpwssd
                | Mnemonic::Vpdpwssds
                | Mnemonic::Vpmadd52luq
                | Mnemonic::Vpmadd52huq
        )
}

fn push_word(words: &mut String, word: &str) {
    words.push_str(word);
    words.push(' ');
}

/// What one prefix does.
enum Meaning {
    /// It shows in the mnemonic or the operands.
    Absorbed,
    /// It predicts a conditional jump.
    Hint(&'static str),
    /// It has another name before this instruction.
    Word(&'static str),
    /// Nothing.
    Nothing,
}

fn same_kind(one: u8, other: u8) -> bool {
    let kind = |byte: u8| match byte {
        0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => 0x26,
        0x40..=0x4f => 0x40,
        _ => byte,
    };
    kind(one) == kind(other)
}

fn meaning(instruction: &Instruction, index: usize, byte: u8) -> Meaning {
    let decoded = instruction.decoded();
    let used = match byte {
        0x40..=0x4f => rex_used(instruction, index, byte),
        0x2e if is_hinted(decoded) => return Meaning::Hint(",pn"),
        0x3e if is_hinted(decoded) => return Meaning::Hint(",pt"),
        0x3e if decoded.is_jmp_near_indirect() || decoded.is_call_near_indirect() => {
            return Meaning::Word("notrack");
        }
        0x64 | 0x65 => has_segmented_memory(decoded),
        // The source of a string instruction is printed with its segment, DS whatever these say.
        0x26 | 0x2e | 0x36 | 0x3e => {
            // binutils takes the last segment prefix for the one that counts.
            let moved = matches!(decoded.memory_segment(), Register::FS | Register::GS);
            has_string_source(decoded) || moved && has_segmented_memory(decoded)
        }
        0xf0 => false,
        0x66 if stores_selector(decoded) => false,
        0x67 if has_absolute_offset(instruction) => false,
        0xf2 | 0xf3 if is_plain_nop(decoded) => false,
        0xf2 if keeps_bounds(decoded) => return Meaning::Word("bnd"),
        0xf2 if decoded.has_xacquire_prefix() => return Meaning::Word("xacquire"),
        0xf3 if decoded.has_xrelease_prefix() => return Meaning::Word("xrelease"),
        0xf2 => !decoded.has_repne_prefix(),
        0xf3 if decoded.has_repe_prefix() && repeats_without_comparing(decoded) => {
            return Meaning::Word("rep");
        }
        0xf3 => !decoded.has_repe_prefix(),
        _ => changes_without(instruction, byte),
    };
    if used { Meaning::Absorbed } else { Meaning::Nothing }
}

/// Whether binutils prints the static prediction of a branch.
fn is_hinted(decoded: &iced_x86::Instruction) -> bool {
    decoded.is_jcc_short_or_near()
        || decoded.is_jcx_short()
        || decoded.is_loop()
        || decoded.is_loopcc()
}

/// Whether an F2 keeps the bound registers of MPX over this branch.
fn keeps_bounds(decoded: &iced_x86::Instruction) -> bool {
    decoded.is_jmp_short_or_near()
        || decoded.is_jmp_near_indirect()
        || decoded.is_call_near()
        || decoded.is_call_near_indirect()
        || decoded.is_jcc_short_or_near()
        || decoded.mnemonic() == Mnemonic::Ret
}

/// Whether no repeat prefix makes this another instruction.
fn is_plain_nop(decoded: &iced_x86::Instruction) -> bool {
    matches!(decoded.mnemonic(), Mnemonic::Nop | Mnemonic::Reservednop)
}

fn repeats_without_comparing(decoded: &iced_x86::Instruction) -> bool {
    matches!(
        decoded.mnemonic(),
        Mnemonic::Movsb
            | Mnemonic::Movsw
            | Mnemonic::Movsd
            | Mnemonic::Movsq
            | Mnemonic::Stosb
            | Mnemonic::Stosw
            | Mnemonic::Stosd
            | Mnemonic::Stosq
            | Mnemonic::Lodsb
            | Mnemonic::Lodsw
            | Mnemonic::Lodsd
            | Mnemonic::Lodsq
            | Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
    )
}

fn has_segmented_memory(decoded: &iced_x86::Instruction) -> bool {
    decoded.op_kinds().any(|kind| {
        matches!(
            kind,
            OpKind::Memory
                | OpKind::MemorySegSI
                | OpKind::MemorySegESI
                | OpKind::MemorySegRSI
                | OpKind::MemorySegDI
                | OpKind::MemorySegEDI
                | OpKind::MemorySegRDI
        )
    })
}

fn has_string_source(decoded: &iced_x86::Instruction) -> bool {
    decoded.mnemonic() == Mnemonic::Xlatb
        || decoded.op_kinds().any(|kind| {
            matches!(
                kind,
                OpKind::MemorySegESI
                    | OpKind::MemorySegRSI
                    | OpKind::MemorySegEDI
                    | OpKind::MemorySegRDI
            )
        })
}

/// Whether this moves a segment register from or to memory: always two bytes.
fn stores_selector(decoded: &iced_x86::Instruction) -> bool {
    decoded.mnemonic() == Mnemonic::Mov
        && (0..2).any(|operand| decoded.op_register(operand).is_segment_register())
        && decoded.op_kinds().any(|kind| kind == OpKind::Memory)
}

/// Whether every bit of the REX prefix does something. Without bits, it turns `ah` to `bh` into
/// `spl` to `dil`.
fn rex_used(instruction: &Instruction, index: usize, byte: u8) -> bool {
    let decoded = instruction.decoded();
    if byte & 0xf == 0 {
        return (0..decoded.op_count()).any(|operand| {
            matches!(
                decoded.op_register(operand),
                Register::SPL | Register::BPL | Register::SIL | Register::DIL
            )
        });
    }
    [1, 2, 4, 8].into_iter().filter(|bit| byte & bit != 0).all(|bit| match bit {
        // It extends the base, also where there is none.
        1 if has_modrm_memory(instruction) => true,
        8 if stores_selector(decoded)
            || decoded.code() == Code::Nopq
            || decoded.is_call_far_indirect()
            || decoded.is_jmp_far_indirect() =>
        {
            false
        }
        // Where it only takes back what a 66 did, it does nothing.
        8 if instruction.prefix_bytes().contains(&0x66) && !changes_without(instruction, 0x66) => {
            let wide = without(instruction, |other| other == 0x66);
            let mut narrow = wide.clone();
            if let Some(rex) = narrow.iter_mut().find(|byte| **byte & 0xf0 == 0x40) {
                *rex &= !bit;
            }
            decode(instruction.address, &narrow) != decode(instruction.address, &wide)
        }
        _ => {
            let mut bytes = instruction.bytes().to_vec();
            if let Some(rex) = bytes.get_mut(index) {
                *rex &= !bit;
            }
            decode(instruction.address, &bytes) != *decoded
        }
    })
}

/// Whether the instruction is another one without its prefixes of the kind of `prefix`.
fn changes_without(instruction: &Instruction, prefix: u8) -> bool {
    let bytes = without(instruction, |other| same_kind(prefix, other));
    // What is RIP-relative stays where it is.
    let address = instruction.address.offset((instruction.len() - bytes.len()) as u64);
    decode(address, &bytes) != *instruction.decoded()
}

/// The instruction's bytes without some of its prefixes.
fn without(instruction: &Instruction, unwanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let (prefixes, rest) = instruction.bytes().split_at(instruction.prefix_bytes().len());
    let mut bytes: Vec<u8> = prefixes.iter().copied().filter(|&other| !unwanted(other)).collect();
    bytes.extend_from_slice(rest);
    bytes
}
