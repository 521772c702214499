//! VMware's files from the synthetic writers.

use mortis_dump::{Dump, DumpKind, FileKind, Format, OpenError, OpenOptions, sniff};
use mortis_dump_synthetic::{
    Machine, NumberedMemory, SavedCpu, VmwareMemory, VmwareWriter, guestdump, page,
};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, Unavailable};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
/// A machine with a hole where PCI devices are, small as it is.
const HOLED: [Range<u64>; 3] = [0..MIB, 3 * MIB..5 * MIB, 0x1_0000_0000..0x1_0000_0000 + MIB];

fn memory(ranges: &[Range<u64>]) -> NumberedMemory {
    NumberedMemory { ranges: ranges.to_vec() }
}

fn cpus() -> Vec<SavedCpu> {
    (0..3).map(SavedCpu::numbered).collect()
}

fn open(file: Vec<u8>) -> Dump {
    Dump::from_source(Arc::new(file), "x.vmss", OpenOptions::default()).expect("it opens")
}

/// Asserts that all of the machine's memory and CPUs are there.
fn assert_machine(dump: &Dump, ranges: &[Range<u64>]) {
    let range = |range: &Range<u64>| PhysicalRange {
        start: PhysAddr(range.start),
        end: PhysAddr(range.end),
    };
    assert_eq!(dump.ranges(), ranges.iter().map(range).collect::<Vec<_>>());
    for range in ranges {
        for at in [range.start, range.start + 0x2000, range.end - 4096] {
            let mut bytes = [0; 4096];
            dump.read(PhysAddr(at), &mut bytes).expect("the page is there");
            assert_eq!(bytes[..], page(at / 4096, 4096), "{at:#x}");
        }
        let error = dump.read(PhysAddr(range.end), &mut [0]).expect_err("a hole");
        assert_eq!(error.why, Unavailable::Unmapped);
    }
    assert!(!dump.is_truncated());
}

