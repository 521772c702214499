//! What a dump's own notes say of its CPUs, for dumps in which the kernel cannot be found.

use super::registers::{Registers, place};
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::session::{Radix, Session};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// The registers in one note.
#[derive(Serialize)]
struct NoteRegisters {
    /// The note's number: notes of CPUs that saved none may be left out.
    note: usize,
    /// The process that was running; 0 where the format does not say.
    pid: u32,
    symbol: Option<String>,
    offset: Option<u64>,
    registers: Registers,
}

impl Render for NoteRegisters {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("PID: {:<7}  NOTE: {}\n", self.pid, self.note));
        if let Some(symbol) = self.symbol.as_deref().zip(self.offset) {
            Registers::render_rip(out, Some(symbol), Radix::Decimal);
        }
        self.registers.render(out);
    }
}

pub(super) fn run(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    for note in session.kernel.dump().cpu_registers() {
        let registers = note.registers;
        let symbol = session.kernel.symbol_at(VirtAddr(registers.rip));
        let symbol = symbol.as_ref().map(place);
        out.emit(&NoteRegisters {
            note: note.note_index,
            pid: note.pid,
            symbol: symbol.map(|(name, _)| name.to_owned()),
            offset: symbol.map(|(_, offset)| offset),
            registers: Registers::at(None, false, &registers),
        })?;
    }
    Ok(())
}
