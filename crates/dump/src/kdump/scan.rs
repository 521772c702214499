//! Long reads of a kdump-compressed dump: many pages straight into the caller's buffer.
//!
//! The data of neighbouring pages lie next to each other in the file, so one read fetches those of
//! many pages, and cores share the decompression. The page cache is left to those who come back to
//! what they read.

use super::memory::{KdumpMemory, Stored};
use crate::source::read_exact;
use mortis_memory::Unavailable;
use rayon::prelude::*;
use std::cell::RefCell;

/// Pages that are located and fetched together.
const BATCH: usize = 16;
/// From so many pages on, waking other cores costs less than they save.
const PARALLEL: usize = 64;

thread_local! {
    /// The stored bytes of the pages at hand.
    static FETCHED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The page that could not be had, counted from the first that was asked for, and why.
pub(super) type Failure = (usize, Unavailable);

impl KdumpMemory {
    /// Fills `out`, whole pages, from page `pfn` on.
    pub(super) fn scan(&self, pfn: u64, out: &mut [u8]) -> Result<(), Failure> {
        let page_size = self.page_size_in_memory();
        let batch = |(number, out): (usize, &mut [u8])| {
            let first = number * BATCH;
            self.scan_batch(pfn.saturating_add(first as u64), out)
                .err()
                .map(|(index, why)| (first + index, why))
        };
        let failure = if out.len() >= PARALLEL * page_size {
            out.par_chunks_mut(BATCH * page_size).enumerate().find_map_first(batch)
        } else {
            out.chunks_mut(BATCH * page_size).enumerate().find_map(batch)
        };
        failure.map_or(Ok(()), Err)
    }

    fn scan_batch(&self, pfn: u64, out: &mut [u8]) -> Result<(), Failure> {
        let page_size = self.page_size_in_memory();
        let mut located = Vec::with_capacity(BATCH);
        let mut missing = Ok(());
        for index in 0..out.len() / page_size {
            match self.locate(pfn.saturating_add(index as u64)) {
                Ok(stored) => located.push(stored),
                Err(why) => {
                    missing = Err((index, why));
                    break;
                }
            }
        }
        let mut done = 0;
        while let Some(rest) = located.get(done..).filter(|rest| !rest.is_empty()) {
            let run = adjacent(rest);
            let pages = out.get_mut(done * page_size..).unwrap_or_default();
            self.load_run(&rest[..run], pages.chunks_exact_mut(page_size))
                .map_err(|(index, why)| (done + index, why))?;
            done += run;
        }
        missing
    }

    /// Fetches pages whose data follow each other with one read.
    fn load_run<'a>(
        &self,
        run: &[Stored],
        pages: impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<(), Failure> {
        let Some(first) = run.first() else { return Ok(()) };
        FETCHED.with_borrow_mut(|fetched| {
            fetched.resize(run.iter().map(|stored| stored.size).sum(), 0);
            let available = match read_exact(self.source(), first.offset, fetched) {
                Ok(()) => fetched.len(),
                Err(short) => short.filled,
            };
            let mut data = &fetched[..available];
            for (index, (stored, page)) in run.iter().zip(pages).enumerate() {
                let Some((own, rest)) = data.split_at_checked(stored.size) else {
                    // Read once more by itself, for the exact reason.
                    return self.load(*stored, page).map_err(|why| (index, why));
                };
                data = rest;
                match stored.codec {
                    None => page.copy_from_slice(own),
                    Some(codec) => {
                        codec.decompress(own, page).map_err(|_| (index, Unavailable::Unreadable))?
                    }
                }
            }
            Ok(())
        })
    }
}

/// How many of the pages lie next to each other in the file, from the first on.
fn adjacent(pages: &[Stored]) -> usize {
    let gap = pages
        .windows(2)
        .position(|pair| pair[0].offset.checked_add(pair[0].size as u64) != Some(pair[1].offset));
    gap.map_or(pages.len(), |index| index + 1)
}