fn assert_cpus(dump: &Dump) {
    let expected = cpus();
    let found = dump.cpu_registers();
    assert_eq!(found.len(), expected.len());
    for ((found, state), cpu) in found.iter().zip(dump.cpu_states()).zip(&expected) {
        assert_eq!(found.registers, cpu.registers);
        assert_eq!(state.cr, cpu.cr);
        assert_eq!(state.idt.base, cpu.idt_base);
    }
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mortis-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn vmem(machine: &Machine<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    machine.write_all(&mut bytes).expect("memory takes all");
    bytes
}

#[test]
fn memory_inside_with_every_magic_and_form_of_registers() {
    let memory = memory(&HOLED);
    let machine = Machine::of(&memory, cpus());
    for magic in [0xbed2_bed2, 0xbed3_bed3, 0xbad1_bad1, 0xbad2_bad2, 0xbed2_bed0] {
        for in_blocks in [false, true] {
            let writer = VmwareWriter { magic, in_blocks, ..VmwareWriter::default() };
            let dump = open(writer.bytes(&machine));
            assert_eq!(dump.format(), Format::Vmware { separate: false, compressed: false });
            assert_machine(&dump, &HOLED);
            assert_cpus(&dump);
        }
    }
}

#[test]
fn memory_without_regions_is_flat() {
    let flat = std::array::from_fn::<_, 1, _>(|_| 0..2 * MIB);
    let memory = memory(&flat);
    let machine = Machine::of(&memory, cpus());
    let writer = VmwareWriter { with_regions: false, ..VmwareWriter::default() };
    let dump = open(writer.bytes(&machine));
    assert_machine(&dump, &flat);
}

#[test]
fn any_number_of_regions() {
    let ranges: Vec<Range<u64>> =
        (0..40).map(|n| n * 8 * MIB..n * 8 * MIB + 0x3000 + n * 0x1000).collect();
    let memory = memory(&ranges);
    let machine = Machine::of(&memory, Vec::new());
    let dump = open(VmwareWriter::default().bytes(&machine));
    assert_machine(&dump, &ranges);
    assert!(dump.cpu_registers().is_empty());
}

#[test]
fn compressed_memory_is_decompressed_once() {
    let memory = memory(&HOLED);
    let machine = Machine::of(&memory, cpus());
    let writer = VmwareWriter { memory: VmwareMemory::Compressed, ..VmwareWriter::default() };
    let state = writer.bytes(&machine);
    let dump = open(state.clone());
    assert_eq!(dump.format(), Format::Vmware { separate: false, compressed: true });
    assert_machine(&dump, &HOLED);

    let folder = Folder::new("vmware-compressed");
    let path = folder.write("x.vmss", &state);
    let index = folder.0.join("index");
    let options = OpenOptions { index_folder: Some(index.clone()), ..OpenOptions::default() };
    for _ in 0..2 {
        let dump = Dump::open_with(&path, options.clone()).expect("it opens");
        assert_machine(&dump, &HOLED);
        assert_cpus(&dump);
    }
    assert_eq!(index.read_dir().expect("a folder").count(), 1);

    // Another codec, or damage, is refused by name.
    let at = state.windows(2).rposition(|two| two == [0x78, 0x01]).expect("a zlib stream");
    let mut other = state.clone();
    other[at] = 0x99;
    let error = Dump::from_source(Arc::new(other), "x.vmss", OpenOptions::default());
    let error = error.expect_err("not zlib").to_string();
    assert!(error.contains("not a zlib"), "{error}");
    let mut cut = state;
    cut.truncate(cut.len() / 2);
    assert!(Dump::from_source(Arc::new(cut), "x.vmss", OpenOptions::default()).is_err());
}

#[test]
fn items_that_are_missing_are_not_missed() {
    let memory = memory(&HOLED);
    let machine = Machine::of(&memory, cpus());
    let left_out: &[&str] =
        &["cpu:numVCPUs", "CR64", "IDTR", "S", "S.base64", "eflags", "align_mask"];
    let writer = VmwareWriter { left_out, ..VmwareWriter::default() };
    let dump = open(writer.bytes(&machine));
    assert_machine(&dump, &HOLED);
    assert_eq!(dump.cpu_registers().len(), 3);
    for (found, cpu) in dump.cpu_registers().iter().zip(cpus()) {
        assert_eq!(found.registers.rip, cpu.registers.rip);
        assert_eq!(found.registers.r15, cpu.registers.r15);
        assert_eq!(found.registers.cs, 0);
    }
    assert!(dump.cpu_states().iter().all(|cpu| cpu.cr == [0; 5]));
    let writer = VmwareWriter { left_out: &["regionSize"], ..VmwareWriter::default() };
    let error = Dump::from_source(Arc::new(writer.bytes(&machine)), "x", OpenOptions::default());
    assert!(matches!(error, Err(OpenError::NoMemory { .. })));
}

#[test]
fn memory_beside_the_state_is_found_whichever_is_given() {
    let memory = memory(&HOLED);
    let machine = Machine::of(&memory, cpus());
    let writer = VmwareWriter { memory: VmwareMemory::Separate, ..VmwareWriter::default() };
    let state = writer.bytes(&machine);
    let folder = Folder::new("vmware-separate");
    let check = |paths: &[&Path]| {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        let dump = Dump::open_files(&paths, &OpenOptions::default()).expect("it opens");
        assert_eq!(dump.format(), Format::Vmware { separate: true, compressed: false });
        assert_machine(&dump, &HOLED);
        assert_cpus(&dump);
        assert_eq!(dump.files().len(), 2);
        let size: u64 =
            dump.files().iter().map(|file| file.metadata().expect("it is there").len()).sum();
        assert_eq!(dump.size(), size);
    };
    for (state_name, memory_name) in
        [("a.vmss", "a.vmem"), ("a-Snapshot3.vmsn", "a-Snapshot3.vmem")]
    {
        let (state, memory) =
            (folder.write(state_name, &state), folder.write(memory_name, &vmem(&machine)));
        check(&[&state]);
        check(&[&memory]);
        check(&[&state, &memory]);
        check(&[&memory, &state]);
        assert_eq!(sniff(&memory).expect("a file"), FileKind::Dump(DumpKind::VmwareMemory));
        fs::remove_file(state).expect("it was there");
        fs::remove_file(memory).expect("it was there");
    }
    // Two that are given need not have the same name.
    let state_path = folder.write("one.vmss", &state);
    let memory_path = folder.write("other.vmem", &vmem(&machine));
    check(&[&memory_path, &state_path]);

    let error = Dump::open(&state_path).expect_err("there is no one.vmem");
    let OpenError::Wanting { what, advice, .. } = &error else { panic!("{error}") };
    assert!(what.contains(folder.0.join("one.vmem").to_str().expect("UTF-8")), "{what}");
    assert!(advice.contains("beside it"), "{advice}");
    let error = Dump::open(&memory_path).expect_err("there is no other.vmss");
    let OpenError::Wanting { what, advice, .. } = &error else { panic!("{error}") };
    assert!(what.contains("other.vmss") && advice.contains("--layout"), "{what} {advice}");

    // A name that goes on, and the right size; but not another state's memory.
    let long = folder.write("one-564d1c2f.vmem", &vmem(&machine));
    check(&[&state_path]);
    folder.write("one-564d1c2f.vmsn", &state);
    assert!(Dump::open(&state_path).is_err());
    fs::remove_file(long).expect("it was there");
}

#[test]
fn a_memory_that_is_too_short_is_cut_off() {
    let memory = memory(&HOLED);
    let machine = Machine::of(&memory, cpus());
    let writer = VmwareWriter { memory: VmwareMemory::Separate, ..VmwareWriter::default() };
    let folder = Folder::new("vmware-short");
    let state = folder.write("x.vmss", &writer.bytes(&machine));
    folder.write("x.vmem", &vmem(&machine)[..2 * MIB as usize]);
    let dump = Dump::open(state).expect("it opens");
    assert!(dump.is_truncated());
    assert_eq!(dump.read(PhysAddr(3 * MIB), &mut [0; 4096]), Ok(()));
    let error = dump.read(PhysAddr(4 * MIB), &mut [0]).expect_err("beyond the end");
    assert_eq!(error.why, Unavailable::Truncated);
}

#[test]
fn the_old_form_is_refused_by_name() {
    let mut file = VmwareWriter { magic: 0xbed0_bed0, ..VmwareWriter::default() };
    file.left_out = &[];
    let memory = memory(&HOLED);
    let bytes = file.bytes(&Machine::of(&memory, cpus()));
    let error = Dump::from_source(Arc::new(bytes), "x.vmss", OpenOptions::default());
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("0xbed0bed0"), "{error}");
}

