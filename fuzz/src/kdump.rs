//! kdump-compressed dumps.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::{Codec, KdumpWriter, Stored, noise, page, prstatus};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::Kdump));
}

/// One small dump of each codec, with pages of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let small = |codec: Codec, version: u32| {
        let mut writer = KdumpWriter {
            version,
            status: codec.flag(),
            max_mapnr: 64,
            existing: vec![1..8, 16..40],
            notes: prstatus(1, [0x1234_5678; 27]),
            vmcoreinfo: "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(prb)=ffffffff82000000\n".into(),
            ..KdumpWriter::default()
        };
        for pfn in (1..8).chain(16..20) {
            writer.pages.insert(pfn, Stored::Page(page(pfn, 4096), codec));
        }
        writer.pages.insert(21, Stored::Zeroes);
        writer.pages.insert(22, Stored::Lost);
        writer.pages.insert(24, Stored::Page(noise(24, 4096), codec));
        writer
    };
    let mut writers: Vec<KdumpWriter> =
        Codec::ALL.into_iter().map(|codec| small(codec, 6)).collect();
    writers.push(small(Codec::Zlib, 3));
    writers.push(KdumpWriter { split: Some(4..20), ..small(Codec::Lzo, 6) });
    writers.iter().map(KdumpWriter::write).collect()
}
