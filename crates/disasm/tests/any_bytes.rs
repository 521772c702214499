//! Whatever the bytes, decoding ends, covers them all and does not panic.

use mortis_disasm::{Architecture, Disassembler, Style, TextOptions};
use mortis_memory::{VirtAddr, X86_64Registers};

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick(&mut self, bytes: &[u8]) -> u8 {
        bytes[self.next() as usize % bytes.len()]
    }
}

fn examine(start: u64, bytes: &[u8]) {
    let disassembler = Disassembler::new(Architecture::X86_64);
    let registers = X86_64Registers { rax: u64::MAX, rsp: start, ..X86_64Registers::default() };
    let mut covered = 0;
    for instruction in disassembler.function(VirtAddr(start), bytes) {
        assert!((1..=15).contains(&instruction.len()));
        assert_eq!(instruction.bytes(), &bytes[covered..covered + instruction.len()]);
        covered += instruction.len();
        for style in [Style::Att, Style::Intel] {
            let text = instruction.line(&TextOptions { style, ..TextOptions::default() });
            assert!(text.is_ascii() && text.len() < 200, "{text}");
        }
        for operand in instruction.memory() {
            operand.effective_address(&registers);
        }
        instruction.memory_at(&registers, VirtAddr(start));
        instruction.registers_read();
        instruction.registers_written();
    }
    assert_eq!(covered, bytes.len());
}

#[test]
fn random_bytes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..64).map(|_| random.next() as u8).collect();
        examine(random.next(), &bytes);
    }
}

#[test]
fn prefixes_and_escapes() {
    const LIKELY: &[u8] = &[
        0x0f, 0x26, 0x2e, 0x36, 0x38, 0x3a, 0x3e, 0x40, 0x48, 0x4f, 0x62, 0x64, 0x65, 0x66, 0x67,
        0x8f, 0x9b, 0xc4, 0xc5, 0xd8, 0xd9, 0xdb, 0xf0, 0xf2, 0xf3, 0x90, 0xa1, 0x04, 0x24,
    ];
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..4_000 {
        let bytes: Vec<u8> = (0..32)
            .map(|_| match random.next() % 3 {
                0 => random.next() as u8,
                _ => random.pick(LIKELY),
            })
            .collect();
        examine(random.next(), &bytes);
    }
}

#[test]
fn every_opcode_cut_short_everywhere() {
    for escape in [&[][..], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a], &[0x66, 0x0f], &[0xf3, 0x48]] {
        for opcode in 0..=u8::MAX {
            let mut bytes = escape.to_vec();
            bytes.extend([opcode, 0x84, 0x24, 1, 2, 3, 4, 5, 6, 7, 8]);
            for end in 0..bytes.len() {
                examine(u64::MAX - 4, &bytes[..end]);
            }
        }
    }
}
