//! Physical memory: what every dump format becomes.

use crate::{PhysAddr, ReadError};

/// A stretch of physical memory that the machine had, whether or not its pages are in the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalRange {
    /// The first byte.
    pub start: PhysAddr,
    /// One past the last byte.
    pub end: PhysAddr,
}

/// The bytes of a machine's physical memory, as far as a dump holds them.
pub trait PhysicalMemory: Send + Sync {
    /// Fills `buf` from `address` on. On an error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// [`ReadError`] with the first physical address that cannot be had.
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError>;

    /// The same for those who pass through much of memory and do not come back: no cache is filled
    /// with what they read.
    ///
    /// # Errors
    /// As [`PhysicalMemory::read`].
    fn read_once(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read(address, buf)
    }

    /// The page size of the machine in bytes, a power of two.
    fn page_size(&self) -> u64;

    /// Whether the byte at `address` could be read, without reading it where that is cheaper.
    ///
    /// # Errors
    /// [`ReadError`] as [`PhysicalMemory::read`] would give.
    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        self.read(address, &mut [0])
    }

    /// The stretches of physical memory that the dump speaks of, ascending and disjoint.
    fn ranges(&self) -> Vec<PhysicalRange>;
}

impl<M: PhysicalMemory + ?Sized> PhysicalMemory for std::sync::Arc<M> {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read(address, buf)
    }

    fn read_once(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_once(address, buf)
    }

    fn page_size(&self) -> u64 {
        (**self).page_size()
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        (**self).probe(address)
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        (**self).ranges()
    }
}
