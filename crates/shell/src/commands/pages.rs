//! `btop`, `ptob` and `ptov`: bytes, page frames and the addresses the kernel has them at.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands::p::chosen_cpus;
use crate::number;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_memory::{PhysAddr, VirtAddr};
use serde::Serialize;

/// `btop`.
pub const BTOP: Command = Command {
    name: "btop",
    aliases: &[],
    summary: "addresses to page frame numbers",
    synopsis: "address ...",
    options: &[],
    help: "Examples:\n  btop 512a000",
    run: |session, arguments, out| {
        convert(session, arguments, out, &BTOP, number::parse_address, |value, shift| {
            value >> shift
        })
    },
};

/// `ptob`.
pub const PTOB: Command = Command {
    name: "ptob",
    aliases: &[],
    summary: "page frame numbers to addresses",
    synopsis: "page_number ...",
    options: &[],
    help: "Examples:\n  ptob 512a",
    run: |session, arguments, out| {
        convert(session, arguments, out, &PTOB, frame_number, |value, shift| value << shift)
    },
};

/// `ptov`.
pub const PTOV: Command = Command {
    name: "ptov",
    aliases: &[],
    summary: "physical addresses and per-CPU offsets to virtual addresses",
    synopsis: "[address | offset:cpuspec]",
    options: &[],
    help: "A CPU specifier makes the number an offset in the CPUs' areas: : for the CPU of the task in\n\
           focus, :a for all, :0,2-3 for those.\n\n\
           Examples:\n  ptov 56e000\n  ptov b0c0:a",
    run: ptov,
};

/// A number and another of the same page.
#[derive(Serialize)]
struct Converted {
    value: Hex,
    result: Hex,
}

impl Render for Converted {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:x}: {:x}\n", self.value.0, self.result.0));
    }
}

fn convert(
    session: &Session,
    arguments: &Arguments,
    out: &mut Output,
    command: &Command,
    parse: fn(&str) -> Result<u64, CommandError>,
    // Of the number and the bits of a page.
    converted: fn(u64, u32) -> u64,
) -> Result<(), CommandError> {
    words(arguments, command)?;
    let shift = session.kernel.memory().physical().page_size().max(1).trailing_zeros();
    for word in &arguments.words {
        let value = parse(word)?;
        out.emit(&Converted { value: Hex(value), result: Hex(converted(value, shift)) })?;
    }
    Ok(())
}

fn frame_number(word: &str) -> Result<u64, CommandError> {
    let invalid = || CommandError::Message(format!("not a valid number: {word}"));
    number::number(word).ok_or_else(invalid)
}

fn words(arguments: &Arguments, command: &Command) -> Result<(), CommandError> {
    match arguments.words.is_empty() {
        true => Err(CommandError::Usage(format!("Usage: {} {}", command.name, command.synopsis))),
        false => Ok(()),
    }
}

/// A physical address and where the kernel has it.
#[derive(Serialize)]
struct Mapped {
    physical: Hex,
    #[serde(rename = "virtual")]
    address: Hex,
}

impl Render for Mapped {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!(
            "{:<16}  {:<16}\n{:<16x}  {:<16x}\n",
            "VIRTUAL", "PHYSICAL", self.address.0, self.physical.0
        ));
    }
}

/// A per-CPU offset and where the CPUs have it.
#[derive(Serialize)]
struct PerCpu {
    offset: Hex,
    cpus: Vec<CpuAddress>,
    /// Characters of the first column.
    #[serde(skip)]
    width: usize,
}

#[derive(Serialize)]
struct CpuAddress {
    cpu: u32,
    #[serde(rename = "virtual")]
    address: Hex,
    online: bool,
}

impl Render for PerCpu {
    fn render(&self, out: &mut String, _: Style) {
        let width = self.width;
        out.push_str(&format!("PER-CPU OFFSET: {:x}\n", self.offset.0));
        out.push_str(&format!("  {:<width$}  {:<16}\n", "CPU", "VIRTUAL"));
        for cpu in &self.cpus {
            let number = format!("[{}]", cpu.cpu);
            let offline = if cpu.online { "" } else { " [OFFLINE]" };
            out.push_str(&format!("  {number:<width$}{:x}{offline}\n", cpu.address.0));
        }
    }
}

fn ptov(
    session: &mut Session,
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    words(arguments, &PTOV)?;
    let kernel = session.kernel.clone();
    for (index, word) in arguments.words.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        let Some((offset, cpuspec)) = word.split_once(':') else {
            let physical = number::parse_address(word)?;
            let address = linear_address(&kernel, physical)?;
            out.emit(&Mapped { physical: Hex(physical), address: Hex(address.0) })?;
            continue;
        };
        let chosen = chosen_cpus(session, cpuspec)
            .map_err(|_| CommandError::Message(format!("invalid cpu specification: {cpuspec}")))?;
        let offset = number::parse_address(offset)?;
        let known = kernel.cpus()?;
        let last = known.possible.last().copied().unwrap_or_default();
        let mut cpus = Vec::new();
        for cpu in chosen {
            let address = known.address(VirtAddr(offset), cpu)?;
            cpus.push(CpuAddress { cpu, address: Hex(address.0), online: known.is_online(cpu) });
        }
        let width = format!("[{last}]").len() + 2;
        out.emit(&PerCpu { offset: Hex(offset), cpus, width })?;
    }
    Ok(())
}

/// Where the linear map of all physical memory has `physical`, whether or not there is memory.
fn linear_address(kernel: &Kernel, physical: u64) -> Result<VirtAddr, CommandError> {
    // Symbols tell where the map is.
    kernel.symbols()?;
    let start = kernel.memory().direct_address(PhysAddr(0)).ok_or_else(|| {
        CommandError::message("the kernel's linear map of physical memory was not found")
    })?;
    Ok(start.offset(physical))
}
