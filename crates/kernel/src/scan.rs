//! Long scans: over all cores, in bounded memory, in order, with a word on how far they are, and
//! ended when the user wants them ended.
//!
//! The engine prints nothing. Whoever asks for a scan hands it a [`Progress`], which another thread
//! may look at, and which tells the scan when to stop.

use crate::error::{KernelError, Result};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a scan is, and whether it is to go on. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// A scan that ends when `interrupted` is set.
    pub fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self { interrupted, ..Self::default() }
    }

    /// Says how much there is to do, in units of the scan's choice. What was done before counts
    /// no more.
    pub fn expect(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Says that `done` of `total` units are done, whatever was said before.
    pub fn reach(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Notes that `units` more are done.
    ///
    /// # Errors
    /// [`KernelError::Interrupted`], when the scan is to end.
    pub fn advance(&self, units: u64) -> Result<()> {
        self.done.fetch_add(units, Ordering::Relaxed);
        self.check()
    }

    /// Fails when the scan is to end.
    ///
    /// # Errors
    /// [`KernelError::Interrupted`].
    pub fn check(&self) -> Result<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(KernelError::Interrupted),
            false => Ok(()),
        }
    }

    /// What part of the work is done, from 0 to 1; `None` while nobody knows how much there is.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total.load(Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed).min(total);
        (total > 0).then(|| done as f64 / total as f64)
    }
}

/// Items that one core works on while the others do theirs; what [`in_order`] holds at a time is
/// that much for each core.
const ITEMS_PER_CORE: usize = 32;

/// Does `work` on every item on all cores, and hands the results to `each` in the items' order. No
/// more than a few items for each core are under way at a time: an item should be some
/// milliseconds of work, and a result not too large.
///
/// # Errors
/// The first error of `each`, which ends the scan.
pub fn in_order<T, R, E>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E>
where
    T: Send,
    R: Send,
{
    let mut items = items.into_iter();
    let batch = rayon::current_num_threads().max(1) * ITEMS_PER_CORE;
    loop {
        let taken: Vec<T> = items.by_ref().take(batch).collect();
        let last = taken.len() < batch;
        // One item is not worth waking anybody.
        let results: Vec<R> = match taken.len() {
            0 | 1 => taken.into_iter().map(&work).collect(),
            _ => taken.into_par_iter().map(&work).collect(),
        };
        for result in results {
            each(result)?;
        }
        if last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_end_the_scan() {
        let mut seen = Vec::new();
        let all = in_order(
            0..1000u32,
            |n| n * 2,
            |n| {
                seen.push(n);
                Ok::<(), ()>(())
            },
        );
        assert_eq!(all, Ok(()));
        assert_eq!(seen, (0..1000).map(|n| n * 2).collect::<Vec<u32>>());
        let mut count = 0;
        let ended = in_order(
            0..,
            |n: u64| n,
            |n| {
                count += 1;
                if n == 700 { Err(n) } else { Ok(()) }
            },
        );
        assert_eq!((ended, count), (Err(700), 701));
    }

    #[test]
    fn progress_is_shared_and_can_be_ended() {
        let interrupted = Arc::new(AtomicBool::new(false));
        let progress = Progress::new(Arc::clone(&interrupted));
        assert_eq!(progress.fraction(), None);
        progress.expect(4);
        assert_eq!(progress.clone().advance(1), Ok(()));
        assert_eq!(progress.fraction(), Some(0.25));
        interrupted.store(true, Ordering::Relaxed);
        assert_eq!(progress.advance(1), Err(KernelError::Interrupted));
    }
}
