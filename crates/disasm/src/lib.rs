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
//! The decoder and the operand texts are those of `iced-x86`; the rules by which binutils counts
//! prefixes and spells what `iced-x86` spells otherwise are in [`prefix`] and [`att`].

mod access;
mod att;
mod disassembler;
mod instruction;
mod intel;
mod memory_operand;
mod mnemonic;
mod operand;
mod prefix;
mod register;
mod text;

pub use access::Access;
pub use disassembler::{Architecture, Disassembler, Instructions};
pub use instruction::{Flow, Instruction};
pub use memory_operand::{MemoryOperand, Role};
pub use register::{GeneralRegister, Register, RegisterSet};
pub use text::{OffsetRadix, Style, SymbolLookup, SymbolOffset, TextOptions};
