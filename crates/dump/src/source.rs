//! Where a dump's bytes come from: positioned reads over a file or over memory.
//!
//! Dumps are not mapped: a mapped file that is cut short by somebody else kills the process, and
//! mapped pages count as the process's memory.

use mortis_memory::Unavailable;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Bytes at positions.
pub trait Source: Send + Sync {
    /// Reads at `offset` into `buf` and says how many bytes were read; 0 only at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The number of bytes.
    fn len(&self) -> u64;

    /// Whether there is not one byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What changes when the bytes do, and is the same when the source is opened again: a file's
    /// device, inode, length and time of change. `None`: nobody can tell.
    fn identity(&self) -> Option<String> {
        None
    }
}

/// A file that is read by position.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
    identity: Option<String>,
}

impl FileSource {
    /// Opens the file or block device at `path`.
    ///
    /// # Errors
    /// What the operating system says; a folder is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A block device has no length of its own: its end is where a seek arrives.
        let len = if metadata.is_file() { metadata.len() } else { file.seek(SeekFrom::End(0))? };
        Ok(Self { identity: metadata.is_file().then(|| identity(&metadata)).flatten(), file, len })
    }
}

impl Source for FileSource {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn identity(&self) -> Option<String> {
        self.identity.clone()
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let changed = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    Some(format!("{:x}:{} {} {changed}", metadata.dev(), metadata.ino(), metadata.len()))
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Option<String> {
    None
}

/// A part of a source: a member of an archive, what follows a header.
pub(crate) struct PartSource {
    source: Arc<dyn Source>,
    start: u64,
    len: u64,
}

impl PartSource {
    /// At most `len` bytes of `source` from `start` on; less where the source ends before.
    pub(crate) fn new(source: Arc<dyn Source>, start: u64, len: u64) -> Self {
        let len = len.min(source.len().saturating_sub(start));
        Self { source, start, len }
    }
}

impl Source for PartSource {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(buf.len());
        match buf.get_mut(..len) {
            Some(piece) if len > 0 => self.source.read_at(self.start.saturating_add(offset), piece),
            _ => Ok(0),
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{} at {}+{}", self.source.identity()?, self.start, self.len))
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)) else {
            return Ok(0);
        };
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
}

/// A read that stopped: how many bytes arrived before, and why no more did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortRead {
    pub(crate) filled: usize,
    pub(crate) why: Unavailable,
}

/// Fills `buf` from `offset` on.
pub(crate) fn read_exact(
    source: &dyn Source,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), ShortRead> {
    let mut filled = 0;
    while filled < buf.len() {
        let Some(at) = offset.checked_add(filled as u64) else {
            return Err(ShortRead { filled, why: Unavailable::Truncated });
        };
        match source.read_at(at, &mut buf[filled..]) {
            Ok(0) => return Err(ShortRead { filled, why: Unavailable::Truncated }),
            Ok(len) => filled += len.min(buf.len() - filled),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(ShortRead { filled, why: Unavailable::Unreadable }),
        }
    }
    Ok(())
}

/// Reads what there is of `len` bytes at `offset`, and never allocates more than the source has.
pub(crate) fn read_up_to(source: &dyn Source, offset: u64, len: u64) -> Vec<u8> {
    let len = len.min(source.len().saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    if let Err(short) = read_exact(source, offset, &mut bytes) {
        bytes.truncate(short.filled);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let source = vec![1, 2, 3, 4, 5];
        let mut buf = [0; 4];
        assert_eq!(read_exact(&source, 1, &mut buf), Ok(()));
        assert_eq!(buf, [2, 3, 4, 5]);
        assert_eq!(
            read_exact(&source, 3, &mut buf),
            Err(ShortRead { filled: 2, why: Unavailable::Truncated })
        );
        assert_eq!(
            read_exact(&source, u64::MAX, &mut buf),
            Err(ShortRead { filled: 0, why: Unavailable::Truncated })
        );
        assert_eq!(read_up_to(&source, 4, u64::MAX), [5]);
        assert!(read_up_to(&source, 9, 1).is_empty());
    }
}
