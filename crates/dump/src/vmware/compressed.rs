//! A `Memory` block that is compressed as a whole.
//!
//! VMware documents the tag and not the codec. The block is taken for one zlib (RFC 1950) or gzip
//! (RFC 1952) stream if it starts like one and decompresses, checksum included, to as many bytes as
//! the block says that it takes in memory; any other is refused by name. It is decompressed once,
//! into the folder of indexes.

use super::Piece;
use super::tags::Block;
use crate::index_file::IndexFile;
use crate::open::{OpenError, Opening};
use crate::source::{FileSource, PartSource, Source, read_up_to};
use flate2::{Decompress, FlushDecompress, Status};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

/// Blocks up to this size stay in memory where there is no folder.
const IN_MEMORY: u64 = 64 << 20;
const STRETCH: usize = 1 << 20;
const WHAT: &str = "vmware-memory 1";

/// Decompresses `block` of `source`, unless that was done before.
pub(super) fn open(
    source: &Arc<dyn Source>,
    block: Block,
    opening: &Opening<'_>,
) -> Result<Piece, OpenError> {
    let part: Arc<dyn Source> =
        Arc::new(PartSource::new(Arc::clone(source), block.offset, block.len));
    let index = IndexFile::of(opening, &*part, WHAT);
    let whole = |source: Arc<dyn Source>, offset| Piece { source, offset, len: block.memory_len };
    let Some(index) = index else {
        if block.memory_len > IN_MEMORY {
            return Err(opening.damaged("compressed memory needs a folder to be decompressed into"));
        }
        let mut bytes = Vec::new();
        decompress(&*part, block, opening, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        return Ok(whole(Arc::new(bytes), 0));
    };
    let kept = || {
        let file = FileSource::open(index.path()).ok()?;
        let complete = file.len() == index.header_len().saturating_add(block.memory_len);
        complete.then(|| whole(Arc::new(file), index.header_len()))
    };
    if index.open().is_some()
        && let Some(piece) = kept()
    {
        return Ok(piece);
    }
    let mut failure = None;
    let written = index.write(|file| {
        let end = index.header_len().saturating_add(block.memory_len);
        let result = decompress(&*part, block, opening, |piece| write_sparse(file, piece));
        match result {
            Ok(()) => file.set_len(end),
            Err(error) => {
                failure = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    });
    match (failure, written) {
        (Some(error), _) => Err(error),
        (None, Err(source)) => Err(OpenError::Io { path: index.path().to_owned(), source }),
        (None, Ok(())) => kept().ok_or_else(|| {
            opening.damaged(format!("{} is not what was just written", index.path().display()))
        }),
    }
}

/// Leaves holes where there are zeroes: much of a machine's memory is.
fn write_sparse(file: &mut File, piece: &[u8]) -> io::Result<()> {
    for chunk in piece.chunks(64 << 10) {
        if chunk.iter().all(|&byte| byte == 0) {
            file.seek(SeekFrom::Current(chunk.len() as i64))?;
        } else {
            file.write_all(chunk)?;
        }
    }
    Ok(())
}

/// Decompresses the block in stretches.
fn decompress(
    part: &dyn Source,
    block: Block,
    opening: &Opening<'_>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), OpenError> {
    let bad = |at: u64| {
        opening.damaged(format!(
            "compressed memory that is damaged, or not a zlib or gzip stream, {at:#x} bytes into \
             the block at {:#x}; vmss2core of VMware Workstation may be able to convert it",
            block.offset
        ))
    };
    let head = read_up_to(part, 0, 2);
    let mut decoder = match head[..] {
        [0x1f, 0x8b] => Decompress::new_gzip(15),
        [first, second]
            if first & 0xf == 8 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0 =>
        {
            Decompress::new(true)
        }
        _ => return Err(bad(0)),
    };
    let mut out = Vec::with_capacity(STRETCH);
    let mut at = 0u64;
    loop {
        let input = read_up_to(part, at, STRETCH as u64);
        let flush = if input.is_empty() { FlushDecompress::Finish } else { FlushDecompress::None };
        let mut used = 0;
        loop {
            let before = (decoder.total_in(), decoder.total_out());
            let status =
                decoder.decompress_vec(&input[used..], &mut out, flush).map_err(|_| bad(at))?;
            used += (decoder.total_in() - before.0) as usize;
            if decoder.total_out() > block.memory_len {
                return Err(bad(at));
            }
            take(&out).map_err(|source| OpenError::Io { path: opening.path.to_owned(), source })?;
            out.clear();
            if status == Status::StreamEnd {
                let complete = decoder.total_out() == block.memory_len;
                return if complete { Ok(()) } else { Err(bad(at)) };
            }
            let stuck = before == (decoder.total_in(), decoder.total_out());
            if used >= input.len() && stuck {
                break;
            }
            if stuck {
                return Err(bad(at));
            }
        }
        if input.is_empty() {
            return Err(bad(at));
        }
        at += input.len() as u64;
        opening.progress("decompressing memory", at, block.len)?;
    }
}
