//! `makedumpfile --split`: the files of a set are one dump, in any order.

use mortis_dump::{Dump, OpenError, OpenOptions, Source};
use mortis_dump_synthetic::{Codec, ElfWriter, KdumpWriter, Wrapping};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};
use std::path::PathBuf;
use std::sync::Arc;

const CUTS: [u64; 2] = [300, 39_500];

fn page(dump: &Dump, pfn: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = vec![0; 4096];
    dump.read(PhysAddr(pfn * 4096), &mut bytes).map_err(|error| error.why)?;
    Ok(bytes)
}

fn open(files: &[(&str, &Vec<u8>)]) -> Result<Dump, OpenError> {
    let source = |(name, bytes): &(&str, &Vec<u8>)| {
        (PathBuf::from(name), Arc::new((*bytes).clone()) as Arc<dyn Source>)
    };
    Dump::from_sources(files.iter().map(source).collect(), &OpenOptions::default())
}

#[test]
fn all_files_in_any_order_are_the_whole_dump() {
    let writer = KdumpWriter::small(Codec::Zlib);
    let whole = writer.write();
    let plain = Dump::from_source(Arc::new(whole), "whole", OpenOptions::default()).expect("opens");
    let parts = writer.write_split(&CUTS);
    let gz = Wrapping::Gzip.compress(&parts[1]);
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let names = ["a", "b", "c"];
        let files = order.map(|index| (names[index], if index == 1 { &gz } else { &parts[index] }));
        let dump = open(&files).expect("it opens");
        assert_eq!(dump.format().to_string(), "kdump-compressed v6, zlib, split, 3 files");
        assert!(dump.warnings().is_empty() && !dump.is_truncated(), "{:?}", dump.warnings());
        assert_eq!((dump.files().len(), dump.split()), (3, None));
        assert_eq!(dump.page_counts(), plain.page_counts());
        assert_eq!(dump.ranges(), plain.ranges());
        assert_eq!(
            dump.vmcoreinfo().map(|info| info.text()),
            plain.vmcoreinfo().map(|info| info.text())
        );
        for pfn in (0..700).chain(39_000..40_001) {
            assert!(page(&dump, pfn) == page(&plain, pfn), "page {pfn:#x}");
        }
        // Across the end of a file.
        for start in [298, 39_490] {
            let (mut ours, mut theirs) = (vec![0; 20 * 4096], vec![0; 20 * 4096]);
            let at = PhysAddr(start * 4096 + 100);
            let (one, other) = (dump.read(at, &mut ours), plain.read(at, &mut theirs));
            assert_eq!(one, other);
        }
    }
}

#[test]
fn a_missing_file_is_named_by_its_pages() {
    let writer = KdumpWriter::small(Codec::Lzo);
    let parts = writer.write_split(&CUTS);
    let dump = open(&[("c", &parts[2]), ("a", &parts[0])]).expect("it opens");
    let [warning] = dump.warnings() else { panic!("{:?}", dump.warnings()) };
    assert!(warning.contains("between 0x12c000 and 0x9a4c000"), "{warning}");
    assert!(dump.is_truncated());
    assert!(page(&dump, 2).is_ok() && page(&dump, 39_998).is_ok());
    assert_eq!(page(&dump, 302), Err(Unavailable::Truncated));
    assert_eq!(page(&dump, 303), Err(Unavailable::Excluded));
    assert_eq!(page(&dump, 800), Err(Unavailable::Unmapped));
    // One alone.
    let options = OpenOptions::default();
    let dump = Dump::from_source(Arc::new(parts[1].clone()), "b", options).expect("it opens");
    assert!(dump.warnings()[0].contains("one file of a split dump"), "{:?}", dump.warnings());
    assert_eq!(dump.format().to_string(), "kdump-compressed v6, lzo, one file of a split dump");
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let writer = KdumpWriter::small(Codec::Zlib);
    let parts = writer.write_split(&CUTS);
    let other = KdumpWriter { timestamp: (1_700_000_001, 0), ..writer.clone() }.write_split(&CUTS);
    let mut bitmap = writer.clone();
    bitmap.pages.remove(&2);
    let bitmap = bitmap.write_split(&CUTS);
    let whole = writer.write();
    let elf = ElfWriter::default().write();
    let refused = |files: &[(&str, &Vec<u8>)], words: &[&str]| match open(files) {
        Err(OpenError::Wanting { path, what, .. }) => {
            let text = format!("{}: {what}", path.display());
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
        other => panic!("{other:?}"),
    };
    refused(&[("a", &parts[0]), ("x", &other[1])], &["x: ", "not of one split dump", "a"]);
    refused(&[("a", &bitmap[0]), ("b", &parts[1])], &["not of one split dump"]);
    refused(&[("a", &parts[0]), ("b", &parts[1]), ("a2", &parts[0])], &["a2: ", "same pages as a"]);
    refused(&[("a", &parts[0]), ("w", &whole)], &["w: ", "a dump by itself"]);
    refused(&[("w", &whole), ("w", &whole)], &["w: ", "several files"]);
    refused(&[("a", &parts[0]), ("e", &elf)], &["e: ", "ELF64 core"]);
}
