//! Machine instructions as data and as text.
//!
//! A [`Disassembler`] turns bytes into [`Instruction`]s: where control goes, which memory and
//! registers are touched, and — with the registers of a crashed CPU — which addresses. An
//! instruction prints as gdb and binutils print it ([`Style::Att`], [`Style::Intel`]), because
//! runbooks, scripts and eyes know that spelling; symbols come from a callback.
//!
//! The bytes come out of dumps and may be anything: every slice of bytes decodes to something, and
//! what is no instruction prints as `(bad)`. Variable-length code cannot be decoded backwards, so
//! a function is decoded from its start.
//!
//! `iced-x86` decodes, and gives most operands their text. The rules by which binutils counts
//! prefixes are in the module `prefix`, what it spells otherwise than `iced-x86` in `address`,
//! `att` and `intel`. The spelling is that of binutils 2.44, which gdb 16 has inside, and crash
//! 9 that; the example `against_objdump` measures how well it is met.

mod access;
mod address;
mod att;
mod disassembler;
mod encoding;
mod instruction;
mod intel;
mod memory_operand;
mod prefix;
mod register;
mod text;

pub use access::Access;
pub use disassembler::{Architecture, Disassembler, Instructions};
pub use instruction::{Flow, Instruction};
pub use memory_operand::{MemoryOperand, Role};
pub use register::{GeneralRegister, Register, RegisterSet};
pub use text::{OffsetRadix, Style, SymbolLookup, SymbolOffset, TextOptions};
