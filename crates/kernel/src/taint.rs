//! What taints the kernel and its modules.
//!
//! The kernel's own table says which letter each bit of `tainted_mask` shows.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::modules::{Module, ModuleStruct};
use mortis_memory::VirtualMemory;

layout! {
    /// An entry of `taint_flags`: kernel/panic.c.
    pub struct TaintFlag = "taint_flag" | "tnt" {
        /// The letter when it is set. The entries of `struct tnt`, before 7fd8329ba502 (4.10), name
        /// their bit.
        set: "c_true" | "true",
        clear: "c_false" | "false",
        bit: "bit",
        /// Whether a module can have it; gone in 7.x.
        module: "module",
    }
}

/// One kind of taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taint {
    /// The bit of the mask.
    pub bit: u8,
    /// The letter where the bit is set.
    pub set: char,
    /// The letter where it is not.
    pub clear: char,
    /// Whether a module can have it.
    pub of_module: bool,
}

/// `tainted_mask`, an unsigned long, has no more bits.
const MAX_TAINTS: u64 = 64;

/// The letters of the taints in `mask`, as crash shows them: those that are set, and what else is
/// remarkable about those that are not.
pub fn letters(taints: &[Taint], mask: u64) -> String {
    let letter = |taint: &Taint| match mask >> taint.bit & 1 {
        1 => Some(taint.set),
        _ => Some(taint.clear).filter(|clear| !matches!(clear, ' ' | '-' | 'G')),
    };
    taints.iter().filter_map(letter).collect()
}

impl Kernel {
    /// `tainted_mask`: why the kernel is tainted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn taint_mask(&self) -> Result<u64> {
        self.read_symbol::<8>("tainted_mask").or_else(|_| self.read_symbol::<4>("tainted"))
    }

    /// The kinds of taint that this kernel knows.
    ///
    /// # Errors
    /// When the kernel's table of them cannot be read.
    pub fn taints(&self) -> Result<Vec<Taint>> {
        let layout = self.layout::<TaintFlag>()?;
        let table = self.symbol("taint_flags").or_else(|_| self.symbol("tnts"))?;
        let mut taints = Vec::new();
        for index in 0..MAX_TAINTS {
            let entry = table.offset(index * layout.size_of);
            let Ok(bytes) = self.read_bytes(entry, layout.size_of) else { break };
            let set = layout.set.u64_in(&bytes)? as u8;
            let clear = layout.clear.u64_in(&bytes)? as u8;
            // Nothing says how long the table is. What lies behind it has no such pair of letters.
            if !set.is_ascii_uppercase() || !(clear.is_ascii_uppercase() || b" -".contains(&clear))
            {
                break;
            }
            taints.push(Taint {
                bit: layout.bit.u64_in(&bytes).map_or(index as u8, |bit| bit as u8 & 63),
                set: char::from(set),
                clear: char::from(clear),
                of_module: layout.module.u64_in(&bytes).ok().is_none_or(|module| module != 0),
            });
        }
        Ok(taints)
    }
}

impl Module {
    /// The bits that `taints` of this module's `struct module` holds.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn taint_mask(&self, kernel: &Kernel) -> Result<u64> {
        kernel.layout::<ModuleStruct>()?.taints.u64(kernel, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_what_is_set_and_what_is_remarkable() {
        let taint = |bit, set, clear| Taint { bit, set, clear, of_module: true };
        let taints = [taint(0, 'P', 'G'), taint(1, 'F', ' '), taint(2, 'S', 'X')];
        assert_eq!(letters(&taints, 0b011), "PFX");
        assert_eq!(letters(&taints, 0b100), "S");
    }
}
