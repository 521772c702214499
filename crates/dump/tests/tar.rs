//! tar archives: the member that is a dump is read in place.

use mortis_dump::{ContainerKind, Dump, OpenError, OpenOptions};
use mortis_dump_synthetic::{Codec, Flattened, KdumpWriter, TarKind, TarWriter, Wrapping};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};
use std::sync::Arc;

fn page(dump: &Dump, pfn: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = vec![0; 4096];
    dump.read(PhysAddr(pfn * 4096), &mut bytes).map_err(|error| error.why)?;
    Ok(bytes)
}

fn open(archive: Vec<u8>, member: Option<&str>) -> Result<Dump, OpenError> {
    let options = OpenOptions { snapshot: member.map(str::to_owned), ..OpenOptions::default() };
    Dump::from_source(Arc::new(archive), "archive", options)
}

fn around(kind: TarKind, name: &str, data: &[u8]) -> TarWriter {
    TarWriter::default()
        .with(TarKind::Folder, "127.0.0.1-2026-11-24/", b"")
        .with(TarKind::Plain, "127.0.0.1-2026-11-24/vmcore-dmesg.txt", &[b'x'; 5000])
        .with(kind, name, data)
        .with(TarKind::Plain, "kexec-dmesg.log", b"last words\n")
}

#[test]
fn the_dump_is_found_however_it_is_stored() {
    let file = KdumpWriter::small(Codec::Zlib).write();
    let plain = open(file.clone(), None).expect("it opens");
    let long = format!("{}/vmcore", "a-long-name".repeat(30));
    for kind in
        [TarKind::Plain, TarKind::LongName, TarKind::Pax, TarKind::GnuSparse, TarKind::PaxSparse]
    {
        let name = if matches!(kind, TarKind::LongName | TarKind::Pax) { &*long } else { "vmcore" };
        let archive = around(kind.clone(), name, &file).finish();
        let dump = open(archive, None).expect("it opens");
        assert_eq!(dump.containers(), [ContainerKind::Tar]);
        assert!(dump.warnings().is_empty() && !dump.is_truncated(), "{kind:?}");
        for pfn in (0..700).chain(39_000..40_001) {
            assert!(page(&dump, pfn) == page(&plain, pfn), "{kind:?}: page {pfn:#x}");
        }
    }
}

#[test]
fn layers_are_looked_through() {
    let file = KdumpWriter::small(Codec::Zlib).write();
    let plain = open(file.clone(), None).expect("it opens");
    let gz_in_tar = around(TarKind::Plain, "vmcore.gz", &Wrapping::Gzip.compress(&file)).finish();
    let flat_in_tar = around(TarKind::Plain, "flat", &Flattened::of(&file, 9999).write()).finish();
    let tar_xz = Wrapping::Xz.compress(&around(TarKind::Plain, "vmcore", &file).finish());
    use ContainerKind::{Flattened as Flat, Gzip, Tar, Xz};
    for (archive, layers) in
        [(gz_in_tar, [Tar, Gzip]), (flat_in_tar, [Tar, Flat]), (tar_xz, [Xz, Tar])]
    {
        let dump = open(archive, None).expect("it opens");
        assert_eq!(dump.containers(), layers);
        assert!((0..700).all(|pfn| page(&dump, pfn) == page(&plain, pfn)), "{layers:?}");
    }
}

#[test]
fn of_several_dumps_one_is_chosen_by_name() {
    let one = KdumpWriter::small(Codec::Zlib).write();
    let other = KdumpWriter { phys_base: 77 << 20, ..KdumpWriter::small(Codec::Raw) }.write();
    let archive = around(TarKind::Plain, "a/vmcore", &one)
        .with(TarKind::Plain, "b/vmcore-2", &other)
        .with(TarKind::Plain, "notes.gz", &Wrapping::Gzip.compress(b"not a dump"))
        .finish();
    match open(archive.clone(), None) {
        Err(OpenError::Wanting { what, advice, .. }) => {
            assert!(what.contains("several") && what.contains("a/vmcore, b/vmcore-2"), "{what}");
            assert!(advice.contains("--snapshot"), "{advice}");
        }
        other => panic!("{other:?}"),
    }
    for (name, phys_base) in
        [("b/vmcore-2", 77 << 20), ("vmcore-2", 77 << 20), ("vmcore", 256 << 20)]
    {
        let dump = open(archive.clone(), Some(name)).expect("it opens");
        assert_eq!(dump.phys_base(), Some(phys_base), "{name}");
    }
}

#[test]
fn an_archive_without_a_dump_says_what_is_in_it() {
    let archive = around(TarKind::Plain, "a\u{1b}[31mred", b"text").finish();
    match open(archive, None) {
        Err(OpenError::Wanting { what, .. }) => {
            assert!(what.contains("vmcore-dmesg.txt, a?[31mred, kexec-dmesg.log"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    let mut damaged = around(TarKind::Plain, "vmcore", b"text").finish();
    damaged[3] ^= 1;
    let error = open(damaged, None).expect_err("it is damaged").to_string();
    assert!(error.contains("first header"), "{error}");
}

#[test]
fn an_archive_cut_within_the_dump_is_a_truncated_dump() {
    let file = KdumpWriter::small(Codec::Raw).write();
    let archive = around(TarKind::Plain, "vmcore", &file).finish();
    let dump = open(archive[..archive.len() / 2].to_vec(), None).expect("it opens");
    assert!(dump.is_truncated());
    assert!(dump.warnings()[0].contains("cut off within vmcore"), "{:?}", dump.warnings());
    assert!(page(&dump, 2).is_ok());
    assert_eq!(page(&dump, 39_998), Err(Unavailable::Truncated));
}
