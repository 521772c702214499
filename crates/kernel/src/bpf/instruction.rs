//! BPF instructions as text, in the words of the kernel's verifier (kernel/bpf/disasm.c). What an
//! instruction is: include/uapi/linux/bpf.h and Documentation/bpf/standardization.

/// The eight bytes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(pub [u8; 8]);

/// Names that an instruction's numbers stand for.
pub trait Names {
    /// What a 64-bit constant is, if it is the address of something known: `map[id:2]`.
    fn constant(&self, value: u64) -> Option<String>;

    /// The function that a call's number stands for.
    fn function(&self, number: i32) -> Option<String>;
}

/// Classes: the lowest three bits of the opcode.
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;

/// Modes of loads and stores: the highest three bits.
const IMM: u8 = 0x00;
const ABS: u8 = 0x20;
const IND: u8 = 0x40;
const MEM: u8 = 0x60;
const MEMSX: u8 = 0x80;
const ATOMIC: u8 = 0xc0;

/// `BPF_FETCH` and the operations that have no other form.
const FETCH: i32 = 0x01;
const XCHG: i32 = 0xe1;
const CMPXCHG: i32 = 0xf1;

/// `BPF_PSEUDO_CALL`: the number is the distance to another function of the program.
const PSEUDO_CALL: u8 = 1;

/// Operators by the highest four bits of the opcode.
const ALU_OPERATORS: [&str; 16] = [
    "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "endian", "",
    "",
];
const JUMP_OPERATORS: [&str; 16] = [
    "jmp", "==", ">", ">=", "&", "!=", "s>", "s>=", "call", "exit", "<", "<=", "s<", "s<=", "", "",
];

impl Instruction {
    fn code(self) -> u8 {
        self.0[0]
    }

    fn class(self) -> u8 {
        self.code() & 0x07
    }

