//! The walk itself: from one frame to its caller.

use crate::cfi::CfiRow;
use crate::frame_pointer::{self, Chained};
use crate::stack_words::StackWords;
use crate::{
    Frame, Functions, KnownRegisters, NoTrampolines, OrcEntry, OrcKind, OrcRegister, PtRegs,
    Recovered, Register, ReturnSlot, ReturnTrampolines, Rule, Stack, Stacks, Stop, Tables, Trace,
    Trust, UnknownFunctions, follows_call, pt_regs,
};
use mortis_memory::{ReadError, VirtAddr, VirtualMemory, X86_64Registers};

/// The smallest address that the kernel half of the address space has, with 5-level paging too.
const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Frames at most.
    pub max_frames: usize,
    /// Whether to go on by scanning where no rule helps.
    pub scan: bool,
    /// Whether to ask call frame information, where there is any, for the registers that ORC does
    /// not follow: rbx and r12 to r15, in which a compiler keeps local variables.
    pub callee_saved: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_frames: 2048, scan: true, callee_saved: false }
    }
}

/// Where a walk begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The registers known; ip and sp must be.
    pub registers: KnownRegisters,
    /// Whether ip is the very instruction.
    pub exact_ip: bool,
    /// Where ip was read, if in memory.
    pub ip_slot: Option<VirtAddr>,
    /// How it came to be known.
    pub how: Trust,
    /// The saved registers, if they are in memory.
    pub pt_regs: Option<PtRegs>,
}

impl Start {
    /// At the registers that a dump saved of a CPU.
    pub fn at_cpu(saved: &X86_64Registers) -> Self {
        Self {
            registers: saved.into(),
            exact_ip: true,
            ip_slot: None,
            how: Trust::Registers,
            pt_regs: None,
        }
    }

    /// At the return address of a task that sleeps: the caller reads `struct inactive_task_frame`
    /// at `thread.sp`, and gives its registers, the address of its `ret_addr`, and as rsp the
    /// address behind it.
    pub fn at_sleeping_task(registers: KnownRegisters, ip_slot: VirtAddr) -> Self {
        Self {
            registers,
            exact_ip: false,
            ip_slot: Some(ip_slot),
            how: Trust::Registers,
            pt_regs: None,
        }
    }

    /// At a `struct pt_regs` in memory.
    ///
    /// # Errors
    /// [`Stop::UserMode`] when the registers are a user's, [`Stop::BadRegisters`] and
    /// [`Stop::Unreadable`] when they are none.
    pub fn at_pt_regs(memory: &dyn VirtualMemory, address: VirtAddr) -> Result<Self, Stop> {
        let regs = PtRegs { address, partial: false };
        let saved = pt_regs::read(&mut StackWords::new(memory), regs, &KnownRegisters::default())?;
        if saved.user_mode {
            return Err(Stop::UserMode(regs));
        }
        Ok(Self {
            registers: saved.registers,
            exact_ip: true,
            ip_slot: Some(address.offset(pt_regs::IRET_FRAME)),
            how: Trust::ExceptionFrame,
            pt_regs: Some(regs),
        })
    }

    /// At an address and a stack pointer that somebody chose.
    pub fn at(ip: VirtAddr, sp: VirtAddr, exact_ip: bool) -> Self {
        Self {
            registers: KnownRegisters::at(ip, sp),
            exact_ip,
            ip_slot: None,
            how: Trust::Registers,
            pt_regs: None,
        }
    }
}

/// What every walk over one dump has in common.
#[derive(Clone, Copy)]
pub struct Unwinder<'a> {
    memory: &'a dyn VirtualMemory,
    tables: &'a Tables,
    functions: &'a dyn Functions,
    trampolines: &'a dyn ReturnTrampolines,
    options: Options,
}

