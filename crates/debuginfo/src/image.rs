//! The bytes of a debug file, however the caller holds them.

use std::ops::Range;

/// The bytes of a debug file: a mapping, or memory.
pub trait Image: Send + Sync {
    /// All bytes. The same slice on every call.
    fn bytes(&self) -> &[u8];

    /// The caller is done with these bytes for now, so a mapping may give their memory back.
    /// They can be read again at any time.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }
}

impl Image for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}
