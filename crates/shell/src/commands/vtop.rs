//! `vtop`: virtual to physical addresses, with the page table's entries on the way.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands::sym::address_of;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::arch::x86_64::paging::{Entry, Level, Walk};
use mortis_kernel::user_memory::UserMemory;
use mortis_memory::{PhysAddr, UserAddr, VirtAddr};
use serde::Serialize;

/// `vtop`.
pub const COMMAND: Command = Command {
    name: "vtop",
    aliases: &[],
    summary: "virtual to physical addresses",
    synopsis: "[-c [pid | taskp]] [-u|-k] address ...",
    options: &[
        value('c', "pid | taskp", "use that task's page table"),
        flag('u', "the address is a user address of the task in focus"),
        flag('k', "the address is a kernel address"),
    ],
    help: "Examples:\n  vtop ffff8f190123a100",
    run,
};

/// One address and where it lies.
#[derive(Serialize)]
struct Translated {
    #[serde(rename = "virtual")]
    address: String,
    physical: Option<String>,
    /// Why there is no physical address.
    unavailable: Option<&'static str>,
    /// The root of the page table: its virtual address.
    pgd: Option<String>,
    entries: Vec<TableEntry>,
    /// Bytes of the page that maps it.
    page_size: Option<u64>,
    /// The area of the process's memory that a user address is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<AreaLine>,
    /// What the kernel's map of memory says of the page frame.
    page: Option<PageLine>,
    #[serde(skip)]
    user: bool,
}

/// An area of a process's memory.
#[derive(Serialize)]
struct AreaLine {
    vma: Hex,
    start: Hex,
    end: Hex,
    flags: Known<Hex>,
    /// The path of what is mapped; null for anonymous memory.
    file: Option<Known<String>>,
}

impl AreaLine {
    fn read(kernel: &Kernel, mm: VirtAddr, address: UserAddr) -> Option<Self> {
        let area = kernel.area_at(mm, address).ok()??;
        let file = match area.file {
            Ok(file) if file.is_null() => None,
            file => Some(file.and_then(|file| kernel.file_path(file)).into()),
        };
        Some(Self {
            vma: Hex(area.address.0),
            start: Hex(area.start.0),
            end: Hex(area.end.0),
            flags: area.flags.map(Hex).into(),
            file,
        })
    }
}

impl Render for AreaLine {
    fn render(&self, out: &mut String, _: Style) {
        let file = self.file.as_ref().map_or(String::new(), Known::to_string);
        out.push_str(&format!(
            "      VMA           START       END     FLAGS FILE\n\
             {:x} {:>10x} {:>10x} {:>6} {file}\n\n",
            self.vma.0,
            self.start.0,
            self.end.0,
            hexadecimal(&self.flags),
        ));
    }
}

fn hexadecimal(value: &Known<Hex>) -> String {
    match value.value() {
        Some(value) => format!("{:x}", value.0),
        None => value.clone().map(|_| "").to_string(),
    }
}

/// The record of a page frame.
#[derive(Serialize)]
pub(super) struct PageLine {
    page: Hex,
    physical: Hex,
    mapping: Known<Hex>,
    index: Known<u64>,
    count: Known<i64>,
    flags: Known<Hex>,
    flag_names: Vec<String>,
}

impl PageLine {
    pub(super) fn read(kernel: &Kernel, physical: PhysAddr) -> Option<Self> {
        let record = kernel.page_record(physical).ok()?;
        let names = record.flags.as_ref().map(|flags| kernel.page_flag_names(*flags));
        Some(Self {
            page: Hex(record.page.0),
            physical: Hex(record.frame.0),
            mapping: record.mapping.map(Hex).into(),
            index: record.index.into(),
            count: record.count.into(),
            flag_names: names.unwrap_or_default(),
            flags: record.flags.map(Hex).into(),
        })
    }
}

/// What stands over the lines.
pub(super) const PAGE_HEADING: &str =
    "      PAGE       PHYSICAL      MAPPING       INDEX CNT FLAGS\n";

impl Render for PageLine {
    fn render(&self, out: &mut String, _: Style) {
        let index = hexadecimal(&self.index.clone().map(Hex));
        let names = match self.flag_names.is_empty() {
            true => String::new(),
            false => format!(" {}", self.flag_names.join(",")),
        };
        out.push_str(&format!(
            "{:x} {:>8x} {:>16} {index:>8} {:>2} {}{names}\n",
            self.page.0,
            self.physical.0,
            hexadecimal(&self.mapping),
            self.count,
            hexadecimal(&self.flags),
        ));
    }
}

#[derive(Serialize)]
struct TableEntry {
    level: &'static str,
    /// Where the entry stands.
    address: String,
    value: String,
    flags: Vec<&'static str>,
}

/// The flags of a page table entry, in the order in which crash names them
/// (arch/x86/include/asm/pgtable_types.h).
const FLAGS: &[(u64, &str)] = &[
    (1 << 0, "PRESENT"),
    (1 << 1, "RW"),
    (1 << 2, "USER"),
    (1 << 3, "PWT"),
    (1 << 4, "PCD"),
    (1 << 5, "ACCESSED"),
    (1 << 6, "DIRTY"),
    (1 << 7, "PSE"),
    (1 << 8, "GLOBAL"),
    (1 << 63, "NX"),
];

