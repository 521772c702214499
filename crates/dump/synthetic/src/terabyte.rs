//! A dump of a terabyte of memory that takes little room.

use crate::kdump::{Codec, KdumpWriter};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Page frames of a terabyte.
const PAGES: u64 = 1 << 28;
/// One page in so many is in the dump.
const KEPT: u64 = 32;
/// One of the kept pages in so many has data; the others' descriptors are holes.
const WRITTEN: u64 = 1 << 13;

/// Writes a kdump-compressed dump of 1 TiB at level 31: both bitmaps whole, 8 million pages in the
/// dump, and the data of some of them, which are returned. The file is sparse: 65 MiB on disk.
///
/// # Errors
/// What the operating system says.
pub fn sparse_terabyte(file: &mut File) -> io::Result<Vec<u64>> {
    let writer = KdumpWriter {
        status: Codec::Zstd.flag(),
        max_mapnr: PAGES,
        vmcoreinfo: "OSRELEASE=6.12.0-terabyte\nPAGESIZE=4096\n".to_owned(),
        ..KdumpWriter::default()
    };
    let (mut headers, offsets) = writer.write_with_offsets();
    headers[offsets.bitmap1..offsets.bitmap2].fill(0xff);
    for word in headers[offsets.bitmap2..offsets.descriptors].chunks_exact_mut(4) {
        word.copy_from_slice(&1u32.to_le_bytes());
    }
    headers.truncate(offsets.descriptors);
    file.write_all(&headers)?;

    let mut data_at = offsets.descriptors as u64 + PAGES / KEPT * 24;
    let mut written = Vec::new();
    for rank in (0..PAGES / KEPT).step_by(WRITTEN as usize) {
        let pfn = rank * KEPT;
        let data = Codec::Zstd.compress(&crate::page(pfn, 4096));
        let mut descriptor = data_at.to_le_bytes().to_vec();
        descriptor.extend((data.len() as u32).to_le_bytes());
        descriptor.extend(Codec::Zstd.flag().to_le_bytes());
        file.seek(SeekFrom::Start(offsets.descriptors as u64 + rank * 24))?;
        file.write_all(&descriptor)?;
        file.seek(SeekFrom::Start(data_at))?;
        file.write_all(&data)?;
        data_at += data.len() as u64;
        written.push(pfn);
    }
    Ok(written)
}
