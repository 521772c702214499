//! `mach`: what belongs to the machine: speeds, sizes, stacks, the firmware's map, the CPUs.

use super::struct_::beside::{Beside, Shown};
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::summary::size;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::machine::FirmwareRange;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `mach`.
pub const COMMAND: Command = Command {
    name: "mach",
    aliases: &[],
    summary: "the machine: sizes, stacks, the firmware's memory map, the CPUs",
    synopsis: "[-m | -c -[xd]]",
    options: &[
        flag('m', "the firmware's map of physical memory"),
        flag('c', "the cpuinfo_x86 of each CPU"),
        flag('x', "with -c, numbers in hexadecimal"),
        flag('d', "with -c, numbers in decimal"),
    ],
    help: "Examples:\n  mach\n  mach -m\n  mach -cx",
    run,
};

/// The machine.
#[derive(Serialize)]
struct Machine {
    machine: Known<String>,
    memory_bytes: Known<u64>,
    cpus: usize,
    cpus_offline: usize,
    cpu_mhz: Known<Option<u64>>,
    hz: Known<u64>,
    page_size: u64,
    kernel_virtual_base: Option<Hex>,
    kernel_vmalloc_base: Option<Hex>,
    kernel_vmemmap_base: Option<Hex>,
    kernel_start_map: Hex,
    kernel_modules_base: Hex,
    kernel_stack_size: u64,
    stacks: Vec<StackGroup>,
}

/// The CPUs' stacks of one kind.
#[derive(Serialize)]
struct StackGroup {
    kind: &'static str,
    size: u64,
    stacks: Vec<CpuStack>,
}

#[derive(Serialize)]
struct CpuStack {
    cpu: u32,
    address: Hex,
    /// Whether there is memory behind it.
    available: bool,
    online: bool,
}

impl Machine {
    fn read(kernel: &Kernel) -> Result<Self, CommandError> {
        let cpus = kernel.cpus()?;
        let bases = kernel.address_bases();
        let hex = |address: Option<VirtAddr>| address.map(|address| Hex(address.0));
        let page_size = kernel.memory().physical().page_size();
        let pages = kernel.present_pages();
        Ok(Self {
            machine: kernel.name().map(|name| name.machine).into(),
            memory_bytes: pages.map(|pages| pages.saturating_mul(page_size)).into(),
            cpus: cpus.present.len(),
            cpus_offline: cpus.present.iter().filter(|cpu| !cpus.is_online(**cpu)).count(),
            cpu_mhz: kernel.cpu_mhz().into(),
            hz: kernel.ticks_per_second().into(),
            page_size,
            kernel_virtual_base: hex(bases.linear),
            kernel_vmalloc_base: hex(bases.vmalloc),
            kernel_vmemmap_base: hex(bases.vmemmap),
            kernel_start_map: Hex(bases.image.0),
            kernel_modules_base: Hex(bases.modules.0),
            kernel_stack_size: kernel.kernel_stack_size(),
            stacks: stacks(kernel),
        })
    }
}

/// The CPUs' stacks by kind, in the order of the interrupt stack table.
fn stacks(kernel: &Kernel) -> Vec<StackGroup> {
    // Each CPU's entry trampoline and the second #VC stack crash does not know.
    const KINDS: [&str; 6] = ["IRQ", "DOUBLEFAULT", "NMI", "DEBUG", "MCE", "VC"];
    let online = |cpu| kernel.cpus().is_ok_and(|cpus| cpus.is_online(cpu));
    let group = |kind: &'static str| {
        let of_kind = kernel.cpu_stacks().iter().filter(|stack| stack.kind.name() == kind);
        let mut size = 0;
        let mut stacks: Vec<CpuStack> = Vec::new();
        for stack in of_kind {
            let Some(cpu) = stack.cpu else { continue };
            size = stack.high.0.wrapping_sub(stack.low.0);
            stacks.push(CpuStack {
                cpu,
                address: Hex(stack.low.0),
                available: kernel.memory().translate(stack.low).is_ok(),
                online: online(cpu),
            });
        }
        stacks.sort_by_key(|stack| stack.cpu);
        (!stacks.is_empty()).then_some(StackGroup { kind, size, stacks })
    };
    KINDS.into_iter().filter_map(group).collect()
}

