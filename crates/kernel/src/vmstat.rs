//! The kernel's counters of memory: what `/proc/vmstat` and the counters of `/proc/meminfo` and
//! `/proc/zoneinfo` are read from (mm/vmstat.c).
//!
//! A counter is known by an enumerator, whose name the types tell; its place in the array is the
//! enumerator's value. Each CPU gathers small differences before it adds them to the shared
//! counter (`vm_stat_diff`, at most 125 pages). The kernel leaves those out when it shows the
//! counters, and shows a counter that is below zero for the moment as zero; so does this module.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_debuginfo::types::{Namespace, Type, strip};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::sync::Arc;

/// More counters than any of the arrays has.
const MAX_COUNTERS: i64 = 4096;

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The enumerator: `NR_FREE_PAGES`.
    pub name: Arc<str>,
    /// Its value; what it counts depends on the counter, mostly pages.
    pub value: u64,
}

/// Which of the kernel's arrays of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterSet {
    /// Of zones: `enum zone_stat_item`. Until 75ef71840539 (4.8) all counters were in it.
    Zone,
    /// Of nodes: `enum node_stat_item`.
    Node,
    /// Of NUMA placement: `enum numa_stat_item`. Since f19298b9516c (5.14) CPUs count them as
    /// events.
    Numa,
    /// Of events, kept by each CPU: `enum vm_event_item`.
    Event,
}

impl CounterSet {
    /// The tag of the enumeration.
    const fn enumeration(self) -> &'static str {
        match self {
            CounterSet::Zone => "zone_stat_item",
            CounterSet::Node => "node_stat_item",
            CounterSet::Numa => "numa_stat_item",
            CounterSet::Event => "vm_event_item",
        }
    }
}

/// Decodes an array of `atomic_long_t`. Below zero is zero, as `global_node_page_state_pages()`
/// and its like have it.
pub(crate) fn decode_counters(names: &[Arc<str>], bytes: &[u8]) -> Vec<Counter> {
    let values = bytes.chunks_exact(8).map(|value| {
        let value = value.try_into().map_or(0, i64::from_le_bytes);
        value.max(0).cast_unsigned()
    });
    names
        .iter()
        .zip(values)
        .map(|(name, value)| Counter { name: Arc::clone(name), value })
        .collect()
}

/// The value of the counter called by one of `names`.
pub fn counter(counters: &[Counter], names: &[&str]) -> Option<u64> {
    names
        .iter()
        .find_map(|name| counters.iter().find(|counter| &*counter.name == *name))
        .map(|counter| counter.value)
}

impl Kernel {
    /// The names of a set's counters, in the order of its array.
    ///
    /// # Errors
    /// When the types lack the enumeration.
    pub fn counter_names(&self, set: CounterSet) -> Result<Vec<Arc<str>>> {
        let tag = set.enumeration();
        let types = self.types()?;
        let missing = || KernelError::NoType(format!("enum {tag}"));
        let id = types.lookup(Namespace::Enum, tag).ok_or_else(missing)?;
        let (_, ty) = strip(types, id)?;
        let Type::Enum(enumeration) = &*ty else { return Err(missing()) };
        let count = enumeration
            .variants
            .iter()
            // The enumerator that ends it: NR_VM_ZONE_STAT_ITEMS, NR_VM_NUMA_EVENT_ITEMS.
            .find(|(name, _)| name.starts_with("NR_VM_") && name.ends_with("_ITEMS"))
            .map_or_else(
                || enumeration.variants.iter().map(|(_, value)| value + 1).max().unwrap_or(0),
                |(_, value)| *value,
            )
            .clamp(0, MAX_COUNTERS);
        let mut names: Vec<Arc<str>> = vec![Arc::from("?"); count as usize];
        for (name, value) in &enumeration.variants {
            // Of two names for one counter (NR_LRU_BASE, NR_INACTIVE_ANON) the later one is meant.
            if let Ok(index) = usize::try_from(*value)
                && let Some(slot) = names.get_mut(index)
            {
                *slot = Arc::clone(name);
            }
        }
        Ok(names)
    }

    /// The whole machine's counters of a set.
    ///
    /// # Errors
    /// When the kernel has no such counters, or they cannot be read.
    pub fn counters(&self, set: CounterSet) -> Result<Vec<Counter>> {
        let names = self.counter_names(set)?;
        if set == CounterSet::Event {
            return self.event_counters(&names);
        }
        let symbols: &[&str] = match set {
            CounterSet::Zone => &["vm_zone_stat", "vm_stat"],
            CounterSet::Node => &["vm_node_stat"],
            _ => &["vm_numa_stat"],
        };
        let array = self.first_symbol(symbols)?;
        Ok(decode_counters(&names, &self.read_bytes(array, names.len() as u64 * 8)?))
    }

    /// Adds up what the CPUs counted, as `sum_vm_events()` does. A CPU that goes offline leaves
    /// nothing behind, but one that a panic stops keeps its counts.
    fn event_counters(&self, names: &[Arc<str>]) -> Result<Vec<Counter>> {
        let mut sums = vec![0u64; names.len()];
        for &cpu in &self.cpus()?.possible {
            let states = self.per_cpu("vm_event_states", cpu)?;
            let bytes = self.read_bytes(states, names.len() as u64 * 8)?;
            for (sum, value) in sums.iter_mut().zip(bytes.chunks_exact(8)) {
                *sum = sum.wrapping_add(value.try_into().map_or(0, u64::from_le_bytes));
            }
        }
        let counter = |(name, value): (&Arc<str>, u64)| Counter { name: Arc::clone(name), value };
        Ok(names.iter().zip(sums).map(counter).collect())
    }

    /// The address of the first of `names` that is a symbol.
    pub(crate) fn first_symbol(&self, names: &[&str]) -> Result<VirtAddr> {
        names
            .iter()
            .find_map(|name| self.symbol(name).ok())
            .ok_or_else(|| KernelError::NoSymbol(names.join("|")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_below_zero_are_zero() {
        let names: Vec<Arc<str>> = vec!["A".into(), "B".into(), "C".into()];
        let bytes: Vec<u8> = [5i64, -3].into_iter().flat_map(i64::to_le_bytes).collect();
        let counters = decode_counters(&names, &bytes);
        assert_eq!(counters.len(), 2, "what is not there is not invented");
        assert_eq!(counter(&counters, &["A"]), Some(5));
        assert_eq!(counter(&counters, &["X", "B"]), Some(0));
        assert_eq!(counter(&counters, &["C"]), None);
    }
}
