//! ELF cores from the synthetic writer.

use mortis_dump::{Dump, Format, Machine, OpenError, OpenOptions, PageCounts};
use mortis_dump_synthetic::{ElfWriter, Load, final_note, note, prstatus, qemu_cpu};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, Unavailable};
use std::sync::Arc;

fn open(file: Vec<u8>) -> Dump {
    Dump::from_source(Arc::new(file), "synthetic", OpenOptions::default()).expect("it opens")
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    mortis_dump_synthetic::page(seed, len)
}

fn full(address: u64, bytes: Vec<u8>) -> Load {
    Load { address, memory_size: bytes.len() as u64, bytes }
}

fn read(dump: &Dump, address: u64, len: usize) -> Result<Vec<u8>, (u64, Unavailable)> {
    let mut bytes = vec![0; len];
    match dump.read(PhysAddr(address), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => match error.address {
            mortis_memory::Address::Physical(at) => Err((at.0, error.why)),
            other => panic!("a physical read failed at {other}"),
        },
    }
}

fn vmcore() -> ElfWriter {
    let mut notes = prstatus(1, [7; 27]);
    notes.extend(prstatus(0, std::array::from_fn(|index| index as u64)));
    notes.extend(note("VMCOREINFO", 0, b"OSRELEASE=6.1.0\nPAGESIZE=4096\n"));
    notes.extend(final_note());
    ElfWriter {
        notes,
        loads: vec![
            // The kernel's image comes first and again within the direct map.
            full(0x20_0000, pattern(2, 0x5000)),
            full(
                0x10_0000,
                [pattern(1, 0x10_0000), pattern(2, 0x5000), pattern(3, 0x8000)].concat(),
            ),
            Load { address: 0x100_0000, memory_size: 0x30_0000, bytes: pattern(4, 0x3000) },
            Load { address: 0x200_0000, memory_size: 0x10_0000, bytes: Vec::new() },
        ],
        ..ElfWriter::default()
    }
}

#[test]
fn a_vmcore_is_its_segments() {
    let writer = vmcore();
    let dump = open(writer.write());
    assert_eq!(dump.format(), Format::ElfCore { filtered: true });
    assert_eq!(*dump.machine(), Machine::X86_64);
    assert_eq!(dump.page_size(), 4096);
    assert!(!dump.is_incomplete() && !dump.is_truncated());
    assert_eq!(read(&dump, 0x20_0100, 0x100), Ok(pattern(2, 0x5000)[0x100..0x200].to_vec()));
    let whole = &writer.loads[1].bytes;
    assert_eq!(read(&dump, 0x10_0000, whole.len()), Ok(whole.clone()));
    assert_eq!(read(&dump, 0x1f_fff0, 0x5020), Ok(whole[0xf_fff0..0x10_5010].to_vec()));
    assert_eq!(read(&dump, 0x100_2fff, 1), Ok(vec![pattern(4, 0x3000)[0x2fff]]));

    let range = |start, end| PhysicalRange { start: PhysAddr(start), end: PhysAddr(end) };
    assert_eq!(
        dump.ranges(),
        [range(0x10_0000, 0x20_d000), range(0x100_0000, 0x130_0000), range(0x200_0000, 0x210_0000)]
    );
    assert_eq!(dump.page_counts(), PageCounts { total: 0x50d, present: 0x110 });
    assert_eq!(dump.dump_level(), None);
}

#[test]
fn filtered_pages_are_excluded_and_never_zeroes() {
    let dump = open(vmcore().write());
    assert_eq!(read(&dump, 0x100_3000, 8), Err((0x100_3000, Unavailable::Excluded)));
    assert_eq!(read(&dump, 0x100_2ff8, 16), Err((0x100_3000, Unavailable::Excluded)));
    assert_eq!(read(&dump, 0x200_0000, 8), Err((0x200_0000, Unavailable::Excluded)));
    assert_eq!(read(&dump, 0x130_0000, 8), Err((0x130_0000, Unavailable::Unmapped)));
    assert_eq!(read(&dump, 0, 8), Err((0, Unavailable::Unmapped)));
    assert_eq!(read(&dump, u64::MAX, 1), Err((u64::MAX, Unavailable::Unmapped)));
    assert_eq!(
        dump.probe(PhysAddr(0x100_3000)).map_err(|error| error.why),
        Err(Unavailable::Excluded)
    );
    assert_eq!(dump.probe(PhysAddr(0x100_2fff)), Ok(()));
}

