//! Saved registers, as crash lays them out.

use super::frames::with_offset;
use crate::session::Radix;
use crate::task_header::Hex;
use mortis_debuginfo::symbols::Symbol;
use mortis_kernel::backtrace::SavedRegisters;
use mortis_memory::X86_64Registers;
use serde::Serialize;

/// Registers that were saved.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Registers {
    /// Where the `struct pt_regs` is; null for registers out of the dump's notes.
    pub(super) address: Option<Hex>,
    /// Whether entry code had saved no more than what the CPU pushes.
    pub(super) partial: bool,
    rip: Hex,
    rsp: Hex,
    rflags: Hex,
    rax: Hex,
    rbx: Hex,
    rcx: Hex,
    rdx: Hex,
    rsi: Hex,
    rdi: Hex,
    rbp: Hex,
    r8: Hex,
    r9: Hex,
    r10: Hex,
    r11: Hex,
    r12: Hex,
    r13: Hex,
    r14: Hex,
    r15: Hex,
    orig_rax: Hex,
    cs: Hex,
    ss: Hex,
}

/// FRED keeps event data above the 16 bits of a selector.
const SELECTOR: u64 = 0xffff;

impl Registers {
    pub(super) fn new(saved: &SavedRegisters) -> Self {
        let address = saved.address.map(|address| Hex(address.0));
        Self::at(address, saved.partial, &saved.registers)
    }

    pub(super) fn at(address: Option<Hex>, partial: bool, r: &X86_64Registers) -> Self {
        Self {
            address,
            partial,
            rip: Hex(r.rip),
            rsp: Hex(r.rsp),
            rflags: Hex(r.rflags),
            rax: Hex(r.rax),
            rbx: Hex(r.rbx),
            rcx: Hex(r.rcx),
            rdx: Hex(r.rdx),
            rsi: Hex(r.rsi),
            rdi: Hex(r.rdi),
            rbp: Hex(r.rbp),
            r8: Hex(r.r8),
            r9: Hex(r.r9),
            r10: Hex(r.r10),
            r11: Hex(r.r11),
            r12: Hex(r.r12),
            r13: Hex(r.r13),
            r14: Hex(r.r14),
            r15: Hex(r.r15),
            orig_rax: Hex(r.orig_rax),
            cs: Hex(r.cs & SELECTOR),
            ss: Hex(r.ss & SELECTOR),
        }
    }

    /// `[exception RIP: mortis_null_inner+5]`
    pub(super) fn render_rip(out: &mut String, symbol: Option<(&str, u64)>, radix: Radix) {
        let place = match symbol {
            Some((name, offset)) => with_offset(name, offset, radix),
            None => "unknown or invalid address".to_owned(),
        };
        out.push_str(&format!("    [exception RIP: {place}]\n"));
    }

    pub(super) fn render(&self, out: &mut String) {
        out.push_str(&format!(
            "    RIP: {:016x}  RSP: {:016x}  RFLAGS: {:08x}\n",
            self.rip.0, self.rsp.0, self.rflags.0
        ));
        if !self.partial {
            let rows = [
                [("RAX", self.rax), ("RBX", self.rbx), ("RCX", self.rcx)],
                [("RDX", self.rdx), ("RSI", self.rsi), ("RDI", self.rdi)],
                [("RBP", self.rbp), (" R8", self.r8), (" R9", self.r9)],
                [("R10", self.r10), ("R11", self.r11), ("R12", self.r12)],
                [("R13", self.r13), ("R14", self.r14), ("R15", self.r15)],
            ];
            for [(a, av), (b, bv), (c, cv)] in rows {
                let (av, bv, cv) = (av.0, bv.0, cv.0);
                out.push_str(&format!("    {a}: {av:016x}  {b}: {bv:016x}  {c}: {cv:016x}\n"));
            }
        }
        // Only entry code saves it.
        let orig_rax = match self.address {
            Some(_) => format!("ORIG_RAX: {:016x}  ", self.orig_rax.0),
            None => String::new(),
        };
        out.push_str(&format!("    {orig_rax}CS: {:04x}  SS: {:04x}\n", self.cs.0, self.ss.0));
    }
}

/// Name and offset of a symbol that was looked up.
pub(super) fn place((symbol, offset): &(Symbol, u64)) -> (&str, u64) {
    (&symbol.name, *offset)
}
