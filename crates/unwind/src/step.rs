//! One step of a walk: from a frame to its caller, by whatever rule there is.

use crate::cfi::CfiRow;
use crate::frame_pointer::{self, Chained};
use crate::walk::{Position, Walk};
use crate::{
    KnownRegisters, OrcEntry, OrcKind, OrcRegister, PtRegs, Recovered, Register, ReturnSlot, Rule,
    Stop, Trust, Unwinder, follows_call, pt_regs,
};
use mortis_memory::VirtAddr;

impl Walk<'_> {
    /// The caller of a frame.
    pub(crate) fn step(
        &mut self,
        at: &Position,
        cfa: &mut Option<VirtAddr>,
    ) -> Result<Position, Stop> {
        let lookup = at.lookup_ip();
        if !at.exact_ip
            && let Some(rule) = self.unwinder.entries.entry_rule(lookup)
        {
            let next = self.by_entry(at, rule)?;
            return self.admit(at, next);
        }
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
            let ip = VirtAddr(ip);
            let replaced = matches!(
                self.unwinder.trampolines.recover(self.return_slot(ip, slot)),
                Recovered::Original(_)
            );
            let is_return = tables.is_text(ip) && follows_call(memory, ip);
            if !replaced && !is_return {
                continue;
            }
            let mut registers = layout.callee_saved(&mut self.words, &at.registers, cfa);
            registers.set(Register::Rip, ip.0);
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
        // Saved registers are worth a frame whatever they hold: entry code runs on the user's
        // stack pointer for some instructions, and a crash may be about the stack pointer.
        if sp.0 < self.unwinder.options.lowest && next.pt_regs.is_none() {
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
        ip.0 >= self.unwinder.options.lowest
            && (self.unwinder.tables.is_text(ip) || follows_call(self.unwinder.memory, ip))
    }
}
