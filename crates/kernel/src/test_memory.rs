//! Memory made by hand, word by word, for the tests of this crate.

use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};
use std::collections::BTreeMap;

/// Words at addresses; everything else is unmapped.
#[derive(Clone, Default)]
pub(crate) struct Words(BTreeMap<u64, u64>);

impl Words {
    /// Writes `words` from `address` on.
    pub(crate) fn put(&mut self, address: u64, words: &[u64]) {
        self.0.extend((address..).step_by(8).zip(words.iter().copied()));
    }
}

impl VirtualMemory for Words {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        for (byte, at) in buf.iter_mut().zip(address.0..) {
            let unmapped = || ReadError::new(VirtAddr(at), Unavailable::Unmapped);
            let (start, word) = self.0.range(..=at).next_back().ok_or_else(unmapped)?;
            *byte = *word.to_le_bytes().get((at - start) as usize).ok_or_else(unmapped)?;
        }
        Ok(())
    }
}
