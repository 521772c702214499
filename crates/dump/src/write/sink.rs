//! Where a written dump goes: a file at positions, or a stream.

use std::fs::File;
use std::io::{self, Write};

/// Where a dump is written.
pub enum Sink {
    /// A new and empty file.
    File(File),
    /// A pipe, or anything else that takes bytes one after the other.
    Stream(Box<dyn Write + Send>),
}

/// Bytes at positions. What nobody writes to is zero.
pub(super) trait Output: Send {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Ends what was written after `len` bytes, and says how long the file is.
    fn finish(&mut self, len: u64) -> io::Result<u64>;

    /// Forgets all that was written, where that can be done.
    fn start_again(&mut self) -> bool {
        false
    }

    /// Bytes that were handed on so far.
    fn written(&self) -> u64;
}

/// A file; what is not written to is a hole.
pub(super) struct FileOutput {
    file: File,
    written: u64,
}

impl FileOutput {
    pub(super) fn new(file: File) -> Self {
        Self { file, written: 0 }
    }
}

impl Output for FileOutput {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset);
        #[cfg(not(unix))]
        {
            use std::io::{Seek, SeekFrom};
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.write_all(bytes)
        }
    }

    fn finish(&mut self, len: u64) -> io::Result<u64> {
        self.file.set_len(len).map(|()| len)
    }

    fn start_again(&mut self) -> bool {
        self.written = 0;
        self.file.set_len(0).is_ok()
    }

    fn written(&self) -> u64 {
        self.written
    }
}

/// A stream of bytes in order; what is passed over is filled with zeroes.
pub(super) struct StreamOutput {
    stream: Box<dyn Write + Send>,
    at: u64,
}

impl StreamOutput {
    pub(super) fn new(stream: Box<dyn Write + Send>) -> Self {
        Self { stream, at: 0 }
    }

    fn fill_to(&mut self, offset: u64) -> io::Result<()> {
        static ZEROES: [u8; 1 << 16] = [0; 1 << 16];
        while self.at < offset {
            let len = (offset - self.at).min(ZEROES.len() as u64);
            self.stream.write_all(&ZEROES[..len as usize])?;
            self.at += len;
        }
        match self.at == offset {
            true => Ok(()),
            false => Err(io::Error::other("a stream cannot be written to out of order")),
        }
    }
}

impl Output for StreamOutput {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fill_to(offset)?;
        self.stream.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self, len: u64) -> io::Result<u64> {
        self.fill_to(len)?;
        self.stream.flush().map(|()| len)
    }

    fn written(&self) -> u64 {
        self.at
    }
}
