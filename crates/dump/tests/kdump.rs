//! kdump-compressed dumps from the synthetic writer: every codec, every reason a page is missing.

use mortis_dump::{Compression, Dump, Format, Machine, OpenError, OpenOptions, PageCounts};
use mortis_dump_synthetic::{Codec, KdumpWriter, Stored, noise, page};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, Unavailable};
use std::sync::Arc;

const PAGE: u64 = 4096;

fn open(file: Vec<u8>) -> Dump {
    Dump::from_source(Arc::new(file), "synthetic", OpenOptions::default()).expect("it opens")
}

fn read_page(dump: &Dump, pfn: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = vec![0xa5; dump.page_size() as usize];
    dump.read(PhysAddr(pfn * dump.page_size()), &mut bytes).map_err(|error| error.why)?;
    Ok(bytes)
}

/// What the writer put there.
fn expected(writer: &KdumpWriter, pfn: u64) -> Result<Vec<u8>, Unavailable> {
    match writer.pages.get(&pfn) {
        Some(Stored::Page(bytes, _)) => Ok(bytes.clone()),
        Some(Stored::Zeroes) => Ok(vec![0; writer.block_size]),
        Some(Stored::Lost) => Err(Unavailable::Truncated),
        Some(Stored::Verbatim(..)) => Err(Unavailable::Unreadable),
        None if writer.existing.iter().any(|range| range.contains(&pfn)) => {
            Err(Unavailable::Excluded)
        }
        None => Err(Unavailable::Unmapped),
    }
}

#[test]
fn every_codec_gives_every_page() {
    for codec in Codec::ALL {
        let writer = KdumpWriter::small(codec);
        let dump = open(writer.write());
        for pfn in 0..writer.max_mapnr + 10 {
            let want = expected(&writer, pfn);
            let probed = dump.probe(PhysAddr(pfn * PAGE)).map_err(|error| error.why);
            assert_eq!(probed, want.as_ref().map(|_| ()).map_err(|why| *why), "probe of {pfn}");
            assert_eq!(read_page(&dump, pfn), want, "page {pfn} by {codec:?}");
        }
    }
}

#[test]
fn the_header_and_the_notes_say_what_was_written() {
    let mut writer = KdumpWriter::small(Codec::Zstd);
    writer.status |= 8 | 16;
    let dump = open(writer.write());
    let compression = Compression { zstd: true, ..Compression::default() };
    assert_eq!(dump.format(), Format::Kdump { version: 6, compression, split_files: 0 });
    assert_eq!(dump.format().to_string(), "kdump-compressed v6, zstd");
    assert_eq!(*dump.machine(), Machine::X86_64);
    let utsname = dump.utsname().expect("kdump has one");
    assert_eq!(utsname.sysname, "Linux");
    assert_eq!(utsname.nodename, "host");
    assert_eq!(utsname.release, "6.12.0-synthetic");
    assert_eq!(utsname.version, "#1 SMP");
    assert_eq!(utsname.machine, "x86_64");
    assert_eq!(utsname.domainname, "(none)");
    let timestamp = dump.timestamp().expect("kdump has one");
    assert_eq!((timestamp.seconds, timestamp.microseconds), (1_700_000_000, 42));
    assert_eq!(dump.dump_level(), Some(31));
    assert_eq!(dump.nr_cpus(), Some(2));
    assert_eq!(dump.max_mapnr(), Some(40_000));
    assert_eq!(dump.phys_base(), Some(0x1000_0000));
    assert_eq!(dump.split(), None);
    assert!(dump.is_incomplete() && dump.is_vmemmap_excluded());
    let total = 160 + (700 - 256) + 1000;
    let present = writer.pages.len() as u64;
    assert_eq!(dump.page_counts(), PageCounts { total, present });
    let range =
        |start, end| PhysicalRange { start: PhysAddr(start * PAGE), end: PhysAddr(end * PAGE) };
    assert_eq!(dump.ranges(), [range(0, 160), range(256, 700), range(39_000, 40_000)]);

    let cpus = dump.cpu_registers();
    assert_eq!(cpus.len(), 1);
    assert_eq!((cpus[0].note_index, cpus[0].pid), (0, 17));
    assert_eq!((cpus[0].registers.r15, cpus[0].registers.gs), (100, 126));
    let names: Vec<_> = dump.notes().map(|note| (note.name, note.kind)).collect();
    assert_eq!(names, [(&b"CORE"[..], 1), (b"VMCOREINFO", 0)]);
    let info = dump.vmcoreinfo().expect("there is one");
    assert_eq!(info.text(), writer.vmcoreinfo);
    assert_eq!(info.kerneloffset(), Some(0x1c00_0000));
}

