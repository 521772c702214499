//! `struct pt_regs` as the kernel's entry code leaves it on a stack.

use crate::stack_words::StackWords;
use crate::{KnownRegisters, PtRegs, Register, Stop};
use mortis_memory::{ReadError, VirtAddr};

/// Bytes of the structure.
pub(crate) const SIZE: u64 = 21 * 8;

/// Where the part begins that the CPU itself pushes: ip, cs, flags, sp, ss.
pub(crate) const IRET_FRAME: u64 = 16 * 8;

const IP: u64 = IRET_FRAME;
const CS: u64 = 17 * 8;
const FLAGS: u64 = 18 * 8;
const SP: u64 = 19 * 8;

/// The general registers, by their place (arch/x86/include/asm/ptrace.h).
const GENERAL: [Register; 15] = [
    Register::R15,
    Register::R14,
    Register::R13,
    Register::R12,
    Register::Rbp,
    Register::Rbx,
    Register::R11,
    Register::R10,
    Register::R9,
    Register::R8,
    Register::Rax,
    Register::Rcx,
    Register::Rdx,
    Register::Rsi,
    Register::Rdi,
];

/// Saved registers, decoded.
pub(crate) struct Saved {
    pub(crate) registers: KnownRegisters,
    pub(crate) user_mode: bool,
}

/// Reads saved registers. Of a partial structure only ip and sp are taken, the others stay what
/// `before` says: entry code has not changed them yet.
///
/// # Errors
/// [`Stop::Unreadable`], and [`Stop::BadRegisters`] when no CPU could have pushed such a frame.
pub(crate) fn read(
    words: &mut StackWords<'_>,
    regs: PtRegs,
    before: &KnownRegisters,
) -> Result<Saved, Stop> {
    let at = |offset: u64| regs.address.offset(offset);
    let cs = words.word(at(CS))?;
    if !plausible(cs, words.word(at(FLAGS))?) {
        return Err(Stop::BadRegisters(regs.address));
    }
    let mut registers = if regs.partial { *before } else { general(words, regs.address)? };
    registers.set(Register::Rip, words.word(at(IP))?);
    registers.set(Register::Rsp, words.word(at(SP))?);
    Ok(Saved { registers, user_mode: cs & 3 == 3 })
}

fn general(words: &mut StackWords<'_>, address: VirtAddr) -> Result<KnownRegisters, ReadError> {
    let mut registers = KnownRegisters::new();
    for (register, place) in GENERAL.into_iter().zip(0..) {
        registers.set(register, words.word(address.offset(place * 8))?);
    }
    Ok(registers)
}

/// Whether a code segment and flags can be Linux's.
fn plausible(cs: u64, flags: u64) -> bool {
    // The upper bits of the slot are undefined, and with FRED they hold event data (3c77bf02d0c0
    // "x86/ptrace: Add FRED additional information to the pt_regs structure", 6.9): only 16 bits
    // are the selector.
    // __KERNEL_CS, __USER_CS, __USER32_CS, and Xen's flat segments of a paravirtual guest.
    let known_segment = matches!(cs & 0xffff, 0x10 | 0x33 | 0x23 | 0xe033 | 0xe030 | 0xe023);
    // Bit 1 of RFLAGS is always set, and above bit 21 nothing is (Intel SDM volume 1, 3.4.3).
    known_segment && flags & 2 != 0 && flags >> 22 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_and_flags_of_linux_pass() {
        assert!(plausible(0x10, 0x46));
        assert!(plausible(0x33, 0x202));
        assert!(plausible(0x0001_0000_0000_0010, 0x10246), "FRED puts event data above cs");
        assert!(!plausible(0x10, 0));
        assert!(!plausible(0x10, 0xffff_ffff_8100_0002));
        assert!(!plausible(0x18, 0x46));
    }
}
