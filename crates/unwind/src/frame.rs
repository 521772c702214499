//! What a walk yields: frames that say how they were found, and why it ended.

use crate::{KnownRegisters, Register, Stack, pt_regs};
use mortis_memory::{ReadError, VirtAddr, VirtualMemory, X86_64Registers};

/// How a frame was found, from the most to the least certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Registers that were saved for the walk to begin with: of a CPU, or of a sleeping task.
    Registers,
    /// The frame before it has an ORC rule.
    Orc,
    /// The frame before it has a call frame information rule.
    Cfi,
    /// Registers that an exception or interrupt saved on the stack, where a rule says they are.
    ExceptionFrame,
    /// The instructions of the frame before it were followed from the function's start.
    Instructions,
    /// The frame before it keeps a frame pointer.
    FramePointer,
    /// The frame before it called an address that is no code; the word on top of the stack is the
    /// return address of that call.
    BadCall,
    /// The word on the stack looks like a return address, and no more is known.
    Scan,
}

impl Trust {
    /// One spelling for text and JSON.
    pub const fn code(self) -> &'static str {
        match self {
            Trust::Registers => "registers",
            Trust::Orc => "orc",
            Trust::Cfi => "cfi",
            Trust::ExceptionFrame => "exception-frame",
            Trust::Instructions => "instructions",
            Trust::FramePointer => "frame-pointer",
            Trust::BadCall => "bad-call",
            Trust::Scan => "scan",
        }
    }

    /// Whether the frame was guessed: commands mark it.
    pub const fn is_guess(self) -> bool {
        matches!(self, Trust::Scan)
    }
}

/// A `struct pt_regs` that the kernel's entry code left on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtRegs {
    /// Where the structure begins, also where only its end was written.
    pub address: VirtAddr,
    /// Whether only ip, cs, flags, sp and ss were written yet (`ORC_TYPE_REGS_PARTIAL`): the rest
    /// of the structure is something else.
    pub partial: bool,
}

impl PtRegs {
    /// Reads the whole of it; of a partial one, only what was written.
    ///
    /// # Errors
    /// [`ReadError`] when it is not in the dump.
    pub fn read(&self, memory: &dyn VirtualMemory) -> Result<X86_64Registers, ReadError> {
        let mut bytes = [0; X86_64Registers::PT_REGS_SIZE];
        let from = if self.partial { pt_regs::IRET_FRAME } else { 0 };
        let wanted = bytes.get_mut(from as usize..).unwrap_or_default();
        memory.read(self.address.offset(from), wanted)?;
        Ok(X86_64Registers::from_user_regs(&bytes))
    }
}

/// One frame of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The instruction that runs, or the one that the frame returns to.
    pub ip: VirtAddr,
    /// The stack pointer at that instruction.
    pub sp: VirtAddr,
    /// Where [`Frame::ip`] was read from: the slot of the return address, which crash prints in
    /// brackets, or the ip of saved registers. None for registers that are not in memory.
    pub ip_slot: Option<VirtAddr>,
    /// The canonical frame address: the caller's stack pointer before the call. Known when the
    /// frame could be unwound.
    pub cfa: Option<VirtAddr>,
    /// How the frame was found.
    pub how: Trust,
    /// Whether `ip` is the very instruction, as after an exception. Otherwise it is a return
    /// address, and the call stands before it.
    pub exact_ip: bool,
    /// What is known of the registers.
    pub registers: KnownRegisters,
    /// The saved registers that the frame was read from.
    pub pt_regs: Option<PtRegs>,
    /// Whether the slot held a return trampoline (function graph tracer, kretprobe) and `ip` is
    /// what the tracer had put aside.
    pub through_trampoline: bool,
    /// The stack that `sp` is on, where it is known.
    pub stack: Option<Stack>,
}

impl Frame {
    /// The address to look up for symbol, line and inlined calls: the instruction itself, or a
    /// byte of the call before a return address.
    pub const fn lookup_ip(&self) -> VirtAddr {
        if self.exact_ip { self.ip } else { self.ip.back(1) }
    }
}

/// Why a walk ended. The first two are the ends that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The kernel was entered from user mode here.
    #[error("entered from user mode")]
    UserMode(
        /// The user's registers, on top of the task's stack.
        PtRegs,
    ),
    /// The tables say that nothing called this code: the first function of a kernel thread, of
    /// boot, of a CPU.
    #[error("end of the stack")]
    EndOfStack,
    /// No table says how to go on from here.
    #[error("no unwind rule for {0:#x}")]
    NoRule(VirtAddr),
    /// The rule needs a register that is not known here.
    #[error("the rule for {ip:#x} needs {}, which is not known", register.name())]
    UnknownRegister {
        /// Where.
        ip: VirtAddr,
        /// The register that the rule starts from.
        register: Register,
    },
    /// The table holds something that no version of the format explains.
    #[error("bad unwind rule for {0:#x}")]
    BadRule(VirtAddr),
    /// The stack pointer, or what was computed from it, is on no stack.
    #[error("{0:#x} is on no known stack")]
    BadStackPointer(VirtAddr),
    /// A return address that is no code.
    #[error("return address {ip:#x} at {slot:#x} is not text")]
    BadReturnAddress {
        /// The address.
        ip: VirtAddr,
        /// Where it was read.
        slot: VirtAddr,
    },
    /// Saved registers that cannot be any: segments or flags are impossible.
    #[error("no saved registers at {0:#x}")]
    BadRegisters(VirtAddr),
    /// Memory that is not in the dump.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The stack pointer did not go up.
    #[error("the stack does not go on upwards from {0:#x}")]
    Loop(VirtAddr),
    /// As many frames as were asked for.
    #[error("more frames than asked for")]
    TooDeep,
}

impl Stop {
    /// Whether the walk saw the whole stack.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Stop::UserMode(_) | Stop::EndOfStack)
    }

    /// One spelling for JSON.
    pub const fn code(&self) -> &'static str {
        match self {
            Stop::UserMode(_) => "user-mode",
            Stop::EndOfStack => "end-of-stack",
            Stop::NoRule(_) => "no-rule",
            Stop::UnknownRegister { .. } => "unknown-register",
            Stop::BadRule(_) => "bad-rule",
            Stop::BadStackPointer(_) => "bad-stack-pointer",
            Stop::BadReturnAddress { .. } => "bad-return-address",
            Stop::BadRegisters(_) => "bad-registers",
            Stop::Unreadable(_) => "unreadable",
            Stop::Loop(_) => "loop",
            Stop::TooDeep => "too-deep",
        }
    }
}

/// A whole walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no more.
    pub stop: Stop,
}
