//! Real dumps of one crash, written in every way: they all say the same of each page.

use mortis_dump::{Compression, Dump, DumpKind, FileKind, Format, OpenOptions, Vmcoreinfo, sniff};
use mortis_dump_synthetic::{Flattened, TarKind, TarWriter, Wrapping};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};
use std::sync::Arc;

const PAGE: usize = 4096;
const CAPTURES: [&str; 5] = ["c31", "l31", "z31", "e31", "c0"];

fn open(capture: &str) -> Dump {
    Dump::open(mortis_lab::dump("6.12", "sysrq", capture)).expect("a real dump opens")
}

fn page(dump: &Dump, address: u64, buf: &mut [u8; PAGE]) -> Result<(), Unavailable> {
    dump.read(PhysAddr(address), buf).map_err(|error| error.why)
}

/// `/proc/vmcore` does not change while the capture kernel runs, so what a filtered dump holds is
/// byte for byte what the raw copy holds, and it leaves out only what the machine had.
#[test]
fn every_page_of_every_capture_is_that_of_the_raw_copy() {
    let raw = open("raw");
    let end = raw.ranges().last().expect("the machine had memory").end.0 + 0x10_0000;
    for capture in CAPTURES {
        let dump = open(capture);
        assert_eq!(dump.ranges(), raw.ranges(), "{capture}");
        let (mut ours, mut theirs) = ([0; PAGE], [0; PAGE]);
        let (mut same, mut excluded) = (0, 0);
        for address in (0..end).step_by(PAGE) {
            let expected = page(&raw, address, &mut theirs);
            match page(&dump, address, &mut ours) {
                Ok(()) => {
                    assert_eq!(expected, Ok(()), "{capture} has {address:#x}");
                    assert!(ours == theirs, "{capture} differs from raw at {address:#x}");
                    same += 1;
                }
                Err(Unavailable::Excluded) => {
                    assert_eq!(expected, Ok(()), "{capture} excludes {address:#x}");
                    excluded += 1;
                }
                Err(why) => assert_eq!(expected, Err(why), "{capture} at {address:#x}"),
            }
        }
        let counts = dump.page_counts();
        assert_eq!((counts.present, counts.total), (same, same + excluded), "{capture}");
        assert_eq!(excluded == 0, capture == "c0", "{capture} excludes {excluded} pages");
    }
}

/// Long reads take another way than single pages.
#[test]
fn long_reads_are_those_of_the_raw_copy() {
    const LEN: usize = 200 * PAGE;
    let raw = open("raw");
    for capture in CAPTURES {
        let dump = open(capture);
        let (mut ours, mut theirs) = (vec![0; LEN], vec![0; LEN]);
        let mut whole = 0;
        for range in raw.ranges() {
            for start in (range.start.0..range.end.0).step_by(LEN) {
                let len = LEN.min((range.end.0 - start) as usize);
                let missing = (start..start + len as u64)
                    .step_by(PAGE)
                    .find(|at| dump.probe(PhysAddr(*at)).is_err());
                match dump.read(PhysAddr(start), &mut ours[..len]) {
                    Ok(()) => {
                        assert_eq!(missing, None, "{capture} reads {start:#x}");
                        raw.read(PhysAddr(start), &mut theirs[..len]).expect("raw has all");
                        assert!(ours[..len] == theirs[..len], "{capture} at {start:#x}");
                        whole += 1;
                    }
                    Err(error) => {
                        let first = missing.map(|at| PhysAddr(at).into());
                        assert_eq!(Some(error.address), first, "{capture}");
                    }
                }
            }
        }
        assert!(whole > 5, "{capture}");
    }
}

/// makedumpfile decides by the same rules whatever the codec. `-E` keeps short runs that would be
/// filtered, and drops runs of zeroes.
#[test]
fn captures_of_one_level_leave_out_the_same_pages() {
    let [zlib, lzo, zstd, elf] = ["c31", "l31", "z31", "e31"].map(open);
    let raw = open("raw");
    let mut bytes = [0; PAGE];
    for range in raw.ranges() {
        for address in (range.start.0..range.end.0).step_by(PAGE) {
            let why = |dump: &Dump| dump.probe(PhysAddr(address)).map_err(|error| error.why);
            assert_eq!(why(&zlib), why(&lzo), "{address:#x}");
            assert_eq!(why(&zlib), why(&zstd), "{address:#x}");
            if why(&elf).is_err() && why(&zlib).is_ok() {
                assert_eq!(page(&raw, address, &mut bytes), Ok(()));
                assert!(bytes.iter().all(|&byte| byte == 0), "-E drops {address:#x}");
            }
        }
    }
}

