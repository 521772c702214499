//! Stack walks over any virtual memory: ORC, call frame information, frame pointers, and a marked
//! scan as the last resort.
//!
//! Nothing here knows a kernel. The caller hands over where the [tables](Tables) are (in memory or
//! as bytes), where the [stacks](Stacks) are, which return addresses are a tracer's
//! [trampolines](ReturnTrampolines), and the [registers to start from](Start); an [`Unwinder`]
//! yields [frames](Frame), each of which says [how it was found](Trust), and
//! [why there are no more](Stop).
//!
//! Every step must move the stack pointer up within its stack, a stack that was left may be entered
//! again only above where it was left, and the number of frames is bounded: whatever memory holds,
//! a walk ends.

mod call_site;
mod cfi;
mod entry;
mod frame;
mod frame_pointer;
#[doc(hidden)]
pub mod fuzz;
mod instructions;
mod orc;
mod pt_regs;
mod registers;
mod scan;
mod stack;
mod stack_words;
mod start;
mod step;
mod tables;
#[cfg(test)]
mod test_memory;
mod trampoline;
mod walk;

pub use call_site::follows_call;
pub use cfi::{CfiError, CfiRow, CfiSection, CfiTable};
pub use entry::{Entries, EntryRule, NoEntries};
pub use frame::{Frame, PtRegs, Stop, Trace, Trust};
pub use orc::{OrcEntry, OrcError, OrcFormat, OrcKind, OrcLookup, OrcProbe, OrcRegister, OrcTable};
pub use registers::{KnownRegisters, Register};
pub use stack::{Stack, StackKind, Stacks, TaskAndCpuStacks, UnknownStacks};
pub use start::{Options, Start};
pub use tables::{Functions, Rule, Tables, UnknownFunctions};
pub use trampoline::{NoTrampolines, Recovered, ReturnSlot, ReturnTrampolines};
pub use walk::{Unwinder, Walk};
