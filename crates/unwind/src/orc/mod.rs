//! ORC ("oops rewind capability"): the unwind tables that an x86_64 kernel carries in its own
//! memory (Documentation/arch/x86/orc-unwinder.rst).
//!
//! Two parallel arrays, sorted by address: `.orc_unwind_ip`, 32-bit offsets each relative to its
//! own place, and `.orc_unwind`, 6 bytes each. An entry holds from its address up to the next
//! one's. A dump has both, so a table is a pair of addresses and a look-up is a few small reads.

mod entry;
mod format;
mod table;

pub use entry::{OrcEntry, OrcKind, OrcRegister};
pub use format::{OrcFormat, OrcProbe};
pub use table::{OrcError, OrcLookup, OrcTable};

#[cfg(test)]
mod tests;