#[test]
fn bytes_in_any_segment_win_over_another_segments_hole() {
    let writer = ElfWriter {
        loads: vec![
            Load { address: 0x1000, memory_size: 0x9000, bytes: pattern(1, 0x2000) },
            full(0x4000, pattern(2, 0x1000)),
        ],
        ..ElfWriter::default()
    };
    let dump = open(writer.write());
    assert_eq!(read(&dump, 0x4000, 0x1000), Ok(pattern(2, 0x1000)));
    assert_eq!(read(&dump, 0x3ff8, 16), Err((0x3ff8, Unavailable::Excluded)));
    assert_eq!(read(&dump, 0x4ff8, 16), Err((0x5000, Unavailable::Excluded)));
}

#[test]
fn segments_that_start_and_end_within_pages() {
    let whole = pattern(9, 0x5000);
    let writer = ElfWriter {
        loads: vec![
            full(0x1234, whole[..0x900].to_vec()),
            full(0x1b34, whole[0x900..0x3001].to_vec()),
            full(0x4235, whole[0x3001..].to_vec()),
        ],
        ..ElfWriter::default()
    };
    let dump = open(writer.write());
    for _ in 0..2 {
        for (start, len) in [(0, 0x5000), (0x8f0, 0x20), (0x900, 1), (0x2ff0, 0x30), (0x4fff, 1)] {
            assert_eq!(
                read(&dump, 0x1234 + start as u64, len),
                Ok(whole[start..start + len].to_vec())
            );
        }
        assert_eq!(read(&dump, 0x1230, 8), Err((0x1230, Unavailable::Unmapped)));
        assert_eq!(read(&dump, 0x6230, 8), Err((0x6234, Unavailable::Unmapped)));
    }
}

#[test]
fn a_vmcore_cut_short_is_truncated_at_the_exact_byte() {
    let writer = vmcore();
    let mut file = writer.write();
    file.truncate(file.len() - 0x1800);
    let dump = open(file);
    assert!(dump.is_truncated());
    assert_eq!(read(&dump, 0x100_17f0, 16), Ok(pattern(4, 0x3000)[0x17f0..0x1800].to_vec()));
    assert_eq!(read(&dump, 0x100_17f0, 17), Err((0x100_1800, Unavailable::Truncated)));
    assert_eq!(read(&dump, 0x100_2000, 8), Err((0x100_2000, Unavailable::Truncated)));
    assert_eq!(
        dump.probe(PhysAddr(0x100_1800)).map_err(|error| error.why),
        Err(Unavailable::Truncated)
    );
    assert_eq!(dump.cpu_registers().len(), 2);
}

#[test]
fn segments_that_were_never_written_are_lost_memory() {
    let why = |flags, lost| {
        let dump = open(ElfWriter { flags, lost, ..vmcore() }.write());
        assert_eq!(read(&dump, 0x20_0100, 0x100), Ok(pattern(2, 0x5000)[0x100..0x200].to_vec()));
        assert_eq!(read(&dump, 0x100_3000, 8), Err((0x100_3000, Unavailable::Excluded)));
        read(&dump, 0x4000_0000, 8)
    };
    assert_eq!(why(0, 0), Err((0x4000_0000, Unavailable::Unmapped)));
    assert_eq!(why(1, 0), Err((0x4000_0000, Unavailable::Unmapped)));
    assert_eq!(why(0, 3), Err((0x4000_0000, Unavailable::Unmapped)));
    assert_eq!(why(1, 3), Err((0x4000_0000, Unavailable::Truncated)));
}

