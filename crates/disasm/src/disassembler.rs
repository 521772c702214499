//! From bytes to instructions.

use crate::{Instruction, prefix};
use iced_x86::{Decoder, DecoderOptions};
use mortis_memory::VirtAddr;

/// The machine that the code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// x86_64 in 64-bit mode.
    X86_64,
}

/// Decodes the instructions of one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Disassembler {
    architecture: Architecture,
}

impl Disassembler {
    /// A disassembler for `architecture`.
    pub const fn new(architecture: Architecture) -> Self {
        Self { architecture }
    }

    /// The instruction at the start of `bytes`, which lie at `address`. `None` only where there
    /// are no bytes; what is no instruction decodes as [`Flow::Bad`](crate::Flow::Bad).
    ///
    /// Sixteen bytes are enough for any instruction; one that `bytes` cut short is bad.
    pub fn instruction(&self, address: VirtAddr, bytes: &[u8]) -> Option<Instruction> {
        match self.architecture {
            Architecture::X86_64 => Instruction::decode(address, bytes),
        }
    }

    /// The instructions of `bytes`, which begin at `start`, one after the other to the end.
    ///
    /// `start` must be the start of an instruction, best of a function.
    pub const fn function<'a>(&self, start: VirtAddr, bytes: &'a [u8]) -> Instructions<'a> {
        Instructions { disassembler: *self, address: start, bytes, skip_after_ud2: 0 }
    }
}

/// The instructions of a stretch of code, from [`Disassembler::function`].
#[derive(Clone, Debug)]
pub struct Instructions<'a> {
    disassembler: Disassembler,
    address: VirtAddr,
    bytes: &'a [u8],
    skip_after_ud2: usize,
}

impl Instructions<'_> {
    /// Leaves out `bytes` bytes after each `ud2`: kernels before 2.6.20 and some builds since put
    /// the line and file of a `BUG()` there (crash's `dis -b`).
    #[must_use]
    pub const fn skip_after_ud2(mut self, bytes: usize) -> Self {
        self.skip_after_ud2 = bytes;
        self
    }
}

impl Iterator for Instructions<'_> {
    type Item = Instruction;

    fn next(&mut self) -> Option<Instruction> {
        let instruction = self.disassembler.instruction(self.address, self.bytes)?;
        let mut step = instruction.len();
        if instruction.is_ud2() {
            step = step.saturating_add(self.skip_after_ud2);
        }
        self.bytes = self.bytes.get(step..).unwrap_or_default();
        self.address = self.address.offset(step as u64);
        Some(instruction)
    }
}

impl std::iter::FusedIterator for Instructions<'_> {}

/// Decodes one instruction, without regard to how binutils counts prefixes.
pub(crate) fn decode(address: VirtAddr, bytes: &[u8]) -> iced_x86::Instruction {
    let mut options = DecoderOptions::MPX;
    let at = bytes.iter().position(|&byte| !prefix::is_prefix(byte)).unwrap_or_default();
    let (prefixes, opcode) = bytes.split_at_checked(at).unwrap_or_default();
    // Processors differ on 16-bit branches; binutils goes with AMD's.
    if prefixes.contains(&0x66)
        && matches!(opcode, [0xc2 | 0xc3 | 0xe8 | 0xe9 | 0xff, ..] | [0x0f, 0x80..=0x8f, ..])
    {
        options |= DecoderOptions::AMD;
    }
    // `lock mov` faults, yet binutils prints it. VEX and EVEX it does check.
    if !matches!(opcode, [0x62 | 0xc4 | 0xc5, ..]) {
        options |= DecoderOptions::NO_INVALID_CHECK;
    }
    Decoder::with_ip(64, bytes, address.get(), options).decode()
}
