//! Files compressed as a whole.

use mortis_dump::{ContainerKind, FileKind, sniff_source};
use mortis_dump_synthetic::Wrapping;

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    use ContainerKind::{Bzip2, Gzip, Lz4, Lzop, Xz, Zstd};
    let kind = sniff_source(&data.to_vec());
    if let FileKind::Container(Gzip | Xz | Zstd | Bzip2 | Lz4 | Lzop) = kind {
        crate::dump::ask_everything(data, kind);
    }
}

/// A dump in every wrapping, and in two parts.
pub fn seeds() -> Vec<Vec<u8>> {
    let dumps = crate::kdump::seeds();
    let mut seeds = Vec::new();
    for (wrapping, dump) in Wrapping::ALL.into_iter().zip(dumps.iter().cycle()) {
        seeds.push(wrapping.compress(dump));
        let (one, other) = dump.split_at(dump.len() / 2);
        seeds.push([wrapping.compress(one), wrapping.compress(other)].concat());
    }
    seeds
}
