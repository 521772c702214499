//! Bulk reads that survive missing pages.

use mortis_memory::{VirtAddr, VirtualMemory};
use rayon::prelude::*;
use std::ops::Range;

/// What one read asks for where nothing is missing.
const CHUNK: usize = 128 << 10;

/// The smallest page of any architecture: what is missing is missing by such pieces.
const PAGE: u64 = 4096;

/// A stretch of memory with holes, which read as zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Region {
    pub(crate) bytes: Vec<u8>,
    /// Ascending and disjoint.
    pub(crate) holes: Vec<Range<usize>>,
}

impl Region {
    /// Reads `len` bytes at `address`, on all cores: most of the time goes into decompressing.
    pub(crate) fn read(memory: &dyn VirtualMemory, address: VirtAddr, len: usize) -> Self {
        let mut bytes = vec![0; len];
        let mut holes: Vec<Range<usize>> = bytes
            .par_chunks_mut(CHUNK)
            .enumerate()
            .flat_map_iter(|(index, chunk)| {
                let start = index * CHUNK;
                read_chunk(memory, address.offset(start as u64), chunk)
                    .into_iter()
                    .map(move |hole| hole.start + start..hole.end + start)
            })
            .collect();
        holes.sort_by_key(|hole| hole.start);
        Self { bytes, holes }
    }

    /// The bytes of `range`, unless some of them are missing.
    pub(crate) fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        if self.hole_in(&range).is_some() {
            return None;
        }
        self.bytes.get(range)
    }

    /// The first hole that touches `range`.
    pub(crate) fn hole_in(&self, range: &Range<usize>) -> Option<&Range<usize>> {
        let first = self.holes.partition_point(|hole| hole.end <= range.start);
        self.holes.get(first).filter(|hole| hole.start < range.end)
    }

    /// The 32-bit number at byte `at`.
    pub(crate) fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.get(at..at.checked_add(4)?)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    }

    /// The 64-bit number at byte `at`.
    pub(crate) fn u64(&self, at: usize) -> Option<u64> {
        let bytes = self.get(at..at.checked_add(8)?)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

fn read_chunk(
    memory: &dyn VirtualMemory,
    address: VirtAddr,
    chunk: &mut [u8],
) -> Vec<Range<usize>> {
    let mut holes = Vec::new();
    if memory.read(address, chunk).is_ok() {
        return holes;
    }
    let mut done = 0;
    while done < chunk.len() {
        let at = address.offset(done as u64);
        let len = ((PAGE - at.0 % PAGE) as usize).min(chunk.len() - done);
        if let Some(page) = chunk.get_mut(done..done + len)
            && memory.read(at, page).is_err()
        {
            page.fill(0);
            holes.push(done..done + len);
        }
        done += len;
    }
    holes
}
