//! Scalable bitmaps (`struct sbitmap`): which of many numbers are taken.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A bitmap in words that lie in cache lines of their own: include/linux/sbitmap.h.
    pub struct SbitmapStruct = "sbitmap" {
        depth: "depth",
        shift: "shift",
        map_nr: "map_nr",
        map: "map",
        /// In `struct sbitmap_queue` until 5.13.
        alloc_hint: "alloc_hint",
        round_robin: "round_robin",
    }
}

layout! {
    /// A word of it: include/linux/sbitmap.h.
    pub struct SbitmapWord = "sbitmap_word" {
        word: "word",
        /// Bits that are free again but not yet cleared in `word`; since 5.0.
        cleared: "cleared",
    }
}

layout! {
    /// A bitmap with queues of those who wait for a bit: include/linux/sbitmap.h.
    pub struct SbitmapQueueStruct = "sbitmap_queue" {
        bitmap: "sb",
        alloc_hint: "alloc_hint",
        wake_batch: "wake_batch",
        wake_index: "wake_index",
        wait_states: "ws",
        ws_active: "ws_active",
        round_robin: "round_robin",
        min_shallow_depth: "min_shallow_depth",
    }
}

layout! {
    /// One of the queues: include/linux/sbitmap.h.
    pub struct SbqWaitState = "sbq_wait_state" {
        /// Gone since 6.6.
        wait_cnt: "wait_cnt",
        next: "wait.head.next" | "wait.task_list.next",
        previous: "wait.head.prev" | "wait.task_list.prev",
    }
}

/// More bits than any bitmap in the kernel has.
const MAX_DEPTH: u64 = 1 << 24;

/// `SBQ_WAIT_QUEUES`.
const WAIT_QUEUES: u64 = 8;

/// A word of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// How many bits it holds.
    pub depth: u32,
    /// The bits that were taken.
    pub taken: u64,
    /// Those of them that are free again.
    pub cleared: u64,
}

impl Word {
    /// The bits that are taken.
    pub fn busy(&self) -> u64 {
        self.taken & !self.cleared & self.mask()
    }

    fn mask(&self) -> u64 {
        if self.depth >= 64 { u64::MAX } else { (1 << self.depth) - 1 }
    }
}

/// A bitmap.
#[derive(Clone, Debug)]
pub struct Sbitmap {
    /// How many bits there are.
    pub depth: u64,
    /// Two to this many bits are in a word.
    pub shift: u64,
    /// Its words.
    pub words: Vec<Word>,
    /// Where each CPU looks for a free bit: a per-CPU address.
    pub alloc_hint: Option<VirtAddr>,
    /// Whether bits are given out in turn.
    pub round_robin: Option<bool>,
    /// Whether this kernel frees bits in two steps.
    pub has_cleared: bool,
}

impl Sbitmap {
    /// How many bits were taken, those free again included.
    pub fn taken(&self) -> u64 {
        self.words.iter().map(|word| u64::from((word.taken & word.mask()).count_ones())).sum()
    }

    /// How many of them are free again.
    pub fn cleared(&self) -> u64 {
        self.words.iter().map(|word| u64::from((word.cleared & word.mask()).count_ones())).sum()
    }

    /// The numbers that are taken.
    pub fn busy(&self) -> impl Iterator<Item = u64> {
        self.words.iter().enumerate().flat_map(move |(index, word)| {
            let busy = word.busy();
            let first = (index as u64) << self.shift;
            (0..64).filter(move |bit| busy >> bit & 1 != 0).map(move |bit| first + bit)
        })
    }

    /// The bits as bytes, without the gaps between words.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; usize::try_from(self.depth.div_ceil(8)).unwrap_or(0)];
        for bit in self.busy() {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte |= 1 << (bit % 8);
            }
        }
        bytes
    }
}

/// A queue of those who wait for a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitState {
    /// How many bits must become free before somebody is woken; gone in newer kernels.
    pub wait_cnt: Option<i64>,
    /// Whether somebody waits.
    pub is_active: bool,
}

/// A bitmap with its queues.
#[derive(Clone, Debug)]
pub struct SbitmapQueue {
    /// The bitmap.
    pub bitmap: Sbitmap,
    /// Where each CPU looks next, by CPU; empty where the bitmap has none.
    pub alloc_hints: Vec<Result<u32>>,
    /// How many are woken at once.
    pub wake_batch: u64,
    /// The queue that is woken next.
    pub wake_index: i64,
    /// How many queues have somebody waiting; since 5.0.
    pub ws_active: Option<i64>,
    /// The queues.
    pub wait_states: Vec<Result<WaitState>>,
    /// Since 4.18.
    pub min_shallow_depth: Option<u64>,
    /// Whether bits are given out in turn.
    pub round_robin: Option<bool>,
}

