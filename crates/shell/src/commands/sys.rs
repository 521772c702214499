//! `sys`: the machine, the dump and the panic.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::output::{Output, Render, Style, Text};
use crate::session::{Radix, Session};
use crate::summary::SystemSummary;
use crate::task_header::Hex;
use mortis_kernel::system_calls::SystemCall;
use mortis_kernel::taint;
use serde::Serialize;

/// `sys`.
pub const COMMAND: Command = Command {
    name: "sys",
    aliases: &[],
    summary: "the machine, the dump and the panic",
    synopsis: "[-c [name|number]] [-t] [-i] config",
    options: &[
        flag('c', "the system calls, or those with a name or number, with their sources"),
        flag('t', "why the kernel is tainted"),
        flag('i', "what the firmware says of the machine (DMI)"),
        value('p', "anic", "panics a live system; a dump has panicked already"),
    ],
    help: "Shows what opening the dump shows: the kernel, the dump and what is missing from it, \
           the machine, and the line of the log that says why the kernel died. Dates are UTC.\n\
           config is the configuration that the kernel was built with, where it carries it\n\
           (CONFIG_IKCONFIG).\n\
           The letters of -t are explained in the kernel's \
           Documentation/admin-guide/tainted-kernels.rst.\n\n\
           Examples:\n  sys\n  sys -t\n  sys -c 0\n  sys -c openat\n  sys config | grep KASAN",
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

/// A system call.
#[derive(Serialize)]
struct Call {
    number: u32,
    address: Hex,
    name: Option<String>,
    /// `../fs/read_write.c: 720`, from where the kernel was built.
    source: Option<String>,
    #[serde(skip)]
    hexadecimal: bool,
}

impl Render for Call {
    fn render(&self, out: &mut String, style: Style) {
        match self.hexadecimal {
            true => out.push_str(&format!("{:3x}  ", self.number)),
            false => out.push_str(&format!("{:3}  ", self.number)),
        }
        match &self.name {
            Some(name) => {
                let name = style.name(&format!("{name:<26}"));
                out.push_str(&format!("{name} {}\n", self.source.as_deref().unwrap_or("")));
            }
            None => out.push_str(&format!("invalid sys_call_table entry: {:x} \n", self.address.0)),
        }
    }
}

const CALL_HEADING: &str = "NUM  SYSTEM CALL                FILE AND LINE NUMBER\n";

/// Shows the system calls that each of `words` means, or all of them.
fn system_calls(session: &Session, words: &[String], out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    if !kernel.has_lines() {
        out.warn("line numbers are not available");
    }
    let calls = kernel.system_calls()?;
    let mut headed = false;
    let mut show = |call: &SystemCall, out: &mut Output| -> Result<(), CommandError> {
        if !std::mem::replace(&mut headed, true) {
            out.layout(CALL_HEADING)?;
        }
        let line = kernel.source_of_function(call.address);
        // As from a directory below the one where the kernel was built.
        let source = line.map(|line| {
            let path = &line.file.path;
            let path = path.strip_prefix(&*line.file.directory).unwrap_or(path);
            format!("../{}: {}", path.trim_start_matches(['.', '/']), line.line)
        });
        Ok(out.emit(&Call {
            number: call.number,
            address: Hex(call.address.0),
            name: call.name.clone(),
            source,
            hexadecimal: session.settings.radix == Radix::Hexadecimal,
        })?)
    };
    if words.is_empty() {
        return calls.iter().try_for_each(|call| show(call, out));
    }
    for word in words {
        let number = session.parse_number(word);
        let is_it = |call: &&SystemCall| match (number, &call.name) {
            (Some(number), _) => u64::from(call.number) == number,
            (None, Some(name)) => name.contains(word.as_str()),
            (None, None) => false,
        };
        calls.iter().filter(is_it).try_for_each(|call| show(call, out))?;
    }
    Ok(())
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let usage = || CommandError::Usage(format!("Usage: {} {}", COMMAND.name, COMMAND.synopsis));
    if let Some(rest) = arguments.value('p') {
        return Err(match rest {
            "anic" => CommandError::message("cannot panic a dumpfile!"),
            _ => usage(),
        });
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
    if arguments.has('c') {
        return system_calls(session, &arguments.words, out);
    }
    if arguments.words.is_empty() {
        return Ok(out.emit(&SystemSummary::read(session))?);
    }
    for word in &arguments.words {
        if word != "config" {
            return Err(usage());
        }
        let mut config = session.kernel.config()?;
        config.retain(|c| c != '\r');
        // As crash, without empty lines.
        let lines = config.lines().filter(|line| !line.is_empty());
        out.emit(&Text { text: lines.map(|line| format!("{line}\n")).collect() })?;
    }
    Ok(())
}