#[test]
fn older_versions_have_what_their_headers_had() {
    for version in 1..=6 {
        let writer = KdumpWriter { version, ..KdumpWriter::small(Codec::Zlib) };
        let dump = open(writer.write());
        assert_eq!(read_page(&dump, 302), expected(&writer, 302));
        assert_eq!(dump.max_mapnr(), Some(40_000));
        assert_eq!(dump.vmcoreinfo().is_some(), version >= 3, "version {version}");
        assert_eq!(dump.notes().count(), if version >= 4 { 2 } else { 0 });
    }
}

#[test]
fn what_was_erased_is_told() {
    for version in [4, 5, 6] {
        let erase_info = "erase jiffies\nerase mystruct1.name size 30\n".to_owned();
        let writer = KdumpWriter { version, erase_info, ..KdumpWriter::small(Codec::Zlib) };
        let dump = open(writer.write());
        if version < 5 {
            assert_eq!(dump.erase_info(), None);
            continue;
        }
        assert_eq!(dump.erase_info(), Some(&*writer.erase_info));
        let [warning] = dump.warnings() else { panic!("{:?}", dump.warnings()) };
        assert!(warning.contains("erase jiffies; erase mystruct1.name size 30"), "{warning}");
    }
    assert_eq!(open(KdumpWriter::small(Codec::Zlib).write()).erase_info(), None);
}

#[test]
fn larger_pages_are_read() {
    let mut writer = KdumpWriter {
        block_size: 65536,
        max_mapnr: 100,
        existing: vec![3..50, 50..90],
        ..KdumpWriter::default()
    };
    for pfn in 10..80 {
        writer.pages.insert(pfn, Stored::Page(page(pfn, 65536), Codec::ALL[pfn as usize % 5]));
    }
    let dump = open(writer.write());
    assert_eq!(dump.page_size(), 65536);
    for pfn in 0..110 {
        assert_eq!(read_page(&dump, pfn), expected(&writer, pfn), "page {pfn}");
    }
}

#[test]
fn reads_cross_pages_and_fail_at_the_first_missing_one() {
    let writer = KdumpWriter::small(Codec::Lzo);
    let dump = open(writer.write());
    let both: Vec<u8> = [301, 302].map(|pfn| page_of(&writer, pfn)).concat();
    for (skip, len) in [(0, 8192), (4095, 2), (100, 8000), (4096, 10)] {
        let mut bytes = vec![0; len];
        dump.read(PhysAddr(301 * PAGE + skip as u64), &mut bytes).expect("both are there");
        assert_eq!(bytes, both[skip..skip + len]);
    }
    let error = dump.read(PhysAddr(302 * PAGE + 7), &mut [0; 9000]).expect_err("303 is excluded");
    assert_eq!(error.address, PhysAddr(303 * PAGE).into());
    assert_eq!(error.why, Unavailable::Excluded);
    let error = dump.read(PhysAddr(u64::MAX - 3), &mut [0; 8]).expect_err("beyond memory");
    assert_eq!(error.why, Unavailable::Unmapped);
}

fn page_of(writer: &KdumpWriter, pfn: u64) -> Vec<u8> {
    expected(writer, pfn).expect("the page was written")
}

#[test]
fn a_scan_reads_the_same_as_single_pages() {
    for codec in Codec::ALL {
        let mut writer = KdumpWriter {
            max_mapnr: 300,
            existing: vec![0..20, 20..300],
            ..KdumpWriter::default()
        };
        for pfn in 0..300 {
            let stored = match pfn % 11 {
                3 => Stored::Zeroes,
                5 => Stored::Page(noise(pfn, 4096), codec),
                _ => Stored::Page(page(pfn, 4096), codec),
            };
            writer.pages.insert(pfn, stored);
        }
        let dump = open(writer.write());
        let all: Vec<u8> = (0..300).flat_map(|pfn| page_of(&writer, pfn)).collect();
        for (start, len) in [(3996, 298 * 4096), (0, 300 * 4096), (4096, 20 * 4096 + 5)] {
            let mut bytes = vec![0; len];
            dump.read(PhysAddr(start as u64), &mut bytes).expect("all pages are there");
            assert!(bytes == all[start..start + len], "{codec:?}");
        }
    }
}

