//! Frames of functions that no table describes, found by following the function's own instructions
//! from its start to the address in question.
//!
//! Some code has no rule even in a kernel with ORC: `STACK_FRAME_NON_STANDARD` tells objtool to
//! leave a function alone, and `__crash_kexec`, in which every kdump of a panic begins, is one of
//! them (kernel/crash_core.c). Modules may lack tables, and pages of a table may be missing.

use crate::stack_words::StackWords;
use crate::{KnownRegisters, Register};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind,
};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::VecDeque;

/// Bytes of a function that are looked at. The longest in a kernel are about as long.
const LONGEST_FUNCTION: u64 = 64 << 10;

/// Instructions that are followed.
const MAX_INSTRUCTIONS: usize = 20_000;

/// Different stack layouts that are followed through one address, and given back for one.
const MAX_LAYOUTS: usize = 3;

/// Bytes read in one go.
const CHUNK: u64 = 4096;

/// Where things are, relative to the canonical frame address, at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where SP points, while it can be followed.
    sp: Option<i64>,
    /// Where BP points, while it is a frame pointer.
    bp: Option<i64>,
    /// For each of [`Register::CALLEE_SAVED`]: whether it still has the caller's value, and where
    /// that was saved.
    saved: [Saved; Register::CALLEE_SAVED.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Saved {
    intact: bool,
    at: Option<i64>,
}

impl Layout {
    const AT_ENTRY: Layout =
        Layout { sp: Some(-8), bp: None, saved: [Saved { intact: true, at: None }; 6] };

    /// The canonical frame address of a frame with this layout.
    pub(crate) fn cfa(&self, frame: &KnownRegisters) -> Option<VirtAddr> {
        let from = |value: u64, at: i64| VirtAddr(value.wrapping_add_signed(at.wrapping_neg()));
        match (self.sp, self.bp, frame.bp()) {
            (Some(sp), _, _) => Some(from(frame.sp().0, sp)),
            (None, Some(bp), Some(value)) => Some(from(value, bp)),
            _ => None,
        }
    }

    /// The registers that the function must give back, as its caller had them.
    pub(crate) fn callee_saved(
        &self,
        words: &mut StackWords<'_>,
        frame: &KnownRegisters,
        cfa: VirtAddr,
    ) -> KnownRegisters {
        let mut registers = KnownRegisters::new();
        for (saved, register) in self.saved.iter().zip(Register::CALLEE_SAVED) {
            let value = match saved {
                Saved { intact: true, .. } => frame.get(register),
                Saved { at: Some(at), .. } => {
                    words.word(VirtAddr(cfa.0.wrapping_add_signed(*at))).ok()
                }
                Saved { at: None, .. } => None,
            };
            registers.put(register, value);
        }
        registers
    }
}

/// The layouts that the function at `start` can have when it comes to the instruction that `ip` is
/// in; the likeliest first, none when it cannot be told.
pub(crate) fn layouts(memory: &dyn VirtualMemory, start: VirtAddr, ip: VirtAddr) -> Vec<Layout> {
    if ip < start || ip.0 - start.0 >= LONGEST_FUNCTION {
        return Vec::new();
    }
    Follower::new(memory, start, ip).run()
}

struct Follower<'a> {
    memory: &'a dyn VirtualMemory,
    start: VirtAddr,
    ip: VirtAddr,
    code: Vec<u8>,
    /// Layouts that were met at the starts of stretches.
    met: rustc_hash::FxHashMap<u64, Vec<Layout>>,
    found: Vec<Layout>,
    todo: VecDeque<(u64, Layout)>,
    left: usize,
    info: InstructionInfoFactory,
}

impl<'a> Follower<'a> {
    fn new(memory: &'a dyn VirtualMemory, start: VirtAddr, ip: VirtAddr) -> Self {
        Self {
            memory,
            start,
            ip,
            code: Vec::new(),
            met: Default::default(),
            found: Vec::new(),
            todo: VecDeque::from([(start.0, Layout::AT_ENTRY)]),
            left: MAX_INSTRUCTIONS,
            info: InstructionInfoFactory::new(),
        }
    }

