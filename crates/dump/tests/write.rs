//! Dumps written in every format hold what the dump held that they were made of.

use mortis_dump::write::{PageCodec, Sink, Target, WriteError, WriteOptions, Written};
use mortis_dump::{Compression, Dump, Format, OpenOptions, Vmcoreinfo};
use mortis_dump_synthetic::{
    Codec, ElfWriter, KdumpWriter, Load, Stored, final_note, noise, note, page, prstatus, qemu_cpu,
};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const PAGE: usize = 4096;
const CODECS: [PageCodec; 5] =
    [PageCodec::None, PageCodec::Zlib, PageCodec::Lzo, PageCodec::Snappy, PageCodec::Zstd];

fn open(file: Vec<u8>) -> Dump {
    Dump::from_source(Arc::new(file), "synthetic", OpenOptions::default()).expect("it opens")
}

/// A file of this test run, gone when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("write-{}-{number}", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn to_file(dump: &Dump, options: &WriteOptions) -> (Vec<u8>, Written) {
    let file = TempFile::new();
    let sink = Sink::File(File::create(&file.0).expect("a temporary file"));
    let written = dump.write(sink, options).expect("it is written");
    let bytes = std::fs::read(&file.0).expect("the file that was written");
    assert_eq!(bytes.len() as u64, written.len);
    (bytes, written)
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one writer").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn to_stream(dump: &Dump, options: &WriteOptions) -> (Vec<u8>, Written) {
    let pipe = Pipe::default();
    let written = dump.write(Sink::Stream(Box::new(pipe.clone())), options).expect("written");
    let bytes = std::mem::take(&mut *pipe.0.lock().expect("one writer"));
    (bytes, written)
}

fn kdump(codec: PageCodec) -> WriteOptions {
    WriteOptions { codec: Some(codec), ..WriteOptions::new(Target::Kdump) }
}

fn read_page(dump: &Dump, address: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = vec![0; PAGE];
    dump.read(PhysAddr(address), &mut bytes).map_err(|error| error.why)?;
    Ok(bytes)
}

fn assert_same_memory(ours: &Dump, theirs: &Dump) {
    assert_eq!(ours.ranges(), theirs.ranges());
    for range in theirs.ranges() {
        for address in (range.start.0..range.end.0).step_by(PAGE) {
            assert!(read_page(ours, address) == read_page(theirs, address), "{address:#x}");
        }
    }
}

