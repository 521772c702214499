//! Flattened streams: the same dump read in place, its index kept, and what is left of one that is
//! cut short.

use mortis_dump::{ContainerKind, Dump, OpenError, OpenOptions, Source};
use mortis_dump_synthetic::{Codec, Flattened, KdumpWriter, Wrapping};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn page(dump: &Dump, pfn: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = vec![0; 4096];
    dump.read(PhysAddr(pfn * 4096), &mut bytes).map_err(|error| error.why)?;
    Ok(bytes)
}

fn open(bytes: Vec<u8>) -> Result<Dump, OpenError> {
    Dump::from_source(Arc::new(bytes), "flat", OpenOptions::default())
}

#[track_caller]
fn same(dump: &Dump, plain: &Dump) {
    for pfn in (0..700).chain(39_000..40_001) {
        assert!(page(dump, pfn) == page(plain, pfn), "page {pfn:#x}");
    }
}

#[test]
fn records_of_every_length_give_the_dump() {
    let file = KdumpWriter::small(Codec::Zlib).write();
    let plain = open(file.clone()).expect("it opens");
    for piece in [7, 512, 4095, 65_536, 10 << 20] {
        let dump = open(Flattened::of(&file, piece).write()).expect("it opens");
        assert_eq!(dump.containers(), [ContainerKind::Flattened]);
        assert!(dump.warnings().is_empty() && !dump.is_truncated(), "{:?}", dump.warnings());
        assert_eq!(dump.notes().count(), plain.notes().count());
        same(&dump, &plain);
    }
    let twice = Wrapping::Gzip.compress(&Flattened::of(&file, 4096).write());
    let dump = open(twice).expect("it opens");
    assert_eq!(dump.containers(), [ContainerKind::Gzip, ContainerKind::Flattened]);
    same(&dump, &plain);
}

#[test]
fn a_stream_cut_short_is_what_came_before() {
    let writer = KdumpWriter::small(Codec::Lzo);
    let (file, offsets) = writer.write_with_offsets();
    let plain = open(file.clone()).expect("it opens");
    let piece = 4096;
    let mut records = Vec::new();
    for (index, bytes) in file.chunks(piece).enumerate() {
        records.push(((index * piece) as i64, bytes.to_vec()));
    }
    let stream = Flattened { header: (1, 1), records, ended: true }.write();
    let cut_at = |offset: usize| 4096 + offset / piece * (piece + 16) + 16 + offset % piece;
    let end = stream.len();
    for cut in [cut_at(offsets.data + (file.len() - offsets.data) / 2), end - 16, end - 1] {
        let dump = open(stream[..cut].to_vec()).expect("what is before opens");
        assert!(dump.is_truncated());
        let [warning] = dump.warnings() else { panic!("{:?}", dump.warnings()) };
        assert!(warning.contains(&format!("cut off at byte {cut}")), "{warning}");
        assert!(page(&dump, 2) == page(&plain, 2));
        let last = page(&dump, 39_998);
        assert!(
            last == if cut < end - 16 { Err(Unavailable::Truncated) } else { page(&plain, 39_998) }
        );
    }
    // The second bitmap was not yet written: nobody knows which pages would have been there.
    let dump = open(stream[..cut_at(offsets.bitmap2)].to_vec()).expect("the headers open");
    assert!(dump.is_truncated());
    assert_eq!(page(&dump, 2), Err(Unavailable::Truncated));
}

#[test]
fn what_is_no_stream_is_named() {
    let file = KdumpWriter::small(Codec::Raw).write();
    let good = Flattened::of(&file, 65_536);
    let error = |flattened: Flattened| {
        let error = open(flattened.write()).expect_err("it is damaged");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        error.to_string()
    };
    let version = Flattened { header: (1, 2), ..good.clone() };
    assert!(error(version).contains("type 1, version 2"));
    let kind = Flattened { header: (-1, 1), ..good.clone() };
    assert!(error(kind).contains("flattened stream of type"));
    let none = Flattened { records: Vec::new(), ..good.clone() };
    assert!(error(none).contains("no records"));
    let mut negative = good.clone();
    negative.records.insert(0, (-5, vec![1; 10]));
    assert!(error(negative).contains("damaged at byte 4096"));
    // Behind a damaged record, what came before is left.
    let mut damaged = Flattened { ended: true, ..good };
    damaged.records.push((i64::MAX - 3, vec![1; 10]));
    let dump = open(damaged.write()).expect("what is before opens");
    assert!(dump.is_truncated() && dump.warnings()[0].contains("damaged at byte"));
}

/// Counts what is read.
struct Counted(Vec<u8>, Arc<AtomicU64>);

impl Source for Counted {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read_at(offset, buf)?;
        self.1.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn identity(&self) -> Option<String> {
        Some(format!("a stream of {} bytes", self.0.len()))
    }
}

#[test]
fn data_are_not_read_and_the_index_is_kept() {
    let folder = std::env::temp_dir().join(format!("mortis-flat-index-{}", std::process::id()));
    let file = KdumpWriter::small(Codec::Raw).write();
    let plain = open(file.clone()).expect("it opens");
    let stream = Flattened::of(&file, 65_536).write();
    let mut read = Vec::new();
    for _ in 0..2 {
        let count = Arc::new(AtomicU64::new(0));
        let options = OpenOptions { index_folder: Some(folder.clone()), ..OpenOptions::default() };
        let source = Counted(stream.clone(), Arc::clone(&count));
        let dump = Dump::from_source(Arc::new(source), "flat", options).expect("it opens");
        read.push(count.load(Ordering::Relaxed));
        same(&dump, &plain);
    }
    std::fs::remove_dir_all(&folder).expect("an index was kept");
    let records = stream.len() as u64 / 65_536 + 10;
    assert!(read[1] < 100_000, "headers only: {read:?}");
    assert!(read[0] < read[1] + records * 1100, "and record headers: {read:?}");
}

#[test]
fn millions_of_tiny_records_are_refused_in_bounded_memory() {
    let mut stream = Flattened { header: (1, 1), records: Vec::new(), ended: false }.write();
    for n in 0..3_300_000u64 {
        stream.extend((n % 1000 * 7).to_be_bytes());
        stream.extend(1u64.to_be_bytes());
        stream.push(n as u8);
    }
    let error = open(stream).expect_err("too many");
    assert!(
        matches!(&error, OpenError::Wanting { advice, .. } if advice.contains("-R")),
        "{error}"
    );
}
