//! One guest in every form that hypervisors and forensic tools leave behind: whatever it is in,
//! the answers are the same to the last blank.
//!
//! The memory and the registers are those of a real dump; the files are what the test writers make
//! of them. `MORTIS_FORMS=FOLDER` keeps the files there, for other tools to be asked the same.

mod guests;

use guests::{session, text};
use mortis_dump::Dump;
use mortis_dump_synthetic::{
    Machine, SavedCpu, SparseFile, VmwareMemory, VmwareWriter, avml, guestdump, lime, virtualbox,
};
use mortis_memory::PhysicalMemory;
use mortis_shell::KernelOptions;
use mortis_shell::open::{Input, open_input};
use mortis_shell::session::{Session, Settings};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

const COMMANDS: [&str; 5] = ["log", "bt -a", "ps", "kmem -i", "bt 1"];

/// A guest: its dump, and what is answered.
struct Truth {
    dump: Dump,
    answers: Vec<String>,
}

/// A guest that kexec's kernel dumped: its registers are in its memory, too.
static TRUTH: LazyLock<Truth> = LazyLock::new(|| truth("sysrq", "raw"));

fn truth(case: &str, capture: &str) -> Truth {
    let path = mortis_lab::dump("6.12", case, capture);
    let answers = answers(&mut session(std::slice::from_ref(&path)));
    assert!(answers.iter().all(|answer| answer.len() > 100), "{answers:?}");
    Truth { dump: Dump::open(path).expect("the dump opens"), answers }
}

fn answers(session: &mut Session) -> Vec<String> {
    COMMANDS.iter().map(|command| text(session, command)).collect()
}

/// The CPUs as a hypervisor saved them, or would have where kexec did.
fn cpus(dump: &Dump) -> Vec<SavedCpu> {
    if !dump.cpu_states().is_empty() {
        let cpu = |cpu: &mortis_dump::CpuState| SavedCpu {
            registers: cpu.registers,
            cr: cpu.cr,
            idt_base: cpu.idt.base,
            kernel_gs_base: cpu.kernel_gs_base.unwrap_or(0),
        };
        return dump.cpu_states().iter().map(cpu).collect();
    }
    const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
    let info = dump.vmcoreinfo().expect("kexec's dumps have it");
    let root = info.symbol("swapper_pg_dir").expect("the kernel's page table") - KERNEL_MAP;
    let phys_base = info.number("phys_base").expect("where the kernel is");
    let five_levels = info.number("pgtable_l5_enabled") == Some(1);
    let cpu = |cpu: &mortis_memory::CpuRegisters| SavedCpu {
        registers: cpu.registers,
        cr: [
            0x8005_0033,
            0,
            0,
            root.wrapping_add_signed(phys_base),
            if five_levels { 0x1ef0 } else { 0xef0 },
        ],
        // CPU_ENTRY_AREA_RO_IDT: where the table is mapped on every machine.
        idt_base: 0xffff_fe00_0000_0000,
        kernel_gs_base: 0,
    };
    dump.cpu_registers().iter().map(cpu).collect()
}

impl Truth {
    /// The guest's memory as it was dumped, in ranges of whole pages.
    fn machine(&self) -> Machine<'_> {
        let mut machine = Machine::of(&self.dump, cpus(&self.dump));
        for range in &mut machine.ranges {
            *range = range.start.next_multiple_of(4096)..range.end / 4096 * 4096;
        }
        machine.ranges.retain(|range| range.start < range.end);
        machine
    }

    /// The guest's memory from 0 to its end, with zeroes where nothing was dumped.
    fn flat(&self) -> Machine<'_> {
        let end = self.dump.ranges().last().map_or(0, |range| range.end.0);
        #[allow(clippy::single_range_in_vec_init, reason = "it is one range")]
        let ranges = vec![0..end / 4096 * 4096];
        Machine { ranges, ..self.machine() }
    }
}