impl Kernel {
    /// Reads the `struct sbitmap` at `address`.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn sbitmap(&self, address: VirtAddr) -> Result<Sbitmap> {
        let layout = self.layout::<SbitmapStruct>()?;
        let word = self.layout::<SbitmapWord>()?;
        let bytes = self.read_bytes(address, layout.size_of)?;
        let depth = layout.depth.u64_in(&bytes)?;
        let shift = layout.shift.u64_in(&bytes)?;
        let map_nr = layout.map_nr.u64_in(&bytes)?;
        // As sbitmap_init_node() makes them.
        if shift > 6 || depth > MAX_DEPTH || map_nr != depth.div_ceil(1 << shift) {
            return Err(KernelError::DamagedList {
                list: "sbitmap",
                problem: "there is none",
                at: address,
            });
        }
        let map = VirtAddr(layout.map.u64_in(&bytes)?);
        let mut words = Vec::new();
        for index in 0..map_nr {
            let bytes = self.read_bytes(map.offset(index * word.size_of), word.size_of)?;
            words.push(Word {
                depth: (depth - (index << shift)).min(1 << shift) as u32,
                taken: word.word.u64_in(&bytes)?,
                cleared: word.cleared.u64_in(&bytes).unwrap_or(0),
            });
        }
        Ok(Sbitmap {
            depth,
            shift,
            words,
            alloc_hint: layout.alloc_hint.u64_in(&bytes).ok().map(VirtAddr),
            round_robin: layout.round_robin.u64_in(&bytes).ok().map(|value| value != 0),
            has_cleared: word.cleared.exists(),
        })
    }

    /// Reads the `struct sbitmap_queue` at `address`.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn sbitmap_queue(&self, address: VirtAddr) -> Result<SbitmapQueue> {
        let layout = self.layout::<SbitmapQueueStruct>()?;
        let bitmap = self.sbitmap(layout.bitmap.address(address)?)?;
        let bytes = self.read_bytes(address, layout.size_of)?;
        let hint = layout.alloc_hint.u64_in(&bytes).ok().map(VirtAddr).or(bitmap.alloc_hint);
        let mut alloc_hints = Vec::new();
        if let Some(hint) = hint.filter(|hint| !hint.is_null()) {
            let cpus = self.cpus()?;
            for &cpu in &cpus.possible {
                let value = cpus.address(hint, cpu).and_then(|at| Ok(self.read_u32(at)?));
                alloc_hints.push(value);
            }
        }
        let state = self.layout::<SbqWaitState>()?;
        let states = VirtAddr(layout.wait_states.u64_in(&bytes)?);
        let wait_states = (0..WAIT_QUEUES)
            .map(|index| {
                let at = states.offset(index * state.size_of);
                Ok(WaitState {
                    wait_cnt: state.wait_cnt.i64(self, at).ok(),
                    is_active: state.next.u64(self, at)? != state.previous.u64(self, at)?,
                })
            })
            .collect();
        let signed = |value: u64| i64::from(value as u32 as i32);
        Ok(SbitmapQueue {
            alloc_hints,
            wake_batch: layout.wake_batch.u64_in(&bytes)?,
            wake_index: signed(layout.wake_index.u64_in(&bytes)?),
            ws_active: layout.ws_active.u64_in(&bytes).ok().map(signed),
            wait_states,
            min_shallow_depth: layout.min_shallow_depth.u64_in(&bytes).ok(),
            round_robin: layout
                .round_robin
                .u64_in(&bytes)
                .ok()
                .map(|value| value != 0)
                .or(bitmap.round_robin),
            bitmap,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitmap(depth: u64, shift: u64, words: &[(u64, u64)]) -> Sbitmap {
        Sbitmap {
            depth,
            shift,
            words: words
                .iter()
                .enumerate()
                .map(|(index, &(taken, cleared))| Word {
                    depth: (depth - ((index as u64) << shift)).min(1 << shift) as u32,
                    taken,
                    cleared,
                })
                .collect(),
            alloc_hint: None,
            round_robin: None,
            has_cleared: true,
        }
    }

    #[test]
    fn words_may_be_partly_used() {
        // Words of 8 bits, the last one of 4; garbage behind a word's bits counts for nothing.
        let bitmap = bitmap(20, 3, &[(0xff01, 0), (0x03, 0x01), (0xf8, 0)]);
        assert_eq!(bitmap.busy().collect::<Vec<_>>(), [0, 9, 19]);
        assert_eq!(bitmap.bytes(), [0x01, 0x02, 0x08]);
        assert_eq!((bitmap.taken(), bitmap.cleared()), (4, 1));
    }

    #[test]
    fn a_full_word_is_counted_once() {
        let bitmap = bitmap(64, 6, &[(u64::MAX, 0)]);
        assert_eq!(bitmap.taken(), 64);
        assert_eq!(bitmap.busy().count(), 64);
    }
}