    fn run(mut self) -> Vec<Layout> {
        while let Some((address, layout)) = self.todo.pop_front() {
            self.follow(address, layout);
            if self.left == 0 || self.found.len() == MAX_LAYOUTS {
                break;
            }
        }
        self.found
    }

    /// Follows straight code until it ends or joins a stretch that was followed.
    fn follow(&mut self, mut address: u64, mut layout: Layout) {
        while self.left > 0 {
            self.left -= 1;
            let met = self.met.entry(address).or_default();
            if met.contains(&layout) || met.len() == MAX_LAYOUTS {
                return;
            }
            met.push(layout);
            let Some(instruction) = self.decode(address) else { return };
            let next = instruction.next_ip();
            if (address..next).contains(&self.ip.0) {
                if !self.found.contains(&layout) {
                    self.found.push(layout);
                }
                return;
            }
            match instruction.flow_control() {
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                    self.apply(&mut layout, &instruction);
                }
                FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
                    self.todo.push_back((instruction.near_branch_target(), layout));
                }
                FlowControl::UnconditionalBranch => {
                    let target = instruction.near_branch_target();
                    if !self.is_inside(target) {
                        return;
                    }
                    address = target;
                    continue;
                }
                // WARN() is ud2, and what comes behind it runs on (arch/x86/include/asm/bug.h).
                FlowControl::Exception => {}
                FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Interrupt => {
                    return;
                }
            }
            address = next;
        }
    }

    fn is_inside(&self, address: u64) -> bool {
        address >= self.start.0 && address - self.start.0 < LONGEST_FUNCTION
    }

    fn decode(&mut self, address: u64) -> Option<Instruction> {
        const LONGEST: u64 = 15;
        let at = address.checked_sub(self.start.0).filter(|&at| at < LONGEST_FUNCTION)?;
        while (self.code.len() as u64) < at + LONGEST {
            let from = self.start.offset(self.code.len() as u64);
            let length = CHUNK - from.0 % CHUNK;
            let old = self.code.len();
            self.code.resize(old + length as usize, 0);
            let read = self.code.get_mut(old..).map(|chunk| self.memory.read(from, chunk));
            if !matches!(read, Some(Ok(()))) {
                self.code.truncate(old);
                break;
            }
        }
        let bytes = self.code.get(at as usize..)?;
        let bytes = bytes.get(..LONGEST as usize).unwrap_or(bytes);
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    fn apply(&mut self, layout: &mut Layout, instruction: &Instruction) {
        use iced_x86::Register as R;
        let is_register = |operand: u32, register: R| {
            instruction.op_kind(operand) == OpKind::Register
                && instruction.op_register(operand) == register
        };
        match instruction.mnemonic() {
            Mnemonic::Push if instruction.stack_pointer_increment() == -8 => {
                layout.sp = layout.sp.and_then(|sp| sp.checked_sub(8));
                if instruction.op0_kind() == OpKind::Register {
                    layout.save(instruction.op0_register(), layout.sp);
                }
                return;
            }
            Mnemonic::Pop if instruction.op0_kind() == OpKind::Register => {
                let popped = layout.sp;
                layout.sp = popped.and_then(|sp| sp.checked_add(8));
                layout.load(instruction.op0_register(), popped);
                return;
            }
            Mnemonic::Sub | Mnemonic::Add if is_register(0, R::RSP) => {
                layout.sp = match immediate(instruction, 1) {
                    Some(value) if instruction.mnemonic() == Mnemonic::Sub => {
                        layout.sp.and_then(|sp| sp.checked_sub(value))
                    }
                    Some(value) => layout.sp.and_then(|sp| sp.checked_add(value)),
                    None => None,
                };
                return;
            }
            Mnemonic::Mov if is_register(0, R::RBP) && is_register(1, R::RSP) => {
                layout.clobber(R::RBP);
                layout.bp = layout.sp;
                return;
            }
            Mnemonic::Mov if is_register(0, R::RSP) && is_register(1, R::RBP) => {
                layout.sp = layout.bp;
                return;
            }
            Mnemonic::Leave => {
                let saved = layout.bp;
                layout.sp = saved.and_then(|bp| bp.checked_add(8));
                layout.load(R::RBP, saved);
                return;
            }
            Mnemonic::Lea if is_register(0, R::RSP) => {
                layout.sp = layout.address(instruction);
                return;
            }
            Mnemonic::Mov if instruction.op0_kind() == OpKind::Memory => {
                if instruction.op1_kind() == OpKind::Register {
                    layout.save(instruction.op1_register(), layout.address(instruction));
                }
                return;
            }
            Mnemonic::Mov
                if instruction.op0_kind() == OpKind::Register
                    && instruction.op1_kind() == OpKind::Memory =>
            {
                layout.load(instruction.op0_register(), layout.address(instruction));
                return;
            }
            Mnemonic::Call => return,
            _ => {}
        }
        layout.sp = layout
            .sp
            .and_then(|sp| sp.checked_add(i64::from(instruction.stack_pointer_increment())));
        for used in self.info.info(instruction).used_registers() {
            let writes = matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::ReadWrite
                    | OpAccess::CondWrite
                    | OpAccess::ReadCondWrite
            );
            if writes {
                if used.register().full_register() != R::RSP {
                    layout.clobber(used.register());
                } else if !instruction.is_stack_instruction() {
                    layout.sp = None;
                }
            }
        }
    }
}

