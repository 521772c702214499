//! Bytes in Snappy's framing format, read at any place.
//!
//! A stream is chunks: a byte of type, three bytes of length, and data. Type 0 is compressed and 1
//! stored as it is, each behind a checksum and of at most 64 KiB; 0xff starts the stream, and
//! others up from 0x80 are skipped. Where a chunk starts is only known from the one before: one
//! pass over the chunks' headers keeps every 64th place, from which the way to any chunk is short.
//! The places (24 bytes for 4 MiB of memory) are kept for the next time.

use crate::cache::BlockCache;
use crate::codec::Codec;
use crate::field::{u32_at, u64_at};
use crate::index_file::IndexFile;
use crate::open::{OpenError, Opening};
use crate::source::{Source, read_exact, read_up_to};
use std::io::{self, Write};
use std::sync::Arc;

/// The most that one chunk holds.
const CHUNK: u64 = 64 << 10;
/// Chunks from one kept place to the next.
const CHUNKS_A_PLACE: u64 = 64;
const HEADER: u64 = 4;
const CHECKSUM: u64 = 4;
/// Behind a block: its compressed length.
const TRAILER: u64 = 8;
/// The longest chunk: Snappy makes 64 KiB of noise longer by a sixth and 32 bytes.
const MAX_DATA: u64 = CHUNK + CHUNK / 6 + 32;
/// Chunks of no data that may follow one another.
const MAX_EMPTY: u32 = 1024;
/// Progress is told after so many bytes.
const PROGRESS: u64 = 16 << 20;
const WHAT: &str = "snappy-frames 1";

/// A block in the file that is to be `len` bytes long.
pub(super) struct Frame {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Where a chunk starts.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// In the bytes of all blocks, one after the other.
    at: u64,
    /// Of the chunk's header in the file.
    offset: u64,
    /// Where the block ends, in the bytes of all blocks.
    block_end: u64,
}

/// What one chunk is.
enum Chunk {
    /// So many bytes, from the file's `offset` on, compressed or not.
    Data { offset: u64, stored: u64, len: u64, compressed: bool },
    /// Nothing to read.
    Skipped,
}

/// All blocks' bytes as one source.
pub(super) struct SnappyFrames {
    source: Arc<dyn Source>,
    places: Vec<Place>,
    /// The end of each block in the file, by its start: what an index of an earlier time said.
    known_ends: Vec<(u64, u64)>,
    len: u64,
    chunks: BlockCache,
    index: Option<IndexFile>,
}

impl SnappyFrames {
    /// No blocks yet.
    pub(super) fn new(source: Arc<dyn Source>, opening: &Opening<'_>) -> Self {
        let index = IndexFile::of(opening, &*source, WHAT);
        Self {
            source,
            places: Vec::new(),
            known_ends: Vec::new(),
            len: 0,
            chunks: BlockCache::new(opening.options.cache_bytes / 4, CHUNK as usize),
            index,
        }
    }

    /// Bytes of all blocks.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a block and says where in the file it ends. `None` if the file does so first, or what
    /// is there is no such stream; what came before is kept.
    pub(super) fn add_block(
        &mut self,
        frame: Frame,
        opening: &Opening<'_>,
    ) -> Result<Option<u64>, OpenError> {
        let start = self.len;
        let block_end = start.saturating_add(frame.len);
        if let Ok(index) = self.known_ends.binary_search_by_key(&frame.offset, |known| known.0) {
            self.len = block_end;
            return Ok(self.known_ends.get(index).map(|known| known.1));
        }
        let mut offset = frame.offset;
        let mut told = offset;
        let mut chunks = 0;
        let mut empty = 0;
        while self.len < block_end {
            if offset - told >= PROGRESS || offset == frame.offset {
                opening.progress("indexing the image", offset, self.source.len())?;
                told = offset;
            }
            let Some((chunk, next)) = self.chunk(offset) else { return Ok(None) };
            match chunk {
                Chunk::Data { len, .. } if len > 0 => {
                    if chunks % CHUNKS_A_PLACE == 0 {
                        self.places.push(Place { at: self.len, offset, block_end });
                    }
                    chunks += 1;
                    empty = 0;
                    self.len = self.len.saturating_add(len).min(block_end);
                }
                _ if empty < MAX_EMPTY => empty += 1,
                _ => return Ok(None),
            }
            offset = next;
        }
        let end = offset.saturating_add(TRAILER);
        let trailer = read_up_to(&*self.source, offset, TRAILER);
        match u64_at(&trailer, 0) {
            Some(len) if frame.offset.checked_add(len) == Some(offset) => {
                self.known_ends.push((frame.offset, end));
                Ok(Some(end))
            }
            _ => Ok(None),
        }
    }

