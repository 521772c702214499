//! QEMU's migration streams, and what they are wrapped in, from the synthetic writer.

use mortis_dump::{Dump, Format, Machine, OpenError, OpenOptions, PageCounts};
use mortis_dump_synthetic::{
    Codec, QcowOptions, QemuCpu, QemuPage, QemuWriter, libvirt_save, noise, page, qcow2,
};
use mortis_memory::{Address, PhysAddr, PhysicalMemory, PhysicalRange, Unavailable};
use std::path::PathBuf;
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn try_open(file: Vec<u8>) -> Result<Dump, OpenError> {
    Dump::from_source(Arc::new(file), "synthetic", OpenOptions::default())
}

fn open(file: Vec<u8>) -> Dump {
    try_open(file).expect("it opens")
}

fn read(dump: &Dump, address: u64, len: usize) -> Result<Vec<u8>, (u64, Unavailable)> {
    let mut bytes = vec![0; len];
    match dump.read(PhysAddr(address), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => match error.address {
            Address::Physical(at) => Err((at.0, error.why)),
            other => panic!("a physical read failed at {other}"),
        },
    }
}

fn whole(number: u64) -> QemuPage {
    QemuPage::Whole(page(number, 4096))
}

fn cpu(number: u64) -> QemuCpu {
    QemuCpu {
        general: std::array::from_fn(|index| number * 100 + index as u64),
        rip: 0xffff_ffff_8100_0000 + number,
        control: [0x8005_0033, 2, 3, 4],
        kernel_gs_base: 0xffff_8880_0000_0000 + number,
    }
}

/// A small guest: 4 MiB, whose pages are sent once each.
fn guest() -> QemuWriter {
    let pages: Vec<_> = (0..1024u64)
        .map(|number| {
            let sent = if number % 5 == 0 { QemuPage::Fill(0) } else { whole(number) };
            ("pc.ram", number * 4096, sent)
        })
        .collect();
    let roms = [("pc.ram", 4 * MIB), ("0000:00:02.0/vga.vram", MIB), ("pc.bios", MIB / 4)];
    QemuWriter::new(Some("pc-i440fx-7.2"))
        .ram(&roms, &[])
        .pages(&pages[..700], false)
        .command(3, &[1, 2, 3])
        .pages(&[("0000:00:02.0/vga.vram", 0, whole(7)), ("pc.bios", 4096, whole(8))], false)
        .pages(&pages[700..], true)
}

fn check_guest(dump: &Dump) {
    for number in [0u64, 1, 5, 63, 64, 699, 700, 701, 1023] {
        let wanted = if number % 5 == 0 { vec![0; 4096] } else { page(number, 4096) };
        assert_eq!(read(dump, number * 4096, 4096), Ok(wanted), "page {number}");
    }
    let across = [page(701, 4096), page(702, 4096)].concat();
    assert_eq!(read(dump, 701 * 4096 + 4000, 200), Ok(across[4000..4200].to_vec()));
    assert_eq!(read(dump, 4 * MIB, 1), Err((4 * MIB, Unavailable::Unmapped)));
    assert_eq!(dump.page_counts(), PageCounts { total: 1024, present: 1024 });
}