impl Render for Machine {
    fn render(&self, out: &mut String, _: Style) {
        let mut line = |name: &str, value: String| {
            let blank = if value.is_empty() { "" } else { " " };
            out.push_str(&format!("{name:>22}:{blank}{value}\n"));
        };
        line("MACHINE TYPE", self.machine.to_string());
        line("MEMORY SIZE", self.memory_bytes.clone().map(size).to_string());
        let offline = match self.cpus_offline {
            0 => String::new(),
            offline => format!(" [OFFLINE: {offline}]"),
        };
        line("CPUS", format!("{}{offline}", self.cpus));
        let speed = self.cpu_mhz.clone().map(|mhz| match mhz {
            Some(mhz) => format!("{mhz} Mhz"),
            None => "(unknown)".to_owned(),
        });
        line("PROCESSOR SPEED", speed.to_string());
        line("HZ", self.hz.to_string());
        line("PAGE SIZE", self.page_size.to_string());
        let base =
            |base: Option<Hex>| base.map_or("<unknown>".to_owned(), |base| format!("{:x}", base.0));
        line("KERNEL VIRTUAL BASE", base(self.kernel_virtual_base));
        line("KERNEL VMALLOC BASE", base(self.kernel_vmalloc_base));
        line("KERNEL VMEMMAP BASE", base(self.kernel_vmemmap_base));
        line("KERNEL START MAP", base(Some(self.kernel_start_map)));
        line("KERNEL MODULES BASE", base(Some(self.kernel_modules_base)));
        line("KERNEL STACK SIZE", self.kernel_stack_size.to_string());
        for group in &self.stacks {
            line(&format!("{} STACK SIZE", group.kind), group.size.to_string());
            line(&format!("{} STACKS", group.kind), String::new());
            for stack in &group.stacks {
                let unavailable = if stack.available { "" } else { " [unavailable]" };
                let offline = if stack.online { "" } else { " [OFFLINE]" };
                let address = stack.address.0;
                let cpu = format!("CPU {}", stack.cpu);
                line(&cpu, format!("{address:016x}{unavailable}{offline}"));
            }
        }
    }
}

/// A range of the firmware's map.
#[derive(Serialize)]
struct MapRow {
    start: Hex,
    end: Hex,
    #[serde(rename = "type")]
    kind: u32,
    name: Option<&'static str>,
}

impl From<FirmwareRange> for MapRow {
    fn from(range: FirmwareRange) -> Self {
        let (start, end) = (Hex(range.start.0), Hex(range.end.0));
        Self { start, end, kind: range.kind, name: range.kind_name() }
    }
}

impl Render for MapRow {
    fn render(&self, out: &mut String, _: Style) {
        let kind = self.name.map_or_else(|| format!("type {}", self.kind), str::to_owned);
        out.push_str(&format!("{:016x} - {:016x}  {kind}\n", self.start.0, self.end.0));
    }
}

/// What the kernel knows of a CPU.
#[derive(Serialize)]
struct CpuData {
    cpu: u32,
    online: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structs: Vec<Shown>,
}

impl Render for CpuData {
    fn render(&self, out: &mut String, style: Style) {
        let offline = if self.online { "" } else { " [OFFLINE]" };
        out.push_str(&format!("CPU {}:{offline}\n", self.cpu));
        for shown in &self.structs {
            shown.render(out, style);
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let cpuinfo = Beside::whole(session, arguments, "cpuinfo_x86");
    if arguments.has('x') && arguments.has('d') {
        return Err(CommandError::message("-d and -x are mutually exclusive"));
    }
    if arguments.has('m') {
        out.layout("      PHYSICAL ADDRESS RANGE         TYPE\n")?;
        for range in kernel.firmware_ranges()? {
            out.emit(&MapRow::from(range))?;
        }
    }
    if arguments.has('c') {
        let cpuinfo = cpuinfo?;
        for (index, &cpu) in kernel.cpus()?.present.iter().enumerate() {
            if index > 0 {
                out.layout("\n")?;
            }
            let online = kernel.cpus()?.is_online(cpu);
            let structs = match online {
                true => cpuinfo.at(&kernel, kernel.per_cpu("cpu_info", cpu)?),
                false => Vec::new(),
            };
            out.emit(&CpuData { cpu, online, structs })?;
        }
    }
    if !arguments.has('m') && !arguments.has('c') {
        out.emit(&Machine::read(&kernel)?)?;
    }
    Ok(())
}
