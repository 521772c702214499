//! Sets of files by `makedumpfile --split`. An input is the files after each other, each but the
//! last behind its length in four bytes.

use mortis_dump::{Dump, OpenOptions, Source};
use mortis_dump_synthetic::{Codec, KdumpWriter, Stored, page};
use mortis_memory::{PhysAddr, PhysicalMemory};
use std::path::PathBuf;
use std::sync::Arc;

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    let mut sources: Vec<(PathBuf, Arc<dyn Source>)> = Vec::new();
    let mut rest = data;
    while let Some((len, behind)) = rest.split_first_chunk().filter(|_| sources.len() < 8) {
        let len = (u32::from_le_bytes(*len) as usize).min(behind.len());
        let (file, behind) = behind.split_at(len);
        sources.push((PathBuf::from(sources.len().to_string()), Arc::new(file.to_vec())));
        rest = behind;
    }
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    let dump = match Dump::from_sources(sources, &options) {
        Ok(dump) => dump,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let page_size = dump.page_size();
    let mut bytes = vec![0; 20 * page_size as usize];
    for range in dump.ranges().iter().take(4) {
        for at in (range.start.0..range.end.0).step_by(page_size as usize).take(16) {
            let probed = dump.probe(PhysAddr(at));
            let read = dump.read(PhysAddr(at), &mut bytes[..8]);
            assert!(probed.is_ok() || read.is_err(), "{at:#x} reads but does not probe");
        }
        let _ = dump.read(range.start, &mut bytes);
        let _ = dump.read(range.end.back(3), &mut bytes[..6]);
    }
    let _ = dump.read(PhysAddr(u64::MAX - 5), &mut bytes[..12]);
    let _ = (dump.is_truncated(), dump.page_counts(), dump.format().to_string());
}

/// Sets of two and three files.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut writer = KdumpWriter { max_mapnr: 64, existing: vec![0..60], ..KdumpWriter::default() };
    for pfn in (0..60).filter(|pfn| pfn % 3 != 0) {
        writer.pages.insert(pfn, Stored::Page(page(pfn, 4096), Codec::Zlib));
    }
    let set = |cuts: &[u64]| {
        let parts = writer.write_split(cuts);
        parts.iter().flat_map(|part| [&(part.len() as u32).to_le_bytes(), &part[..]].concat()).collect()
    };
    vec![set(&[30]), set(&[20, 40]), set(&[0, 1, 63])]
}
