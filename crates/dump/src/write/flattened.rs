//! makedumpfile's flattened format (its makedumpfile.h), for what cannot seek: a header, then records
//! of an offset, a length and bytes, all numbers big-endian. Where records overlap the later one
//! counts, so a header may be written once more at the end.

use super::fields::Fields;
use super::sink::Output;
use std::io;

const HEADER_SIZE: usize = 4096;
const SIGNATURE: &str = "makedumpfile";
const TYPE: i64 = 1;
const VERSION: i64 = 1;
/// Offset and length of the record that ends the stream.
const END: i64 = -1;

/// What is written at positions becomes records of `output`.
pub(super) struct Flattened {
    output: Box<dyn Output>,
    at: u64,
    /// Where the farthest record ends.
    reached: u64,
}

impl Flattened {
    pub(super) fn new(output: Box<dyn Output>) -> io::Result<Self> {
        let mut flattened = Self { output, at: 0, reached: 0 };
        flattened.header()?;
        Ok(flattened)
    }

    fn header(&mut self) -> io::Result<()> {
        let mut header = Fields::default();
        header.text(SIGNATURE, 16).bytes(&TYPE.to_be_bytes()).bytes(&VERSION.to_be_bytes());
        header.pad_to(HEADER_SIZE);
        self.append(header.as_bytes())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

impl Output for Flattened {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut record = Fields::default();
        record.bytes(&offset.to_be_bytes()).bytes(&(bytes.len() as u64).to_be_bytes());
        self.append(record.as_bytes())?;
        self.reached = self.reached.max(offset + bytes.len() as u64);
        self.append(bytes)
    }

    fn finish(&mut self, len: u64) -> io::Result<u64> {
        if self.reached < len {
            self.write_at(len - 1, &[0])?;
        }
        let end = END.to_be_bytes();
        self.append(&[end, end].concat())?;
        self.output.finish(self.at)
    }

    fn start_again(&mut self) -> bool {
        (self.at, self.reached) = (0, 0);
        self.output.start_again() && self.header().is_ok()
    }

    fn written(&self) -> u64 {
        self.output.written()
    }
}
