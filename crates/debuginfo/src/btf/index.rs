//! Names to type ids.

use super::Btf;
use super::format::{Kind, Record};
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;
use std::sync::OnceLock;

/// The ids of some of a section's types by the hashes of their names, built on first use.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    /// Open addressing: an id, or 0.
    slots: OnceLock<Slots>,
}

/// See [`NameIndex`].
#[derive(Debug)]
pub(super) struct Slots(Box<[u32]>);

impl NameIndex {
    /// The index over those records of `btf` that `include` accepts.
    pub(super) fn get_or_build(
        &self,
        btf: &Btf,
        include: impl Fn(&Record<'_>) -> bool,
    ) -> IdsByName<'_> {
        let slots = self.slots.get_or_init(|| {
            let named: Vec<(u32, u64)> = btf
                .own_records()
                .filter(|(_, record)| include(record))
                .map(|(id, record)| (id, hash(btf.string(record.name))))
                .collect();
            let mut slots = vec![0u32; (named.len() * 2).next_power_of_two()].into_boxed_slice();
            let mask = slots.len() - 1;
            for (id, hash) in named {
                let mut at = hash as usize & mask;
                while slots[at] != 0 {
                    at = (at + 1) & mask;
                }
                slots[at] = id;
            }
            Slots(slots)
        });
        IdsByName(slots)
    }
}

/// A built index.
pub(super) struct IdsByName<'a>(&'a Slots);

impl<'a> IdsByName<'a> {
    /// The ids whose name may be `name`: the hashes agree, or nearly.
    pub(super) fn find(&self, name: &str) -> impl Iterator<Item = u32> + 'a {
        let slots = &self.0.0;
        let mask = slots.len().saturating_sub(1);
        let start = hash(name) as usize & mask;
        // At most half of the slots are taken, so an empty one comes.
        (0..slots.len())
            .map_while(move |step| slots.get((start + step) & mask).copied())
            .take_while(|&id| id != 0)
    }
}

impl Btf {
    pub(super) fn index_enumerators(&self) -> FxHashMap<u64, Vec<(u32, u32)>> {
        let mut index: FxHashMap<u64, Vec<(u32, u32)>> = FxHashMap::default();
        for (id, record) in self.own_records() {
            if !matches!(record.kind, Kind::Enum | Kind::Enum64) {
                continue;
            }
            for position in 0..record.len {
                let Some((name, _)) = record.enumerator(position, false) else { break };
                index.entry(hash(self.string(name))).or_default().push((id, position as u32));
            }
        }
        index
    }
}

pub(super) fn hash(name: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name.as_bytes());
    let hash = hasher.finish();
    hash ^ (hash >> 32)
}
