//! `mortis info`: what a dump's headers and notes say, without a kernel.
//!
//! Nothing of it needs symbols or types, so it also answers for dumps that no session opens for,
//! and tells what is there of damaged ones.

use crate::byte_size::byte_size as size;
use crate::date;
use crate::output::{Render, Style};
use mortis_dump::{Dump, Format, PageCounts, Vmcoreinfo};
use mortis_memory::PhysicalMemory;
use serde::{Serialize, Serializer};
use std::path::Path;

/// The most rows of a table that are shown as text.
const MAX_ROWS: usize = 40;

/// What there is to know of a dump.
#[derive(Default, Serialize)]
pub struct DumpInfo {
    files: Vec<FileInfo>,
    /// What the dump is wrapped in, outermost first.
    containers: Vec<String>,
    /// Null for what is no dump.
    format: Option<String>,
    /// Of pages: `zlib`, `lzo`, `snappy`, `zstd` or `uncompressed`; null where the format has none.
    compression: Option<String>,
    machine: Option<String>,
    page_size: Option<u64>,
    /// Null where the format does not tell.
    dump_level: Option<DumpLevel>,
    vmemmap_excluded: bool,
    /// The collector could not write all of it.
    incomplete: bool,
    /// The file is shorter than its headers say.
    truncated: bool,
    /// Page frame numbers that this file of a split dump holds: from, and up to.
    split: Option<(u64, u64)>,
    /// The rules by which data were erased, as makedumpfile wrote them down.
    erase_info: Option<String>,
    /// When the dump was written, in seconds since 1970.
    written: Option<i64>,
    utsname: Option<UtsnameInfo>,
    nr_cpus: Option<u32>,
    registers: Option<Registers>,
    vmcoreinfo: Option<VmcoreinfoInfo>,
    notes: Vec<NoteInfo>,
    pages: Option<Pages>,
    memory: Vec<MemoryRange>,
    /// What is wrong with it.
    problems: Vec<String>,
    /// VMCOREINFO was looked for in memory.
    #[serde(skip)]
    searched: bool,
}

#[derive(Serialize)]
struct FileInfo {
    path: String,
    /// Null where the file is not there.
    size: Option<u64>,
}

#[derive(Serialize)]
struct DumpLevel {
    value: u32,
    excludes: Vec<&'static str>,
}

#[derive(Serialize)]
struct UtsnameInfo {
    /// `header`, or `memory` where the kernel's own was read.
    from: &'static str,
    sysname: String,
    nodename: String,
    release: String,
    version: String,
    machine: String,
    domainname: String,
}

#[derive(Serialize)]
struct Registers {
    /// `kernel` for its own notes, else `hypervisor`.
    from: &'static str,
    cpus: Vec<Cpu>,
}

#[derive(Serialize)]
struct Cpu {
    cpu: usize,
    rip: Hex,
    rsp: Hex,
    /// Only a hypervisor saves it.
    cr3: Option<Hex>,
}

#[derive(Serialize)]
struct VmcoreinfoInfo {
    /// `note`, or `memory` where it was looked for.
    from: &'static str,
    release: Option<String>,
    build_id: Option<String>,
    page_size: Option<u64>,
    /// What KASLR added to addresses.
    kaslr_offset: Option<Hex>,
    phys_base: Option<Hex>,
    /// Seconds since 1970 by the clock of the kernel that died.
    crash_time: Option<u64>,
}

/// Notes of one name, kind and size, in a row.
#[derive(Serialize)]
struct NoteInfo {
    name: String,
    #[serde(rename = "type")]
    kind: u32,
    size: usize,
    count: usize,
}

#[derive(Serialize)]
struct Pages {
    total: u64,
    present: u64,
    /// Left out, or not in this file of a set.
    absent: u64,
}

#[derive(Serialize)]
struct MemoryRange {
    start: Hex,
    end: Hex,
    size: u64,
}

