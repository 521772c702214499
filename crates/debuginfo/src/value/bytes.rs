//! An object's bytes, as far as the dump has them.

use mortis_memory::{MAX_ALLOCATION, Unavailable, VirtAddr, VirtualMemory};
use std::ops::Range;

/// The smallest page of any architecture: what is missing is missing by such pieces.
const PAGE: u64 = 4096;

/// The bytes of an object and where it is; some of them may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectBytes {
    address: VirtAddr,
    bytes: Vec<u8>,
    /// What is missing and why; ascending and disjoint. Such bytes are zero.
    holes: Vec<(Range<usize>, Unavailable)>,
}

impl ObjectBytes {
    /// An object all of whose bytes are there.
    pub fn new(address: VirtAddr, bytes: Vec<u8>) -> Self {
        Self { address, bytes, holes: Vec::new() }
    }

    /// Reads an object of `len` bytes at `address`. Pages that cannot be had are holes; what is
    /// longer than the most that is ever allocated is cut.
    pub fn read(memory: &dyn VirtualMemory, address: VirtAddr, len: u64) -> Self {
        let len = len.min(MAX_ALLOCATION) as usize;
        let mut object = Self::new(address, vec![0; len]);
        if memory.read(address, &mut object.bytes).is_ok() {
            return object;
        }
        let mut at = 0;
        while at < len {
            let from = address.offset(at as u64);
            let end = (at + (PAGE - from.0 % PAGE) as usize).min(len);
            if let Some(page) = object.bytes.get_mut(at..end)
                && let Err(error) = memory.read(from, page)
            {
                page.fill(0);
                object.add_hole(at..end, error.why);
            }
            at = end;
        }
        object
    }

    /// Says that the bytes of `range`, behind all that were missing before, are missing.
    pub fn add_hole(&mut self, range: Range<usize>, why: Unavailable) {
        match self.holes.last_mut() {
            Some((last, reason)) if last.end == range.start && *reason == why => {
                last.end = range.end;
            }
            _ => self.holes.push((range, why)),
        }
    }

    /// Where the object is.
    pub fn address(&self) -> VirtAddr {
        self.address
    }

    /// How many bytes it has, those that are missing included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `len` bytes from `at` on.
    ///
    /// # Errors
    /// Why some of them cannot be had; those behind the end are truncated.
    pub fn get(&self, at: u64, len: u64) -> Result<&[u8], Unavailable> {
        let range = range(at, len).ok_or(Unavailable::Truncated)?;
        if let Some((_, why)) = self.hole_in(&range) {
            return Err(*why);
        }
        self.bytes.get(range).ok_or(Unavailable::Truncated)
    }

    /// Why none of the `len` bytes from `at` on can be had; `None` if one can, or there is none.
    pub fn wholly_missing(&self, at: u64, len: u64) -> Option<Unavailable> {
        let range = range(at, len)?;
        let (hole, why) = self.hole_in(&range)?;
        (hole.start <= range.start && range.end <= hole.end).then_some(*why)
    }

    /// Whether two stretches of `len` bytes look the same, what is missing included.
    pub fn alike(&self, one: u64, other: u64, len: u64) -> bool {
        match (self.get(one, len), self.get(other, len)) {
            (Ok(one), Ok(other)) => one == other,
            (Err(_), Err(_)) => {
                let (one, other) = (self.wholly_missing(one, len), self.wholly_missing(other, len));
                one.is_some() && one == other
            }
            _ => false,
        }
    }

    fn hole_in(&self, range: &Range<usize>) -> Option<&(Range<usize>, Unavailable)> {
        let first = self.holes.partition_point(|(hole, _)| hole.end <= range.start);
        self.holes.get(first).filter(|(hole, _)| hole.start < range.end)
    }
}

fn range(at: u64, len: u64) -> Option<Range<usize>> {
    let start = usize::try_from(at).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}
