//! Damage to a file.

use mortis_dump::Source;
use std::io;
use std::sync::Arc;

pub const PAGE_SIZE: u64 = 4096;

/// A file with one bit flipped, or with its end cut off.
pub struct DamagedFile {
    pub file: Arc<dyn Source>,
    pub len: u64,
    /// A byte's offset, and the bits to flip in it.
    pub flip: Option<(u64, u8)>,
}

impl Source for DamagedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let room = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let read = self.file.read_at(offset, &mut buf[..room])?;
        if let Some((at, mask)) = self.flip
            && let Some(byte) =
                at.checked_sub(offset).and_then(|at| buf[..read].get_mut(at as usize))
        {
            *byte ^= mask;
        }
        Ok(read)
    }

    fn len(&self) -> u64 {
        self.len
    }
}
