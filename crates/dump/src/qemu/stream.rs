//! A source read from front to back, with a look ahead.

use crate::source::{Source, read_exact};
use memchr::memmem::Finder;

/// What one read takes.
const STRETCH: usize = 1 << 20;

/// Where the reading is. Nothing is there beyond the end.
pub(super) struct Stream<'a> {
    source: &'a dyn Source,
    buffer: Vec<u8>,
    /// Where in the source the buffer starts, and how much of it is filled.
    start: u64,
    filled: usize,
    position: u64,
}

impl<'a> Stream<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { source, buffer: Vec::new(), start: 0, filled: 0, position: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn len(&self) -> u64 {
        self.source.len()
    }

    pub(super) fn source(&self) -> &'a dyn Source {
        self.source
    }

    /// Goes on at `position`, forward or back.
    pub(super) fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// The next `len` bytes, at most a megabyte, without taking them.
    pub(super) fn peek(&mut self, len: usize) -> Option<&[u8]> {
        let there = |stream: &Self| {
            let skip = usize::try_from(stream.position.checked_sub(stream.start)?).ok()?;
            (skip.checked_add(len)? <= stream.filled).then_some(skip)
        };
        let skip = match there(self) {
            Some(skip) => skip,
            None => {
                self.fill();
                there(self)?
            }
        };
        self.buffer.get(skip..skip + len)
    }

    fn fill(&mut self) {
        let rest = self.source.len().saturating_sub(self.position);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(STRETCH);
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        self.start = self.position;
        self.filled = match self.buffer.get_mut(..len) {
            Some(buffer) => match read_exact(self.source, self.position, buffer) {
                Ok(()) => len,
                Err(short) => short.filled,
            },
            None => 0,
        };
    }

    /// Takes `len` bytes without looking at them; whether they are there.
    pub(super) fn skip(&mut self, len: u64) -> bool {
        match self.position.checked_add(len) {
            Some(position) if position <= self.len() => {
                self.position = position;
                true
            }
            _ => false,
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.peek(N)?.try_into().ok()?;
        self.position += N as u64;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn be64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text behind a byte with its length.
    pub(super) fn short_text(&mut self) -> Option<String> {
        let len = self.u8()?;
        self.text(len.into())
    }

    /// A text of at most a megabyte.
    pub(super) fn text(&mut self, len: usize) -> Option<String> {
        let text = String::from_utf8_lossy(self.peek(len)?).into_owned();
        self.position += len as u64;
        Some(text)
    }

    /// Goes to the next place where `pattern` is and `accept` likes what follows it, and stops in
    /// front of it. Stays where it is when there is none. `tick` hears the position from time to
    /// time.
    pub(super) fn find<E>(
        &mut self,
        pattern: &[u8],
        follow: usize,
        accept: impl Fn(&[u8]) -> bool,
        mut tick: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<bool, E> {
        let finder = Finder::new(pattern);
        let whole = pattern.len() + follow;
        let from = self.position;
        let mut at = from;
        loop {
            tick(at)?;
            self.position = at;
            self.fill();
            let window = self.buffer.get(..self.filled).unwrap_or_default();
            let hit = finder.find_iter(window).find(|hit| {
                let behind = window.get(hit + pattern.len()..).unwrap_or_default();
                let at_end = self.filled < STRETCH;
                (behind.len() >= follow || at_end) && accept(behind)
            });
            if let Some(hit) = hit {
                self.position = at + hit as u64;
                return Ok(true);
            }
            if self.filled < STRETCH {
                self.position = from;
                return Ok(false);
            }
            at += (STRETCH - whole) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_lies_across_two_stretches() {
        let mut bytes = vec![0; 3 * STRETCH];
        let at = STRETCH - 2;
        bytes[at..at + 4].copy_from_slice(b"mark");
        bytes[2 * STRETCH..2 * STRETCH + 5].copy_from_slice(b"mark!");
        let mut stream = Stream::new(&bytes);
        let never = |_| Ok::<(), ()>(());
        assert_eq!(stream.find(b"mark", 1, |_| true, never), Ok(true));
        assert_eq!(stream.position(), at as u64);
        assert_eq!(stream.find(b"mark", 1, |next| next[0] == b'!', never), Ok(true));
        assert_eq!(stream.position(), 2 * STRETCH as u64);
        assert_eq!(stream.find(b"none", 0, |_| true, never), Ok(false));
        assert_eq!(stream.position(), 2 * STRETCH as u64);
        assert_eq!(stream.text(5).as_deref(), Some("mark!"));
        assert_eq!(stream.be32(), Some(0));
        assert!(!stream.skip(u64::MAX));
        assert!(stream.skip((STRETCH - 9) as u64));
        assert_eq!(stream.u8(), None);
    }
}
