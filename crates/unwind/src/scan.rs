//! The last resort: words that look like return addresses.

use crate::walk::{Position, Walk};
use crate::{KnownRegisters, PtRegs, Stack, StackKind, Stop, Trust, follows_call, pt_regs};
use mortis_memory::VirtAddr;

/// Bytes searched where no stack is known: the size of a task's stack (THREAD_SIZE without KASAN).
const UNKNOWN_STACK: u64 = 16 << 10;

/// Bytes of one stack searched at most.
const LONGEST_STACK: u64 = 256 << 10;

/// How far into the guard page below a stack an overflowing stack pointer may be.
const GUARD_PAGE: u64 = 4096;

/// Rule steps after a hit that prove it as well as reaching the end does.
const PROOF: usize = 12;

/// Candidates that are tried before the first one is taken as it is.
const CANDIDATES: usize = 96;

/// Stacks that one scan goes through.
const STACKS: usize = 4;

impl Walk<'_> {
    /// Searches upwards from a frame for the next one. Of all words that could be return addresses,
    /// the first from which rules lead on to the end (or far enough) is taken; where none does, the
    /// first.
    ///
    /// # Errors
    /// A better reason to stop than the walk has so far, if there is one.
    pub(crate) fn scan(&mut self, at: &Position) -> Result<Position, Option<Stop>> {
        let mut from = at.registers.sp();
        let mut weak: Option<Position> = None;
        let mut candidates = 0;
        for _ in 0..STACKS {
            let (first, end, stack) = self.bounds(from);
            let mut slot = first;
            while slot < end {
                let Ok(word) = self.read_word(slot) else { break };
                let ip = VirtAddr(word);
                let sp = slot.offset(8);
                if self.is_text(ip) && self.moves_up(sp) && follows_call(self.memory(), ip) {
                    let hit = Position::caller(KnownRegisters::at(ip, sp), slot, Trust::Scan);
                    let (steps, complete) = self.try_rules(&hit, PROOF);
                    if complete || steps == PROOF {
                        return Ok(hit);
                    }
                    weak.get_or_insert(hit);
                    candidates += 1;
                    if candidates == CANDIDATES {
                        break;
                    }
                }
                slot = slot.offset(8);
            }
            if let Some(weak) = weak.take() {
                return Ok(weak);
            }
            match stack.map(|stack| self.beyond(at, stack)) {
                Some(Ok(Beyond::Registers(next))) => return Ok(*next),
                Some(Ok(Beyond::Stack(sp))) => from = sp,
                Some(Err(stop)) => return Err(stop),
                None => break,
            }
        }
        Err(None)
    }

    /// What to search: from a stack pointer to the end of its stack.
    fn bounds(&self, sp: VirtAddr) -> (VirtAddr, VirtAddr, Option<Stack>) {
        let first = VirtAddr(sp.0.saturating_add(7) & !7);
        let next_page = VirtAddr(sp.0.saturating_add(GUARD_PAGE)).align_down(GUARD_PAGE);
        let (first, stack) = match self.stack_of_pointer(first) {
            Some(stack) => (first, Some(stack)),
            // An overflowing stack has run into its guard page (get_stack_info tries the next page
            // for the same reason).
            None => match self.stacks.stack_at(next_page) {
                Some(stack) => (stack.low, Some(stack)),
                None => (first, None),
            },
        };
        let furthest =
            first.0.saturating_add(if stack.is_some() { LONGEST_STACK } else { UNKNOWN_STACK });
        let end = stack.map_or(furthest, |stack| stack.high.0.min(furthest));
        (first, VirtAddr(end), stack)
    }

    /// Where a CPU's stack was entered from: what lies at its top says so.
    fn beyond(&mut self, at: &Position, stack: Stack) -> Result<Beyond, Option<Stop>> {
        match stack.kind {
            // The word on top is the stack pointer before the switch (in_irq_stack).
            StackKind::Irq | StackKind::SoftIrq => {
                let sp = VirtAddr(self.read_word(stack.high.back(8)).map_err(|_| None)?);
                let other = self.stacks.stack_at(sp).is_some_and(|next| next.low != stack.low);
                if other && self.moves_up(sp) { Ok(Beyond::Stack(sp)) } else { Err(None) }
            }
            // The user's registers are on top; FRED leaves 16 bytes above them
            // (TOP_OF_KERNEL_STACK_PADDING, 65c9cc9e2c14, 6.9).
            StackKind::Task => {
                for padding in [0, 16] {
                    let address = stack.high.back(pt_regs::SIZE + padding);
                    let regs = PtRegs { address, partial: false };
                    if let Err(stop @ Stop::UserMode(_)) = self.saved_registers(at, regs) {
                        return Err(Some(stop));
                    }
                }
                Err(None)
            }
            // The CPU began at the top, with its own frame.
            _ => {
                let regs = PtRegs { address: stack.high.back(pt_regs::SIZE), partial: false };
                match self.saved_registers(at, regs) {
                    Ok(next) if self.moves_up(next.registers.sp()) => {
                        Ok(Beyond::Registers(Box::new(Position { how: Trust::Scan, ..next })))
                    }
                    Err(stop @ Stop::UserMode(_)) => Err(Some(stop)),
                    _ => Err(None),
                }
            }
        }
    }
}

enum Beyond {
    Registers(Box<Position>),
    Stack(VirtAddr),
}