fn flags(entry: u64, leaf: Level) -> Vec<&'static str> {
    FLAGS
        .iter()
        .filter(|(bit, _)| entry & bit != 0)
        // In a page table's own entries that bit selects the memory type instead.
        .map(|(_, name)| if *name == "PSE" && leaf == Level::Pte { "PAT" } else { *name })
        .collect()
}

impl Render for Translated {
    fn render(&self, out: &mut String, style: Style) {
        let address = &self.address[2..];
        let physical = self.physical.as_deref().map(|physical| &physical[2..]);
        // User addresses are mostly short, and crash gives them a narrower column.
        let width = if self.user { 10 } else { 16 };
        out.push_str(&format!("{:<width$}  {:<16}\n", "VIRTUAL", "PHYSICAL"));
        match (physical, &self.area) {
            (Some(physical), _) => {
                out.push_str(&format!("{address:<width$}  {physical:<16}\n\n"));
            }
            // The process owns the address and has not touched it, or it was paged out.
            (None, Some(_)) => out.push_str(&format!("{address:<width$}  (not mapped)\n\n")),
            (None, None) => out.push_str(&format!("{address:<width$}  (not accessible)\n\n")),
        }
        let Some(pgd) = &self.pgd else { return };
        if !self.user {
            out.push_str(&format!("PGD DIRECTORY: {}\n", &pgd[2..]));
        }
        for (index, entry) in self.entries.iter().enumerate() {
            let value = &entry.value[2..];
            if index == 0 && !self.user {
                out.push_str(&format!("PAGE DIRECTORY: {value}\n"));
            } else {
                out.push_str(&format!("{:>6}: {} => {value}\n", entry.level, &entry.address[2..]));
            }
        }
        let (Some(last), Some(physical), Some(page_size)) =
            (self.entries.last(), physical, self.page_size)
        else {
            out.push('\n');
            if let Some(area) = &self.area {
                area.render(out, style);
            }
            return;
        };
        let page = u64::from_str_radix(physical, 16).unwrap_or(0) & !(page_size - 1);
        let size = match page_size {
            0x20_0000 => "  (2MB)",
            0x4000_0000 => "  (1GB)",
            _ if self.user => "  ",
            _ => "",
        };
        out.push_str(&format!("  PAGE: {page:x}{size}\n\n"));
        let entry = &last.value[2..];
        let page = format!("{page:x}");
        let entry_width = entry.len().max(3);
        let page_width = page.len().max("PHYSICAL".len());
        out.push_str(&format!("{:^entry_width$}  {:^page_width$}  FLAGS\n", "PTE", "PHYSICAL"));
        out.push_str(&format!(
            "{entry:>entry_width$}  {page:>page_width$}  ({})\n\n",
            last.flags.join("|")
        ));
        if let Some(area) = &self.area {
            area.render(out, style);
        }
        if let Some(page) = &self.page {
            out.push_str(PAGE_HEADING);
            page.render(out, style);
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    if arguments.words.is_empty() {
        return Err(CommandError::Usage(format!("Usage: vtop {}", COMMAND.synopsis)));
    }
    let task = match arguments.value('c') {
        Some(word) => session.task(word)?,
        None => session.context()?,
    };
    for (index, word) in arguments.words.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        let address = address_of(session, word)?;
        // Kernel addresses are the upper half.
        let user = arguments.has('u') || (!arguments.has('k') && address.0 >> 63 == 0);
        let translated = if user {
            let memory = UserMemory::of(&kernel, task)?;
            let walk = memory.walk(UserAddr(address.0));
            let area = AreaLine::read(&kernel, task.mm(&kernel)?, UserAddr(address.0));
            describe(&kernel, address, memory.root(), &walk, Some(area))
        } else {
            let root = kernel.memory().page_table().root;
            describe(&kernel, address, root, &kernel.memory().walk(address), None)
        };
        out.emit(&translated)?;
    }
    Ok(())
}

fn describe(
    kernel: &Kernel,
    address: VirtAddr,
    root: PhysAddr,
    walk: &Walk,
    // Of a user address, the area that it is in, if there is one.
    user: Option<Option<AreaLine>>,
) -> Translated {
    let leaf = walk.entries.last().map_or(Level::Pgd, |entry| entry.level);
    // The linear map answers where a page of the table itself is lost.
    let physical = walk
        .result
        .map(|found| found.address)
        .or_else(|error| kernel.memory().translate(address).map_err(|_| error));
    let pgd = if root == kernel.memory().page_table().root {
        kernel.symbol("swapper_pg_dir").ok()
    } else {
        kernel.memory().direct_address(root)
    };
    Translated {
        address: format!("{:#x}", address.0),
        physical: physical.ok().map(|physical| format!("{:#x}", physical.0)),
        unavailable: physical.err().map(|error| error.why.code()),
        pgd: pgd
            .filter(|_| physical.is_ok() || matches!(user, Some(Some(_))))
            .map(|pgd| format!("{:#x}", pgd.0)),
        entries: walk.entries.iter().map(|entry| table_entry(entry, leaf)).collect(),
        page_size: walk.result.ok().map(|found| found.page_size),
        page: physical.ok().and_then(|physical| PageLine::read(kernel, physical)),
        user: user.is_some(),
        area: user.flatten(),
    }
}

fn table_entry(entry: &Entry, leaf: Level) -> TableEntry {
    TableEntry {
        level: entry.level.name(),
        address: format!("{:#x}", entry.at.0),
        value: format!("{:#x}", entry.value),
        flags: flags(entry.value, leaf),
    }
}