#[test]
fn a_scan_fails_at_the_first_missing_page() {
    let mut writer =
        KdumpWriter { max_mapnr: 300, existing: vec![0..20, 20..300], ..KdumpWriter::default() };
    for pfn in 0..300 {
        writer.pages.insert(pfn, Stored::Page(page(pfn, 4096), Codec::Lzo));
    }
    writer.pages.remove(&250);
    writer.pages.insert(251, Stored::Lost);
    let damaged = |pfn| Stored::Verbatim(100, 2, noise(pfn, 100));
    let cases = [
        (250, None, Unavailable::Excluded),
        (249, Some(damaged(249)), Unavailable::Unreadable),
        (70, Some(Stored::Lost), Unavailable::Truncated),
        (17, Some(damaged(17)), Unavailable::Unreadable),
        (0, Some(damaged(0)), Unavailable::Unreadable),
    ];
    for (pfn, stored, why) in cases {
        if let Some(stored) = stored {
            writer.pages.insert(pfn, stored);
        }
        let dump = open(writer.write());
        let error = dump.read(PhysAddr(0), &mut vec![0; 300 * 4096]).expect_err("a page misses");
        assert_eq!((error.address, error.why), (PhysAddr(pfn * PAGE).into(), why));
        let before = pfn as usize * 4096;
        dump.read(PhysAddr(0), &mut vec![0; before]).expect("all before it are there");
    }
}

#[test]
fn the_smallest_cache_changes_nothing() {
    let writer = KdumpWriter::small(Codec::Zlib);
    let options = OpenOptions { cache_bytes: 0, ..OpenOptions::default() };
    let dump = Dump::from_source(Arc::new(writer.write()), "synthetic", options).expect("opens");
    for round in 0..2 {
        for pfn in (0..writer.max_mapnr).step_by(7).chain(39_000..40_000) {
            assert_eq!(read_page(&dump, pfn), expected(&writer, pfn), "page {pfn}, round {round}");
        }
    }
}

#[test]
fn threads_share_a_dump() {
    let writer = KdumpWriter::small(Codec::Zstd);
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    let dump = Dump::from_source(Arc::new(writer.write()), "synthetic", options).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (dump, writer) = (&dump, &writer);
            scope.spawn(move || {
                for step in 0..4000 {
                    let pfn = (thread * 977 + step * 31) % 700;
                    assert_eq!(read_page(dump, pfn), expected(writer, pfn), "page {pfn}");
                }
            });
        }
    });
}

#[test]
fn damaged_pages_are_unreadable_and_spoil_nothing_else() {
    let mut writer = KdumpWriter::small(Codec::Zlib);
    let good = Codec::Zlib.compress(&page(1, 4096));
    let short = Codec::Zlib.compress(&page(1, 4095));
    let long = Codec::Zlib.compress(&page(1, 4097));
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    let len = |bytes: &[u8]| bytes.len() as u32;
    let bomb = zeroes_as_zstd(1 << 30);
    let cases: Vec<(u64, u32, u32, Vec<u8>)> = vec![
        (301, len(&short), 1, short),
        (302, len(&long), 1, long),
        (304, len(&flipped), 1, flipped),
        (305, len(&good), 0x40, good.clone()),
        (307, len(&good), 3, good.clone()),
        (308, len(&good), 0x20, good.clone()),
        (310, 4095, 0, noise(1, 4095)),
        (311, 4097, 1, noise(2, 4097)),
        (313, 0, 1, Vec::new()),
        (314, u32::MAX, 1, Vec::new()),
        (316, len(&good) - 1, 1, good.clone()),
        (317, len(&bomb), 0x20, bomb),
        (319, len(&good), 2, good.clone()),
        (320, len(&good), 4, good),
    ];
    for (pfn, size, flags, bytes) in cases {
        writer.pages.insert(pfn, Stored::Verbatim(size, flags, bytes));
    }
    let dump = open(writer.write());
    for pfn in 256..700 {
        assert_eq!(read_page(&dump, pfn), expected(&writer, pfn), "page {pfn}");
    }
}

