//! One instruction as data.

use crate::disassembler::decode;
use crate::prefix::{self, MAX_LENGTH, Scan};
use crate::{MemoryOperand, RegisterSet, Style, TextOptions, att, intel};
use iced_x86::{Code, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess};
use mortis_memory::{VirtAddr, X86_64Registers};

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// To the next instruction.
    Next,
    /// To the next instruction; this one does nothing.
    Nop,
    /// To a function, and back. Without a target it is indirect.
    Call,
    /// Elsewhere, always. Without a target it is indirect.
    Jump,
    /// Elsewhere or to the next instruction (`jcc`, `loop`, `jrcxz`, `xbegin`).
    ConditionalJump,
    /// Back: `ret`, `iretq`, `sysretq`.
    Return,
    /// Into the kernel, a hypervisor or firmware: `syscall`, `vmcall`, `tdcall`.
    SystemCall,
    /// `int3`: a breakpoint, or padding between functions.
    Breakpoint,
    /// Another software interrupt.
    Interrupt,
    /// `ud0`, `ud1`, `ud2`: faults on purpose. `BUG()` and `WARN()` are a `ud2`.
    Undefined,
    /// `hlt`: to the next instruction after an interrupt.
    Halt,
    /// The bytes are no instruction.
    Bad,
}

impl Flow {
    /// A short name: the spelling for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Flow::Next => "next",
            Flow::Nop => "nop",
            Flow::Call => "call",
            Flow::Jump => "jump",
            Flow::ConditionalJump => "conditional-jump",
            Flow::Return => "return",
            Flow::SystemCall => "system-call",
            Flow::Breakpoint => "breakpoint",
            Flow::Interrupt => "interrupt",
            Flow::Undefined => "undefined",
            Flow::Halt => "halt",
            Flow::Bad => "bad",
        }
    }

    fn of(decoded: &iced_x86::Instruction) -> Self {
        match decoded.mnemonic() {
            Mnemonic::Nop | Mnemonic::Reservednop | Mnemonic::Fnop => return Flow::Nop,
            Mnemonic::Int3 => return Flow::Breakpoint,
            Mnemonic::Hlt => return Flow::Halt,
            Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => return Flow::Undefined,
            Mnemonic::Call => return Flow::Call,
            Mnemonic::Xend | Mnemonic::Xabort => return Flow::Next,
            _ => {}
        }
        match decoded.flow_control() {
            FlowControl::Next => Flow::Next,
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => Flow::Jump,
            FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => Flow::ConditionalJump,
            FlowControl::Return => Flow::Return,
            FlowControl::Call | FlowControl::IndirectCall => Flow::SystemCall,
            FlowControl::Interrupt => Flow::Interrupt,
            FlowControl::Exception => Flow::Bad,
        }
    }
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Where it is.
    pub address: VirtAddr,
    /// Where control goes after it.
    pub flow: Flow,
    /// Where a direct call or jump goes.
    pub target: Option<VirtAddr>,
    length: u8,
    prefixes: u8,
    bytes: [u8; MAX_LENGTH],
    decoded: iced_x86::Instruction,
}

impl Instruction {
    pub(crate) fn decode(address: VirtAddr, bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        let (prefixes, length, decoded) = match prefix::scan(bytes) {
            Scan::Stray(count) => (count, count, iced_x86::Instruction::default()),
            Scan::Before(count) => {
                let waits = prefix::waits(bytes.get(count..).unwrap_or_default());
                let skipped = if waits { count + 1 } else { 0 };
                let rest = bytes.get(skipped..).unwrap_or_default();
                let decoded = decode(address.offset(skipped as u64), rest);
                let length = if decoded.is_invalid() { count + 1 } else { skipped + decoded.len() };
                (count, length, decoded)
            }
        };
        let mut own = [0; MAX_LENGTH];
        let length = length.min(MAX_LENGTH).min(bytes.len());
        own[..length].copy_from_slice(&bytes[..length]);
        let flow = if decoded.is_invalid() { Flow::Bad } else { Flow::of(&decoded) };
        let target = match decoded.near_branch_target() {
            0 if !decoded.is_jmp_short_or_near() && !decoded.is_call_near() => None,
            target => Some(VirtAddr(target)),
        };
        Some(Self {
            address,
            flow,
            target,
            length: length as u8,
            prefixes: prefixes as u8,
            bytes: own,
            decoded,
        })
    }

    /// Bytes that the instruction takes, 1 to 15.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// The instruction's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// The address after the instruction: what a call pushes.
    pub const fn next_address(&self) -> VirtAddr {
        self.address.offset(self.length as u64)
    }

    /// Whether this is `ud2`, which `BUG()` and `WARN()` compile to.
    pub fn is_ud2(&self) -> bool {
        self.decoded.code() == Code::Ud2
    }

    /// The memory the instruction touches: the operands that are printed, then the others.
    pub fn memory(&self) -> Vec<MemoryOperand> {
        let mut factory = InstructionInfoFactory::new();
        MemoryOperand::of(&self.decoded, factory.info(&self.decoded))
    }

    /// The memory operand that, given the registers before the instruction, touches the byte at
    /// `address`: with the address of a page fault (CR2), the operand that faulted.
    pub fn memory_at(
        &self,
        registers: &X86_64Registers,
        address: VirtAddr,
    ) -> Option<MemoryOperand> {
        self.memory().into_iter().find(|operand| operand.covers(registers, address))
    }

    /// The general registers read, those that addresses are made of included.
    pub fn registers_read(&self) -> RegisterSet {
        self.registers(|access| {
            matches!(
                access,
                OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
        })
    }

    /// The general registers written, perhaps only in part or on a condition.
    pub fn registers_written(&self) -> RegisterSet {
        self.registers(|access| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        })
    }

    fn registers(&self, wanted: impl Fn(OpAccess) -> bool) -> RegisterSet {
        let mut factory = InstructionInfoFactory::new();
        let mut set = RegisterSet::default();
        for used in factory.info(&self.decoded).used_registers() {
            if wanted(used.access()) {
                set.insert(used.register());
            }
        }
        set
    }

    /// Mnemonic and operands, as gdb prints them behind the tab of `x/i`.
    pub fn text(&self, options: &TextOptions<'_>) -> String {
        match options.style {
            Style::Att => att::text(self, options),
            Style::Intel => intel::text(self, options),
        }
    }

    /// A whole line as `x/i` and crash's `dis` print it: `0xADDRESS <symbol+offset>:\ttext`.
    pub fn line(&self, options: &TextOptions<'_>) -> String {
        let mut line = format!("{:#x}", self.address);
        options.push_symbol(&mut line, self.address);
        line.push_str(":\t");
        line.push_str(&self.text(options));
        line
    }

    pub(crate) const fn decoded(&self) -> &iced_x86::Instruction {
        &self.decoded
    }

    pub(crate) fn prefix_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.prefixes)).unwrap_or_default()
    }

    /// Whether the instruction is an x87 one together with the `fwait` before it.
    pub(crate) fn waits(&self) -> bool {
        self.opcode() == Some(prefix::FWAIT) && self.len() > usize::from(self.prefixes) + 1
    }

    /// Whether a REX prefix makes the operands 64 bits wide.
    pub(crate) fn has_rex_w(&self) -> bool {
        self.prefix_bytes().last().is_some_and(|byte| byte & 0xf8 == 0x48)
    }

    /// The first byte behind the prefixes.
    pub(crate) fn opcode(&self) -> Option<u8> {
        self.bytes().get(usize::from(self.prefixes)).copied()
    }
}