/// Each record where it says it belongs: what `makedumpfile -R` does.
fn rearranged(flattened: &[u8]) -> Vec<u8> {
    let number =
        |at: usize| i64::from_be_bytes(flattened[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(&flattened[..16], b"makedumpfile\0\0\0\0");
    assert_eq!((number(16), number(24)), (1, 1));
    let (mut at, mut file) = (4096, Vec::new());
    while (number(at), number(at + 8)) != (-1, -1) {
        let (offset, len) = (number(at) as usize, number(at + 8) as usize);
        if file.len() < offset + len {
            file.resize(offset + len, 0);
        }
        file[offset..offset + len].copy_from_slice(&flattened[at + 16..at + 16 + len]);
        at += 16 + len;
    }
    assert_eq!(at + 16, flattened.len());
    file
}

/// A vmcore with more than a few batches, pages of zeroes, and memory that was left out.
fn vmcore() -> Dump {
    let mut notes = prstatus(17, std::array::from_fn(|index| 100 + index as u64));
    notes.extend(prstatus(0, [3; 27]));
    notes.extend(note(
        "VMCOREINFO",
        0,
        b"OSRELEASE=6.1.0\nPAGESIZE=4096\nCRASHTIME=1795458479\nNUMBER(phys_base)=4096\n",
    ));
    notes.extend(final_note());
    let pages = |first: u64, count: u64| -> Vec<u8> {
        let each = |pfn: u64| match pfn % 7 {
            0 => vec![0; PAGE],
            1 => noise(pfn, PAGE),
            _ => page(pfn, PAGE),
        };
        (first..first + count).flat_map(each).collect()
    };
    let load = |pfn: u64, count, missing: u64| {
        let bytes = pages(pfn, count);
        let memory_size = (count + missing) * PAGE as u64;
        Load { address: pfn * PAGE as u64, memory_size, bytes }
    };
    let loads = vec![load(1, 158, 0), load(256, 700, 40), load(996, 3, 2), load(70_000, 1, 0)];
    open(ElfWriter { notes, loads, ..ElfWriter::default() }.write())
}

#[test]
fn a_vmcore_becomes_a_kdump_by_every_codec_and_comes_back() {
    let dump = vmcore();
    for codec in CODECS {
        let (file, written) = to_file(&dump, &kdump(codec));
        let kdump = open(file);
        let none = Compression::default();
        let compression = match codec {
            PageCodec::None => none,
            PageCodec::Zlib => Compression { zlib: true, ..none },
            PageCodec::Lzo => Compression { lzo: true, ..none },
            PageCodec::Snappy => Compression { snappy: true, ..none },
            PageCodec::Zstd => Compression { zstd: true, ..none },
        };
        assert_eq!(kdump.format(), Format::Kdump { version: 6, compression, split_files: 0 });
        assert!(!kdump.is_incomplete() && !kdump.is_truncated());
        assert_same_memory(&kdump, &dump);
        assert_eq!(kdump.page_counts(), dump.page_counts());
        assert_eq!((written.pages, written.excluded), (862, 42));
        assert_eq!((written.lost, written.unreadable, written.copied), (0, 0, false));
        assert_eq!(kdump.cpu_registers(), dump.cpu_registers());
        assert!(kdump.notes().eq(dump.notes()));
        let info = kdump.vmcoreinfo().expect("the note came along");
        assert_eq!(info.osrelease(), Some("6.1.0"));
        let utsname = kdump.utsname().expect("kdump has one");
        assert_eq!((&*utsname.release, &*utsname.machine), ("6.1.0", "x86_64"));
        assert_eq!(kdump.timestamp().map(|time| time.seconds), Some(1_795_458_479));
        assert_eq!((kdump.nr_cpus(), kdump.max_mapnr()), (Some(2), Some(70_001)));
        assert_eq!((kdump.phys_base(), kdump.dump_level()), (Some(4096), Some(0)));

        let (elf, _) = to_file(&kdump, &WriteOptions::new(Target::Elf));
        let elf = open(elf);
        assert_eq!(elf.format(), Format::ElfCore { filtered: true });
        assert_same_memory(&elf, &dump);
        assert!(elf.notes().eq(dump.notes()));
    }
}

#[test]
fn what_shrinks_is_smaller_and_zeroes_are_shared() {
    let dump = vmcore();
    let size = |codec| to_file(&dump, &kdump(codec)).1.len;
    let plain = size(PageCodec::None);
    let zeroes = (0..862).filter(|n| n % 7 == 0).count() as u64 * PAGE as u64;
    assert!(plain < 862 * PAGE as u64 - zeroes + 0x2_0000, "{plain}");
    for codec in &CODECS[1..] {
        assert!(size(*codec) < plain * 3 / 4, "{codec:?}");
    }
    let hard = WriteOptions { level: Some(9), ..kdump(PageCodec::Zlib) };
    let (file, written) = to_file(&dump, &hard);
    assert!(written.len < size(PageCodec::Zlib));
    assert_same_memory(&open(file), &dump);
}

#[test]
fn the_same_dump_gives_the_same_bytes() {
    let dump = vmcore();
    for target in [Target::Elf, Target::Kdump, Target::Flattened, Target::Raw, Target::Lime] {
        let options = WriteOptions::new(target);
        let (first, _) = to_file(&dump, &options);
        assert!(first == to_file(&dump, &options).0, "{target:?}");
        if target != Target::Kdump {
            assert!(first == to_stream(&dump, &options).0, "{target:?} as a stream");
        }
    }
    let error = dump.write(Sink::Stream(Box::new(Pipe::default())), &kdump(PageCodec::Zlib));
    assert!(matches!(error, Err(WriteError::NotAStream)));
}

#[test]
fn a_flattened_dump_is_the_plain_one_in_pieces() {
    let dump = vmcore();
    for codec in CODECS {
        let options = kdump(codec);
        let (plain, _) = to_file(&dump, &options);
        let flattened = WriteOptions { target: Target::Flattened, ..options };
        assert!(rearranged(&to_stream(&dump, &flattened).0) == plain, "{codec:?}");
        // What is a kdump already is copied as it stands.
        let (again, written) =
            to_stream(&open(plain.clone()), &WriteOptions::new(Target::Flattened));
        assert!(written.copied);
        assert!(rearranged(&again) == plain, "{codec:?}");
    }
}

#[test]
fn a_raw_image_has_every_byte_at_its_address() {
    let dump = vmcore();
    let (image, written) = to_file(&dump, &WriteOptions::new(Target::Raw));
    assert_eq!(image.len(), 70_001 * PAGE);
    assert_eq!(written.pages, 862);
    for pfn in 0..70_001 {
        let expected = read_page(&dump, pfn * PAGE as u64).unwrap_or_else(|_| vec![0; PAGE]);
        assert!(image[pfn as usize * PAGE..][..PAGE] == expected, "page {pfn}");
    }
}

#[test]
fn lime_has_a_range_for_each_run_of_pages() {
    let dump = vmcore();
    let (file, _) = to_file(&dump, &WriteOptions::new(Target::Lime));
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight"));
    let (mut at, mut ranges) = (0, Vec::new());
    while at < file.len() {
        assert_eq!(number(at), 0x1_4c69_4d45, "magic and version at {at:#x}");
        let (start, last) = (number(at + 8), number(at + 16));
        assert_eq!(number(at + 24), 0);
        at += 32;
        for address in (start..last).step_by(PAGE) {
            let page = file[at..at + PAGE].to_vec();
            assert!(read_page(&dump, address) == Ok(page), "{address:#x}");
            at += PAGE;
        }
        ranges.push((start / PAGE as u64, (last + 1) / PAGE as u64));
    }
    assert_eq!(ranges, [(1, 159), (256, 956), (996, 999), (70_000, 70_001)]);
}

#[test]
fn lost_and_damaged_pages_stay_missing_and_are_counted() {
    let mut writer = KdumpWriter::small(Codec::Zlib);
    writer.pages.retain(|pfn, stored| *pfn >= 290 || !matches!(stored, Stored::Verbatim(..)));
    writer.pages.insert(310, Stored::Lost);
    writer.pages.insert(311, Stored::Verbatim(100, 1, vec![0xff; 100]));
    let dump = open(writer.write());
    let count = |why| {
        let pages = dump.ranges().into_iter().flat_map(|range| range.start.0..range.end.0);
        pages.step_by(PAGE).filter(|at| read_page(&dump, *at) == Err(why)).count() as u64
    };
    let (lost, unreadable) = (count(Unavailable::Truncated), count(Unavailable::Unreadable));
    assert!(lost > 0 && unreadable > 0);
    let same = |new: &Dump, spelled: [Unavailable; 2]| {
        for range in dump.ranges() {
            for at in (range.start.0..range.end.0).step_by(PAGE) {
                let expected = read_page(&dump, at).map_err(|why| match why {
                    Unavailable::Truncated => spelled[0],
                    Unavailable::Unreadable => spelled[1],
                    why => why,
                });
                assert!(read_page(new, at) == expected, "{at:#x}");
            }
        }
    };
    let (file, written) = to_file(&dump, &kdump(PageCodec::Zstd));
    assert_eq!((written.lost, written.unreadable), (lost, unreadable));
    assert_eq!(written.pages, writer.pages.len() as u64 - lost - unreadable);
    let new = open(file);
    assert!(new.is_incomplete());
    same(&new, [Unavailable::Truncated; 2]);
    assert_eq!(new.dump_level(), dump.dump_level());
    assert_eq!(new.utsname(), dump.utsname());
    assert_eq!(new.timestamp(), dump.timestamp());
    assert_eq!(new.max_mapnr(), dump.max_mapnr());

    let (file, written) = to_file(&dump, &WriteOptions::new(Target::Elf));
    assert_eq!((written.lost, written.unreadable), (lost, unreadable));
    let new = open(file);
    assert!(new.is_incomplete());
    same(&new, [Unavailable::Excluded; 2]);
}

#[test]
fn a_vmcore_cut_short_keeps_what_there_is() {
    let mut writer = ElfWriter {
        loads: vec![Load { address: 0, memory_size: 0x10_0000, bytes: page(1, 0x10_0000) }],
        ..ElfWriter::default()
    };
    writer.notes = prstatus(1, [1; 27]);
    let mut file = writer.write();
    file.truncate(file.len() - 0x1234);
    let dump = open(file);
    for target in [Target::Kdump, Target::Elf] {
        let (new, written) = to_file(&dump, &WriteOptions::new(target));
        assert_eq!((written.pages, written.lost), (254, 2), "{target:?}");
        let new = open(new);
        assert!(new.is_incomplete(), "{target:?}");
        assert_eq!(read_page(&new, 0xf_d000), read_page(&dump, 0xf_d000));
        assert!(read_page(&new, 0xf_e000).is_err());
    }
}

#[test]
fn memory_that_begins_and_ends_within_a_page_is_filled_up_with_zeroes() {
    let bytes = page(5, 0x5000);
    let load = |address, bytes: &[u8]| Load {
        address,
        memory_size: bytes.len() as u64,
        bytes: bytes.to_vec(),
    };
    let loads = vec![load(0x1234, &bytes[..0x2000]), load(0x3800, &bytes[..0x300])];
    let dump = open(ElfWriter { loads, ..ElfWriter::default() }.write());
    let (file, written) = to_file(&dump, &kdump(PageCodec::Lzo));
    assert_eq!((written.pages, written.unreadable), (3, 0));
    let new = open(file);
    let mut image = vec![0; 0x4000];
    image[0x1234..0x3234].copy_from_slice(&bytes[..0x2000]);
    image[0x3800..0x3b00].copy_from_slice(&bytes[..0x300]);
    for at in [0x1000, 0x2000, 0x3000] {
        assert_eq!(read_page(&new, at).as_deref(), Ok(&image[at as usize..][..PAGE]));
    }
}

#[test]
fn a_hypervisors_registers_become_notes() {
    let notes = [qemu_cpu([7; 18], [1, 2, 3, 4, 5], 0x99), qemu_cpu([8; 18], [6; 5], 0x98)];
    let loads = vec![Load { address: 0, memory_size: 0x4000, bytes: page(1, 0x4000) }];
    let dump = open(ElfWriter { notes: notes.concat(), loads, ..ElfWriter::default() }.write());
    assert_eq!(dump.cpu_states().len(), 2);
    let info = Vmcoreinfo::parse(b"OSRELEASE=6.12.1\nPAGESIZE=4096\n");
    let options = WriteOptions { vmcoreinfo: Some(info), ..kdump(PageCodec::Zlib) };
    for target in [Target::Kdump, Target::Elf] {
        let (file, _) = to_file(&dump, &WriteOptions { target, ..options.clone() });
        let new = open(file);
        let names: Vec<_> = new.notes().map(|note| (note.name, note.kind)).collect();
        let (core, qemu) = ((&b"CORE"[..], 1), (&b"QEMU"[..], 0));
        // QEMU's notes were there, those of the kernel were not.
        let expected = [qemu, qemu, core, core, (&b"VMCOREINFO"[..], 0)];
        assert_eq!(names, expected, "{target:?}");
        assert_eq!(new.cpu_states(), dump.cpu_states());
        let registers = |dump: &Dump| -> Vec<_> {
            dump.cpu_registers().iter().map(|cpu| cpu.registers).collect()
        };
        assert_eq!(registers(&new), registers(&dump));
        assert_eq!(new.vmcoreinfo().and_then(Vmcoreinfo::osrelease), Some("6.12.1"));
    }
}

/// More segments than `e_phnum` counts.
#[test]
fn every_other_page_is_a_segment_of_its_own() {
    let mut writer = KdumpWriter::small(Codec::Snappy);
    writer.max_mapnr = 140_000;
    writer.existing = vec![0..70_000, 70_000..140_000];
    writer.pages = (0..140_000).step_by(2).map(|pfn| (pfn, Stored::Zeroes)).collect();
    let dump = open(writer.write());
    let file = TempFile::new();
    let sink = Sink::File(File::create(&file.0).expect("a temporary file"));
    let written = dump.write(sink, &WriteOptions::new(Target::Elf)).expect("it is written");
    assert_eq!((written.pages, written.excluded), (70_000, 70_000));
    let new = Dump::open(&file.0).expect("it opens");
    assert_eq!(new.page_counts(), dump.page_counts());
    assert_eq!(read_page(&new, 139_998 * PAGE as u64), Ok(vec![0; PAGE]));
    assert_eq!(read_page(&new, 139_999 * PAGE as u64), Err(Unavailable::Excluded));
}

#[test]
fn progress_comes_to_its_end_and_may_stop_the_work() {
    let dump = vmcore();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&seen);
    let options = WriteOptions {
        progress: Some(Arc::new(move |step, done, total| {
            hear.lock().expect("one at a time").push((step, done, total));
            true
        })),
        ..WriteOptions::new(Target::Lime)
    };
    to_stream(&dump, &options);
    let last = seen.lock().expect("nobody writes").last().copied();
    assert_eq!(last, Some(("converting", 862 * PAGE as u64, 862 * PAGE as u64)));
    let options = WriteOptions {
        progress: Some(Arc::new(|_, _, _| false)),
        ..WriteOptions::new(Target::Elf)
    };
    let stopped = dump.write(Sink::Stream(Box::new(Pipe::default())), &options);
    assert!(matches!(stopped, Err(WriteError::Stopped)));
}

#[test]
fn a_real_dump_is_the_same_in_another_codec() {
    let dump = Dump::open(mortis_lab::dump("6.12", "sysrq", "c31")).expect("a real dump opens");
    let file = TempFile::new();
    let sink = Sink::File(File::create(&file.0).expect("a temporary file"));
    let written = dump.write(sink, &kdump(PageCodec::Lzo)).expect("it is written");
    let new = Dump::open(&file.0).expect("it opens");
    assert_eq!(written.pages, dump.page_counts().present);
    assert_eq!((written.lost, written.unreadable), (0, 0));
    assert_same_memory(&new, &dump);
    assert!(new.notes().eq(dump.notes()));
    assert_eq!(new.utsname(), dump.utsname());
    let info = dump.vmcoreinfo().expect("kexec gives VMCOREINFO");
    assert_eq!(dump.utsname_in_memory(info).as_ref(), dump.utsname());
}