    /// Reads a chunk's header, and says where the next one starts.
    fn chunk(&self, offset: u64) -> Option<(Chunk, u64)> {
        // A header, a checksum, and the number before the data, of at most 5 bytes.
        let bytes = read_up_to(&*self.source, offset, HEADER + CHECKSUM + 5);
        let word = u32_at(&bytes, 0)?;
        let (kind, stored) = (word & 0xff, u64::from(word >> 8));
        let next = offset.checked_add(HEADER)?.checked_add(stored)?;
        if next > self.source.len() {
            return None;
        }
        let data = offset + HEADER + CHECKSUM;
        let chunk = match kind {
            0 | 1 => {
                let stored = stored.checked_sub(CHECKSUM).filter(|stored| *stored <= MAX_DATA)?;
                let len = match kind {
                    0 => snap::raw::decompress_len(bytes.get(8..)?).ok()? as u64,
                    _ => stored,
                };
                let compressed = kind == 0;
                (len <= CHUNK).then_some(Chunk::Data { offset: data, stored, len, compressed })?
            }
            0x80..=0xff => Chunk::Skipped,
            _ => return None,
        };
        Some((chunk, next))
    }

    /// Hands the chunk that holds the byte at `at` to `look`, with the place of its first byte.
    fn with_chunk<R>(&self, at: u64, look: impl FnOnce(u64, &[u8]) -> R) -> Option<R> {
        let index = self.places.partition_point(|place| place.at <= at).checked_sub(1)?;
        let place = *self.places.get(index)?;
        let (mut here, mut offset) = (place.at, place.offset);
        for _ in 0..CHUNKS_A_PLACE + u64::from(MAX_EMPTY) {
            let (chunk, next) = self.chunk(offset)?;
            if let Chunk::Data { offset, stored, len, compressed } = chunk {
                let end = here.checked_add(len)?;
                if at < end {
                    return self
                        .decompress(offset, stored, len, compressed, |bytes| look(here, bytes));
                }
                here = end;
            }
            if here >= place.block_end {
                break;
            }
            offset = next;
        }
        None
    }

    fn decompress<R>(
        &self,
        offset: u64,
        stored: u64,
        len: u64,
        compressed: bool,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let mut look = Some(look);
        let seen = self.chunks.with(offset, |bytes| look.take().map(|look| look(bytes)));
        if let Some(Some(seen)) = seen {
            return Some(seen);
        }
        let mut data = vec![0; stored as usize];
        read_exact(&*self.source, offset, &mut data).ok()?;
        let bytes = match compressed {
            true => {
                let mut bytes = vec![0; len as usize];
                Codec::Snappy.decompress(&data, &mut bytes).ok()?;
                bytes
            }
            false => data,
        };
        let seen = look.take().map(|look| look(&bytes));
        self.chunks.insert(offset, bytes);
        seen
    }

    /// Takes the index that an earlier time kept, and says whether there was one.
    pub(super) fn read_index(&mut self) -> bool {
        let parse = |bytes: &[u8]| {
            let words: Vec<u64> =
                bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            let count = usize::try_from(*words.first()?).ok()?;
            let end = count.checked_mul(3)?.checked_add(1)?;
            let (places, ends) = words.get(1..)?.split_at_checked(end - 1)?;
            let place =
                |words: &[u64; 3]| Place { at: words[0], offset: words[1], block_end: words[2] };
            let places: Vec<Place> = places.as_chunks::<3>().0.iter().map(place).collect();
            let ends = ends.as_chunks::<2>().0.iter().map(|words| (words[0], words[1])).collect();
            Some((places, ends))
        };
        let bytes = self.index.as_ref().and_then(IndexFile::read);
        match bytes.as_deref().and_then(parse) {
            Some((places, ends)) => {
                (self.places, self.known_ends) = (places, ends);
                true
            }
            None => false,
        }
    }

    /// Keeps the index for the next time. Nothing is lost if it cannot be.
    pub(super) fn write_index(&self) {
        let Some(index) = self.index.as_ref().filter(|_| !self.places.is_empty()) else { return };
        let _ = index.write(|file| {
            let mut file = io::BufWriter::new(file);
            file.write_all(&(self.places.len() as u64).to_le_bytes())?;
            for place in &self.places {
                for word in [place.at, place.offset, place.block_end] {
                    file.write_all(&word.to_le_bytes())?;
                }
            }
            for (start, end) in &self.known_ends {
                file.write_all(&start.to_le_bytes())?;
                file.write_all(&end.to_le_bytes())?;
            }
            file.flush()
        });
    }
}

impl Source for SnappyFrames {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || offset >= self.len {
            return Ok(0);
        }
        let room = usize::try_from(self.len - offset).unwrap_or(usize::MAX).min(buf.len());
        let copied = self.with_chunk(offset, |start, bytes| {
            let rest = bytes.get(offset.saturating_sub(start) as usize..).unwrap_or_default();
            let len = rest.len().min(room);
            buf[..len].copy_from_slice(&rest[..len]);
            len
        });
        match copied {
            Some(len) if len > 0 => Ok(len),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn len(&self) -> u64 {
        self.len
    }
}
