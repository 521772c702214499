//! `pte`: what a page table entry says.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::known::Known;
use crate::number;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::arch::x86_64::paging::{PAGE_SIZE_BIT, PHYSICAL_MASK, PRESENT, PROTNONE};
use mortis_kernel::arch::x86_64::swap_entry::SwapEntry;
use serde::Serialize;

/// `pte`.
pub const COMMAND: Command = Command {
    name: "pte",
    aliases: &[],
    summary: "what a page table entry says",
    synopsis: "contents ...",
    options: &[],
    help: "The entry of a page that was swapped out shows the swap device and the page there.\n\n\
           Examples:\n  pte d8e067\n  pte 8000000012345025",
    run,
};

/// A page table entry.
#[derive(Serialize)]
struct Row {
    pte: Hex,
    /// Null for a page that was swapped out.
    physical: Option<Hex>,
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<Place>,
}

/// Where a page is in swap.
#[derive(Serialize)]
struct Place {
    /// The path of the device or file.
    device: Known<String>,
    page: u64,
}

impl Render for Row {
    fn render(&self, out: &mut String, _: Style) {
        let pte = format!("{:x}", self.pte.0);
        let width = pte.len().max("PTE".len());
        if let Some(swap) = &self.swap {
            let (device, page) = (swap.device.to_string(), swap.page.to_string());
            let device_width = device.len().max("SWAP".len());
            let page_width = page.len().max("OFFSET".len());
            out.push_str(&format!(
                "{}  {}  {}\n{}  {}  {}\n",
                heading("PTE", width),
                heading("SWAP", device_width),
                heading("OFFSET", page_width),
                centred(&pte, width),
                centred(&device, device_width),
                centred(&page, page_width),
            ));
            return;
        }
        let physical = format!("{:x}", self.physical.map_or(0, |physical| physical.0));
        let physical_width = physical.len().max("PHYSICAL".len());
        let flags = if self.pte.0 == 0 { "no mapping".to_owned() } else { self.flags.join("|") };
        out.push_str(&format!(
            "{}  {}  FLAGS\n{}  {}  ({flags})\n",
            heading("PTE", width),
            heading("PHYSICAL", physical_width),
            centred(&pte, width),
            centred(&physical, physical_width),
        ));
    }
}

/// In the middle, or half a column to the left of it.
fn heading(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

/// In the middle, or half a column to the right of it.
fn centred(text: &str, width: usize) -> String {
    let right = width.saturating_sub(text.len()) / 2;
    format!("{:>width$}{}", text, " ".repeat(right), width = width - right)
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.words.is_empty() {
        return Err(CommandError::Usage(format!("Usage: pte {}", COMMAND.synopsis)));
    }
    let kernel = session.kernel.clone();
    for word in &arguments.words {
        let pte = number::parse_address(word)?;
        out.emit(&Row::new(&kernel, pte)?)?;
    }
    Ok(())
}

impl Row {
    fn new(kernel: &Kernel, pte: u64) -> Result<Self, CommandError> {
        let swap = SwapEntry::of(pte).map(|swap| Place::find(kernel, swap)).transpose()?;
        let physical = swap.is_none().then_some(Hex(pte & PHYSICAL_MASK));
        Ok(Self { pte: Hex(pte), physical, flags: flags(pte), swap })
    }
}

/// The names of the flags, in crash's order (arch/x86/include/asm/pgtable_types.h).
fn flags(pte: u64) -> Vec<&'static str> {
    let is_present = pte & PRESENT != 0;
    let named = [
        (PRESENT, true, "PRESENT"),
        (1 << 1, true, "RW"),
        (1 << 2, true, "USER"),
        (1 << 3, true, "PWT"),
        (1 << 4, true, "PCD"),
        (1 << 5, true, "ACCESSED"),
        (1 << 6, true, "DIRTY"),
        (PAGE_SIZE_BIT, is_present, "PSE"),
        (PROTNONE, !is_present, "PROTNONE"),
        (1 << 8, true, "GLOBAL"),
        (1 << 63, true, "NX"),
    ];
    let set = named.iter().filter(|(bit, applies, _)| *applies && pte & bit != 0);
    set.map(|(_, _, name)| *name).collect()
}

impl Place {
    fn find(kernel: &Kernel, entry: SwapEntry) -> Result<Self, CommandError> {
        let devices = kernel.swap_devices()?;
        let device = devices.iter().find(|device| device.index == entry.device);
        let device =
            device.ok_or_else(|| CommandError::message("cannot determine swap location"))?;
        Ok(Self { device: kernel.file_path(device.file).into(), page: entry.page })
    }
}
