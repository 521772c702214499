//! Registers that exceptions left on stacks, found by what they look like.
//!
//! A backtrace knows the ones that still matter from the unwind tables. Others, from earlier
//! exceptions on the same stack, can only be searched for, and are as trustworthy as that.

use crate::backtrace::stack_bytes;
use crate::kernel::Kernel;
use mortis_memory::{VirtAddr, X86_64Registers};
use mortis_unwind::Stack;

/// A `struct pt_regs` that was found on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionFrame {
    /// Where it is.
    pub address: VirtAddr,
    /// What it holds.
    pub registers: X86_64Registers,
}

/// `__KERNEL_CS`, `__KERNEL_DS`, `__USER_CS`, `__USER32_CS`, `__USER_DS`
/// (arch/x86/include/asm/segment.h).
const KERNEL_CS: u64 = 0x10;
const KERNEL_SS: u64 = 0x18;
const USER_CS: u64 = 0x33;
const USER32_CS: u64 = 0x23;
const USER_SS: u64 = 0x2b;

impl Kernel {
    /// What looks like saved registers on `stack`, from `from` upwards, and whether all of the
    /// stack was in the dump. Where two would overlap, the lower one counts: entry code copies
    /// what the CPU pushed, behind the registers.
    pub fn exception_frames(&self, stack: &Stack, from: VirtAddr) -> (Vec<ExceptionFrame>, bool) {
        let (bytes, complete) = stack_bytes(self, stack, from);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + X86_64Registers::PT_REGS_SIZE) {
            let registers = X86_64Registers::from_user_regs(window);
            if self.is_exception_frame(&registers) {
                frames.push(ExceptionFrame { address: from.offset(at as u64), registers });
                at += X86_64Registers::PT_REGS_SIZE;
            } else {
                at += 8;
            }
        }
        (frames, complete)
    }

    /// Whether these look like what entry code saves of user mode.
    pub(crate) fn is_user_frame(&self, registers: &X86_64Registers) -> bool {
        registers.cs & 0xffff != KERNEL_CS && self.is_exception_frame(registers)
    }

    fn is_exception_frame(&self, registers: &X86_64Registers) -> bool {
        // Bit 1 of RFLAGS is always set, and above bit 21 nothing is (Intel SDM volume 1, 3.4.3).
        let flags = registers.rflags & 2 != 0 && registers.rflags >> 22 == 0;
        // FRED keeps event data above the 16 bits of a selector.
        let (cs, ss) = (registers.cs & 0xffff, registers.ss & 0xffff);
        let kernel_half = |address: u64| address >= crate::arch::x86_64::KERNEL_SPACE_START;
        flags
            && match cs {
                // The CPU leaves a null SS behind when it changes the stack in 64-bit mode.
                KERNEL_CS => {
                    matches!(ss, KERNEL_SS | 0)
                        && kernel_half(registers.rsp)
                        && registers.rsp.is_multiple_of(8)
                        && self.unwind_tables().is_text(VirtAddr(registers.rip))
                }
                USER_CS | USER32_CS => {
                    ss == USER_SS
                        && registers.rip != 0
                        && !kernel_half(registers.rip)
                        && !kernel_half(registers.rsp)
                }
                _ => false,
            }
    }
}