#[test]
fn a_stream_is_memory_and_registers() {
    let file = guest()
        .device("timer", 0, 2, &[("cpu_ticks_offset", vec![0x7e; 8]), ("unused", vec![4; 8])], true)
        .cpu(1, &cpu(1), true)
        .cpu(0, &cpu(0), true)
        .clock(4 * MIB, 0)
        .finish(true);
    let dump = open(file);
    assert_eq!(dump.format(), Format::QemuStream { mapped_ram: false });
    assert_eq!(*dump.machine(), Machine::X86_64);
    assert!(!dump.is_truncated() && !dump.is_incomplete());
    check_guest(&dump);
    let cpus = dump.cpu_registers();
    assert_eq!(cpus.len(), 2);
    for (number, cpu) in (0..).zip(cpus) {
        let registers = cpu.registers;
        assert_eq!((cpu.note_index as u64, cpu.pid), (number, 0));
        let at = |index: u64| number * 100 + index;
        assert_eq!((registers.rax, registers.rcx), (at(0), at(1)));
        assert_eq!((registers.rdx, registers.rbx), (at(2), at(3)));
        assert_eq!((registers.rsp, registers.rbp), (at(4), at(5)));
        assert_eq!((registers.rsi, registers.rdi), (at(6), at(7)));
        assert_eq!((registers.r8, registers.r15), (at(8), at(15)));
        assert_eq!(registers.rip, 0xffff_ffff_8100_0000 + number);
        assert_eq!(registers.rflags, 0x246);
        assert_eq!((registers.es, registers.cs, registers.ss, registers.ds), (1, 2, 3, 4));
        assert_eq!((registers.fs_base, registers.gs_base), (0x5000, 0x6000));
        let state = dump.cpu_states()[number as usize];
        assert_eq!((state.gdt.base, state.idt.base), (0x9000, 0xa000));
        assert_eq!((state.gdt.limit, state.gdt.flags), (0xffff, 0x900));
        assert_eq!(state.cr, [0x8005_0033, 0, 2, 3, 4]);
        assert_eq!(state.kernel_gs_base, Some(0xffff_8880_0000_0000 + number));
    }
}

#[test]
fn devices_are_passed_over_by_their_sizes_or_by_the_mark_at_their_end() {
    // A device whose content looks like the end of its own section, and a section of a CPU.
    let mut trap = vec![0x7e, 0, 0, 0, 3, 4, 0, 0, 0, 9, 3];
    trap.extend(b"cpu");
    trap.extend([0, 0, 0, 5, 0, 0, 0, 12]);
    trap.extend([0xaa; 2000]);
    let with = |described: bool, no_footers: bool, text: bool| {
        let mut writer = QemuWriter::new(None);
        writer.no_footers = no_footers;
        let file = writer
            .ram(&[("pc.ram", 8192)], &[])
            .pages(&[("pc.ram", 0, whole(1)), ("pc.ram", 4096, whole(2))], true)
            .device("trap", 0, 1, &[("bytes", trap.clone())], described)
            .cpu(0, &cpu(0), described)
            .device("virtio", 0, 1, &[("bytes", vec![3; 5000])], described)
            .cpu(1, &cpu(1), described)
            .finish(text);
        let dump = open(file);
        assert_eq!(read(&dump, 4096, 4096), Ok(page(2, 4096)));
        dump.cpu_registers().iter().map(|cpu| cpu.registers.rax).collect::<Vec<_>>()
    };
    assert_eq!(with(true, false, true), [0, 100]);
    assert_eq!(with(true, true, true), [0, 100]);
    // Nobody could tell without the sizes; the true CPUs are there all the same.
    for rax in [with(false, false, true), with(false, false, false), with(false, true, false)] {
        assert_eq!(rax[..2], [0, 100], "{rax:x?}");
    }
}

#[test]
fn what_was_sent_last_counts() {
    let (old, mut new) = (page(1, 4096), page(1, 4096));
    new[100..130].copy_from_slice(&[9; 30]);
    new[4095] ^= 1;
    let mut newer = new.clone();
    newer[0] ^= 0xff;
    let mut from_nothing = vec![0; 4096];
    from_nothing[2000..2003].copy_from_slice(&[1, 2, 3]);
    let mut six = page(5, 4096);
    six[700..1200].copy_from_slice(&noise(6, 500));
    let difference = |old: &[u8], new: &[u8]| QemuPage::Difference(old.to_vec(), new.to_vec());
    let ram = "pc.ram";
    let file = QemuWriter::new(None)
        .ram(&[(ram, 64 * 4096)], &[])
        .pages(
            &[
                (ram, 0, QemuPage::Whole(old.clone())),
                (ram, 4096, whole(2)),
                (ram, 2 * 4096, QemuPage::Fill(0)),
                (ram, 3 * 4096, whole(3)),
                (ram, 4 * 4096, QemuPage::Fill(0xcc)),
                (ram, 5 * 4096, QemuPage::Zlib(page(5, 4096))),
            ],
            false,
        )
        .pages(
            &[
                (ram, 0, difference(&old, &new)),
                (ram, 2 * 4096, difference(&[0; 4096], &from_nothing)),
                (ram, 3 * 4096, QemuPage::Fill(0)),
                (ram, 5 * 4096, difference(&page(5, 4096), &six)),
                (ram, 7 * 4096, difference(&[0; 4096], &from_nothing)),
                (ram, 8 * 4096, QemuPage::Delta(vec![0, 0, 0])),
            ],
            false,
        )
        .pages(&[(ram, 0, difference(&new, &newer)), (ram, 4096, whole(22))], true)
        .finish(true);
    let dump = open(file);
    for _ in 0..2 {
        assert_eq!(read(&dump, 0, 4096), Ok(newer.clone()));
        assert_eq!(read(&dump, 4096, 4096), Ok(page(22, 4096)));
        assert_eq!(read(&dump, 2 * 4096, 4096), Ok(from_nothing.clone()));
        assert_eq!(read(&dump, 3 * 4096, 4096), Ok(vec![0; 4096]));
        assert_eq!(read(&dump, 4 * 4096 + 7, 9), Ok(vec![0xcc; 9]));
        assert_eq!(read(&dump, 5 * 4096, 4096), Ok(six.clone()));
        assert_eq!(read(&dump, 7 * 4096, 4096), Ok(from_nothing.clone()));
        assert_eq!(read(&dump, 8 * 4096, 1), Err((8 * 4096, Unavailable::Unreadable)));
        // Never sent, and the stream is whole: left out on purpose.
        assert_eq!(read(&dump, 9 * 4096, 1), Err((9 * 4096, Unavailable::Excluded)));
    }
    assert_eq!(dump.page_counts(), PageCounts { total: 64, present: 8 });
}

