//! Registers as operands name them, and the general registers that a dump has values of.

use iced_x86::Register as Iced;
use mortis_memory::X86_64Registers;
use std::fmt;

/// The sixteen general registers, each standing for all its parts (`al`, `ax`, `eax`, `rax`).
/// The order is that of their numbers in machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum GeneralRegister {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl GeneralRegister {
    /// All sixteen, by number.
    pub const ALL: [GeneralRegister; 16] = {
        use GeneralRegister::*;
        [Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15]
    };

    /// The lower-case name of the whole register: `rax`.
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        NAMES[self as usize]
    }

    /// The value in a set of saved registers.
    pub const fn value(self, registers: &X86_64Registers) -> u64 {
        match self {
            GeneralRegister::Rax => registers.rax,
            GeneralRegister::Rcx => registers.rcx,
            GeneralRegister::Rdx => registers.rdx,
            GeneralRegister::Rbx => registers.rbx,
            GeneralRegister::Rsp => registers.rsp,
            GeneralRegister::Rbp => registers.rbp,
            GeneralRegister::Rsi => registers.rsi,
            GeneralRegister::Rdi => registers.rdi,
            GeneralRegister::R8 => registers.r8,
            GeneralRegister::R9 => registers.r9,
            GeneralRegister::R10 => registers.r10,
            GeneralRegister::R11 => registers.r11,
            GeneralRegister::R12 => registers.r12,
            GeneralRegister::R13 => registers.r13,
            GeneralRegister::R14 => registers.r14,
            GeneralRegister::R15 => registers.r15,
        }
    }

    fn of(register: Iced) -> Option<Self> {
        if !register.is_gpr() {
            return None;
        }
        let number = register.full_register() as usize - Iced::RAX as usize;
        Self::ALL.get(number).copied()
    }
}

impl fmt::Display for GeneralRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A register exactly as an operand names it: `al`, `eax`, `xmm3`, `gs`, `rip`, `cr3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register(Iced);

impl Register {
    pub(crate) fn of(register: Iced) -> Option<Self> {
        (register != Iced::None).then_some(Self(register))
    }

    /// The general register that this is, or is a part of.
    pub fn general(self) -> Option<GeneralRegister> {
        GeneralRegister::of(self.0)
    }

    /// Bytes that the register holds.
    pub fn size(self) -> usize {
        self.0.size()
    }

    /// Whether this is the GS segment register.
    pub(crate) fn is_gs(self) -> bool {
        self.0 == Iced::GS
    }

    /// Whether this is the instruction pointer: the operand is RIP-relative.
    pub fn is_instruction_pointer(self) -> bool {
        self.0.is_ip()
    }

    /// The value in a set of saved registers; a part of a register gives that part. `None` for
    /// what a dump does not save (vector, control and debug registers).
    pub fn value(self, registers: &X86_64Registers) -> Option<u64> {
        let whole = match self.0 {
            Iced::RIP | Iced::EIP => registers.rip,
            Iced::CS => registers.cs,
            Iced::SS => registers.ss,
            Iced::DS => registers.ds,
            Iced::ES => registers.es,
            Iced::FS => registers.fs,
            Iced::GS => registers.gs,
            Iced::AH | Iced::CH | Iced::DH | Iced::BH => self.general()?.value(registers) >> 8,
            _ => self.general()?.value(registers),
        };
        Some(match self.size() {
            1 => whole & 0xff,
            2 => whole & 0xffff,
            4 => whole & 0xffff_ffff,
            _ => whole,
        })
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{:?}", self.0).to_lowercase())
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of general registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisterSet(u16);

impl RegisterSet {
    /// Whether `register` is in the set.
    pub const fn contains(self, register: GeneralRegister) -> bool {
        self.0 & 1 << register as u16 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The registers, by number.
    pub fn iter(self) -> impl Iterator<Item = GeneralRegister> {
        GeneralRegister::ALL.into_iter().filter(move |&register| self.contains(register))
    }

    pub(crate) fn insert(&mut self, register: Iced) {
        if let Some(register) = GeneralRegister::of(register) {
            self.0 |= 1 << register as u16;
        }
    }
}
