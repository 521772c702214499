//! A bounded cache of equal-sized blocks, and a source read through one.
//!
//! A hit copies what was asked for, usually a few bytes, under the lock of one shard: cheaper than
//! two reference counts, and readers on different cores rarely meet in the same shard. A block
//! that is evicted lends its memory to the next one, so a long scan does not allocate.

use crate::source::{ShortRead, Source, read_exact};
use mortis_memory::Unavailable;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 32;
/// A shard that could not hold a few blocks would evict what the caller is still looking at.
const MIN_BLOCKS_PER_SHARD: usize = 4;

/// Blocks by number. Which goes first is decided by the clock algorithm: one that was used since
/// the hand last passed stays for another turn.
pub(crate) struct BlockCache {
    shards: Box<[Mutex<Shard>]>,
    blocks_per_shard: usize,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    by_key: FxHashMap<u64, usize>,
    hand: usize,
}

struct Slot {
    key: u64,
    block: Vec<u8>,
    used: bool,
}

impl BlockCache {
    /// A cache that holds about `budget` bytes in blocks of `block_size` bytes.
    pub(crate) fn new(budget: usize, block_size: usize) -> Self {
        let blocks = budget / block_size.max(1) / SHARDS;
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            blocks_per_shard: blocks.max(MIN_BLOCKS_PER_SHARD),
        }
    }

    /// Hands the block to `look` if it is there.
    pub(crate) fn with<R>(&self, key: u64, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut shard = self.shard(key);
        let &index = shard.by_key.get(&key)?;
        let slot = shard.slots.get_mut(index)?;
        slot.used = true;
        Some(look(&slot.block))
    }

    /// Puts a block in. Returns one that had to make room, to be used again.
    pub(crate) fn insert(&self, key: u64, block: Vec<u8>) -> Option<Vec<u8>> {
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        if let Some(slot) = shard.by_key.get(&key).and_then(|&index| shard.slots.get_mut(index)) {
            return Some(std::mem::replace(&mut slot.block, block));
        }
        if shard.slots.len() < self.blocks_per_shard {
            shard.by_key.insert(key, shard.slots.len());
            shard.slots.push(Slot { key, block, used: false });
            return None;
        }
        let index = shard.victim();
        let slot = &mut shard.slots[index];
        shard.by_key.remove(&slot.key);
        shard.by_key.insert(key, index);
        slot.key = key;
        slot.used = false;
        Some(std::mem::replace(&mut slot.block, block))
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // Fibonacci hashing: neighbouring pages, which scans read together, go to other shards.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// The next slot that nobody used since the hand passed it. Ends within two turns.
    fn victim(&mut self) -> usize {
        loop {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[index].used) {
                return index;
            }
        }
    }
}

/// A source whose blocks stay around for a while: a kdump's bitmaps and descriptors.
pub(crate) struct CachedSource {
    source: Arc<dyn Source>,
    cache: BlockCache,
}

impl CachedSource {
    /// The unit of reading.
    pub(crate) const BLOCK: u64 = 4096;
    /// From here on a read goes straight to the caller's buffer.
    const DIRECT: usize = 16 * Self::BLOCK as usize;

    pub(crate) fn new(source: Arc<dyn Source>, budget: usize) -> Self {
        Self { source, cache: BlockCache::new(budget, Self::BLOCK as usize) }
    }

    pub(crate) fn source(&self) -> &dyn Source {
        &*self.source
    }

    pub(crate) fn len(&self) -> u64 {
        self.source.len()
    }

    /// Fills `buf` from `offset` on.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        if buf.len() >= Self::DIRECT {
            return read_exact(&*self.source, offset, buf);
        }
        let mut filled = 0;
        while filled < buf.len() {
            let at = offset
                .checked_add(filled as u64)
                .ok_or(ShortRead { filled, why: Unavailable::Truncated })?;
            let skip = (at % Self::BLOCK) as usize;
            let wanted = (buf.len() - filled).min(Self::BLOCK as usize - skip);
            let piece = &mut buf[filled..filled + wanted];
            let copied = self
                .with_block(at / Self::BLOCK, |block| {
                    let there = block.get(skip..).unwrap_or_default();
                    let len = there.len().min(piece.len());
                    piece[..len].copy_from_slice(&there[..len]);
                    len
                })
                .map_err(|why| ShortRead { filled, why })?;
            filled += copied;
            if copied < wanted {
                return Err(ShortRead { filled, why: Unavailable::Truncated });
            }
        }
        Ok(())
    }

    /// Hands block `number` to `look`: as much of it as the source has.
    pub(crate) fn with_block<R>(
        &self,
        number: u64,
        mut look: impl FnMut(&[u8]) -> R,
    ) -> Result<R, Unavailable> {
        if let Some(seen) = self.cache.with(number, &mut look) {
            return Ok(seen);
        }
        let Some(offset) = number.checked_mul(Self::BLOCK) else {
            return Err(Unavailable::Truncated);
        };
        let mut block = vec![0; Self::BLOCK as usize];
        match read_exact(&*self.source, offset, &mut block) {
            Ok(()) => {}
            Err(ShortRead { filled, why: Unavailable::Truncated }) => block.truncate(filled),
            Err(ShortRead { why, .. }) => return Err(why),
        }
        let seen = look(&block);
        self.cache.insert(number, block);
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_budget_and_keeps_what_is_used() {
        let cache = BlockCache::new(SHARDS * 8 * 16, 16);
        for key in 0..10_000u64 {
            cache.insert(key, vec![key as u8; 16]);
            // Key 0 is looked at all the time and has to survive.
            assert_eq!(cache.with(0, |block| block[0]), Some(0), "after inserting {key}");
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| shard.lock().map_or(0, |shard| shard.slots.len()))
            .sum();
        assert_eq!(held, SHARDS * 8);
        assert_eq!(cache.with(1, |_| ()), None);
        assert_eq!(cache.with(9_999, |block| block[0]), Some(9_999u64 as u8));
    }

    #[test]
    fn a_cached_source_reads_what_the_source_holds() {
        let bytes: Vec<u8> = (0..150_000u32).map(|n| (n * 7 / 3) as u8).collect();
        let cached = CachedSource::new(Arc::new(bytes.clone()), 1 << 20);
        for (offset, len) in [(0, 1), (4090, 12), (1, 8192), (100, 70_000), (149_999, 1), (7, 0)] {
            for _ in 0..2 {
                let mut buf = vec![0; len];
                assert_eq!(cached.read(offset as u64, &mut buf), Ok(()));
                assert_eq!(buf, &bytes[offset..offset + len]);
            }
        }
        for len in [20, 70_000] {
            let mut buf = vec![0; len];
            assert_eq!(
                cached.read(149_990, &mut buf),
                Err(ShortRead { filled: 10, why: Unavailable::Truncated })
            );
            assert_eq!(buf[..10], bytes[149_990..]);
        }
        assert_eq!(
            cached.read(u64::MAX - 1, &mut [0; 8]),
            Err(ShortRead { filled: 0, why: Unavailable::Truncated })
        );
    }
}
