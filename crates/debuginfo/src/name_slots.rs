//! Names to numbers, without a copy of the names.

use rustc_hash::FxHasher;
use std::hash::Hasher;

/// A hash table of numbers by the hashes of their names. It keeps neither: who asks compares the
/// names of the few candidates.
#[derive(Debug)]
pub(crate) struct NameSlots {
    /// Open addressing: a number and one, or 0. At most half of the slots are taken.
    slots: Box<[u32]>,
}

impl NameSlots {
    /// A table of `count` numbers, with the hash of each one's name.
    pub(crate) fn new(count: usize, numbers: impl Iterator<Item = (u64, u32)>) -> Self {
        let mut slots = vec![0u32; (count.max(1) * 2).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (hash, number) in numbers.take(count) {
            let mut at = hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = number.saturating_add(1);
        }
        Self { slots }
    }

    /// The numbers whose name may be the one of this hash, in the order they were added.
    pub(crate) fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let mask = self.slots.len() - 1;
        let start = hash as usize & mask;
        (0..self.slots.len())
            .map_while(move |step| self.slots.get((start + step) & mask)?.checked_sub(1))
    }

    pub(crate) fn memory_usage(&self) -> usize {
        self.slots.len() * size_of::<u32>()
    }
}

/// The hash of a name.
pub(crate) fn hash(name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    let hash = hasher.finish();
    // The table takes the low bits, and the good ones are high.
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_name_come_in_order() {
        let names = ["a", "b", "a", "c", "a"];
        let hashes = names.iter().zip(0..).map(|(name, at)| (hash(name.as_bytes()), at));
        let slots = NameSlots::new(names.len(), hashes);
        let find = |name: &str| {
            let candidates = slots.candidates(hash(name.as_bytes()));
            candidates.filter(|&at| names[at as usize] == name).collect::<Vec<_>>()
        };
        assert_eq!(find("a"), [0, 2, 4]);
        assert_eq!(find("c"), [3]);
        assert_eq!(find("d"), [0; 0]);
        assert_eq!(NameSlots::new(0, std::iter::empty()).candidates(7).count(), 0);
    }
}
