//! Memory made by hand, for the tests of this crate.

use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};

/// Pieces of memory; everything else is unmapped.
#[derive(Clone, Default)]
pub(crate) struct TestMemory {
    pieces: Vec<(u64, Vec<u8>)>,
    excluded: Vec<std::ops::Range<u64>>,
}

impl TestMemory {
    pub(crate) fn with(mut self, address: u64, bytes: impl Into<Vec<u8>>) -> Self {
        self.pieces.push((address, bytes.into()));
        self
    }

    pub(crate) fn with_zeroes(self, range: std::ops::Range<u64>) -> Self {
        let len = (range.end - range.start) as usize;
        self.with(range.start, vec![0; len])
    }

    pub(crate) fn excluding(mut self, range: std::ops::Range<u64>) -> Self {
        self.excluded.push(range);
        self
    }

    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
        for (start, piece) in &mut self.pieces {
            let Some(at) = address.checked_sub(*start) else { continue };
            let at = at as usize;
            if let Some(place) = piece.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
                return;
            }
        }
        panic!("no memory at {address:#x}");
    }

    pub(crate) fn put_words(&mut self, address: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((address..).step_by(8)) {
            self.put(at, &word.to_le_bytes());
        }
    }
}

impl VirtualMemory for TestMemory {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let end = address.0.saturating_add(buf.len() as u64);
        if let Some(gap) = self.excluded.iter().find(|gap| address.0 < gap.end && gap.start < end) {
            let first = VirtAddr(address.0.max(gap.start));
            return Err(ReadError::new(first, Unavailable::Excluded));
        }
        for (start, piece) in &self.pieces {
            let bytes = address
                .0
                .checked_sub(*start)
                .and_then(|at| piece.get(at as usize..(at as usize).checked_add(buf.len())?));
            if let Some(bytes) = bytes {
                buf.copy_from_slice(bytes);
                return Ok(());
            }
        }
        Err(ReadError::new(address, Unavailable::Unmapped))
    }
}