/// A zstd frame that becomes a gigabyte.
fn zeroes_as_zstd(len: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    // Single segment, 8-byte content size, then run-length blocks of 128 KiB.
    frame.push(0xe0);
    frame.extend((len as u64).to_le_bytes());
    let blocks = 1000;
    for block in 0..blocks {
        let header = (128u32 << 10) << 3 | 1 << 1 | u32::from(block == blocks - 1);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn a_file_cut_short_keeps_what_is_before_the_cut() {
    let writer = KdumpWriter::small(Codec::Zlib);
    let (file, offsets) = writer.write_with_offsets();
    assert!(!open(file.clone()).is_truncated());
    // In the data: the first pages are whole, the last are lost.
    let mut cut = file.clone();
    cut.truncate(offsets.data + (file.len() - offsets.data) / 2);
    let dump = open(cut);
    assert!(dump.is_truncated());
    assert_eq!(read_page(&dump, 2), expected(&writer, 2));
    assert_eq!(read_page(&dump, 39_998), Err(Unavailable::Truncated));
    assert_eq!(read_page(&dump, 39_999), Err(Unavailable::Excluded));
    assert_eq!(dump.vmcoreinfo().and_then(|info| info.osrelease()), Some("6.12.0-synthetic"));
    // In bitmap 2: what exists is still known.
    let mut cut = file.clone();
    cut.truncate(offsets.bitmap2 + 8);
    let dump = open(cut);
    assert!(dump.is_truncated());
    assert_eq!(read_page(&dump, 2), Err(Unavailable::Truncated));
    assert_eq!(read_page(&dump, 3), Err(Unavailable::Excluded));
    assert_eq!(read_page(&dump, 39_998), Err(Unavailable::Truncated));
    // In bitmap 1: not one page can be had.
    let mut cut = file.clone();
    cut.truncate(offsets.bitmap1 + 8);
    let dump = open(cut);
    assert!(dump.is_truncated());
    assert_eq!(read_page(&dump, 2), Err(Unavailable::Truncated));
    // Within the headers: facts of the first block.
    let mut cut = file;
    cut.truncate(500);
    let dump = open(cut);
    assert_eq!(dump.utsname().map(|name| &*name.release), Some("6.12.0-synthetic"));
}

#[test]
fn one_file_of_a_split_set_holds_its_own_pages() {
    let whole = KdumpWriter::small(Codec::Lzo);
    for split in [0..300, 300..39_500, 39_500..40_000] {
        let writer = KdumpWriter { split: Some(split.clone()), ..whole.clone() };
        let dump = open(writer.write());
        assert_eq!(dump.split(), Some((split.start, split.end)));
        for pfn in (0..700).chain(38_990..40_000) {
            let mut want = expected(&writer, pfn);
            if want.is_ok() && !split.contains(&pfn) {
                want = Err(Unavailable::Truncated);
            }
            assert_eq!(read_page(&dump, pfn), want, "page {pfn} of {split:?}");
        }
    }
}

#[test]
fn one_bitmap_serves_for_both() {
    let mut writer = KdumpWriter {
        max_mapnr: 100_000,
        existing: vec![40..50, 99_990..100_000],
        only_bitmap1: true,
        ..KdumpWriter::default()
    };
    for pfn in writer.existing.clone().into_iter().flatten() {
        writer.pages.insert(pfn, Stored::Page(page(pfn, 4096), Codec::Zlib));
    }
    let dump = open(writer.write());
    for pfn in (30..60).chain(99_980..100_010) {
        assert_eq!(read_page(&dump, pfn), expected(&writer, pfn), "page {pfn}");
    }
}

#[test]
fn headers_that_make_no_sense_are_named() {
    let file = KdumpWriter::small(Codec::Zlib).write();
    let error_of = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        let opened = Dump::from_source(Arc::new(file), "damaged", OpenOptions::default());
        opened.expect_err("it is damaged").to_string()
    };
    let set = |offset: usize, value: u32| {
        move |file: &mut Vec<u8>| file[offset..offset + 4].copy_from_slice(&value.to_le_bytes())
    };
    assert_eq!(
        error_of(&set(8, 99)),
        "damaged: kdump header version 99 is unknown (1 to 6 are known)"
    );
    assert!(error_of(&set(8, 6u32.swap_bytes())).contains("big-endian"));
    for size in [0, 1, 512, 4095, 12288, 1 << 17, u32::MAX] {
        assert!(error_of(&set(428, size)).contains("block size"), "block size {size}");
    }
    assert!(error_of(&|file| file.truncate(300)).contains("cut off"));
    let kind = Dump::from_source(Arc::new(b"KDUMP".to_vec()), "x", OpenOptions::default());
    assert!(matches!(kind, Err(OpenError::NotADump { .. })));
}

/// QEMU 10 does not say which machine it is.
#[test]
fn qemus_notes_say_which_machine_it_is() {
    let notes = mortis_dump_synthetic::qemu_cpu([7; 18], [1; 5], 0);
    let mut writer = KdumpWriter { notes, ..KdumpWriter::small(Codec::Zlib) };
    writer.utsname[4] = "Unknown";
    let dump = Dump::from_source(Arc::new(writer.write()), "synthetic", OpenOptions::default())
        .expect("it opens");
    assert_eq!(*dump.machine(), Machine::X86_64);
    assert_eq!(dump.cpu_states()[0].registers.rip, 7);
}