#[test]
fn notes_give_registers_and_vmcoreinfo() {
    let dump = open(ElfWriter { flags: 1, ..vmcore() }.write());
    assert!(dump.is_incomplete());
    let cpus = dump.cpu_registers();
    assert_eq!(cpus.len(), 2);
    assert_eq!((cpus[0].note_index, cpus[0].pid, cpus[0].registers.rip), (0, 1, 7));
    assert_eq!((cpus[1].note_index, cpus[1].pid, cpus[1].registers.rip), (1, 0, 16));
    assert_eq!(dump.vmcoreinfo().and_then(|info| info.osrelease()), Some("6.1.0"));
    assert_eq!(dump.notes().count(), 3);
    assert!(dump.cpu_states().is_empty());
}

#[test]
fn qemus_notes_give_registers_where_there_are_no_others() {
    let general = std::array::from_fn(|index| index as u64 + 1);
    let notes = qemu_cpu(general, [0x8005_0033, 0, 2, 3, 4], 0xffff_0000);
    let loads = vec![full(0, pattern(1, 0x1000))];
    let writer = ElfWriter { notes: notes.clone(), loads, ..ElfWriter::default() };
    let dump = open(writer.write());
    let registers = dump.cpu_registers()[0].registers;
    assert_eq!((registers.rax, registers.rbx, registers.rcx, registers.rdx), (1, 2, 3, 4));
    assert_eq!((registers.rsi, registers.rdi, registers.rsp, registers.rbp), (5, 6, 7, 8));
    assert_eq!((registers.r8, registers.r15, registers.rip, registers.rflags), (9, 16, 17, 18));
    assert_eq!((registers.cs, registers.ss), (1, 6));
    assert_eq!((registers.fs_base, registers.gs_base), (0x4000, 0x5000));
    let cpu = dump.cpu_states()[0];
    assert_eq!((cpu.gdt.base, cpu.idt.base), (0x9000, 0xa000));
    assert_eq!(cpu.cr, [0x8005_0033, 0, 2, 3, 4]);
    assert_eq!(cpu.kernel_gs_base, Some(0xffff_0000));

    // Where both are there, NT_PRSTATUS counts.
    let notes = [prstatus(0, [9; 27]), notes].concat();
    let dump = open(ElfWriter { notes, ..writer }.write());
    assert_eq!(dump.cpu_registers().len(), 1);
    assert_eq!(dump.cpu_registers()[0].registers.rax, 9);
    assert_eq!(dump.cpu_states().len(), 1);
}

#[test]
fn more_than_65535_segments() {
    let loads: Vec<Load> = (0..70_000u64).map(|n| full(n * 0x2000, pattern(n, 16))).collect();
    let writer = ElfWriter { loads, extended_numbering: true, ..ElfWriter::default() };
    let dump = open(writer.write());
    for n in [0, 1, 65_534, 65_535, 65_536, 69_999] {
        assert_eq!(read(&dump, n * 0x2000, 16), Ok(pattern(n, 16)));
    }
    assert_eq!(dump.ranges().len(), 70_000);
}

#[test]
fn cores_without_memory_and_other_machines() {
    let empty =
        Dump::from_source(Arc::new(ElfWriter::default().write()), "empty", OpenOptions::default());
    assert!(matches!(empty, Err(OpenError::NoMemory { .. })));
    let notes = note("CORE", 0x4649_4c45, b"files");
    let loads = vec![full(0, pattern(1, 4096))];
    let process = ElfWriter { notes, loads, ..ElfWriter::default() }.write();
    let error = Dump::from_source(Arc::new(process), "core", OpenOptions::default());
    assert_eq!(
        error.expect_err("it is no kernel").to_string(),
        "core: this is a core dump of a user process, not of a kernel"
    );
    let loads = vec![full(0x8000_0000, pattern(1, 4096))];
    let notes = note("VMCOREINFO", 0, b"PAGESIZE=65536\n");
    let dump = open(ElfWriter { machine: 183, notes, loads, ..ElfWriter::default() }.write());
    assert_eq!(*dump.machine(), Machine::Aarch64);
    assert_eq!(dump.page_size(), 65536);
}
