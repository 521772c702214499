//! The registers of a frame, as far as they are known.

use mortis_memory::{VirtAddr, X86_64Registers};
use std::fmt;

/// A register of x86_64, numbered as DWARF does (System V ABI for AMD64, figure 3.36).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Register {
    Rax = 0,
    Rdx = 1,
    Rcx = 2,
    Rbx = 3,
    Rsi = 4,
    Rdi = 5,
    Rbp = 6,
    Rsp = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
    Rip = 16,
}

impl Register {
    /// How many there are.
    pub const COUNT: usize = 17;

    /// All of them, in the order of their DWARF numbers.
    pub const ALL: [Register; Register::COUNT] = [
        Register::Rax,
        Register::Rdx,
        Register::Rcx,
        Register::Rbx,
        Register::Rsi,
        Register::Rdi,
        Register::Rbp,
        Register::Rsp,
        Register::R8,
        Register::R9,
        Register::R10,
        Register::R11,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
        Register::Rip,
    ];

    /// Registers that a function gives back to its caller as it found them.
    pub const CALLEE_SAVED: [Register; 6] =
        [Register::Rbx, Register::Rbp, Register::R12, Register::R13, Register::R14, Register::R15];

    /// The register with a DWARF number.
    pub fn from_dwarf(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The lower-case name, `rax`.
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; Register::COUNT] = [
            "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15", "rip",
        ];
        NAMES[self as usize]
    }
}

/// The registers of one frame; each is known or not.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownRegisters {
    values: [u64; Register::COUNT],
    known: u32,
}

impl KnownRegisters {
    /// No register known.
    pub const fn new() -> Self {
        Self { values: [0; Register::COUNT], known: 0 }
    }

    /// Only the instruction pointer and the stack pointer known.
    pub fn at(ip: VirtAddr, sp: VirtAddr) -> Self {
        Self::new().with(Register::Rip, ip.0).with(Register::Rsp, sp.0)
    }

    /// The value of a register, where it is known.
    pub const fn get(&self, register: Register) -> Option<u64> {
        if self.known & 1 << register as u32 != 0 {
            Some(self.values[register as usize])
        } else {
            None
        }
    }

    /// Makes a register known.
    pub const fn set(&mut self, register: Register, value: u64) {
        self.values[register as usize] = value;
        self.known |= 1 << register as u32;
    }

    /// Makes a register unknown.
    pub const fn forget(&mut self, register: Register) {
        self.values[register as usize] = 0;
        self.known &= !(1 << register as u32);
    }

    /// Sets the register to a value that may be unknown.
    pub const fn put(&mut self, register: Register, value: Option<u64>) {
        match value {
            Some(value) => self.set(register, value),
            None => self.forget(register),
        }
    }

    /// The same with one more register known.
    #[must_use]
    pub const fn with(mut self, register: Register, value: u64) -> Self {
        self.set(register, value);
        self
    }

    /// The instruction pointer; zero where it is not known.
    pub const fn ip(&self) -> VirtAddr {
        VirtAddr(self.values[Register::Rip as usize])
    }

    /// The stack pointer; zero where it is not known.
    pub const fn sp(&self) -> VirtAddr {
        VirtAddr(self.values[Register::Rsp as usize])
    }

    /// The frame pointer, where it is known.
    pub const fn bp(&self) -> Option<u64> {
        self.get(Register::Rbp)
    }

    /// The registers that are known, in the order of their DWARF numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Register, u64)> + '_ {
        Register::ALL.into_iter().filter_map(|register| Some((register, self.get(register)?)))
    }
}

impl From<&X86_64Registers> for KnownRegisters {
    fn from(saved: &X86_64Registers) -> Self {
        Self {
            values: [
                saved.rax, saved.rdx, saved.rcx, saved.rbx, saved.rsi, saved.rdi, saved.rbp,
                saved.rsp, saved.r8, saved.r9, saved.r10, saved.r11, saved.r12, saved.r13,
                saved.r14, saved.r15, saved.rip,
            ],
            known: (1 << Register::COUNT) - 1,
        }
    }
}

impl fmt::Debug for KnownRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (register, value) in self.iter() {
            map.entry(&register, &format_args!("{value:#x}"));
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_known_only_once_set() {
        let mut registers = KnownRegisters::at(VirtAddr(0x10), VirtAddr(0x20));
        assert_eq!(registers.get(Register::Rip), Some(0x10));
        assert_eq!(registers.bp(), None);
        registers.set(Register::Rbp, 0);
        assert_eq!(registers.bp(), Some(0));
        registers.forget(Register::Rbp);
        assert_eq!(registers.bp(), None);
        assert_eq!(registers.iter().count(), 2);
    }

    #[test]
    fn saved_registers_land_under_their_dwarf_numbers() {
        let saved = X86_64Registers {
            rax: 1,
            rdx: 2,
            rsp: 3,
            r15: 4,
            rip: 5,
            rcx: 6,
            ..Default::default()
        };
        let known = KnownRegisters::from(&saved);
        assert_eq!(known.get(Register::Rax), Some(1));
        assert_eq!(known.get(Register::Rdx), Some(2));
        assert_eq!(known.sp(), VirtAddr(3));
        assert_eq!(known.get(Register::R15), Some(4));
        assert_eq!(known.ip(), VirtAddr(5));
        assert_eq!(known.get(Register::from_dwarf(2).expect("rcx")), Some(6));
        assert_eq!(Register::from_dwarf(17), None);
    }
}