#[test]
fn a_stream_cut_short_is_what_arrived() {
    let mut file = guest().cpu(0, &cpu(0), true).finish(true);
    let size = file.len();
    file.truncate(size / 2);
    let dump = open(file);
    assert!(dump.is_truncated());
    assert!(dump.cpu_registers().is_empty());
    assert_eq!(read(&dump, 4096, 4096), Ok(page(1, 4096)));
    assert_eq!(read(&dump, 1023 * 4096, 1), Err((1023 * 4096, Unavailable::Truncated)));
    // RAM whole, the devices lost.
    let dump = open(guest().unfinished());
    assert!(dump.is_truncated());
    check_guest(&dump);
}

/// What a guest with so much RAM looks like: one page in each part of it.
fn ranges(
    machine: Option<&str>,
    blocks: &[(&str, u64)],
    clock: Option<(u64, u64)>,
) -> Vec<(u64, u64)> {
    let first = blocks[0].0;
    let mut writer = QemuWriter::new(machine).ram(blocks, &[]).pages(&[(first, 0, whole(1))], true);
    if let Some((below, above)) = clock {
        writer = writer.clock(below, above);
    }
    let dump = open(writer.finish(true));
    dump.ranges().iter().map(|range| (range.start.0 / MIB, range.end.0 / MIB)).collect()
}

#[test]
fn the_hole_below_4_gib_is_where_the_machine_has_it() {
    let ram = |size: u64| [("pc.ram", size * MIB), ("pc.bios", MIB / 4)];
    let of = |machine: &str, size: u64| ranges(Some(machine), &ram(size), None);
    assert_eq!(of("pc-i440fx-7.2", 3583), [(0, 3583)]);
    assert_eq!(of("pc-i440fx-7.2", 3584), [(0, 3072), (4096, 4608)]);
    assert_eq!(of("pc-1.3", 4096), [(0, 3584), (4096, 4608)]);
    assert_eq!(of("pc-q35-7.2", 2815), [(0, 2815)]);
    assert_eq!(of("pc-q35-rhel9.2.0", 2816), [(0, 2048), (4096, 4864)]);
    assert_eq!(of("microvm", 4096), [(0, 3072), (4096, 5120)]);
    // What the clock says counts more than the type: the machine may have been told.
    let told = ranges(Some("pc-q35-7.2"), &ram(4096), Some((GIB, 3 * GIB)));
    assert_eq!(told, [(0, 1024), (4096, 7168)]);
    let contradicted = ranges(Some("pc-q35-7.2"), &ram(4096), Some((GIB, GIB)));
    assert_eq!(contradicted, [(0, 2048), (4096, 6144)]);
    let small = ranges(None, &ram(8), Some((8 * MIB, 0)));
    assert_eq!(small, [(0, 8)]);
}