#[derive(Clone, Copy)]
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// makedumpfile's `-d`, bit by bit (its print_info.c).
const LEVELS: [(u32, &str); 5] = [
    (1, "zero pages"),
    (2, "page cache"),
    (4, "private page cache"),
    (8, "user data"),
    (16, "free pages"),
];

impl DumpInfo {
    /// What an open dump says. `found` is VMCOREINFO that was looked for in memory, if that was
    /// wanted.
    pub fn of(dump: &Dump, found: Option<Option<Vmcoreinfo>>) -> Self {
        let PageCounts { total, present } = dump.page_counts();
        let page_size = dump.page_size();
        let searched = found.is_some();
        let found = found.flatten();
        let vmcoreinfo = dump
            .vmcoreinfo()
            .map(|info| ("note", info))
            .or_else(|| found.as_ref().map(|info| ("memory", info)));
        let in_memory = vmcoreinfo.and_then(|(_, info)| dump.utsname_in_memory(info));
        let in_header = dump.utsname().filter(|name| !name.release.is_empty()).cloned();
        let utsname =
            in_header.map(|name| ("header", name)).or(in_memory.map(|name| ("memory", name)));
        let mut info = Self {
            files: dump.files().iter().map(|path| FileInfo::of(path)).collect(),
            containers: dump.containers().iter().map(ToString::to_string).collect(),
            format: Some(dump.format().to_string()),
            compression: match dump.format() {
                Format::Kdump { compression, .. } => Some(compression.to_string()),
                _ => None,
            },
            machine: Some(dump.machine().to_string()),
            page_size: Some(page_size),
            dump_level: dump.dump_level().map(|value| DumpLevel {
                value,
                excludes: LEVELS
                    .iter()
                    .filter(|(bit, _)| value & bit != 0)
                    .map(|(_, what)| *what)
                    .collect(),
            }),
            vmemmap_excluded: dump.is_vmemmap_excluded(),
            incomplete: dump.is_incomplete(),
            truncated: dump.is_truncated(),
            split: dump.split(),
            erase_info: dump.erase_info().map(str::to_owned),
            written: dump.timestamp().map(|time| time.seconds).filter(|seconds| *seconds != 0),
            utsname: utsname.map(|(from, name)| UtsnameInfo {
                from,
                sysname: name.sysname,
                nodename: name.nodename,
                release: name.release,
                version: name.version,
                machine: name.machine,
                domainname: name.domainname,
            }),
            nr_cpus: dump.nr_cpus(),
            registers: registers(dump),
            vmcoreinfo: vmcoreinfo.map(|(from, info)| VmcoreinfoInfo {
                from,
                release: info.osrelease().map(str::to_owned),
                build_id: info.build_id().map(str::to_owned),
                page_size: info.page_size(),
                kaslr_offset: info.kerneloffset().map(Hex),
                phys_base: info.number("phys_base").map(|number| Hex(number.cast_unsigned())),
                crash_time: info.crashtime(),
            }),
            notes: notes(dump),
            pages: Some(Pages { total, present, absent: total.saturating_sub(present) }),
            memory: dump
                .ranges()
                .into_iter()
                .map(|range| MemoryRange {
                    start: Hex(range.start.0),
                    end: Hex(range.end.0),
                    size: range.end.0.saturating_sub(range.start.0),
                })
                .collect(),
            problems: dump.warnings().to_vec(),
            searched,
        };
        if info.truncated {
            info.problems.push("the file is shorter than its headers say".to_owned());
        }
        if info.incomplete {
            info.problems.push("its collector could not write all of it".to_owned());
        }
        info
    }

    /// What is known of files that do not open, and why they do not.
    pub fn of_unopened(files: &[impl AsRef<Path>], problem: String) -> Self {
        Self {
            files: files.iter().map(|path| FileInfo::of(path.as_ref())).collect(),
            problems: vec![problem],
            ..Self::default()
        }
    }
}

