//! A source as the stream that decoders read.

use crate::source::Source;
use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What one read takes.
const BUFFER: usize = 1 << 18;

/// A source read from its start to its end.
pub(super) struct Input {
    source: Arc<dyn Source>,
    buffer: Vec<u8>,
    /// What of `buffer` was read from the source, and what of that was taken.
    filled: usize,
    taken: usize,
    progress: Progress,
}

/// How far an [`Input`] is, for those who gave it away.
#[derive(Clone)]
pub(super) struct Progress {
    shared: Arc<(AtomicU64, Mutex<Option<io::Error>>)>,
    total: u64,
}

impl Progress {
    /// Bytes that the decoder took.
    pub(super) fn position(&self) -> u64 {
        self.shared.0.load(Ordering::Relaxed)
    }

    /// All bytes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What the operating system said when the source could not be read.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.shared.1.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Input {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        let progress = Progress { shared: Arc::default(), total: source.len() };
        Self { source, buffer: vec![0; BUFFER], filled: 0, taken: 0, progress }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Bytes that were taken.
    pub(super) fn position(&self) -> u64 {
        self.progress.position()
    }

    /// The bytes at `position`, without taking them; fewer at the end.
    pub(super) fn peek(&self, position: u64, len: u64) -> Vec<u8> {
        crate::source::read_up_to(&*self.source, position, len)
    }

    /// Goes on `len` bytes further.
    pub(super) fn skip(&mut self, len: u64) {
        let to = self.position().saturating_add(len);
        (self.filled, self.taken) = (0, 0);
        self.progress.shared.0.store(to, Ordering::Relaxed);
    }

    /// The next big-endian number.
    pub(super) fn number<const N: usize>(&mut self) -> io::Result<u64> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.filled {
            match self.source.read_at(self.position(), &mut self.buffer) {
                Ok(0) => break,
                Ok(len) => (self.taken, self.filled) = (0, len.min(self.buffer.len())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let shared = &self.progress.shared.1;
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(ErrorKind::Other.into());
                }
            }
        }
        Ok(self.buffer.get(self.taken..self.filled).unwrap_or_default())
    }

    fn consume(&mut self, len: usize) {
        let len = len.min(self.filled.saturating_sub(self.taken));
        self.taken += len;
        self.progress.shared.0.fetch_add(len as u64, Ordering::Relaxed);
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let len = there.len().min(buf.len());
        buf[..len].copy_from_slice(&there[..len]);
        self.consume(len);
        Ok(len)
    }
}