#[test]
fn blocks_of_numa_nodes_come_in_the_order_of_their_names() {
    // The stream has the largest block first.
    let blocks =
        [("ram-node10", 9 * MIB), ("ram-node2", 5 * MIB), ("ram-node1", 2 * MIB), ("pc.rom", MIB)];
    let file = QemuWriter::new(Some("pc-q35-8.0"))
        .ram(&blocks, &[])
        .pages(
            &[
                ("ram-node10", 0, whole(10)),
                ("ram-node2", 0, whole(2)),
                ("ram-node1", 0, whole(1)),
                ("pc.rom", 0, whole(99)),
            ],
            true,
        )
        .clock(16 * MIB, 0)
        .finish(true);
    let dump = open(file);
    let range = PhysicalRange { start: PhysAddr(0), end: PhysAddr(16 * MIB) };
    assert_eq!(dump.ranges(), [range]);
    assert_eq!(read(&dump, 0, 4096), Ok(page(1, 4096)));
    assert_eq!(read(&dump, 2 * MIB, 4096), Ok(page(2, 4096)));
    assert_eq!(read(&dump, 7 * MIB, 4096), Ok(page(10, 4096)));
    // Memory that was plugged in later is nowhere: the clock knows of what the machine had first.
    let plugged = [("pc.ram", 16 * MIB), ("mem1", 8 * MIB)];
    assert_eq!(ranges(Some("pc-q35-8.0"), &plugged, Some((16 * MIB, 0))), [(0, 16)]);
}

#[test]
fn arm_has_its_memory_at_one_gib() {
    let blocks = [("mach-virt.ram", 16 * MIB), ("virt.flash0", 64 * MIB)];
    let file = QemuWriter::new(Some("virt-9.0"))
        .ram(&blocks, &[])
        .pages(&[("mach-virt.ram", 4096, whole(4))], true)
        .device("cpu", 0, 22, &[("env", vec![1; 2000])], true)
        .finish(true);
    let dump = open(file);
    assert_eq!(*dump.machine(), Machine::Aarch64);
    assert_eq!(read(&dump, GIB + 4096, 4096), Ok(page(4, 4096)));
    assert!(dump.cpu_registers().is_empty());
}

#[test]
fn what_follows_the_size_of_a_block() {
    let blocks = [("pc.ram", 8192), ("pc.bios", 4096)];
    // A page size, an address, or both: capabilities that the stream does not tell of.
    for extra in [&[][..], &[0, 0, 0, 0, 0, 0x20, 0, 0], &[0; 16]] {
        let file = QemuWriter::new(None)
            .ram(&blocks, extra)
            .pages(&[("pc.ram", 4096, whole(4))], true)
            .finish(true);
        assert_eq!(read(&open(file), 4096, 4096), Ok(page(4, 4096)), "{extra:?}");
    }
    let file = QemuWriter::new(None).ram(&blocks, &[1, 2, 3]).finish(true);
    let error = try_open(file).expect_err("it does not fit").to_string();
    assert!(error.contains("RAM block"), "{error}");
}

#[test]
fn pages_with_places_of_their_own() {
    let pages = |count: u64| {
        (0..count).map(|number| (number % 3 != 0).then(|| page(number, 4096))).collect::<Vec<_>>()
    };
    for in_front in [0, 0x1234] {
        let stream = QemuWriter::new(Some("pc-q35-10.0"))
            .mapped_ram(&[("pc.ram", pages(256)), ("pc.bios", pages(64))], in_front)
            .pages(&[], true)
            .cpu(0, &cpu(4), true)
            .finish(true);
        let dump = open(stream.clone());
        assert_eq!(dump.format(), Format::QemuStream { mapped_ram: true });
        assert_eq!(dump.cpu_registers()[0].registers.rax, 400);
        assert_eq!(read(&dump, 4096, 8192), Ok([page(1, 4096), page(2, 4096)].concat()));
        assert_eq!(read(&dump, 3 * 4096, 4096), Ok(vec![0; 4096]));
        assert_eq!(read(&dump, MIB, 1), Err((MIB, Unavailable::Unmapped)));
        assert_eq!(dump.page_counts(), PageCounts { total: 256, present: 256 });
        // Within the pages of the first block.
        let mut cut = stream;
        cut.truncate((MIB + 100 * 4096) as usize);
        let dump = open(cut);
        assert!(dump.is_truncated());
        assert_eq!(read(&dump, 4096, 4096), Ok(page(1, 4096)));
        assert_eq!(read(&dump, 3 * 4096, 1), Err((3 * 4096, Unavailable::Truncated)));
        assert_eq!(read(&dump, 200 * 4096, 1), Err((200 * 4096, Unavailable::Truncated)));
    }
}

