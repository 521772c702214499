//! A memory operand as binutils sees it, before either syntax.

use crate::Instruction;
use crate::encoding::sib_scale;
use iced_x86::Register;

/// The parts of a memory operand that get printed.
#[derive(Debug)]
pub(crate) struct Address {
    /// `fs` or `gs`.
    pub segment: Option<&'static str>,
    /// The base register's name, `rip` included.
    pub base: Option<String>,
    /// The index register's name and its factor.
    pub index: Option<(String, u32)>,
    /// The number added, where one is encoded.
    pub displacement: Option<i64>,
}

impl Address {
    /// The memory operand of `instruction`.
    pub(crate) fn of(instruction: &Instruction) -> Self {
        let decoded = instruction.decoded();
        let segment = match decoded.segment_prefix() {
            Register::FS => Some("fs"),
            Register::GS => Some("gs"),
            _ => None,
        };
        let base = decoded.memory_base();
        if base.is_ip() {
            return Self {
                segment,
                base: Some(register_name(base)),
                index: None,
                displacement: Some(relative_displacement(decoded)),
            };
        }
        let index = decoded.memory_index();
        let narrow = base.size() == 4 || index.size() == 4 && !index.is_vector_register();
        let scale = sib_scale(instruction);
        let name = match index {
            Register::None if scale.is_some_and(|scale| shows_no_index(scale, base)) => {
                Some(if narrow { "eiz".to_owned() } else { "riz".to_owned() })
            }
            Register::None => None,
            index => Some(register_name(index)),
        };
        let displacement = match decoded.memory_displacement64() {
            number if narrow => i64::from(number as u32 as i32),
            number => number.cast_signed(),
        };
        Self {
            segment,
            base: (base != Register::None).then(|| register_name(base)),
            index: name.map(|name| (name, scale.unwrap_or(decoded.memory_index_scale()))),
            displacement: (decoded.memory_displ_size() != 0).then_some(displacement),
        }
    }

    /// The address, where no register takes part.
    pub(crate) fn absolute(&self) -> Option<u64> {
        match (&self.base, &self.index) {
            (None, None) => Some(self.displacement.unwrap_or_default().cast_unsigned()),
            _ => None,
        }
    }
}

/// Whether binutils writes a missing index as `riz`: everywhere but where the SIB byte is there
/// only because RSP, R12 or an absolute address cannot be encoded without one.
fn shows_no_index(scale: u32, base: Register) -> bool {
    scale != 1 || !matches!(base.full_register(), Register::RSP | Register::R12 | Register::None)
}

/// The distance of a RIP- or EIP-relative operand from the next instruction.
pub(crate) fn relative_displacement(decoded: &iced_x86::Instruction) -> i64 {
    let distance = decoded.memory_displacement64().wrapping_sub(decoded.next_ip());
    match decoded.memory_base() {
        Register::EIP => i64::from(distance as u32 as i32),
        _ => distance.cast_signed(),
    }
}

/// The segment of a string instruction's source: FS and GS, or DS; what other prefixes name does
/// not count in 64-bit mode.
pub(crate) fn source_segment(decoded: &iced_x86::Instruction) -> &'static str {
    match decoded.memory_segment() {
        Register::FS => "fs",
        Register::GS => "gs",
        _ => "ds",
    }
}

/// The lower-case name of a register.
pub(crate) fn register_name(register: Register) -> String {
    format!("{register:?}").to_lowercase()
}

/// Appends `number` in hexadecimal, with its sign where it has one.
pub(crate) fn push_signed(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    out.push_str(&format!("{:#x}", number.unsigned_abs()));
}
