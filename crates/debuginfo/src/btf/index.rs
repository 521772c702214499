//! Names to type ids.

use super::Btf;
use super::format::{Kind, Record};
use crate::name_slots::{NameSlots, hash};
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// The ids of some of a section's types by their names, built on first use.
#[derive(Debug, Default)]
pub(super) struct NameIndex(OnceLock<NameSlots>);

impl NameIndex {
    /// The ids whose name may be `name`, of the records of `btf` that `include` accepts.
    pub(super) fn find(
        &self,
        btf: &Btf,
        include: impl Fn(&Record<'_>) -> bool,
        name: &str,
    ) -> impl Iterator<Item = u32> + '_ {
        let slots = self.0.get_or_init(|| {
            let named: Vec<(u64, u32)> = btf
                .own_records()
                .filter(|(_, record)| record.name != 0 && include(record))
                .map(|(id, record)| (hash(btf.string(record.name).as_bytes()), id))
                .collect();
            NameSlots::new(named.len(), named.into_iter())
        });
        slots.candidates(hash(name.as_bytes()))
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
                index
                    .entry(hash(self.string(name).as_bytes()))
                    .or_default()
                    .push((id, position as u32));
            }
        }
        index
    }
}
