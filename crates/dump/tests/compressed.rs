//! Dumps that were compressed as a whole: the same dump, kept for the next time, and what is left
//! of it where the compressed data are cut off or damaged.

use mortis_dump::{ContainerKind, Dump, OpenError, OpenOptions};
use mortis_dump_synthetic::{Codec, KdumpWriter, Wrapping};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder of the test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mortis-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { index_folder: Some(self.0.join("index")), ..OpenOptions::default() }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("index")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn page(dump: &Dump, pfn: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = vec![0; 4096];
    dump.read(PhysAddr(pfn * 4096), &mut bytes).map_err(|error| error.why)?;
    Ok(bytes)
}

fn in_memory(bytes: Vec<u8>) -> Result<Dump, OpenError> {
    Dump::from_source(Arc::new(bytes), "in memory", OpenOptions::default())
}

/// All pages are the same, or missing for the same reason.
#[track_caller]
fn same(dump: &Dump, plain: &Dump, pfns: impl Iterator<Item = u64>) {
    for pfn in pfns {
        assert!(page(dump, pfn) == page(plain, pfn), "page {pfn:#x}");
    }
}

fn open(path: &Path, options: OpenOptions) -> Dump {
    Dump::open_with(path, options).expect("it opens")
}

#[test]
fn every_wrapping_gives_the_dump_and_keeps_it() {
    let folder = Folder::new("wrappings");
    // Two megabytes of zeroes in it: bitmaps of a sparse machine.
    let writer = KdumpWriter { max_mapnr: 8 << 20, ..KdumpWriter::small(Codec::Zlib) };
    let file = writer.write();
    let plain = in_memory(file.clone()).expect("it opens");
    for wrapping in Wrapping::ALL {
        let path = folder.file(&format!("{wrapping:?}"), &wrapping.compress(&file));
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let options = || OpenOptions {
            progress: Some(Arc::new({
                let counted = Arc::clone(&counted);
                move |step: &'static str, done: u64, total: u64| {
                    assert!(step == "decompressing" && done <= total, "{step} {done} {total}");
                    counted.fetch_add(1, Ordering::Relaxed);
                    true
                }
            })),
            ..folder.options()
        };
        let dump = open(&path, options());
        let first = steps.load(Ordering::Relaxed);
        assert!(first > 1, "{wrapping:?}: {first} steps");
        assert_eq!(dump.containers().len(), 1);
        assert!(dump.warnings().is_empty() && !dump.is_truncated(), "{:?}", dump.warnings());
        same(&dump, &plain, (0..700).chain(39_000..40_001));
        let again = open(&path, options());
        assert_eq!(steps.load(Ordering::Relaxed), first, "{wrapping:?} is decompressed again");
        same(&again, &plain, 390..420);
        same(&in_memory(fs::read(&path).expect("a file")).expect("opens"), &plain, 0..700);
    }
    let kept = folder.kept();
    assert_eq!(kept.len(), Wrapping::ALL.len(), "{kept:?}");
    #[cfg(unix)]
    for path in kept {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(&path).expect("it is there");
        assert!(metadata.len() > file.len() as u64);
        assert!(metadata.blocks() * 512 < metadata.len() - (1 << 20), "{path:?} has no holes");
    }
}

#[test]
fn files_of_several_parts_are_one() {
    let file = KdumpWriter::small(Codec::Lzo).write();
    let plain = in_memory(file.clone()).expect("it opens");
    for wrapping in Wrapping::ALL {
        let mut parts = Vec::new();
        for piece in file.chunks(file.len() / 3 + 1) {
            if matches!(wrapping, Wrapping::Zstd | Wrapping::Lz4) && !parts.is_empty() {
                parts.extend(0x184d_2a53_u32.to_le_bytes());
                parts.extend(300u32.to_le_bytes());
                parts.extend([0x5a; 300]);
            }
            parts.extend(wrapping.compress(piece));
        }
        let dump = in_memory(parts).expect("it opens");
        assert!(dump.warnings().is_empty(), "{wrapping:?}: {:?}", dump.warnings());
        same(&dump, &plain, (0..700).chain(39_000..40_000));
    }
}

