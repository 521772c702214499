//! `sys`: the machine, the dump and the panic.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::summary::SystemSummary;
use crate::task_header::Hex;
use mortis_kernel::taint;
use serde::Serialize;

/// `sys`.
pub const COMMAND: Command = Command {
    name: "sys",
    aliases: &[],
    summary: "the machine, the dump and the panic",
    synopsis: "[-t | -i]",
    options: &[
        flag('t', "why the kernel is tainted"),
        flag('i', "what the firmware says of the machine (DMI)"),
    ],
    help: "Shows what opening the dump shows: the kernel, the dump and what is missing from it, \
           the machine, and the line of the log that says why the kernel died. Dates are UTC.\n\
           The letters of -t are explained in the kernel's \
           Documentation/admin-guide/tainted-kernels.rst.\n\n\
           Examples:\n  sys\n  sys -t",
    run,
};

/// The taints of the kernel.
#[derive(Serialize)]
struct Taints {
    mask: Hex,
    /// One letter for each taint, and what else is remarkable.
    letters: Known<String>,
}

impl Render for Taints {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("TAINTED_MASK: {:x}  {}\n", self.mask.0, self.letters));
    }
}

/// A string of the firmware.
#[derive(Serialize)]
struct DmiString {
    field: String,
    text: String,
    #[serde(skip)]
    width: usize,
}

impl Render for DmiString {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("  {:>width$}: {}\n", self.field, self.text, width = self.width));
    }
}

fn firmware(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let strings = session.kernel.dmi_strings()?;
    let width = strings.iter().map(|(field, _)| field.len()).max().unwrap_or(0);
    for (field, text) in strings {
        if let Some(text) = text {
            out.emit(&DmiString { field, text, width })?;
        }
    }
    Ok(())
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if !arguments.words.is_empty() {
        return Err(CommandError::Usage(format!("Usage: {} {}", COMMAND.name, COMMAND.synopsis)));
    }
    if arguments.has('i') {
        return firmware(session, out);
    }
    if arguments.has('t') {
        let mask = session.kernel.taint_mask()?;
        let letters = session.kernel.taints().map(|taints| taint::letters(&taints, mask));
        out.emit(&Taints { mask: Hex(mask), letters: letters.into() })?;
        return Ok(());
    }
    Ok(out.emit(&SystemSummary::read(session))?)
}
