//! The walk itself: frame by frame, and never in circles.

use crate::stack_words::StackWords;
use crate::{
    Entries, Frame, Functions, KnownRegisters, NoEntries, NoTrampolines, Options, PtRegs,
    ReturnTrampolines, Stack, Stacks, Start, Stop, Tables, Trace, Trust, UnknownFunctions,
};
use mortis_memory::{ReadError, VirtAddr, VirtualMemory};

/// The smallest address that the kernel half of the address space has, with 5-level paging too.
pub(crate) const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;

/// What every walk over one dump has in common.
#[derive(Clone, Copy)]
pub struct Unwinder<'a> {
    pub(crate) memory: &'a dyn VirtualMemory,
    pub(crate) tables: &'a Tables,
    pub(crate) functions: &'a dyn Functions,
    pub(crate) trampolines: &'a dyn ReturnTrampolines,
    pub(crate) entries: &'a dyn Entries,
    pub(crate) options: Options,
}

impl<'a> Unwinder<'a> {
    /// Walks over `memory` by `tables`.
    pub fn new(memory: &'a dyn VirtualMemory, tables: &'a Tables) -> Self {
        Self {
            memory,
            tables,
            functions: &UnknownFunctions,
            trampolines: &NoTrampolines,
            entries: &NoEntries,
            options: Options::default(),
        }
    }

    /// With the starts of functions, so that code without a rule can be followed.
    #[must_use]
    pub fn with_functions(self, functions: &'a dyn Functions) -> Self {
        Self { functions, ..self }
    }

    /// With return trampolines that a tracer may have left.
    #[must_use]
    pub fn with_trampolines(self, trampolines: &'a dyn ReturnTrampolines) -> Self {
        Self { trampolines, ..self }
    }

    /// With what is known of entry code that no table describes.
    #[must_use]
    pub fn with_entries(self, entries: &'a dyn Entries) -> Self {
        Self { entries, ..self }
    }

    /// With other limits.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// Begins a walk; frames come one by one, and [`Walk::stop`] says afterwards why it ended.
    pub fn walk(&self, stacks: &'a dyn Stacks, start: Start) -> Walk<'a> {
        let at = Position {
            registers: start.registers,
            exact_ip: start.exact_ip,
            ip_slot: start.ip_slot,
            how: start.how,
            pt_regs: start.pt_regs,
            through_trampoline: false,
        };
        let mut walk = Walk {
            unwinder: *self,
            stacks,
            words: StackWords::new(self.memory),
            at: None,
            stop: None,
            frames: 0,
            trampolines: 0,
            marks: Vec::new(),
        };
        walk.mark(at.registers.sp());
        walk.at = Some(at);
        walk
    }

    /// A whole walk.
    pub fn trace(&self, stacks: &'a dyn Stacks, start: Start) -> Trace {
        let mut walk = self.walk(stacks, start);
        let frames = walk.by_ref().collect();
        Trace { frames, stop: walk.stop().unwrap_or(Stop::EndOfStack) }
    }
}

/// A frame to be, before it is known whether and how the walk goes on.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) registers: KnownRegisters,
    pub(crate) exact_ip: bool,
    pub(crate) ip_slot: Option<VirtAddr>,
    pub(crate) how: Trust,
    pub(crate) pt_regs: Option<PtRegs>,
    pub(crate) through_trampoline: bool,
}

impl Position {
    /// A caller found at the return address in `slot`.
    pub(crate) fn caller(registers: KnownRegisters, slot: VirtAddr, how: Trust) -> Self {
        Self {
            registers,
            exact_ip: false,
            ip_slot: Some(slot),
            how,
            pt_regs: None,
            through_trampoline: false,
        }
    }

    pub(crate) fn lookup_ip(&self) -> VirtAddr {
        let ip = self.registers.ip();
        if self.exact_ip { ip } else { ip.back(1) }
    }
}

/// One walk in progress.
pub struct Walk<'a> {
    pub(crate) unwinder: Unwinder<'a>,
    pub(crate) stacks: &'a dyn Stacks,
    pub(crate) words: StackWords<'a>,
    at: Option<Position>,
    stop: Option<Stop>,
    frames: usize,
    pub(crate) trampolines: usize,
    /// For each stack met, by its lowest address, the highest stack pointer so far. Zero stands
    /// for everything that is on no known stack.
    marks: Vec<(VirtAddr, VirtAddr)>,
}