    /// What is in memory: `u32`.
    fn size(self) -> &'static str {
        match self.code() & 0x18 {
            0x00 => "u32",
            0x08 => "u16",
            0x10 => "u8",
            _ => "u64",
        }
    }

    fn mode(self) -> u8 {
        self.code() & 0xe0
    }

    fn operator(self) -> usize {
        usize::from(self.code() >> 4)
    }

    /// Whether the second operand is a register.
    fn has_register(self) -> bool {
        self.code() & 0x08 != 0
    }

    fn destination(self) -> u8 {
        self.0[1] & 0x0f
    }

    fn source(self) -> u8 {
        self.0[1] >> 4
    }

    fn offset(self) -> i16 {
        i16::from_le_bytes([self.0[2], self.0[3]])
    }

    fn immediate(self) -> i32 {
        i32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Whether the instruction behind it is its second half: a 64-bit constant.
    pub fn is_double(self) -> bool {
        self.code() == LD | IMM | 0x18
    }

    /// The instruction as text; `next` is the one behind it.
    pub fn text(self, next: Option<Self>, names: &dyn Names) -> String {
        let code = self.code();
        let body = match self.class() {
            ALU | ALU64 => self.arithmetic(),
            STX => self.store_register(),
            ST if self.mode() == MEM => {
                Some(format!("{} = {}", self.memory(self.destination()), self.immediate()))
            }
            ST => return format!("BUG_st_{code:02x}"),
            LDX => match self.mode() {
                MEM => {
                    let memory = self.memory(self.source());
                    Some(format!("r{} = {memory}", self.destination()))
                }
                MEMSX => {
                    let memory = self.memory(self.source()).replacen('u', "s", 1);
                    Some(format!("r{} = {memory}", self.destination()))
                }
                _ => return format!("BUG_ldx_{code:02x}"),
            },
            LD => match self.load(next, names) {
                Some(text) => Some(text),
                None => return format!("BUG_ld_{code:02x}"),
            },
            _ => Some(self.jump(names)),
        };
        match body {
            Some(body) => format!("({code:02x}) {body}"),
            None if self.class() == ALU64 => format!("BUG_alu64_{code:02x}"),
            None => format!("BUG_{code:02x}"),
        }
    }

    /// `*(u32 *)(r10 -4)`.
    fn memory(self, base: u8) -> String {
        format!("*({} *)(r{base} {:+})", self.size(), self.offset())
    }

    fn arithmetic(self) -> Option<String> {
        let (to, from) = (self.destination(), self.source());
        let cast = if self.class() == ALU { "(u32) " } else { "" };
        match self.code() & 0xf0 {
            0xd0 => {
                // In the 64-bit class an unconditional swap, since 6.6.
                let order = match (self.class(), self.has_register()) {
                    (ALU64, false) => "bswap",
                    (ALU64, true) => return None,
                    (_, true) => "be",
                    (_, false) => "le",
                };
                return Some(format!("r{to} = {order}{} r{to}", self.immediate()));
            }
            0x80 => return Some(format!("r{to} = {cast}-r{to}")),
            // Moves that extend the sign, since 6.6.
            0xb0 if self.has_register() && self.offset() != 0 => {
                return Some(format!("{cast}r{to} = (s{})r{from}", self.offset()));
            }
            _ => {}
        }
        let operator = ALU_OPERATORS.get(self.operator()).copied().unwrap_or_default();
        // Signed division and modulo, since 6.6.
        let signed = matches!(self.code() & 0xf0, 0x30 | 0x90) && self.offset() == 1;
        let sign = if signed { "s" } else { "" };
        Some(match self.has_register() {
            true => format!("{cast}r{to} {sign}{operator} {cast}r{from}"),
            false => format!("{cast}r{to} {sign}{operator} {cast}{}", self.immediate()),
        })
    }

    fn store_register(self) -> Option<String> {
        let from = self.source();
        let memory = self.memory(self.destination());
        if self.mode() == MEM {
            return Some(format!("{memory} = r{from}"));
        }
        if self.mode() != ATOMIC {
            return None;
        }
        let address = memory.strip_prefix('*').unwrap_or(&memory);
        let wide = if self.size() == "u64" { "64" } else { "" };
        let (operator, name) = match self.immediate() & !FETCH {
            0x00 => ("+=", "add"),
            0x40 => ("|=", "or"),
            0x50 => ("&=", "and"),
            0xa0 => ("^=", "xor"),
            _ => ("", ""),
        };
        match self.immediate() {
            XCHG => Some(format!("r{from} = atomic{wide}_xchg({address}, r{from})")),
            CMPXCHG => Some(format!("r0 = atomic{wide}_cmpxchg({address}, r0, r{from})")),
            _ if name.is_empty() => None,
            immediate if immediate & FETCH != 0 => {
                Some(format!("r{from} = atomic{wide}_fetch_{name}({address}, r{from})"))
            }
            _ => Some(format!("lock {memory} {operator} r{from}")),
        }
    }

    fn load(self, next: Option<Self>, names: &dyn Names) -> Option<String> {
        let size = self.size();
        match self.mode() {
            ABS => Some(format!("r0 = *({size} *)skb[{}]", self.immediate())),
            IND => {
                let source = self.source();
                Some(format!("r0 = *({size} *)skb[r{source} + {}]", self.immediate()))
            }
            IMM if self.is_double() => {
                let high = next.map_or(0, Self::immediate);
                let value = u64::from(high.cast_unsigned()) << 32
                    | u64::from(self.immediate().cast_unsigned());
                let shown = names.constant(value).unwrap_or_else(|| format!("{value:#x}"));
                Some(format!("r{} = {shown}", self.destination()))
            }
            _ => None,
        }
    }

    fn jump(self, names: &dyn Names) -> String {
        let (offset, immediate) = (self.offset(), self.immediate());
        let register = if self.class() == JMP32 { 'w' } else { 'r' };
        match (self.class(), self.code() & 0xf0) {
            (JMP, 0x80) if self.source() == PSEUDO_CALL => format!("call pc{immediate:+}"),
            (JMP, 0x80) => {
                let name = names.function(immediate).unwrap_or_else(|| "unknown".to_owned());
                format!("call {name}#{immediate}")
            }
            (JMP, 0x90) => "exit".to_owned(),
            (JMP, 0x00) => format!("goto pc{offset:+}"),
            // The far jump of 6.6, and the bounded loop of 6.9.
            (JMP32, 0x00) => format!("gotol pc{immediate:+}"),
            (JMP, 0xe0) => format!("may_goto pc{offset:+}"),
            _ => {
                let operator = JUMP_OPERATORS.get(self.operator()).copied().unwrap_or_default();
                let left = self.destination();
                let right = match self.has_register() {
                    true => format!("{register}{}", self.source()),
                    false => format!("{immediate:#x}"),
                };
                format!("if {register}{left} {operator} {right} goto pc{offset:+}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoNames;

    impl Names for NoNames {
        fn constant(&self, value: u64) -> Option<String> {
            (value == 0x1234_0000_0010).then(|| "map[id:7]".to_owned())
        }

        fn function(&self, number: i32) -> Option<String> {
            (number == 1).then(|| "bpf_map_lookup_elem".to_owned())
        }
    }

    fn text(bytes: [u8; 8]) -> String {
        Instruction(bytes).text(None, &NoNames)
    }

    #[test]
    fn instructions_are_spelled_as_the_verifier_does() {
        let spelled = [
            ([0x62, 0x0a, 0xfc, 0xff, 0, 0, 0, 0], "(62) *(u32 *)(r10 -4) = 0"),
            ([0xbf, 0xa2, 0, 0, 0, 0, 0, 0], "(bf) r2 = r10"),
            ([0x07, 0x02, 0, 0, 0xfc, 0xff, 0xff, 0xff], "(07) r2 += -4"),
            ([0x35, 0, 3, 0, 4, 0, 0, 0], "(35) if r0 >= 0x4 goto pc+3"),
            ([0xdb, 0x10, 0, 0, 0, 0, 0, 0], "(db) lock *(u64 *)(r0 +0) += r1"),
            ([0xdb, 0x10, 0, 0, 1, 0, 0, 0], "(db) r1 = atomic64_fetch_add((u64 *)(r0 +0), r1)"),
            ([0xb4, 0x01, 0, 0, 5, 0, 0, 0], "(b4) (u32) r1 = (u32) 5"),
            ([0x16, 0x01, 0xff, 0xff, 5, 0, 0, 0], "(16) if w1 == 0x5 goto pc-1"),
            ([0x85, 0, 0, 0, 1, 0, 0, 0], "(85) call bpf_map_lookup_elem#1"),
            ([0x85, 0x10, 0, 0, 9, 0, 0, 0], "(85) call pc+9"),
            ([0x95, 0, 0, 0, 0, 0, 0, 0], "(95) exit"),
            ([0xdc, 0x02, 0, 0, 16, 0, 0, 0], "(dc) r2 = be16 r2"),
            ([0x81, 0x21, 4, 0, 0, 0, 0, 0], "(81) r1 = *(s32 *)(r2 +4)"),
            ([0x01, 0, 0, 0, 0, 0, 0, 0], "BUG_ldx_01"),
        ];
        for (bytes, expected) in spelled {
            assert_eq!(text(bytes), expected);
        }
    }

    #[test]
    fn a_constant_takes_two_instructions() {
        let first = Instruction([0x18, 0x11, 0, 0, 0x10, 0, 0, 0]);
        let second = Instruction([0, 0, 0, 0, 0x34, 0x12, 0, 0]);
        assert!(first.is_double());
        assert_eq!(first.text(Some(second), &NoNames), "(18) r1 = map[id:7]");
        assert_eq!(first.text(None, &NoNames), "(18) r1 = 0x10");
    }
}