#[test]
fn files_that_were_compressed_find_each_other() {
    let memory = memory(&HOLED);
    let machine = Machine::of(&memory, cpus());
    let folder = Folder::new("vmware-gz");
    let gzip = |bytes: &[u8]| mortis_dump_synthetic::Wrapping::Gzip.compress(bytes);
    let guest = folder.write("debug.guest.gz", &gzip(&guestdump(&machine, 5)));
    let vmem = folder.write("debug.vmem.gz", &gzip(&vmem(&machine)));
    for paths in [vec![guest.clone()], vec![vmem.clone()], vec![vmem, guest]] {
        let dump = Dump::open_files(&paths, &OpenOptions::default()).expect("it opens");
        assert_eq!(dump.format(), Format::VmwareGuest { version: 5 });
        assert_machine(&dump, &HOLED);
        assert_cpus(&dump);
    }
}

#[test]
fn guest_dumps_of_all_versions() {
    let two_holes = [0..MIB, 3 * MIB..5 * MIB, 0x1_0000_0000..0x1_0000_0000 + MIB];
    let one_hole = [0..3 * MIB, 4 * MIB..5 * MIB];
    let folder = Folder::new("guestdump");
    for version in [1, 3, 4, 5, 6, 7] {
        for ranges in [&two_holes[..], &one_hole[..], &two_holes[..1]] {
            let memory = memory(ranges);
            let machine = Machine::of(&memory, cpus());
            let bytes = guestdump(&machine, version);
            let guest = folder.write("debug.guest", &bytes);
            let vmem = folder.write("debug.vmem", &vmem(&machine));
            assert_eq!(sniff(&guest).expect("a file"), FileKind::Dump(DumpKind::VmwareGuest));
            for path in [&guest, &vmem] {
                let dump = Dump::open(path).expect("it opens");
                assert_eq!(dump.format(), Format::VmwareGuest { version });
                assert_machine(&dump, ranges);
                assert_cpus(&dump);
            }
            // What it is does not hang on its name.
            let other = folder.write("whatever", &bytes);
            let dump = Dump::open_files(&[vmem, other], &OpenOptions::default());
            assert_machine(&dump.expect("it opens"), ranges);
            // One byte more and the sizes do not agree.
            let longer = [&bytes[..], &[0]].concat();
            let guest = folder.write("longer.guest", &longer);
            let error = Dump::open(guest).expect_err("damaged").to_string();
            assert!(error.contains("do not agree"), "{error}");
        }
    }
}