impl Iterator for Walk<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let at = self.at.take()?;
        self.frames += 1;
        let mut cfa = None;
        if self.frames >= self.unwinder.options.max_frames {
            self.stop = Some(Stop::TooDeep);
        } else {
            match self.step(&at, &mut cfa) {
                Ok(next) => {
                    if let Some(slot) = next.ip_slot.filter(|_| next.pt_regs.is_none()) {
                        cfa.get_or_insert(slot.offset(8));
                    }
                    self.advance(next);
                }
                Err(stop) => self.recover(&at, stop),
            }
        }
        Some(self.frame(at, cfa))
    }
}

impl<'a> Walk<'a> {
    /// Why the walk ended; none while it has not.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    fn frame(&self, at: Position, cfa: Option<VirtAddr>) -> Frame {
        Frame {
            ip: at.registers.ip(),
            sp: at.registers.sp(),
            ip_slot: at.ip_slot,
            cfa,
            how: at.how,
            exact_ip: at.exact_ip,
            registers: at.registers,
            pt_regs: at.pt_regs,
            through_trampoline: at.through_trampoline,
            stack: self.stack_of_pointer(at.registers.sp()),
        }
    }

    fn advance(&mut self, next: Position) {
        self.mark(next.registers.sp());
        self.trampolines += usize::from(next.through_trampoline);
        self.at = Some(next);
    }

    /// Goes on by scanning when rules do not help, or ends.
    fn recover(&mut self, at: &Position, stop: Stop) {
        let scan = self.unwinder.options.scan && !stop.is_complete();
        match scan.then(|| self.scan(at)) {
            Some(Ok(next)) => self.advance(next),
            Some(Err(Some(better))) => self.stop = Some(better),
            Some(Err(None)) | None => self.stop = Some(stop),
        }
    }

    /// Whether `address` may be read as part of a stack: it is on a known one or, where the walk
    /// is on none anyway, not below all that the walk may lead to.
    pub(crate) fn check_on_stack(&self, at: &Position, address: VirtAddr) -> Result<(), Stop> {
        let known = self.stacks.stack_at(address).is_some()
            || (address.0 >= self.unwinder.options.lowest
                && self.stack_of_pointer(at.registers.sp()).is_none());
        if known { Ok(()) } else { Err(Stop::BadStackPointer(address)) }
    }

    /// The stack that a stack pointer belongs to. With nothing on a stack, it points behind it.
    pub(crate) fn stack_of_pointer(&self, sp: VirtAddr) -> Option<Stack> {
        self.stacks.stack_at(sp).or_else(|| self.stacks.stack_at(sp.back(1)))
    }

    fn stack_key(&self, sp: VirtAddr) -> VirtAddr {
        self.stack_of_pointer(sp).map_or(VirtAddr(0), |stack| stack.low)
    }

    /// Whether `sp` is above everything that the walk saw of its stack.
    pub(crate) fn moves_up(&self, sp: VirtAddr) -> bool {
        let key = self.stack_key(sp);
        self.marks.iter().all(|&(low, mark)| low != key || sp > mark)
    }

    fn mark(&mut self, sp: VirtAddr) {
        let key = self.stack_key(sp);
        match self.marks.iter_mut().find(|(low, _)| *low == key) {
            Some((_, mark)) => *mark = sp,
            None => self.marks.push((key, sp)),
        }
    }

    /// How many steps from `from` on go by rules, up to `most`; and whether the walk comes to a
    /// proper end within them.
    pub(crate) fn try_rules(&mut self, from: &Position, most: usize) -> (usize, bool) {
        let (marks, trampolines) = (self.marks.clone(), self.trampolines);
        let mut at = from.clone();
        let mut steps = 0;
        let complete = loop {
            self.mark(at.registers.sp());
            if steps == most {
                break false;
            }
            match self.step(&at, &mut None) {
                Ok(next) => {
                    self.trampolines += usize::from(next.through_trampoline);
                    at = next;
                    steps += 1;
                }
                Err(stop) => break stop.is_complete(),
            }
        };
        self.marks = marks;
        self.trampolines = trampolines;
        (steps, complete)
    }

    pub(crate) fn read_word(&mut self, address: VirtAddr) -> Result<u64, ReadError> {
        self.words.word(address)
    }

    pub(crate) fn is_text(&self, ip: VirtAddr) -> bool {
        self.unwinder.tables.is_text(ip)
    }

    pub(crate) fn memory(&self) -> &'a dyn VirtualMemory {
        self.unwinder.memory
    }
}

#[cfg(test)]
mod tests;
