//! A file mapped into memory: the one place with `unsafe`.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::{Mmap, UncheckedAdvice};

use crate::Image;

/// A read-only mapping of a whole file. Only pages that are touched are read.
///
/// Meant for vmlinux and modules' debug files, which are installed once and replaced by renaming.
/// A file that is cut short while it is mapped kills the process (SIGBUS), so a dump, which may
/// still be in the making, must not be opened this way.
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps `file`. The file may be closed afterwards.
    ///
    /// # Errors
    /// Whatever `mmap` says.
    #[allow(unsafe_code)]
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is private and read-only. Another process that writes to the file
        // could change bytes under the slice; every reader here checks what it decodes and keeps
        // no assumption across two reads, and debug files are not written in place.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self { map })
    }
}

impl Image for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.map
    }

    #[allow(unsafe_code)]
    fn release(&self, range: Range<usize>) {
        let end = range.end.min(self.map.len());
        if let Some(len) = end.checked_sub(range.start).filter(|&len| len > 0) {
            // SAFETY: MADV_DONTNEED loses data in anonymous or written private pages only. This
            // mapping is of a file and read-only: the next read faults the same page in again.
            // Failure leaves the pages where they are, which is what happens without advice.
            let _ = unsafe {
                self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, len)
            };
        }
    }
}