impl<'a> Unwinder<'a> {
    /// Walks over `memory` by `tables`.
    pub fn new(memory: &'a dyn VirtualMemory, tables: &'a Tables) -> Self {
        Self {
            memory,
            tables,
            functions: &UnknownFunctions,
            trampolines: &NoTrampolines,
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

    fn lookup_ip(&self) -> VirtAddr {
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
    trampolines: usize,
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

    /// The caller of a frame.
    fn step(&mut self, at: &Position, cfa: &mut Option<VirtAddr>) -> Result<Position, Stop> {
        let lookup = at.lookup_ip();
        let next = match self.unwinder.tables.rule(self.unwinder.memory, lookup) {
            Ok(Some(Rule::Orc(entry))) => match entry.kind {
                OrcKind::EndOfStack => return Err(Stop::EndOfStack),
                OrcKind::Undefined => self.without_rule(at)?,
                _ => self.by_orc(at, &entry, cfa)?,
            },
            Ok(Some(Rule::Cfi(row))) => self.by_cfi(at, &row, cfa)?,
            Ok(Some(Rule::None) | None) => self.without_rule(at)?,
            Err(error) => self.without_rule(at).map_err(|_| Stop::Unreadable(error))?,
        };
        self.admit(at, next)
    }

    fn by_orc(
        &mut self,
        at: &Position,
        entry: &OrcEntry,
        cfa: &mut Option<VirtAddr>,
    ) -> Result<Position, Stop> {
        let base = self.orc_base(at, entry)?;
        let mut next = match entry.kind {
            OrcKind::Call => {
                let slot = base.back(8);
                self.check_on_stack(at, slot)?;
                let ip = VirtAddr(self.words.word(slot)?);
                *cfa = Some(base);
                let mut registers = KnownRegisters::at(ip, base);
                registers.put(Register::Rbp, at.registers.bp());
                Position::caller(registers, slot, Trust::Orc)
            }
            OrcKind::Regs => self.saved_registers(at, PtRegs { address: base, partial: false })?,
            OrcKind::RegsPartial => {
                let address = base.back(pt_regs::IRET_FRAME);
                self.saved_registers(at, PtRegs { address, partial: true })?
            }
            OrcKind::Undefined | OrcKind::EndOfStack | OrcKind::Unknown(_) => {
                return Err(Stop::BadRule(at.registers.ip()));
            }
        };
        next.exact_ip = entry.signal || next.pt_regs.is_some();
        let saved_bp = |base: u64| VirtAddr(base.wrapping_add_signed(entry.bp_offset.into()));
        match entry.bp_reg {
            OrcRegister::PreviousSp => {
                next.registers.put(Register::Rbp, self.words.word(saved_bp(base.0)).ok());
            }
            OrcRegister::Register(Register::Rbp) => {
                let bp = at.registers.bp().and_then(|bp| self.words.word(saved_bp(bp)).ok());
                next.registers.put(Register::Rbp, bp);
            }
            _ => {}
        }
        if self.unwinder.options.callee_saved && entry.kind == OrcKind::Call {
            self.add_callee_saved(at, base, &mut next);
        }
        Ok(next)
    }

    /// What `sp_reg` and `sp_offset` of an entry come to.
    fn orc_base(&mut self, at: &Position, entry: &OrcEntry) -> Result<VirtAddr, Stop> {
        let ip = at.registers.ip();
        let known =
            |register| at.registers.get(register).ok_or(Stop::UnknownRegister { ip, register });
        let offset = i64::from(entry.sp_offset);
        match entry.sp_reg {
            // The offset counts from SP and BP only; the others are the address itself
            // (unwind_next_frame).
            OrcRegister::Register(register @ (Register::Rsp | Register::Rbp)) => {
                Ok(VirtAddr(known(register)?.wrapping_add_signed(offset)))
            }
            OrcRegister::Register(register) => Ok(VirtAddr(known(register)?)),
            OrcRegister::BpIndirect => {
                let place = VirtAddr(known(Register::Rbp)?.wrapping_add_signed(offset));
                self.check_on_stack(at, place)?;
                Ok(VirtAddr(self.words.word(place)?))
            }
            OrcRegister::SpIndirect => {
                let sp = known(Register::Rsp)?;
                // 87ccc826bf1c "x86/unwind/orc: Change REG_SP_INDIRECT" (5.12): the offset is
                // added to what was read; before, to the place that is read. The old kernels used
                // it for saved registers only, and the new ones for calls onto the interrupt stack.
                if entry.kind == OrcKind::Call {
                    let word = self.words.word(VirtAddr(sp))?;
                    Ok(VirtAddr(word.wrapping_add_signed(offset)))
                } else {
                    Ok(VirtAddr(self.words.word(VirtAddr(sp.wrapping_add_signed(offset)))?))
                }
            }
            OrcRegister::Undefined | OrcRegister::PreviousSp | OrcRegister::Unknown(_) => {
                Err(Stop::BadRule(ip))
            }
        }
    }

    fn by_cfi(
        &mut self,
        at: &Position,
        row: &CfiRow,
        cfa: &mut Option<VirtAddr>,
    ) -> Result<Position, Stop> {
        let caller = row.caller(&mut self.words, &at.registers)?;
        if let Some(slot) = caller.ip_slot {
            self.check_on_stack(at, slot)?;
        }
        *cfa = Some(caller.cfa);
        Ok(Position {
            registers: caller.registers,
            exact_ip: row.signal,
            ip_slot: caller.ip_slot,
            how: Trust::Cfi,
            pt_regs: None,
            through_trampoline: false,
        })
    }

    /// Registers that ORC does not follow, from call frame information that agrees with it.
    fn add_callee_saved(&mut self, at: &Position, cfa: VirtAddr, next: &mut Position) {
        let Some(row) = self.unwinder.tables.cfi_row(at.lookup_ip()) else { return };
        let Ok(caller) = row.caller(&mut self.words, &at.registers) else { return };
        if caller.cfa != cfa {
            return;
        }
        for register in Register::CALLEE_SAVED {
            if next.registers.get(register).is_none() {
                next.registers.put(register, caller.registers.get(register));
            }
        }
    }

    /// A frame where no table helps: a jump into nowhere, or generated code.
    fn without_rule(&mut self, at: &Position) -> Result<Position, Stop> {
        let ip = at.registers.ip();
        let bad_call = at.exact_ip && !self.unwinder.tables.is_text(ip);
        if bad_call && let Some(next) = self.after_bad_call(at) {
            return Ok(next);
        }
        let keeps_frame_pointer = self.unwinder.tables.may_keep_frame_pointer(at.lookup_ip());
        if keeps_frame_pointer && let Some(next) = self.by_frame_pointer(at) {
            return Ok(next);
        }
        self.by_instructions(at).ok_or(Stop::NoRule(ip))
    }

    fn by_frame_pointer(&mut self, at: &Position) -> Option<Position> {
        match frame_pointer::follow(&mut self.words, &at.registers, at.exact_ip)? {
            Chained::Saved(regs) => self.saved_registers(at, regs).ok(),
            Chained::Caller { slot, ip, bp } => {
                self.check_on_stack(at, slot).ok()?;
                let registers = frame_pointer::caller_registers(slot, ip, bp);
                self.may_return_to(VirtAddr(ip))
                    .then(|| Position::caller(registers, slot, Trust::FramePointer))
            }
        }
    }

    /// The caller of a function by its own instructions. More than one way may lead to an address;
    /// what lies in the slot tells which one was gone.
    fn by_instructions(&mut self, at: &Position) -> Option<Position> {
        let Unwinder { memory, tables, functions, .. } = self.unwinder;
        let layouts = tables.layouts(memory, functions, at.lookup_ip());
        for layout in layouts.iter() {
            let Some(cfa) = layout.cfa(&at.registers) else { continue };
            let slot = cfa.back(8);
            if self.check_on_stack(at, slot).is_err() {
                continue;
            }
            let Ok(ip) = self.words.word(slot) else { continue };
            let original = |ip| match self.unwinder.trampolines.recover(self.return_slot(ip, slot))
            {
                Recovered::Untouched => ip,
                Recovered::Original(original) => original,
                Recovered::Lost => ip,
            };
            let is_return = tables.is_text(VirtAddr(ip)) && follows_call(memory, VirtAddr(ip));
            if !is_return && original(VirtAddr(ip)) == VirtAddr(ip) {
                continue;
            }
            let mut registers = layout.callee_saved(&mut self.words, &at.registers, cfa);
            registers.set(Register::Rip, ip);
            registers.set(Register::Rsp, cfa.0);
            return Some(Position::caller(registers, slot, Trust::Instructions));
        }
        None
    }

    fn return_slot(&self, ip: VirtAddr, slot: VirtAddr) -> ReturnSlot {
        ReturnSlot { ip, slot, earlier: self.trampolines }
    }

    /// After a call or jump to an address that is no code, nothing has moved yet: the return
    /// address is on top of the stack, and every register is as it was.
    fn after_bad_call(&mut self, at: &Position) -> Option<Position> {
        let slot = at.registers.sp();
        self.check_on_stack(at, slot).ok()?;
        let ip = self.words.word(slot).ok()?;
        let VirtAddr(above) = slot.offset(8);
        let returns = self.unwinder.tables.is_text(VirtAddr(ip))
            && follows_call(self.unwinder.memory, VirtAddr(ip));
        returns.then(|| {
            let registers = at.registers.with(Register::Rip, ip).with(Register::Rsp, above);
            Position::caller(registers, slot, Trust::BadCall)
        })
    }

    pub(crate) fn saved_registers(
        &mut self,
        at: &Position,
        regs: PtRegs,
    ) -> Result<Position, Stop> {
        let ip_slot = regs.address.offset(pt_regs::IRET_FRAME);
        self.check_on_stack(at, ip_slot)?;
        let saved = pt_regs::read(&mut self.words, regs, &at.registers)?;
        if saved.user_mode {
            return Err(Stop::UserMode(regs));
        }
        Ok(Position {
            registers: saved.registers,
            exact_ip: true,
            ip_slot: Some(ip_slot),
            how: Trust::ExceptionFrame,
            pt_regs: Some(regs),
            through_trampoline: false,
        })
    }

    /// Takes a caller only when the walk moves on and the address can be one.
    fn admit(&mut self, at: &Position, mut next: Position) -> Result<Position, Stop> {
        let sp = next.registers.sp();
        if sp.0 < KERNEL_HALF {
            return Err(Stop::BadStackPointer(sp));
        }
        if !self.moves_up(sp) {
            return Err(Stop::Loop(at.registers.sp()));
        }
        if next.exact_ip {
            return Ok(next);
        }
        let ip = next.registers.ip();
        let slot = next.ip_slot.unwrap_or_default();
        match self.unwinder.trampolines.recover(self.return_slot(ip, slot)) {
            Recovered::Untouched | Recovered::Lost => {}
            Recovered::Original(original) => {
                next.registers.set(Register::Rip, original.0);
                next.through_trampoline = true;
                return Ok(next);
            }
        }
        if self.may_return_to(ip) { Ok(next) } else { Err(Stop::BadReturnAddress { ip, slot }) }
    }

    /// Whether `ip` can be a return address: it is in known text or, as in code that the caller
    /// does not know of, at least after a call.
    fn may_return_to(&self, ip: VirtAddr) -> bool {
        ip.0 >= KERNEL_HALF
            && (self.unwinder.tables.is_text(ip) || follows_call(self.unwinder.memory, ip))
    }

    /// Whether `address` may be read as part of a stack: it is on a known one or, where the walk
    /// is on none anyway, in the kernel's half.
    pub(crate) fn check_on_stack(&self, at: &Position, address: VirtAddr) -> Result<(), Stop> {
        let known = self.stacks.stack_at(address).is_some()
            || (address.0 >= KERNEL_HALF && self.stack_of_pointer(at.registers.sp()).is_none());
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