impl FileInfo {
    fn of(path: &Path) -> Self {
        Self {
            path: path.display().to_string(),
            size: std::fs::metadata(path).map(|metadata| metadata.len()).ok(),
        }
    }
}

fn registers(dump: &Dump) -> Option<Registers> {
    let states = dump.cpu_states();
    let cpus = dump.cpu_registers();
    let by_kernel = dump.notes().any(|note| note.name == b"CORE" && note.kind == 1);
    let cpu = |(index, cpu): (usize, &mortis_memory::CpuRegisters)| Cpu {
        cpu: index,
        rip: Hex(cpu.registers.rip),
        rsp: Hex(cpu.registers.rsp),
        cr3: states.get(index).and_then(|state| state.cr.get(3).copied().map(Hex)),
    };
    (!cpus.is_empty()).then(|| Registers {
        // QEMU writes notes in the kernel's form beside its own.
        from: if by_kernel && states.is_empty() { "kernel" } else { "hypervisor" },
        cpus: cpus.iter().enumerate().map(cpu).collect(),
    })
}

fn notes(dump: &Dump) -> Vec<NoteInfo> {
    let mut notes: Vec<NoteInfo> = Vec::new();
    for note in dump.notes() {
        let name = String::from_utf8_lossy(note.name).into_owned();
        match notes.last_mut() {
            Some(last)
                if last.name == name && last.kind == note.kind && last.size == note.desc.len() =>
            {
                last.count += 1;
            }
            _ => {
                notes.push(NoteInfo { name, kind: note.kind, size: note.desc.len(), count: 1 });
            }
        }
    }
    notes
}

/// Lines under headings, as crash's summary has them.
struct Lines<'a> {
    out: &'a mut String,
    style: Style,
}

