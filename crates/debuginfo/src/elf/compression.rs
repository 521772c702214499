//! Compressed debug sections: `SHF_COMPRESSED` with zlib or zstd (gABI, `Elf64_Chdr`) and the
//! older `.zdebug_*` ("ZLIB", then the size as a big-endian 64-bit number).

use std::io::Read;

use super::layout::{u32_at, u64_at};
use super::{ElfError, ElfSection, abi};

const CHDR_SIZE: usize = 24;
const ZDEBUG_MAGIC: &[u8] = b"ZLIB";
const ZDEBUG_HEADER_SIZE: usize = 12;

/// zlib cannot do better than 1032:1, and debug sections come nowhere near that with zstd
/// either: a size beyond it is damaged, or meant to fill the memory.
const MAX_RATIO: u64 = 1032;

pub(super) fn is_compressed(section: &ElfSection, raw: &[u8]) -> bool {
    section.sh_flags & abi::SHF_COMPRESSED != 0
        || (section.name.starts_with(".zdebug_") && raw.starts_with(ZDEBUG_MAGIC))
}

/// The section's bytes, decompressed if they are compressed.
pub(super) fn decompress(section: &ElfSection, raw: &[u8]) -> Result<Vec<u8>, ElfError> {
    let fail = |what| ElfError::Section { section: section.name.clone(), what };
    if !is_compressed(section, raw) {
        return Ok(raw.to_vec());
    }
    let (algorithm, size, data) = header(section, raw).ok_or_else(|| fail("header cut off"))?;
    if size > (data.len() as u64).saturating_mul(MAX_RATIO) {
        return Err(fail("decompressed size is impossible"));
    }
    match algorithm {
        abi::ELFCOMPRESS_ZLIB => inflate(flate2::bufread::ZlibDecoder::new(data), size),
        abi::ELFCOMPRESS_ZSTD => {
            zstd::stream::read::Decoder::with_buffer(data).ok().and_then(|d| inflate(d, size))
        }
        _ => return Err(fail("unknown compression")),
    }
    .ok_or_else(|| fail("compressed data is damaged"))
}

/// Algorithm, decompressed size and compressed data.
fn header<'a>(section: &ElfSection, raw: &'a [u8]) -> Option<(u32, u64, &'a [u8])> {
    if section.sh_flags & abi::SHF_COMPRESSED != 0 {
        Some((u32_at(raw, 0)?, u64_at(raw, 8)?, raw.get(CHDR_SIZE..)?))
    } else {
        let size = raw.get(ZDEBUG_MAGIC.len()..ZDEBUG_HEADER_SIZE)?.try_into().ok()?;
        let data = raw.get(ZDEBUG_HEADER_SIZE..)?;
        Some((abi::ELFCOMPRESS_ZLIB, u64::from_be_bytes(size), data))
    }
}

/// Reads exactly `size` bytes. Memory grows with what really comes out, not with what a header
/// claims.
fn inflate(decoder: impl Read, size: u64) -> Option<Vec<u8>> {
    const FIRST_STEP: u64 = 64 << 20;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size.min(FIRST_STEP)).ok()?).ok()?;
    decoder.take(size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}
