//! Physical memory that loses pages, or tells lies, as a test wants it to.

use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

const PAGE_SIZE: u64 = 4096;

/// What is wrong with some pages, by page frame number.
#[derive(Clone, Default)]
pub struct Faults {
    /// Pages that are not there: they read as excluded.
    pub lost: BTreeSet<u64>,
    /// Offsets within a page, and what stands there instead of the truth.
    pub changed: BTreeMap<u64, Vec<(usize, u8)>>,
}

impl Faults {
    /// Loses the page at `address`.
    pub fn lose(&mut self, address: PhysAddr) {
        self.lost.insert(address.0 / PAGE_SIZE);
    }

    /// Puts `bytes` in place of what is at `address`.
    pub fn change(&mut self, address: PhysAddr, bytes: &[u8]) {
        for (at, &byte) in (address.0..).zip(bytes) {
            let place = ((at % PAGE_SIZE) as usize, byte);
            self.changed.entry(at / PAGE_SIZE).or_default().push(place);
        }
    }
}

/// Physical memory with faults in it.
pub struct FaultyMemory {
    /// The truth.
    pub below: Arc<dyn PhysicalMemory>,
    /// What is made of it.
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
    /// What is read.
    pub below: Arc<dyn PhysicalMemory>,
    /// Page frame numbers.
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