impl Lines<'_> {
    fn line(&mut self, heading: &str, text: impl std::fmt::Display) {
        let heading = self.style.heading(&format!("{heading:>14}:"));
        self.out.push_str(&format!("{heading} {text}\n"));
    }

    fn optional(&mut self, heading: &str, text: Option<impl std::fmt::Display>) {
        if let Some(text) = text {
            self.line(heading, text);
        }
    }

    /// A table, a heading of its own at the first row.
    fn table(&mut self, heading: &str, rows: &[String]) {
        let mut heading = heading;
        for row in rows.iter().take(MAX_ROWS) {
            if heading.is_empty() {
                self.out.push_str(&format!("{:16}{row}\n", ""));
            } else {
                self.line(heading, row);
            }
            heading = "";
        }
        if rows.len() > MAX_ROWS {
            let more = rows.len() - MAX_ROWS;
            self.out.push_str(&format!("{:16}and {more} more (--json has all)\n", ""));
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn pages(count: u64, page_size: u64) -> String {
    format!("{count} ({})", size(count.saturating_mul(page_size)))
}

impl Render for DumpInfo {
    fn render(&self, out: &mut String, style: Style) {
        let mut lines = Lines { out, style };
        for file in &self.files {
            let len = file.size.map_or(String::new(), |len| format!("  ({})", size(len)));
            lines.line("FILE", format_args!("{}{len}", file.path));
        }
        for container in &self.containers {
            lines.line("INSIDE", container);
        }
        lines.optional("FORMAT", self.format.as_ref());
        self.render_origin(&mut lines);
        self.render_registers(&mut lines);
        self.render_vmcoreinfo(&mut lines);
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|note| {
                let times =
                    if note.count > 1 { format!(", {} times", note.count) } else { String::new() };
                format!("{} type {}, {} bytes{times}", note.name, note.kind, note.size)
            })
            .collect();
        lines.table("NOTES", &notes);
        self.render_memory(&mut lines);
        for problem in &self.problems {
            let problem = style.alarm(problem);
            lines.line("PROBLEM", problem);
        }
    }
}

impl DumpInfo {
    fn render_origin(&self, lines: &mut Lines<'_>) {
        if let Some(level) = &self.dump_level {
            let excludes = match &level.excludes[..] {
                [] => "nothing".to_owned(),
                excludes => excludes.join(", "),
            };
            lines.line("DUMP LEVEL", format_args!("{} (without {excludes})", level.value));
        }
        if self.vmemmap_excluded {
            lines.line("VMEMMAP", "without parts of the kernel's page array (makedumpfile -e)");
        }
        if let Some((start, end)) = self.split {
            lines
                .line("SPLIT", format_args!("pages {start} to {} of a set", end.saturating_sub(1)));
        }
        if let Some(rules) = &self.erase_info {
            let rules: Vec<String> = rules.lines().map(str::to_owned).collect();
            lines.table("ERASED", &rules);
        }
        lines.optional("MACHINE", self.machine.as_ref());
        lines.optional("WRITTEN", self.written.map(date::utc));
        if let Some(name) = &self.utsname {
            let from = if name.from == "memory" { "  (from memory)" } else { "" };
            lines.line("NODENAME", format_args!("{}{from}", name.nodename));
            lines.line("RELEASE", &name.release);
            lines.line("VERSION", &name.version);
        }
    }

    fn render_registers(&self, lines: &mut Lines<'_>) {
        lines.optional("CPUS", self.nr_cpus.filter(|count| *count > 0));
        let Some(registers) = &self.registers else {
            if self.format.is_some() {
                lines.line("REGISTERS", "none");
            }
            return;
        };
        let from = match registers.from {
            "kernel" => "of the kernel's notes",
            _ => "saved by the hypervisor",
        };
        let count = registers.cpus.len();
        let mut rows = vec![format!("of {count} CPU{}, {from}", if count == 1 { "" } else { "s" })];
        rows.extend(registers.cpus.iter().map(|cpu| {
            let cr3 = cpu.cr3.map_or(String::new(), |cr3| format!("  CR3: {:016x}", cr3.0));
            format!("CPU {:<3} RIP: {:016x}  RSP: {:016x}{cr3}", cpu.cpu, cpu.rip.0, cpu.rsp.0)
        }));
        lines.table("REGISTERS", &rows);
    }

    fn render_vmcoreinfo(&self, lines: &mut Lines<'_>) {
        let Some(info) = &self.vmcoreinfo else {
            if self.format.is_some() {
                let text = match self.searched {
                    true => "no note, and none in memory",
                    false => "no note (--search looks for it in memory)",
                };
                lines.line("VMCOREINFO", text);
            }
            return;
        };
        lines.line("VMCOREINFO", if info.from == "note" { "a note" } else { "found in memory" });
        if self.utsname.is_none() {
            lines.optional("RELEASE", info.release.as_ref());
        }
        lines.optional("BUILD-ID", info.build_id.as_ref());
        lines.optional("KASLR OFFSET", info.kaslr_offset.map(|offset| format!("{:x}", offset.0)));
        lines.optional("PHYS BASE", info.phys_base.map(|base| format!("{:x}", base.0)));
        let time = info.crash_time.and_then(|seconds| i64::try_from(seconds).ok());
        lines.optional("CRASH TIME", time.map(date::utc));
    }

    fn render_memory(&self, lines: &mut Lines<'_>) {
        let page_size = self.page_size.unwrap_or(0);
        lines.optional("PAGE SIZE", self.page_size);
        if let Some(count) = &self.pages {
            lines.line("PAGES", pages(count.total, page_size));
            let part = percent(count.present, count.total);
            lines.line("PRESENT", format_args!("{}, {part}", pages(count.present, page_size)));
            let part = percent(count.absent, count.total);
            lines.line("EXCLUDED", format_args!("{}, {part}", pages(count.absent, page_size)));
        }
        let rows: Vec<String> = self
            .memory
            .iter()
            .map(|range| {
                let last = range.end.0.saturating_sub(1);
                format!("{:016x} - {last:016x}  {}", range.start.0, size(range.size))
            })
            .collect();
        lines.table("MEMORY", &rows);
    }
}