impl Layout {
    fn slot(register: iced_x86::Register) -> Option<usize> {
        use iced_x86::Register as R;
        Some(match register.full_register() {
            R::RBX => 0,
            R::RBP => 1,
            R::R12 => 2,
            R::R13 => 3,
            R::R14 => 4,
            R::R15 => 5,
            _ => return None,
        })
    }

    /// A register was stored.
    fn save(&mut self, register: iced_x86::Register, at: Option<i64>) {
        let whole = register.full_register() == register;
        if let Some(saved) = Self::slot(register).and_then(|slot| self.saved.get_mut(slot))
            && whole
            && saved.intact
            && saved.at.is_none()
        {
            saved.at = at;
        }
    }

    /// A register was loaded: with what the caller had in it, if that was saved there.
    fn load(&mut self, register: iced_x86::Register, from: Option<i64>) {
        self.clobber(register);
        if let Some(saved) = Self::slot(register).and_then(|slot| self.saved.get_mut(slot)) {
            saved.intact = from.is_some() && saved.at == from;
        } else if register.full_register() == iced_x86::Register::RSP {
            self.sp = None;
        }
    }

    fn clobber(&mut self, register: iced_x86::Register) {
        if let Some(saved) = Self::slot(register).and_then(|slot| self.saved.get_mut(slot)) {
            saved.intact = false;
        }
        if register.full_register() == iced_x86::Register::RBP {
            self.bp = None;
        }
    }

    /// The place that a memory operand means, when it is counted from SP or the frame pointer.
    fn address(&self, instruction: &Instruction) -> Option<i64> {
        use iced_x86::Register as R;
        if instruction.memory_index() != R::None || instruction.segment_prefix() != R::None {
            return None;
        }
        let base = match instruction.memory_base() {
            R::RSP => self.sp?,
            R::RBP => self.bp?,
            _ => return None,
        };
        base.checked_add(instruction.memory_displacement64() as i64)
    }
}

fn immediate(instruction: &Instruction, operand: u32) -> Option<i64> {
    instruction.try_immediate(operand).ok().map(|value| value as i64)
}
