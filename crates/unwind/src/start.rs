//! Where a walk begins, and how far it goes.

use crate::stack_words::StackWords;
use crate::walk::KERNEL_HALF;
use crate::{KnownRegisters, PtRegs, Stop, Trust, pt_regs};
use mortis_memory::{VirtAddr, VirtualMemory, X86_64Registers};

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Frames at most.
    pub max_frames: usize,
    /// Whether to go on by scanning where no rule helps.
    pub scan: bool,
    /// Whether to ask call frame information, where there is any, for the registers that ORC does
    /// not follow: rbx and r12 to r15, in which a compiler keeps local variables.
    pub callee_saved: bool,
    /// The smallest address that the walk may lead to: where the kernel's half of the address space
    /// begins, unless the stack is a user's.
    pub lowest: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_frames: 2048, scan: true, callee_saved: false, lowest: KERNEL_HALF }
    }
}

/// Where a walk begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The registers known; ip and sp must be.
    pub registers: KnownRegisters,
    /// Whether ip is the very instruction.
    pub exact_ip: bool,
    /// Where ip was read, if in memory.
    pub ip_slot: Option<VirtAddr>,
    /// How it came to be known.
    pub how: Trust,
    /// The saved registers, if they are in memory.
    pub pt_regs: Option<PtRegs>,
}

impl Start {
    /// At the registers that a dump saved of a CPU.
    pub fn at_cpu(saved: &X86_64Registers) -> Self {
        Self {
            registers: saved.into(),
            exact_ip: true,
            ip_slot: None,
            how: Trust::Registers,
            pt_regs: None,
        }
    }

    /// At the return address of a task that sleeps: the caller reads `struct inactive_task_frame`
    /// at `thread.sp`, and gives its registers, the address of its `ret_addr`, and as rsp the
    /// address behind it.
    pub fn at_sleeping_task(registers: KnownRegisters, ip_slot: VirtAddr) -> Self {
        Self {
            registers,
            exact_ip: false,
            ip_slot: Some(ip_slot),
            how: Trust::Registers,
            pt_regs: None,
        }
    }

    /// At a `struct pt_regs` in memory.
    ///
    /// # Errors
    /// [`Stop::UserMode`] when the registers are a user's, [`Stop::BadRegisters`] and
    /// [`Stop::Unreadable`] when they are none.
    pub fn at_pt_regs(memory: &dyn VirtualMemory, address: VirtAddr) -> Result<Self, Stop> {
        let regs = PtRegs { address, partial: false };
        let saved = pt_regs::read(&mut StackWords::new(memory), regs, &KnownRegisters::default())?;
        if saved.user_mode {
            return Err(Stop::UserMode(regs));
        }
        Ok(Self {
            registers: saved.registers,
            exact_ip: true,
            ip_slot: Some(address.offset(pt_regs::IRET_FRAME)),
            how: Trust::ExceptionFrame,
            pt_regs: Some(regs),
        })
    }

    /// At an address and a stack pointer that somebody chose.
    pub fn at(ip: VirtAddr, sp: VirtAddr, exact_ip: bool) -> Self {
        Self {
            registers: KnownRegisters::at(ip, sp),
            exact_ip,
            ip_slot: None,
            how: Trust::Registers,
            pt_regs: None,
        }
    }
}