#[test]
fn what_is_no_page_is_named() {
    let with = |word: u64| {
        let file = QemuWriter::new(None)
            .ram(&[("pc.ram", 8192)], &[])
            .ram_word(word, &[0; 64])
            .unfinished();
        try_open(file).expect_err("no page came").to_string()
    };
    assert!(with(0x80).contains("RDMA"), "{}", with(0x80));
    assert!(with(0x800).contains("0x800 is no kind of page"), "{}", with(0x800));
    assert!(with(0x28).contains("a page of no block"), "{}", with(0x28));
    let file = QemuWriter::new(None).ram(&[("pc.ram", 8192)], &[]).pages(&[], true).finish(true);
    let error = try_open(file).expect_err("no page").to_string();
    assert!(error.contains("multifd"), "{error}");
    let mut old = guest().finish(true);
    old[7] = 2;
    let error = try_open(old).expect_err("version 2").to_string();
    assert!(error.contains("version 2"), "{error}");
    // Damage behind pages that were read: those remain.
    let file = guest().ram_word(0x800, &[]).unfinished();
    check_guest(&open(file));
}

#[test]
fn libvirt_puts_a_header_in_front() {
    let stream = guest().cpu(0, &cpu(3), true).finish(true);
    for big_endian in [false, true] {
        for magic in [b"LibvirtQemudSave", b"LibvirtQemudPart"] {
            let dump = open(libvirt_save(magic, 0, big_endian, &stream));
            check_guest(&dump);
            assert_eq!(dump.cpu_registers()[0].registers.rax, 300);
            assert_eq!(dump.containers().len(), 1);
        }
    }
    let error = |file: Vec<u8>| try_open(file).expect_err("it is damaged").to_string();
    let strange = libvirt_save(b"LibvirtQemudSave", 9, false, &stream);
    assert!(error(strange).contains("format 9 is not known"));
    let nothing = libvirt_save(b"LibvirtQemudPart", 0, false, &[]);
    assert!(error(nothing).contains("did not finish writing"));
    let wrong = libvirt_save(b"LibvirtQemudSave", 0, false, &noise(1, 9000));
    assert!(error(wrong).contains("no migration stream"));
}

