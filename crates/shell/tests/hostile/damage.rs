//! Damage, done on the way: to the bytes of a file, or to the physical memory behind it.

use mortis_dump::Source;
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

pub const PAGE_SIZE: u64 = 4096;

/// A file with one bit flipped, or with its end cut off.
pub struct DamagedFile {
    pub file: Arc<Vec<u8>>,
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

/// What is wrong with some pages, by page frame number.
#[derive(Clone, Default)]
pub struct Faults {
    pub lost: BTreeSet<u64>,
    /// Offsets within a page, and what stands there instead of the truth.
    pub changed: BTreeMap<u64, Vec<(usize, u8)>>,
}

impl Faults {
    pub fn lose(&mut self, address: PhysAddr) {
        self.lost.insert(address.0 / PAGE_SIZE);
    }

    pub fn change(&mut self, address: PhysAddr, bytes: &[u8]) {
        for (at, &byte) in (address.0..).zip(bytes) {
            let place = ((at % PAGE_SIZE) as usize, byte);
            self.changed.entry(at / PAGE_SIZE).or_default().push(place);
        }
    }
}

/// Physical memory with faults in it.
pub struct FaultyMemory {
    pub below: Arc<dyn PhysicalMemory>,
    pub faults: Faults,
}

impl FaultyMemory {
    fn check(&self, address: PhysAddr, len: u64) -> Result<(), ReadError> {
        let first = address.0 / PAGE_SIZE;
        let last = address.0.saturating_add(len.saturating_sub(1)) / PAGE_SIZE;
        match self.faults.lost.range(first..=last).next() {
            Some(&pfn) => {
                let at = PhysAddr((pfn * PAGE_SIZE).max(address.0));
                Err(ReadError::new(at, Unavailable::Excluded))
            }
            None => Ok(()),
        }
    }
}

impl PhysicalMemory for FaultyMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.check(address, buf.len() as u64)?;
        self.below.read(address, buf)?;
        let last = address.0.saturating_add(buf.len() as u64) / PAGE_SIZE;
        for (pfn, places) in self.faults.changed.range(address.0 / PAGE_SIZE..=last) {
            for &(offset, byte) in places {
                let place = (pfn * PAGE_SIZE + offset as u64)
                    .checked_sub(address.0)
                    .and_then(|at| buf.get_mut(at as usize));
                if let Some(place) = place {
                    *place = byte;
                }
            }
        }
        Ok(())
    }

    fn page_size(&self) -> u64 {
        self.below.page_size()
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        self.check(address, 1)?;
        self.below.probe(address)
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        self.below.ranges()
    }
}

/// Physical memory that remembers which of its pages were asked for.
pub struct WatchedMemory {
    pub below: Arc<dyn PhysicalMemory>,
    pub asked_for: Arc<Mutex<BTreeSet<u64>>>,
}

impl PhysicalMemory for WatchedMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let last = address.0.saturating_add(buf.len().saturating_sub(1) as u64) / PAGE_SIZE;
        self.asked_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(address.0 / PAGE_SIZE..=last);
        self.below.read(address, buf)
    }

    fn page_size(&self) -> u64 {
        self.below.page_size()
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        self.below.probe(address)
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        self.below.ranges()
    }
}

/// xorshift64*: the same damage on every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() >> 16) as usize % end
    }
}