/// Files that go away, unless they are to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(name: &str) -> Self {
        let kept = std::env::var_os("MORTIS_FORMS").map(PathBuf::from);
        let temporary =
            || std::env::temp_dir().join(format!("mortis-forms-{}", std::process::id()));
        let keep = kept.is_some();
        let path = kept.unwrap_or_else(temporary).join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self { path, keep }
    }

    fn file(&self, name: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> PathBuf {
        let path = self.path.join(name);
        let mut file = SparseFile::new(File::create(&path).expect("a file"));
        write(&mut file).expect("the disk has room");
        file.finish().expect("the disk has room");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn check(what: &str, session: &mut Session) {
    check_answers(what, session, &TRUTH.answers);
}

fn check_answers(what: &str, session: &mut Session, expected: &[String]) {
    for ((command, answer), expected) in COMMANDS.iter().zip(answers(session)).zip(expected) {
        let differs =
            answer.lines().zip(expected.lines()).find(|(answer, expected)| answer != expected);
        assert!(answer == *expected, "{what}: {command}: {differs:?}");
    }
}

fn check_files(what: &str, files: &[PathBuf]) {
    check(what, &mut session(files));
}

fn check_layout(what: &str, layout: &str) {
    let layout = Some(layout.parse().expect("a layout"));
    let input = Input { layout, ..Input::default() };
    let session = open_input(&input, KernelOptions::default(), Settings::default());
    check(what, &mut session.unwrap_or_else(|error| panic!("{what}: {error}")));
}

#[test]
fn vmware_state_with_memory() {
    let folder = Folder::new("vmss");
    let writer = VmwareWriter { in_blocks: true, ..VmwareWriter::default() };
    let state = folder.file("guest.vmss", |out| writer.write(&TRUTH.machine(), out));
    check_files("vmss", &[state]);
}

#[test]
fn vmware_state_of_a_guest_without_kexec() {
    let truth = truth("forms", "elf");
    let folder = Folder::new("forms");
    let writer = VmwareWriter { memory: VmwareMemory::Separate, ..VmwareWriter::default() };
    let machine = truth.machine();
    let state = folder.file("forms.vmss", |out| writer.write(&machine, out));
    folder.file("forms.vmem", |out| machine.write_all(out));
    check_answers("vmss of forms", &mut session(&[state]), &truth.answers);
}

/// Frames of `bt -a` behind the first in `function`.
fn frames_behind(answer: &str, function: &str) -> Vec<String> {
    let frames = answer.lines().skip_while(|line| !line.contains(&format!(" {function} at ")));
    frames
        .take_while(|line| !line.is_empty())
        .filter_map(|line| Some(line.split_once('[')?.1.to_owned()))
        .collect()
}

#[test]
fn memory_alone_has_the_frames_of_cpus_that_will_not_return() {
    let elf = mortis_lab::dump("6.12", "forms", "elf");
    let raw = mortis_lab::dump("6.12", "forms", "raw-mem");
    let with_registers = text(&mut session(&[elf]), "bt -a");
    let layout = Some(format!("{}@0", raw.display()).parse().expect("a layout"));
    let input = Input { layout, ..Input::default() };
    let session = open_input(&input, KernelOptions::default(), Settings::default());
    let without = text(&mut session.expect("it opens"), "bt -a");
    let frames = frames_behind(&with_registers, "__sysvec_reboot");
    assert!(frames.len() > 2, "{with_registers}");
    assert_eq!(frames_behind(&without, "__sysvec_reboot"), frames, "{without}");
    // 6.12's panic() aligns its stack: where its frame is, only rbp says, and nobody saved that.
    assert!(without.contains("no registers of CPU 0 in the dump"), "{without}");
}

#[test]
fn vmware_state_and_memory() {
    let folder = Folder::new("vmss-vmem");
    let writer = VmwareWriter {
        memory: VmwareMemory::Separate,
        with_regions: false,
        ..VmwareWriter::default()
    };
    let machine = TRUTH.flat();
    let state = folder.file("guest-Snapshot1.vmsn", |out| writer.write(&machine, out));
    let memory = folder.file("guest-Snapshot1.vmem", |out| machine.write_all(out));
    check_files("vmsn and vmem", &[state, memory]);
}

#[test]
fn vmware_state_with_compressed_memory() {
    let folder = Folder::new("vmss-compressed");
    let writer = VmwareWriter { memory: VmwareMemory::Compressed, ..VmwareWriter::default() };
    let state = folder.file("guest.vmss", |out| writer.write(&TRUTH.machine(), out));
    check_files("compressed vmss", &[state]);
}

#[test]
fn vmware_guest_dump() {
    let folder = Folder::new("guestdump");
    let machine = TRUTH.flat();
    let guest = folder.file("debug.guest", |out| out.write_all(&guestdump(&machine, 5)));
    folder.file("debug.vmem", |out| machine.write_all(out));
    check_files("debug.guest", &[guest]);
}

#[test]
fn virtualbox_core() {
    let folder = Folder::new("virtualbox");
    let core = folder.file("guest.core", |out| virtualbox(&TRUTH.machine(), out));
    check_files("VirtualBox", &[core]);
}

#[test]
fn lime_image() {
    let folder = Folder::new("lime");
    let image = folder.file("guest.lime", |out| lime(&TRUTH.machine(), out));
    check_files("LiME", &[image]);
}

#[test]
fn avml_images() {
    let folder = Folder::new("avml");
    let plain = folder.file("guest.avml1", |out| avml(&TRUTH.machine(), false, out));
    check_files("AVML 1", &[plain]);
    let compressed = folder.file("guest.avml", |out| avml(&TRUTH.machine(), true, out));
    check_files("AVML 2", &[compressed]);
}

#[test]
fn raw_memory() {
    let folder = Folder::new("raw");
    let flat = TRUTH.flat();
    let padded = folder.file("guest.raw", |out| flat.write_all(out));
    check_layout("padded", &format!("{}@0", padded.display()));
    let machine = TRUTH.machine();
    let all = folder.file("guest.pieces", |out| machine.write_all(out));
    let mut offset = 0;
    let pieces = machine.ranges.iter().map(|range| {
        let len = range.end - range.start;
        offset += len;
        format!("{}:{}+{len:#x}@{:#x}", all.display(), offset - len, range.start)
    });
    check_layout("in pieces", &pieces.collect::<Vec<_>>().join(","));
}