#[test]
fn what_is_before_a_cut_is_read() {
    let folder = Folder::new("cut-compressed");
    let mut writer = KdumpWriter::small(Codec::Zlib);
    // Enough of what does not compress for a few blocks of every codec.
    for pfn in (39_000..40_000).filter(|pfn| pfn % 3 != 0) {
        let noise = mortis_dump_synthetic::noise(pfn, 4096);
        writer.pages.insert(pfn, mortis_dump_synthetic::Stored::Page(noise, Codec::Zlib));
    }
    let file = writer.write();
    let plain = in_memory(file.clone()).expect("it opens");
    for wrapping in Wrapping::ALL {
        let whole = wrapping.compress(&file);
        let path = folder.file(&format!("{wrapping:?}"), &whole[..whole.len() * 2 / 3]);
        for round in ["decompressed", "kept"] {
            let dump = open(&path, folder.options());
            assert!(dump.is_truncated(), "{wrapping:?} {round}");
            let [warning] = dump.warnings() else { panic!("{:?}", dump.warnings()) };
            assert!(warning.contains("cut off at byte"), "{warning}");
            let (first, last) = (page(&dump, 302), page(&dump, 39_998));
            assert!(first == page(&plain, 302), "{wrapping:?} {round}");
            assert!(last == Err(Unavailable::Truncated), "{wrapping:?} {round}");
        }
        let mut damaged = whole.clone();
        let at = whole.len() / 2;
        damaged[at..at + 64].fill(0x55);
        let dump = in_memory(damaged).expect("what is before the damage opens");
        assert!(dump.is_truncated(), "{wrapping:?}");
        assert!(dump.warnings()[0].contains("damaged before byte"), "{:?}", dump.warnings());
        same(&dump, &plain, 0..256);
        for len in [12, 20] {
            let error = in_memory(whole[..len].to_vec()).expect_err("there is nothing");
            let is_damage = matches!(error, OpenError::Damaged { .. } | OpenError::Kdump { .. });
            assert!(is_damage, "{wrapping:?} at {len}: {error}");
        }
    }
}

#[test]
fn a_stopped_step_and_a_folder_that_is_none_leave_nothing_behind() {
    let folder = Folder::new("stopped");
    let path = folder.file("gz", &Wrapping::Gzip.compress(&KdumpWriter::small(Codec::Raw).write()));
    let stop = OpenOptions { progress: Some(Arc::new(|_, _, _| false)), ..folder.options() };
    let stopped = Dump::open_with(&path, stop);
    assert!(matches!(stopped, Err(OpenError::Stopped { .. })), "{stopped:?}");
    assert!(folder.kept().is_empty(), "{:?}", folder.kept());
    // Where nothing can be written, memory does for a small dump.
    let file = folder.file("file", b"no folder");
    let options = OpenOptions { index_folder: Some(file.join("index")), ..OpenOptions::default() };
    assert_eq!(open(&path, options).containers(), [ContainerKind::Gzip]);
    // And not for a large one.
    let large = Wrapping::Zstd.compress(&vec![0; 200 << 20]);
    match in_memory(large) {
        Err(OpenError::Wanting { what, advice, .. }) => {
            assert!(what.contains("128.0 MiB") && advice.contains("XDG_CACHE_HOME"), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_without_a_dump_says_so() {
    for wrapping in Wrapping::ALL {
        let error = in_memory(wrapping.compress(b"Nothing to see here\n")).expect_err("no dump");
        assert!(error.to_string().contains("text file"), "{error}");
        let error = in_memory(wrapping.compress(b"")).expect_err("no dump");
        assert!(!error.to_string().is_empty());
    }
}
