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
pub(in crate::commands) struct Registers {
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

    pub(in crate::commands) fn at(
        address: Option<Hex>,
        partial: bool,
        r: &X86_64Registers,
    ) -> Self {
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

    pub(in crate::commands) fn render(&self, out: &mut String) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: Option<Hex>, partial: bool, registers: &X86_64Registers) -> String {
        let mut out = String::new();
        Registers::at(address, partial, registers).render(&mut out);
        out
    }

    #[test]
    fn registers_stand_in_crashs_columns() {
        let registers = X86_64Registers {
            rip: 0xffff_ffff_8100_1234,
            rsp: 0xffff_c900_0000_3f18,
            rflags: 0x46,
            r8: 8,
            orig_rax: u64::MAX,
            // FRED's event data above the selector.
            cs: 0x0001_0000_0000_0010,
            ss: 0x18,
            ..X86_64Registers::default()
        };
        let text = text(Some(Hex(1)), false, &registers);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "    RIP: ffffffff81001234  RSP: ffffc90000003f18  RFLAGS: 00000046");
        assert_eq!(
            lines[3],
            "    RBP: 0000000000000000   R8: 0000000000000008   R9: 0000000000000000"
        );
        assert_eq!(lines[6], "    ORIG_RAX: ffffffffffffffff  CS: 0010  SS: 0018");
        assert_eq!(lines.len(), 7);
    }

    #[test]
    fn what_was_not_saved_is_not_shown() {
        let registers = X86_64Registers::default();
        assert!(!text(None, false, &registers).contains("ORIG_RAX"));
        assert_eq!(text(Some(Hex(1)), true, &registers).lines().count(), 2);
    }

    #[test]
    fn an_address_that_is_no_code_is_said_to_be() {
        let mut out = String::new();
        Registers::render_rip(&mut out, None, Radix::Decimal);
        Registers::render_rip(&mut out, Some(("schedule", 0)), Radix::Decimal);
        Registers::render_rip(&mut out, Some(("schedule", 31)), Radix::Hexadecimal);
        assert_eq!(
            out,
            "    [exception RIP: unknown or invalid address]\n    [exception RIP: schedule]\n    \
             [exception RIP: schedule+0x1f]\n"
        );
    }
}
