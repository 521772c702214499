//! The memory an instruction touches, as data; with a CPU's registers, as addresses.

use crate::{Access, GeneralRegister, Register};
use iced_x86::{
    CodeSize, Instruction, InstructionInfo, OpAccess, OpKind, Register as Iced, UsedMemory,
};
use mortis_memory::{VirtAddr, X86_64Registers};

/// Whether an operand stands in the instruction's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is printed: `0x8(%rax)`.
    Explicit,
    /// It is not: the stack slot of a `push`, `call` or `ret`.
    Implicit,
}

/// One memory operand: `segment:displacement(base,index,scale)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryOperand {
    /// The segment register, where it moves the address: only FS and GS do in 64-bit mode.
    pub segment: Option<Register>,
    /// The base register; RIP where the operand is RIP-relative.
    pub base: Option<Register>,
    /// The index register; of gather and scatter instructions a vector register.
    pub index: Option<Register>,
    /// What the index is multiplied by: 1, 2, 4 or 8.
    pub scale: u32,
    /// The number added, sign-extended; of a RIP-relative operand the distance from the next
    /// instruction.
    pub displacement: i64,
    /// The address, where it depends on no register but RIP. With a segment, the offset in it.
    pub absolute: Option<VirtAddr>,
    /// Bytes accessed; 0 where the instruction does not say (`lea`, `xsave`).
    pub size: usize,
    /// What is done with the memory.
    pub access: Access,
    /// Whether the operand is printed.
    pub role: Role,
    address_size: u8,
}

impl MemoryOperand {
    /// The address that the operand means, given the registers before the instruction.
    ///
    /// `None` where it hangs on something a dump does not save (a vector index). With an FS or GS
    /// segment the base is taken from `fs_base` and `gs_base`: `pt_regs` do not have these, the
    /// caller must fill them in (in the kernel GS is the CPU's per-CPU base).
    pub fn effective_address(&self, registers: &X86_64Registers) -> Option<VirtAddr> {
        let offset = match self.absolute {
            Some(address) => address.get(),
            None => {
                let value = |register: Option<Register>| match register {
                    None => Some(0),
                    Some(register) => register.value(registers),
                };
                let index = value(self.index)?.wrapping_mul(u64::from(self.scale));
                let sum = value(self.base)?
                    .wrapping_add(index)
                    .wrapping_add(self.displacement.cast_unsigned());
                match self.address_size {
                    4 => sum & 0xffff_ffff,
                    _ => sum,
                }
            }
        };
        let segment_base = match self.segment.map(|segment| segment.is_gs()) {
            None => 0,
            Some(true) => registers.gs_base,
            Some(false) => registers.fs_base,
        };
        Some(VirtAddr(segment_base.wrapping_add(offset)))
    }

    /// Whether the operand, given the registers, touches the byte at `address`: whether it can be
    /// the one that faulted there. An operand of unknown size counts as one byte.
    pub fn covers(&self, registers: &X86_64Registers, address: VirtAddr) -> bool {
        self.access != Access::AddressOnly
            && self.effective_address(registers).is_some_and(|start| {
                address.get().wrapping_sub(start.get()) < self.size.max(1) as u64
            })
    }

    /// The general registers that the address is made of: base, then index.
    pub fn address_registers(&self) -> impl Iterator<Item = GeneralRegister> {
        [self.base, self.index].into_iter().flatten().filter_map(Register::general)
    }

    /// The operands of `instruction`: those printed first, then the others.
    pub(crate) fn of(instruction: &Instruction, info: &InstructionInfo) -> Vec<Self> {
        let mut operands: Vec<Self> = (0..instruction.op_count())
            .filter_map(|operand| Self::explicit(instruction, operand, info.op_access(operand)))
            .collect();
        let printed = operands.len();
        for used in info.used_memory() {
            let implicit = Self::implicit(used);
            let same = |other: &Self| {
                let parts = |operand: &Self| (operand.base, operand.index, operand.displacement);
                parts(other) == parts(&implicit)
                    || other.absolute.is_some() && other.absolute == implicit.absolute
            };
            if !operands.iter().take(printed).any(same) {
                operands.push(implicit);
            }
        }
        operands
    }

    fn explicit(instruction: &Instruction, operand: u32, access: OpAccess) -> Option<Self> {
        let (base, address_size) = match instruction.op_kind(operand) {
            OpKind::Memory => return Some(Self::modrm(instruction, access)),
            OpKind::MemorySegRSI => (Iced::RSI, 8),
            OpKind::MemorySegESI => (Iced::ESI, 4),
            OpKind::MemorySegRDI | OpKind::MemoryESRDI => (Iced::RDI, 8),
            OpKind::MemorySegEDI | OpKind::MemoryESEDI => (Iced::EDI, 4),
            _ => return None,
        };
        let segment = match instruction.op_kind(operand) {
            OpKind::MemoryESRDI | OpKind::MemoryESEDI => Iced::ES,
            _ => instruction.memory_segment(),
        };
        Some(Self {
            segment: moving_segment(segment),
            base: Register::of(base),
            index: None,
            scale: 1,
            displacement: 0,
            absolute: None,
            size: instruction.memory_size().size(),
            access: Access::of(access),
            role: Role::Explicit,
            address_size,
        })
    }

    fn modrm(instruction: &Instruction, access: OpAccess) -> Self {
        let base = Register::of(instruction.memory_base());
        let index = Register::of(instruction.memory_index());
        let target = instruction.memory_displacement64();
        let relative = instruction.is_ip_rel_memory_operand();
        let narrow = [base, index].into_iter().flatten().any(|register| register.size() == 4);
        Self {
            segment: moving_segment(instruction.memory_segment()),
            base,
            index,
            scale: instruction.memory_index_scale(),
            displacement: match (relative, narrow) {
                (true, _) => target.wrapping_sub(instruction.next_ip()).cast_signed(),
                (false, true) => i64::from(target as u32 as i32),
                (false, false) => target.cast_signed(),
            },
            absolute: (relative || base.is_none() && index.is_none()).then_some(VirtAddr(target)),
            size: instruction.memory_size().size(),
            access: Access::of(access),
            role: Role::Explicit,
            address_size: if narrow { 4 } else { 8 },
        }
    }

    fn implicit(used: &UsedMemory) -> Self {
        let base = Register::of(used.base());
        let index = Register::of(used.index());
        let narrow = used.address_size() == CodeSize::Code32;
        Self {
            segment: moving_segment(used.segment()),
            base,
            index,
            scale: used.scale(),
            displacement: match narrow {
                true => i64::from(used.displacement() as u32 as i32),
                false => used.displacement().cast_signed(),
            },
            absolute: (base.is_none() && index.is_none()).then_some(VirtAddr(used.displacement())),
            size: used.memory_size().size(),
            access: Access::of(used.access()),
            role: Role::Implicit,
            address_size: if narrow { 4 } else { 8 },
        }
    }
}

/// The segment, if its base is not zero by definition.
fn moving_segment(segment: Iced) -> Option<Register> {
    matches!(segment, Iced::FS | Iced::GS).then(|| Register::of(segment)).flatten()
}