#[test]
fn headers_and_notes_of_all_captures_agree() {
    let raw = open("raw");
    let info = raw.vmcoreinfo().expect("kexec gives VMCOREINFO");
    assert_eq!(info.osrelease(), Some(&*mortis_lab::release("6.12")));
    assert_eq!(info.page_size(), Some(4096));
    assert!(info.symbol("init_uts_ns").is_some() && info.kerneloffset().is_some());
    assert!(info.offset("printk_ringbuffer.desc_ring").is_some());
    assert_eq!(raw.cpu_registers().len(), 2);
    assert_eq!(raw.format(), Format::ElfCore { filtered: false });
    for capture in CAPTURES {
        let dump = open(capture);
        assert_eq!(dump.vmcoreinfo().map(|info| info.text()), Some(info.text()), "{capture}");
        assert_eq!(dump.cpu_registers(), raw.cpu_registers(), "{capture}");
        assert!(dump.notes().eq(raw.notes()), "{capture}");
        assert_eq!(dump.machine(), raw.machine());
        assert!(!dump.is_incomplete() && !dump.is_truncated(), "{capture}");
        let Some(utsname) = dump.utsname() else { continue };
        assert_eq!(Some(&*utsname.release), info.osrelease());
        assert_eq!(dump.dump_level(), Some(if capture == "c0" { 0 } else { 31 }));
        assert_eq!(dump.phys_base().map(u64::cast_signed), info.number("phys_base"));
        let end = raw.ranges().last().map(|range| range.end.0 / PAGE as u64);
        assert_eq!(dump.max_mapnr(), end);
    }
    let none = Compression::default();
    let compression = |capture| match open(capture).format() {
        Format::Kdump { version: 6, compression, split_files: 0 } => compression,
        other => panic!("{capture} is {other}"),
    };
    assert_eq!(compression("c31"), Compression { zlib: true, ..none });
    assert_eq!(compression("l31"), Compression { lzo: true, ..none });
    assert_eq!(compression("z31"), Compression { zstd: true, ..none });
}

/// Whatever a dump is wrapped in, and in how many files it is, each page is the same.
#[test]
fn every_page_is_the_same_in_every_wrapping() {
    let plain = open("c31");
    let file = std::fs::read(mortis_lab::dump("6.12", "sysrq", "c31")).expect("it is there");
    let (plain, file) = (&plain, &file);
    let compare = |wrapped: Vec<u8>, what: &str| {
        let options = OpenOptions::default();
        let dump = Dump::from_source(Arc::new(wrapped), what, options).expect("it opens");
        assert_eq!(dump.containers().len(), 1, "{what}");
        assert!(dump.warnings().is_empty() && !dump.is_truncated(), "{what}");
        let (mut ours, mut theirs) = ([0; PAGE], [0; PAGE]);
        let end = plain.ranges().last().map_or(0, |range| range.end.0);
        for address in (0..end).step_by(PAGE) {
            let got = page(&dump, address, &mut ours);
            assert_eq!(got, page(plain, address, &mut theirs), "{what} at {address:#x}");
            assert!(got.is_err() || ours == theirs, "{what} differs at {address:#x}");
        }
    };
    compare(Flattened::of(file, 65_000).write(), "flattened");
    compare(TarWriter::default().with(TarKind::Pax, "vmcore", file).finish(), "tar");
    compare(Wrapping::Gzip.compress(file), "gzip");
    compare(Wrapping::Lz4.compress(file), "lz4");
}

#[test]
fn the_note_is_found_in_memory() {
    for capture in ["raw", "c31"] {
        let dump = open(capture);
        let text = dump.vmcoreinfo().map(Vmcoreinfo::text);
        let found = Vmcoreinfo::find_in_memory(&dump, |_| true, |info| Some(info.text()) == text);
        assert!(found.is_some(), "{capture}");
        assert!(Vmcoreinfo::find_in_memory(&dump, |_| true, |_| false).is_none(), "{capture}");
        assert!(Vmcoreinfo::find_in_memory(&dump, |_| false, |_| true).is_none(), "{capture}");
    }
}

#[test]
fn files_of_the_lab_are_what_they_are() {
    let kind = |path: &std::path::Path| sniff(path).expect("the file opens");
    assert_eq!(kind(&mortis_lab::dump("6.12", "sysrq", "raw")), FileKind::Dump(DumpKind::ElfCore));
    assert_eq!(kind(&mortis_lab::dump("6.12", "sysrq", "c31")), FileKind::Dump(DumpKind::Kdump));
    assert_eq!(kind(&mortis_lab::vmlinux("6.12")), FileKind::ElfExecutable);
    assert_eq!(kind(&mortis_lab::module("6.12", "dummy")), FileKind::ElfRelocatable);
    let boot = kind(&mortis_lab::boot_file("6.12", "vmlinuz"));
    assert_eq!(boot, FileKind::Foreign(mortis_dump::Foreign::BootImage));
}
