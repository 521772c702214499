//! Frames of code that keeps a frame pointer: kernels with `CONFIG_FRAME_POINTER`, and generated
//! code that no table covers.

use crate::stack_words::StackWords;
use crate::{KnownRegisters, PtRegs, Register};
use mortis_memory::{VirtAddr, VirtualMemory};

/// What a frame pointer leads to.
pub(crate) enum Chained {
    /// Entry code put the address of saved registers there, marked by its lowest bit
    /// (946c191161ce "x86/entry/unwind: Create stack frames for saved interrupt registers", 4.10).
    Saved(PtRegs),
    /// A frame: the caller's BP and, above it, the return address.
    Caller { slot: VirtAddr, ip: u64, bp: Option<u64> },
}

/// Follows the frame pointer, or finds the return address of code that has not set one up yet
/// (only an exact `ip` can be in such code).
pub(crate) fn follow(
    words: &mut StackWords<'_>,
    registers: &KnownRegisters,
    exact_ip: bool,
) -> Option<Chained> {
    let bp = registers.bp()?;
    if exact_ip && let Some(depth) = words_above_return(words.memory(), registers.ip()) {
        let slot = registers.sp().offset(depth * 8);
        return Some(Chained::Caller { slot, ip: words.word(slot).ok()?, bp: Some(bp) });
    }
    if bp & 1 != 0 {
        let address = VirtAddr(bp & !1);
        return address
            .0
            .is_multiple_of(8)
            .then_some(Chained::Saved(PtRegs { address, partial: false }));
    }
    if !bp.is_multiple_of(8) || bp < registers.sp().0 {
        return None;
    }
    let slot = VirtAddr(bp).offset(8);
    let saved = words.word(VirtAddr(bp)).ok()?;
    Some(Chained::Caller { slot, ip: words.word(slot).ok()?, bp: Some(saved) })
}

/// How many words lie above the return address, when `ip` is in the part of a prologue or epilogue
/// where BP is still, or again, the caller's. None elsewhere.
fn words_above_return(memory: &dyn VirtualMemory, ip: VirtAddr) -> Option<u64> {
    let mut bytes = [0; 16];
    memory.read(ip, &mut bytes).ok()?;
    let mut rest = &bytes[..];
    // endbr64, and the call or the nop of the function tracer, come before the prologue.
    for prefix in [&[0xf3, 0x0f, 0x1e, 0xfa][..], &[0x0f, 0x1f, 0x44, 0x00, 0x00]] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    match rest {
        // push %rbp; mov %rsp,%rbp
        [0x55, 0x48, 0x89, 0xe5, ..] => Some(0),
        // mov %rsp,%rbp, just after the push
        [0x48, 0x89, 0xe5, ..] => Some(1),
        // ret
        [0xc3, ..] => Some(0),
        _ => None,
    }
}

/// The registers of a caller found this way: only what a frame pointer tells.
pub(crate) fn caller_registers(slot: VirtAddr, ip: u64, bp: Option<u64>) -> KnownRegisters {
    let mut registers = KnownRegisters::at(VirtAddr(ip), slot.offset(8));
    registers.put(Register::Rbp, bp);
    registers
}
