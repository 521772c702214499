//! lzop files: a header, then blocks, each with its lengths and checksums in front, big-endian.
//!
//! Known from lzop's own documentation and from how Linux' lib/decompress_unlzo.c reads them.

use super::input::Input;
use crate::lzo;
use std::io::{self, Read};

const MAGIC: &[u8; 9] = b"\x89LZO\0\r\n\x1a\n";
/// The largest block that lzop makes.
const MAX_BLOCK: usize = 64 << 20;
/// From this version on, headers say what is needed, the level and the upper half of the time.
const VERSION_0940: u64 = 0x940;

const ADLER32_OF_DATA: u64 = 0x1;
const ADLER32_OF_BLOCK: u64 = 0x2;
const EXTRA_FIELD: u64 = 0x40;
const CRC32_OF_DATA: u64 = 0x100;
const CRC32_OF_BLOCK: u64 = 0x200;
const FILTER: u64 = 0x800;

/// What comes out of an lzop file.
pub(super) struct LzopDecoder {
    input: Input,
    /// The header's flags, while within a part.
    flags: Option<u64>,
    block: Vec<u8>,
    taken: usize,
    compressed: Vec<u8>,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl LzopDecoder {
    pub(super) fn new(input: Input) -> Self {
        Self { input, flags: None, block: Vec::new(), taken: 0, compressed: Vec::new() }
    }

    /// Reads the header of a part, of which the file may have several, and gives its flags.
    fn header(&mut self) -> io::Result<u64> {
        let mut magic = [0; MAGIC.len()];
        self.input.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged("no lzop header"));
        }
        let version = self.input.number::<2>()?;
        self.input.number::<2>()?; // the library's version
        if version >= VERSION_0940 {
            self.input.number::<2>()?; // the version that is needed
        }
        self.input.number::<1>()?; // the method: all of them give LZO1X
        if version >= VERSION_0940 {
            self.input.number::<1>()?; // the level
        }
        let flags = self.input.number::<4>()?;
        if flags & FILTER != 0 {
            return Err(damaged("lzop filters are not supported"));
        }
        self.input.number::<8>()?; // mode and time
        if version >= VERSION_0940 {
            self.input.number::<4>()?; // the time's upper half
        }
        let name = self.input.number::<1>()?;
        self.input.skip(name + 4); // and a checksum
        if flags & EXTRA_FIELD != 0 {
            let extra = self.input.number::<4>()?;
            self.input.skip(extra + 4);
        }
        Ok(flags)
    }

    /// Reads the next block; `false` at the end of the part.
    fn next_block(&mut self, flags: u64) -> io::Result<bool> {
        let len = self.input.number::<4>()? as usize;
        if len == 0 {
            return Ok(false);
        }
        let stored = self.input.number::<4>()? as usize;
        if len > MAX_BLOCK || stored > len {
            return Err(damaged("an lzop block is too long"));
        }
        let checksum = |input: &mut Input, wanted: bool| match wanted {
            true => input.number::<4>().map(Some),
            false => Ok(None),
        };
        let adler = checksum(&mut self.input, flags & ADLER32_OF_DATA != 0)?;
        checksum(&mut self.input, flags & CRC32_OF_DATA != 0)?;
        if stored < len {
            checksum(&mut self.input, flags & ADLER32_OF_BLOCK != 0)?;
            checksum(&mut self.input, flags & CRC32_OF_BLOCK != 0)?;
        }
        self.compressed.clear();
        (&mut self.input).take(stored as u64).read_to_end(&mut self.compressed)?;
        if self.compressed.len() < stored {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.taken = 0;
        if stored == len {
            std::mem::swap(&mut self.block, &mut self.compressed);
        } else {
            self.block.resize(len, 0);
            if lzo::decompress(&self.compressed, &mut self.block) != Ok(len) {
                self.block.clear();
                return Err(damaged("an lzop block is damaged"));
            }
        }
        if adler.is_some_and(|adler| adler != u64::from(adler32(&self.block))) {
            self.block.clear();
            return Err(damaged("an lzop block is damaged"));
        }
        Ok(true)
    }
}

impl Read for LzopDecoder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.block.get(self.taken..).unwrap_or_default();
            if !rest.is_empty() || buf.is_empty() {
                let len = rest.len().min(buf.len());
                buf[..len].copy_from_slice(&rest[..len]);
                self.taken += len;
                return Ok(len);
            }
            let flags = match self.flags {
                Some(flags) => flags,
                None if self.input.peek(self.input.position(), 1).is_empty() => return Ok(0),
                None => self.header()?,
            };
            self.flags = self.next_block(flags)?.then_some(flags);
        }
    }
}

/// The checksum of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    // As many bytes as cannot overflow the sums.
    const SAFE: usize = 5552;
    let (mut low, mut high) = (1, 0);
    for piece in bytes.chunks(SAFE) {
        for &byte in piece {
            low += u32::from(byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_specification() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler32(&vec![0xff; 1 << 20]), {
            let (mut low, mut high) = (1u64, 0u64);
            for _ in 0..1 << 20 {
                low = (low + 255) % 65521;
                high = (high + low) % 65521;
            }
            (high << 16 | low) as u32
        });
    }
}
