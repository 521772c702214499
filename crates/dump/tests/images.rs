//! LiME and AVML images, raw memory, and VirtualBox's cores, from the synthetic writers.

use mortis_dump::{Dump, Format, Layout, OpenError, OpenOptions};
use mortis_dump_synthetic::{
    ElfWriter, Load, Machine, NumberedMemory, SavedCpu, avml, lime, page, virtualbox_notes,
};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn ranges() -> Vec<Range<u64>> {
    vec![0x1000..0x9_f000, MIB..20 * MIB, 0x1_0000_0000..0x1_0000_0000 + 3 * MIB + 0x1000]
}

fn open(file: Vec<u8>) -> Dump {
    Dump::from_source(Arc::new(file), "image", OpenOptions::default()).expect("it opens")
}

fn written(write: impl FnOnce(&Machine<'_>, &mut Vec<u8>)) -> Vec<u8> {
    let memory = NumberedMemory { ranges: ranges() };
    let mut bytes = Vec::new();
    write(&Machine::of(&memory, Vec::new()), &mut bytes);
    bytes
}

fn lime_image() -> Vec<u8> {
    written(|machine, out| lime(machine, out).expect("memory takes all"))
}

fn avml_image() -> Vec<u8> {
    written(|machine, out| avml(machine, true, out).expect("memory takes all"))
}

fn assert_memory(dump: &Dump) {
    let range = |range: &Range<u64>| PhysicalRange {
        start: PhysAddr(range.start),
        end: PhysAddr(range.end),
    };
    assert_eq!(dump.ranges(), ranges().iter().map(range).collect::<Vec<_>>());
    for range in ranges() {
        for at in (range.start..range.end).step_by(0x1_7000).chain([range.end - 4096]) {
            let mut bytes = [0; 4096];
            dump.read(PhysAddr(at), &mut bytes).expect("the page is there");
            assert_eq!(bytes[..], page(at / 4096, 4096), "{at:#x}");
        }
        assert_eq!(
            dump.read(PhysAddr(range.end), &mut [0]).expect_err("a hole").why,
            Unavailable::Unmapped
        );
    }
    // Long reads go another way.
    let mut long = vec![0; 2 * MIB as usize];
    dump.read(PhysAddr(17 * MIB), &mut long).expect("it is there");
    for (index, bytes) in long.chunks(4096).enumerate() {
        assert_eq!(bytes, page(17 * MIB / 4096 + index as u64, 4096));
    }
    assert!(!dump.is_truncated());
}

#[test]
fn lime_is_its_blocks() {
    let dump = open(lime_image());
    assert_eq!(dump.format(), Format::Lime);
    assert_memory(&dump);
    let version_1 = written(|machine, out| avml(machine, false, out).expect("memory takes all"));
    assert_memory(&open(version_1));
}

#[test]
fn avml_is_decompressed_where_it_is_read() {
    let dump = open(avml_image());
    assert_eq!(dump.format(), Format::Avml);
    assert_memory(&dump);
}

#[test]
fn avml_keeps_its_index() {
    let folder = std::env::temp_dir().join(format!("mortis-avml-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("image");
    fs::write(&path, avml_image()).expect("a file");
    let index = folder.join("index");
    let options = OpenOptions { index_folder: Some(index.clone()), ..OpenOptions::default() };
    for _ in 0..2 {
        assert_memory(&Dump::open_with(&path, options.clone()).expect("it opens"));
    }
    let kept: Vec<PathBuf> =
        index.read_dir().expect("a folder").flatten().map(|entry| entry.path()).collect();
    assert_eq!(kept.len(), 1);
    // A damaged index may cost pages, but does no harm.
    let bytes = fs::read(&kept[0]).expect("the index");
    for damage in 0..200 {
        let mut bytes = bytes.clone();
        let at = bytes.len() - 1 - damage * 7 % (bytes.len() / 2);
        bytes[at] ^= 0xff;
        fs::write(&kept[0], bytes).expect("it is written");
        if let Ok(dump) = Dump::open_with(&path, options.clone()) {
            let _ = dump.read(PhysAddr(17 * MIB), &mut [0; 100_000]);
        }
    }
    let stopped = OpenOptions { progress: Some(Arc::new(|_, _, _| false)), ..Default::default() };
    assert!(matches!(Dump::open_with(&path, stopped), Err(OpenError::Stopped { .. })));
    fs::remove_dir_all(&folder).expect("the folder");
}

/// Zeroes, but for one page at the start of each of the places.
struct Sparse(Vec<u64>, u64);

impl PhysicalMemory for Sparse {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let there = self.0.iter().any(|at| (*at..at + 4096).contains(&address.0));
        buf.fill(if there { 0x5a } else { 0 });
        Ok(())
    }

    fn page_size(&self) -> u64 {
        4096
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        vec![PhysicalRange { start: PhysAddr(MIB), end: PhysAddr(self.1) }]
    }
}

#[test]
fn blocks_of_zeroes_that_avml_left_out_are_excluded() {
    let memory = Sparse(vec![MIB, 49 * MIB], 65 * MIB);
    for compressed in [false, true] {
        let mut bytes = Vec::new();
        avml(&Machine::of(&memory, Vec::new()), compressed, &mut bytes).expect("memory takes all");
        let dump = open(bytes);
        let ranges = dump.ranges();
        assert_eq!(ranges.len(), 1);
        assert_eq!((ranges[0].start.0, ranges[0].end.0), (MIB, 65 * MIB));
        let why = |at| dump.read(PhysAddr(at), &mut [0; 8]).expect_err("not there").why;
        assert_eq!(why(17 * MIB), Unavailable::Excluded);
        assert_eq!(why(49 * MIB - 8), Unavailable::Excluded);
        assert_eq!(why(65 * MIB), Unavailable::Unmapped);
        assert_eq!(dump.page_counts().present, 2 * 4096);
        assert_eq!(dump.page_counts().total, 4 * 4096);
        let mut bytes = [0; 8];
        dump.read(PhysAddr(49 * MIB), &mut bytes).expect("it is there");
        assert_eq!(bytes, [0x5a; 8]);
    }
}

#[test]
fn an_image_that_is_cut_off_has_what_came_before() {
    for mut image in [lime_image(), avml_image()] {
        image.truncate(image.len() * 2 / 3);
        let dump = open(image);
        assert!(dump.is_truncated());
        let mut bytes = [0; 4096];
        dump.read(PhysAddr(2 * MIB), &mut bytes).expect("it is there");
        assert_eq!(bytes[..], page(2 * MIB / 4096, 4096));
        let error = dump.read(PhysAddr(19 * MIB), &mut bytes).expect_err("cut off");
        assert_eq!(error.why, Unavailable::Truncated);
    }
}

#[test]
fn versions_nobody_knows_are_named() {
    let message = |bytes: &[u8]| {
        let source = Arc::new(bytes.to_vec());
        Dump::from_source(source, "x", OpenOptions::default()).expect_err("refused").to_string()
    };
    let padded = |head: &[u8]| [head, &[0; 64]].concat();
    assert!(message(&padded(b"AVML\x03\0\0\0")).contains("AVML version 3"));
    assert!(message(&padded(b"EMiL\x09\0\0\0")).contains("LiME version 9"));
    assert!(message(b"EMiL").contains("first header"));
}

#[test]
fn raw_memory_lies_where_the_layout_says() {
    let folder = std::env::temp_dir().join(format!("mortis-raw-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let memory = NumberedMemory { ranges: ranges() };
    let machine = Machine::of(&memory, Vec::new());
    let file = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let mut bytes = Vec::new();
    machine.write_all(&mut bytes).expect("memory takes all");
    fs::write(file("all"), &bytes).expect("a file");
    let open = |layout: &str| {
        let layout: Layout = layout.parse().expect("a layout");
        Dump::open_layout(&layout, &OpenOptions::default())
    };
    let all = file("all");
    let layout =
        format!("{all}:0+0x9e000@4K,{all}:0x9e000+19M@1M,{all}:{}@4G", 0x9_e000 + 19 * MIB);
    let dump = open(&layout).expect("it opens");
    assert_eq!(dump.format(), Format::Raw);
    assert_eq!((dump.files().len(), dump.size()), (1, bytes.len() as u64));
    assert_memory(&dump);

    for (index, range) in machine.ranges.iter().enumerate() {
        let mut bytes = Vec::new();
        machine.write(range, &mut bytes).expect("memory takes all");
        fs::write(file(&index.to_string()), &bytes).expect("a file");
    }
    let layout = format!("{}@4G,{}@0x1000,{}@1M", file("2"), file("0"), file("1"));
    assert_memory(&open(&layout).expect("it opens"));

    let error = |layout: &str| open(layout).expect_err("refused").to_string();
    assert!(error(&format!("{all}@0,{all}@1M")).contains("overlaps"));
    assert!(error(&format!("{all}:1G@0")).contains("nothing in the file"));
    assert!(error(&format!("{}@0", file("no"))).contains("no: "));
    let long = open(&format!("{all}:0+1G@0")).expect("it opens");
    assert!(long.is_truncated());
    fs::remove_dir_all(&folder).expect("the folder");
}

#[test]
fn virtualbox_cores_have_registers() {
    let cpus: Vec<SavedCpu> = (0..2).map(SavedCpu::numbered).collect();
    let core = |version: u32| ElfWriter {
        notes: virtualbox_notes(version, &cpus),
        loads: vec![Load { address: 0, memory_size: 0x3000, bytes: page(0, 0x3000) }],
        ..ElfWriter::default()
    };
    for version in [0x0001_0001, 0x0001_0005, 0x0001_0006] {
        let dump = open(core(version).write());
        assert_eq!(dump.cpu_registers().len(), 2);
        for ((found, state), cpu) in dump.cpu_registers().iter().zip(dump.cpu_states()).zip(&cpus) {
            assert_eq!(found.registers, cpu.registers);
            assert_eq!(state.cr, cpu.cr);
            assert_eq!(state.idt.base, cpu.idt_base);
            assert_eq!(state.kernel_gs_base, Some(cpu.kernel_gs_base));
        }
    }
    // The monitor's own structure is left alone.
    assert!(open(core(0x0001_0000).write()).cpu_registers().is_empty());
}