#[test]
fn libvirts_compressed_images() {
    use std::io::Write;
    let folder = std::env::temp_dir().join(format!("mortis-libvirt-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let stream = guest().finish(true);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&stream).expect("writing to memory");
    let gzip = gzip.finish().expect("writing to memory");
    let zstd = Codec::Zstd.compress(&stream);
    for (format, data) in [(1, gzip), (5, zstd)] {
        let path = folder.join(format!("save-{format}"));
        std::fs::write(&path, libvirt_save(b"LibvirtQemudSave", format, false, &data))
            .expect("a file");
        let options =
            OpenOptions { index_folder: Some(folder.join("index")), ..OpenOptions::default() };
        let dump = Dump::open_with(&path, options).expect("it opens");
        check_guest(&dump);
        assert_eq!(dump.containers().len(), 2);
    }
    std::fs::remove_dir_all(&folder).expect("the folder");
}

#[test]
fn the_state_of_a_snapshot() {
    let one = guest().cpu(0, &cpu(1), true).finish(true);
    let two = guest().cpu(0, &cpu(2), true).finish(true);
    let open_one = |file: Vec<u8>, snapshot: Option<&str>| {
        let options =
            OpenOptions { snapshot: snapshot.map(str::to_owned), ..OpenOptions::default() };
        Dump::from_source(Arc::new(file), "disk.qcow2", options)
    };
    let forms = [
        QcowOptions::default(),
        QcowOptions { version_2: true, ..QcowOptions::default() },
        QcowOptions { compressed: true, ..QcowOptions::default() },
        QcowOptions { compressed: true, zstd: true, extended_l2: true, ..QcowOptions::default() },
    ];
    for form in forms {
        let dump = open_one(qcow2(&[("only", "1", &one)], form), None).expect("the only one");
        check_guest(&dump);
        assert!(!dump.is_truncated());
        let three = [("first", "1", &one[..]), ("disk", "2", &[]), ("1", "3", &two[..])];
        let file = qcow2(&three, form);
        let rax = |snapshot: &str| {
            let dump = open_one(file.clone(), Some(snapshot)).expect("it opens");
            check_guest(&dump);
            dump.cpu_registers()[0].registers.rax
        };
        assert_eq!((rax("first"), rax("1"), rax("3")), (100, 200, 200));
        match open_one(file.clone(), None) {
            Err(OpenError::Wanting { what, advice, .. }) => {
                assert!(what.contains("2 snapshots of a machine"), "{what}");
                assert!(what.contains("\"first\" (id 1, 2025-11-24 16:00 UTC, 4 MB)"), "{what}");
                assert!(advice.contains("--snapshot"), "{advice}");
            }
            other => panic!("{other:?}"),
        }
        let error = open_one(file, Some("third")).expect_err("there is none").to_string();
        assert!(error.contains("no snapshot \"third\""), "{error}");
    }
}

#[test]
fn disk_images_without_a_machine() {
    let error = |snapshots: &[(&str, &str, &[u8])], options: QcowOptions| {
        try_open(qcow2(snapshots, options)).expect_err("no machine").to_string()
    };
    let none = error(&[], QcowOptions::default());
    assert!(none.contains("without snapshots"), "{none}");
    let disk = error(&[("disk", "1", &[])], QcowOptions::default());
    assert!(disk.contains("of the disk alone"), "{disk}");
    let state = guest().finish(true);
    let snapshots = [("a", "1", &state[..])];
    let encrypted = QcowOptions { encryption: 2, ..QcowOptions::default() };
    assert!(error(&snapshots, encrypted).contains("encrypted"));
    let elsewhere = QcowOptions { features: 4, ..QcowOptions::default() };
    assert!(error(&snapshots, elsewhere).contains("in another file"));
    let unknown = QcowOptions { features: 0x80, ..QcowOptions::default() };
    assert!(error(&snapshots, unknown).contains("unknown features 0x80"));
}

#[test]
fn the_second_opening_takes_no_pass() {
    let folder = std::env::temp_dir().join(format!("mortis-qemu-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path: PathBuf = folder.join("stream");
    let ram = 20_000u64;
    let pages: Vec<_> = (0..ram)
        .map(|number| ("pc.ram", number * 4096, QemuPage::Whole(vec![number as u8; 4096])))
        .collect();
    let file = QemuWriter::new(None)
        .ram(&[("pc.ram", ram * 4096)], &[])
        .pages(&pages, true)
        .cpu(0, &cpu(1), true)
        .finish(true);
    std::fs::write(&path, file).expect("a file");
    let steps = Arc::new(std::sync::Mutex::new(0));
    let open = |go_on: bool| {
        let steps = Arc::clone(&steps);
        let options = OpenOptions {
            index_folder: Some(folder.join("index")),
            progress: Some(Arc::new(move |step, done, total| {
                assert_eq!(step, "indexing");
                assert!(done <= total);
                *steps.lock().expect("no panic") += 1;
                go_on
            })),
            ..OpenOptions::default()
        };
        Dump::open_with(&path, options)
    };
    assert!(matches!(open(false), Err(OpenError::Stopped { .. })));
    let check = |dump: &Dump| {
        assert_eq!(read(dump, 19_999 * 4096, 4096), Ok(vec![19_999u64 as u8; 4096]));
        assert_eq!(dump.cpu_registers()[0].registers.rax, 100);
        assert_eq!(dump.page_counts(), PageCounts { total: ram, present: ram });
    };
    check(&open(true).expect("it opens"));
    let after_first = *steps.lock().expect("no panic");
    assert!(after_first > 2, "{after_first}");
    check(&open(true).expect("it opens"));
    assert_eq!(*steps.lock().expect("no panic"), after_first);
    std::fs::remove_dir_all(&folder).expect("the folder");
}
