//! Damaged dumps: whatever is flipped or cut off, opening and reading ends soon, in bounded
//! memory, with an answer.

use mortis_dump::{Dump, OpenError, OpenOptions, Source};
use mortis_dump_synthetic::{
    Codec, ElfWriter, Flattened, KdumpWriter, Load, Machine, NumberedMemory, QcowOptions,
    QemuWriter, SavedCpu, TarKind, TarWriter, VmwareMemory, VmwareWriter, Wrapping, avml,
    guestdump, libvirt_save, lime, qcow2, virtualbox,
};
use mortis_memory::{PhysAddr, PhysicalMemory};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A file with one bit flipped, or with its end cut off.
struct Damaged {
    file: Arc<Vec<u8>>,
    len: u64,
    flip: Option<(u64, u8)>,
}

impl Source for Damaged {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let room = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let read = self.file.read_at(offset, &mut buf[..room])?;
        if let Some((at, mask)) = self.flip
            && let Some(byte) =
                at.checked_sub(offset).and_then(|at| buf[..read].get_mut(at as usize))
        {
            *byte ^= mask;
        }
        Ok(read)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// Opens a damaged file, asks for everything, and says how many reads worked.
fn exercise(source: Damaged, what: &str) -> usize {
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    exercise_dump(|| Dump::from_source(Arc::new(source), "damaged", options), what)
}

fn exercise_dump(open: impl FnOnce() -> Result<Dump, OpenError>, what: &str) -> usize {
    let start = Instant::now();
    let mut worked = 0;
    if let Ok(dump) = open() {
        let ranges = dump.ranges();
        let mut page = vec![0; 4096];
        let ends = ranges.iter().take(8).flat_map(|range| [range.start.0, range.end.0 - 1]);
        let places = [0, 0x10_0000, 0x100_0000, 0x1000_0000, 1 << 40, u64::MAX - 4096];
        for address in ends.chain(places) {
            let probed = dump.probe(PhysAddr(address)).is_ok();
            let read = dump.read(PhysAddr(address), &mut page[..1]).is_ok();
            assert!(probed || !read, "{what}: {address:#x} reads but does not probe");
            worked += usize::from(read);
            worked += usize::from(dump.read(PhysAddr(address & !4095), &mut page).is_ok());
        }
        let counts = dump.page_counts();
        assert!(counts.present <= 1 << 40, "{what}: {counts:?}");
        worked += usize::from(dump.is_truncated()) + dump.cpu_registers().len();
        worked += dump.vmcoreinfo().map_or(0, |info| info.iter().count());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{what}: took {:?}", start.elapsed());
    worked
}

fn flip_every_bit(file: &Arc<Vec<u8>>, bytes: impl Iterator<Item = usize>) {
    for offset in bytes {
        for bit in 0..8 {
            let flip = Some((offset as u64, 1 << bit));
            let source = Damaged { file: Arc::clone(file), len: file.len() as u64, flip };
            exercise(source, &format!("bit {bit} of byte {offset:#x} flipped"));
        }
    }
}

fn cut_at_a_thousand_points(file: &Arc<Vec<u8>>) {
    let len = file.len() as u64;
    // Half of the cuts close together at the start, where the headers are.
    let cuts = (0..500).map(|n| n * 37).chain((0..500).map(|n| len * n / 500));
    for cut in cuts {
        let source = Damaged { file: Arc::clone(file), len: cut.min(len), flip: None };
        exercise(source, &format!("cut at {cut}"));
    }
}

/// The most memory that this process ever had, in bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[test]
fn a_whole_dump_answers() {
    let file = Arc::new(KdumpWriter::small(Codec::Zlib).write());
    let len = file.len() as u64;
    assert!(exercise(Damaged { file, len, flip: None }, "whole") > 8);
}

#[test]
fn synthetic_kdump() {
    let (file, offsets) = KdumpWriter::small(Codec::Zstd).write_with_offsets();
    let file = Arc::new(file);
    cut_at_a_thousand_points(&file);
    let headers = (0..464).chain(4096..4096 + 104 + 700);
    let tables = offsets.bitmap1..offsets.bitmap1 + 64;
    flip_every_bit(
        &file,
        headers.chain(tables).chain(offsets.descriptors..offsets.descriptors + 240),
    );
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn synthetic_elf() {
    let load = |n: u64| Load {
        address: n << 20,
        memory_size: 0x8000,
        bytes: mortis_dump_synthetic::page(n, 0x4000),
    };
    for extended_numbering in [false, true] {
        let writer = ElfWriter {
            notes: mortis_dump_synthetic::prstatus(1, [3; 27]),
            loads: (1..5).map(load).collect(),
            extended_numbering,
            ..ElfWriter::default()
        };
        let file = Arc::new(writer.write());
        cut_at_a_thousand_points(&file);
        flip_every_bit(&file, 0..64 + 5 * 56 + 64 + 400);
    }
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

/// A machine with a hole in its memory.
fn with_machine(write: impl FnOnce(&Machine<'_>) -> Vec<u8>) -> Arc<Vec<u8>> {
    let memory = NumberedMemory { ranges: vec![0x1000..0x9000, 0x10_0000..0x11_8000] };
    Arc::new(write(&Machine::of(&memory, (0..2).map(SavedCpu::numbered).collect())))
}

fn written(
    write: fn(&Machine<'_>, &mut dyn io::Write) -> io::Result<()>,
) -> impl FnOnce(&Machine<'_>) -> Vec<u8> {
    move |machine| {
        let mut bytes = Vec::new();
        write(machine, &mut bytes).expect("memory takes all");
        bytes
    }
}

#[test]
fn synthetic_vmware() {
    let inside = VmwareWriter::default();
    let in_blocks = VmwareWriter { in_blocks: true, ..inside };
    let compressed = VmwareWriter { memory: VmwareMemory::Compressed, ..inside };
    for (writer, step) in [(inside, 7), (in_blocks, 3), (compressed, 31)] {
        let file = with_machine(|machine| writer.bytes(machine));
        cut_at_a_thousand_points(&file);
        flip_every_bit(&file, (0..16).chain((16..file.len().min(3000)).step_by(step)));
    }
    let file = with_machine(|machine| guestdump(machine, 6));
    cut_at_a_thousand_points(&file);
    flip_every_bit(&file, 0..600);
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn synthetic_images() {
    let compressed = |machine: &Machine<'_>, out: &mut dyn io::Write| avml(machine, true, out);
    for file in [with_machine(written(lime)), with_machine(written(compressed))] {
        cut_at_a_thousand_points(&file);
        flip_every_bit(&file, (0..200).chain(0x8000..0x8100));
    }
    let file = with_machine(written(virtualbox));
    cut_at_a_thousand_points(&file);
    flip_every_bit(&file, (0..64 + 3 * 56 + 600).step_by(2));
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn flattened_streams() {
    let (dump, _) = KdumpWriter::small(Codec::Zlib).write_with_offsets();
    let file = Arc::new(Flattened::of(&dump, 16_384).write());
    cut_at_a_thousand_points(&file);
    // The stream's header, and those of the first and the last records.
    let records =
        |from: usize| (0..8).flat_map(move |n| (0..16).map(move |byte| from + n * 16_400 + byte));
    let last = file.len() - 16 - 4 * 16_400;
    flip_every_bit(
        &file,
        (0..40).chain(records(4096)).chain((last..last + 16).chain(file.len() - 16..file.len())),
    );
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn migration_streams() {
    for stream in [QemuWriter::small(true), QemuWriter::small(false)] {
        let file = Arc::new(stream);
        cut_at_a_thousand_points(&file);
        let len = file.len();
        flip_every_bit(&file, (0..200).chain(len - 200..len).chain((200..len).step_by(397)));
    }
    let file = Arc::new(QemuWriter::small_mapped());
    cut_at_a_thousand_points(&file);
    flip_every_bit(&file, 0..200);
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn save_images_and_disk_images() {
    let stream = QemuWriter::small(true);
    let file = Arc::new(libvirt_save(b"LibvirtQemudSave", 0, false, &stream));
    cut_at_a_thousand_points(&file);
    flip_every_bit(&file, 0..200);
    for version_2 in [true, false] {
        let options = QcowOptions { version_2, compressed: true, ..QcowOptions::default() };
        let file = Arc::new(qcow2(&[("one", "1", &stream)], options));
        cut_at_a_thousand_points(&file);
        // The header, the state's tables and the table of snapshots.
        flip_every_bit(&file, (0..112).chain(file.len() - 8292..file.len()).step_by(3));
    }
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn archives() {
    let dump = KdumpWriter { pages: Default::default(), ..KdumpWriter::small(Codec::Zlib) }.write();
    let file = TarWriter::default()
        .with(TarKind::Pax, "a-folder/notes", b"notes")
        .with(TarKind::GnuSparse, "vmcore", &dump)
        .with(TarKind::PaxSparse, "other", b"other")
        .finish();
    let file = Arc::new(file);
    cut_at_a_thousand_points(&file);
    flip_every_bit(&file, (0..1100).chain(1536..4096).chain(file.len() - 3600..file.len()));
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn compressed_files() {
    let dump = KdumpWriter { max_mapnr: 600, ..KdumpWriter::small(Codec::Zlib) };
    let dump = KdumpWriter { existing: vec![0..160, 256..600], ..dump };
    let pages = dump.pages.clone().into_iter().filter(|(pfn, _)| *pfn < 20).collect();
    let dump = KdumpWriter { pages, ..dump }.write();
    for wrapping in Wrapping::ALL {
        let file = Arc::new(wrapping.compress(&dump));
        cut_at_a_thousand_points(&file);
        flip_every_bit(&file, (0..60).chain(file.len() - 40..file.len()));
    }
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}

#[test]
fn split_sets() {
    let parts = KdumpWriter::small(Codec::Zlib).write_split(&[300, 39_500]);
    let parts: Vec<Arc<Vec<u8>>> = parts.into_iter().map(Arc::new).collect();
    let open = |damaged: usize, len: u64, flip: Option<(u64, u8)>| {
        let source = |(index, file): (usize, &Arc<Vec<u8>>)| {
            let file = Arc::clone(file);
            let (len, flip) = match index == damaged {
                true => (len.min(file.len() as u64), flip),
                false => (file.len() as u64, None),
            };
            let source: Arc<dyn Source> = Arc::new(Damaged { file, len, flip });
            (PathBuf::from(format!("part {index}")), source)
        };
        let sources = parts.iter().enumerate().map(source).collect();
        let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
        let what = format!("part {damaged}, {len} bytes, {flip:?}");
        exercise_dump(|| Dump::from_sources(sources, &options), &what)
    };
    assert!(open(0, u64::MAX, None) > 8);
    for cut in (0..500).map(|n| n * 67) {
        open(1, cut, None);
    }
    for at in (404..464).chain(4096..4200) {
        for bit in 0..8 {
            open(1, u64::MAX, Some((at, 1 << bit)));
        }
    }
}

#[test]
fn real_dumps() {
    for capture in ["c31", "l31", "z31"] {
        let path = mortis_lab::dump("6.12", "sysrq", capture);
        let file = Arc::new(std::fs::read(path).expect("the dump can be read"));
        cut_at_a_thousand_points(&file);
        if capture == "c31" {
            flip_every_bit(&file, (0..464).chain(4096..4096 + 104 + 1500));
        }
    }
    assert!(peak_memory().is_none_or(|bytes| bytes <= 256 << 20), "{:?}", peak_memory());
}
