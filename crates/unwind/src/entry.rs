//! Entry code of kernels that describe it by no table: before ORC (4.14), frame pointers and call
//! frame information end where assembly began.
//!
//! What a stub left on the stack is known by its name: the caller says which kind of stub an
//! address is in, and here stands where each kind keeps the registers that it saved
//! (arch/x86/kernel/entry_64.S of 2.6.32 and 3.10).

use crate::walk::{Position, Walk};
use crate::{PtRegs, Register, StackKind, Stop, pt_regs};
use mortis_memory::VirtAddr;

/// What a stub that called into C had done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryRule {
    /// An exception: `struct pt_regs` lies at the stack pointer.
    Registers,
    /// An interrupt of 2.6.29 to 3.0 (`save_args`): BP and the registers from R11 up were saved,
    /// and the interrupt stack begins with the address of that BP.
    SavedArguments,
    /// An interrupt since 3.1 (`SAVE_ARGS_IRQ`): the address of the saved BP is always
    /// at the stack pointer, and belongs to a `struct pt_regs`.
    SavedPointer,
    /// A system call: `struct pt_regs` is the last thing on the task's stack.
    SystemCall,
    /// Nothing called this: a thread began here.
    End,
}

/// Knows which addresses are in entry code.
pub trait Entries: Sync {
    /// The kind of stub that `ip` is in, if it is in one.
    fn entry_rule(&self, ip: VirtAddr) -> Option<EntryRule>;
}

/// No entry code, or all of it described by tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEntries;

impl Entries for NoEntries {
    fn entry_rule(&self, _ip: VirtAddr) -> Option<EntryRule> {
        None
    }
}

impl<F: Fn(VirtAddr) -> Option<EntryRule> + Sync> Entries for F {
    fn entry_rule(&self, ip: VirtAddr) -> Option<EntryRule> {
        self(ip)
    }
}

/// R15 to R12 lie below BP in `struct pt_regs`, then BX, then R11.
const BP: u64 = 4 * 8;
const R11: u64 = 6 * 8;
/// The interrupt stack pointer starts this much below the stack's end, and the first word pushed
/// is the address of the saved BP (`irq_stack_union`, arch/x86/kernel/setup_percpu.c).
const IRQ_STACK_RESERVE: u64 = 64;

impl Walk<'_> {
    /// The frame that was interrupted, or that entered the kernel.
    pub(crate) fn by_entry(&mut self, at: &Position, rule: EntryRule) -> Result<Position, Stop> {
        let sp = at.registers.sp();
        match rule {
            EntryRule::End => Err(Stop::EndOfStack),
            EntryRule::Registers => self.whole_registers(at, sp),
            EntryRule::SystemCall => {
                let stack = self.stacks.stack_at(sp).ok_or(Stop::EndOfStack)?;
                self.whole_registers(at, stack.high.back(pt_regs::SIZE))
            }
            EntryRule::SavedPointer => {
                let saved = VirtAddr(self.words.word(sp)?);
                self.check_on_stack(at, saved)?;
                self.whole_registers(at, saved.back(BP))
            }
            EntryRule::SavedArguments => {
                let is_switched = self.stacks.stack_at(sp).is_some_and(|stack| {
                    stack.kind == StackKind::Irq && sp.offset(8 + IRQ_STACK_RESERVE) >= stack.high
                });
                let saved = if is_switched { VirtAddr(self.words.word(sp)?) } else { sp };
                self.check_on_stack(at, saved)?;
                let bp = self.words.word(saved)?;
                let mut next = self.whole_registers(at, saved.offset(8).back(R11))?;
                // What lies where these belong are other functions' locals.
                for register in Register::CALLEE_SAVED {
                    next.registers.put(register, None);
                }
                next.registers.set(Register::Rbp, bp);
                Ok(next)
            }
        }
    }

    fn whole_registers(&mut self, at: &Position, address: VirtAddr) -> Result<Position, Stop> {
        self.saved_registers(at, PtRegs { address, partial: false })
    }
}
