//! Which table covers which text, and the rules found so far.

use crate::cfi::{CfiRow, CfiTable};
use crate::instructions::{self, Layout};
use crate::{OrcEntry, OrcTable};
use mortis_memory::{ReadError, VirtAddr, VirtualMemory};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::{Arc, RwLock};

/// Parts of a cache: walks on many threads rarely meet in one.
const SHARDS: usize = 16;

/// Answers that one part keeps; then it starts anew.
const SHARD_CAPACITY: usize = 4096;

/// Knows where functions begin, for the code that no table covers.
pub trait Functions: Sync {
    /// The first instruction of the function that `ip` is in.
    fn function_start(&self, ip: VirtAddr) -> Option<VirtAddr>;
}

/// No function known.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnknownFunctions;

impl Functions for UnknownFunctions {
    fn function_start(&self, _ip: VirtAddr) -> Option<VirtAddr> {
        None
    }
}

impl<F: Fn(VirtAddr) -> Option<VirtAddr> + Sync> Functions for F {
    fn function_start(&self, ip: VirtAddr) -> Option<VirtAddr> {
        self(ip)
    }
}

/// How to go on from an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// An ORC entry.
    Orc(OrcEntry),
    /// A row of call frame information.
    Cfi(Arc<CfiRow>),
    /// The address is text, and no table says more.
    None,
}

#[derive(Clone, Debug)]
struct Region {
    text: Range<VirtAddr>,
    copied_from: Option<VirtAddr>,
    orc: Option<Arc<OrcTable>>,
    cfi: Option<Arc<CfiTable>>,
}

/// The text that is known, and its unwind tables. Built once for a dump and shared by all walks;
/// the rules found are kept, because a few hundred addresses make up most stacks of a machine.
#[derive(Debug, Default)]
pub struct Tables {
    regions: Vec<Region>,
    rules: Cache<Rule>,
    layouts: Cache<Arc<[Layout]>>,
}

/// What was found for an address, kept in parts so that walks on many threads can share it.
#[derive(Debug)]
struct Cache<V>([RwLock<FxHashMap<u64, V>>; SHARDS]);

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl<V: Clone> Cache<V> {
    fn get_or_try<E>(&self, ip: VirtAddr, find: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        // The lowest bits of code addresses are as good as random.
        let shard = &self.0[ip.0 as usize % SHARDS];
        if let Ok(known) = shard.read()
            && let Some(value) = known.get(&ip.0)
        {
            return Ok(value.clone());
        }
        let value = find()?;
        if let Ok(mut known) = shard.write() {
            if known.len() >= SHARD_CAPACITY {
                known.clear();
            }
            known.insert(ip.0, value.clone());
        }
        Ok(value)
    }
}

impl Tables {
    /// No text known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes text known that no table covers, such as that of BPF programs.
    pub fn add_text(&mut self, text: Range<VirtAddr>) {
        self.region(text);
    }

    /// Makes text known that is a copy of code elsewhere, whose rules hold in it too: a trampoline
    /// of the function tracer, made of `ftrace_caller` or `ftrace_regs_caller` (`orc_ftrace_find`).
    pub fn add_copied_text(&mut self, text: Range<VirtAddr>, original: VirtAddr) {
        if let Some(region) = self.region(text) {
            region.copied_from = Some(original);
        }
    }

    /// Adds an ORC table for some ranges of text.
    pub fn add_orc(&mut self, text: impl IntoIterator<Item = Range<VirtAddr>>, table: OrcTable) {
        let table = Arc::new(table);
        for range in text {
            if let Some(region) = self.region(range) {
                region.orc = Some(Arc::clone(&table));
            }
        }
    }

    /// Adds call frame information for some ranges of text. It is asked where ORC is silent.
    pub fn add_cfi(&mut self, text: impl IntoIterator<Item = Range<VirtAddr>>, table: CfiTable) {
        let table = Arc::new(table);
        for range in text {
            if let Some(region) = self.region(range) {
                region.cfi = Some(Arc::clone(&table));
            }
        }
    }

    /// Whether `ip` is in known text.
    pub fn is_text(&self, ip: VirtAddr) -> bool {
        self.find_region(ip).is_some()
    }

    /// Whether any text is known.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// The rule that holds at `ip`; none outside of known text.
    ///
    /// # Errors
    /// [`ReadError`] when the table is not in the dump.
    pub fn rule(
        &self,
        memory: &dyn VirtualMemory,
        ip: VirtAddr,
    ) -> Result<Option<Rule>, ReadError> {
        let Some(mut region) = self.find_region(ip) else { return Ok(None) };
        let mut ip = ip;
        if let Some(original) = region.copied_from {
            ip = original.offset(ip.0.wrapping_sub(region.text.start.0));
            match self.find_region(ip) {
                Some(copied) if copied.copied_from.is_none() => region = copied,
                _ => return Ok(Some(Rule::None)),
            }
        }
        self.rules.get_or_try(ip, || region.rule(memory, ip)).map(Some)
    }

    /// How the function's own instructions leave the stack at `ip`.
    pub(crate) fn layouts(
        &self,
        memory: &dyn VirtualMemory,
        functions: &dyn Functions,
        ip: VirtAddr,
    ) -> Arc<[Layout]> {
        let find = || -> Result<Arc<[Layout]>, std::convert::Infallible> {
            let start = functions.function_start(ip);
            Ok(start.map_or_else(Vec::new, |start| instructions::layouts(memory, start, ip)).into())
        };
        match self.layouts.get_or_try(ip, find) {
            Ok(layouts) => layouts,
        }
    }

    /// Whether code around `ip` keeps frame pointers for all that is known: no ORC table says that
    /// it need not.
    pub(crate) fn may_keep_frame_pointer(&self, ip: VirtAddr) -> bool {
        self.find_region(ip).is_none_or(|region| region.orc.is_none())
    }

    /// The row of call frame information at `ip`, which knows registers that ORC does not.
    pub(crate) fn cfi_row(&self, ip: VirtAddr) -> Option<CfiRow> {
        self.find_region(ip)?.cfi.as_ref()?.row(ip).ok().flatten()
    }

    fn find_region(&self, ip: VirtAddr) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.text.start <= ip);
        self.regions.get(after.checked_sub(1)?).filter(|region| region.text.contains(&ip))
    }

    /// The region with just these bounds, made when there is none. Regions do not overlap: of a
    /// range that begins in one already there, only the rest counts.
    fn region(&mut self, text: Range<VirtAddr>) -> Option<&mut Region> {
        let index = match self.regions.binary_search_by_key(&text.start, |known| known.text.start) {
            Ok(index) => {
                let known = self.regions.get_mut(index)?;
                known.text.end = known.text.end.max(text.end);
                index
            }
            Err(index) => {
                if text.is_empty() {
                    return None;
                }
                self.regions
                    .insert(index, Region { text, copied_from: None, orc: None, cfi: None });
                index
            }
        };
        self.regions.get_mut(index)
    }
}

impl Region {
    fn rule(&self, memory: &dyn VirtualMemory, ip: VirtAddr) -> Result<Rule, ReadError> {
        let from_cfi = || {
            let row = self.cfi.as_ref()?.row(ip).ok().flatten()?;
            Some(Rule::Cfi(Arc::new(row)))
        };
        let Some(orc) = &self.orc else { return Ok(from_cfi().unwrap_or(Rule::None)) };
        match orc.find(memory, ip) {
            Ok(Some(entry)) if entry.kind == crate::OrcKind::Undefined => {
                Ok(from_cfi().unwrap_or(Rule::Orc(entry)))
            }
            Ok(Some(entry)) => Ok(Rule::Orc(entry)),
            Ok(None) => Ok(from_cfi().unwrap_or(Rule::None)),
            Err(error) => from_cfi().ok_or(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_memory::TestMemory;
    use crate::{OrcFormat, OrcKind};

    const TEXT: u64 = 0xffff_ffff_8100_0000;
    const COPY: u64 = 0xffff_ffff_c000_0000;

    fn range(start: u64, len: u64) -> Range<VirtAddr> {
        VirtAddr(start)..VirtAddr(start + len)
    }

    fn table(ip: u64) -> OrcTable {
        let ips = (ip.wrapping_sub(0xffff_ffff_8300_0000) as i32).to_le_bytes();
        let entry = [8, 0, 0, 0, 5, 2];
        OrcTable::from_sections(&ips, VirtAddr(0xffff_ffff_8300_0000), &entry, OrcFormat::WideType)
            .expect("a table")
    }

    fn kind(tables: &Tables, ip: u64) -> Option<Option<OrcKind>> {
        let rule = tables.rule(&TestMemory::default(), VirtAddr(ip)).expect("bytes");
        rule.map(|rule| match rule {
            Rule::Orc(entry) => Some(entry.kind),
            _ => None,
        })
    }

    #[test]
    fn a_rule_is_found_by_the_text_it_covers() {
        let mut tables = Tables::new();
        tables.add_orc([range(TEXT, 0x1000), range(TEXT + 0x4000, 0x1000)], table(TEXT + 0x10));
        tables.add_text(range(TEXT + 0x2000, 0x1000));
        for _ in 0..2 {
            assert_eq!(kind(&tables, TEXT - 1), None);
            assert_eq!(kind(&tables, TEXT), Some(None), "below the table's first entry");
            assert_eq!(kind(&tables, TEXT + 0x10), Some(Some(OrcKind::Call)));
            assert_eq!(kind(&tables, TEXT + 0x1000), None);
            assert_eq!(kind(&tables, TEXT + 0x2000), Some(None));
            assert_eq!(kind(&tables, TEXT + 0x4fff), Some(Some(OrcKind::Call)));
            assert_eq!(kind(&tables, u64::MAX), None);
        }
    }

    #[test]
    fn copied_text_has_the_rules_of_its_original() {
        let mut tables = Tables::new();
        tables.add_orc([range(TEXT, 0x1000)], table(TEXT + 0x10));
        tables.add_copied_text(range(COPY, 0x100), VirtAddr(TEXT + 8));
        // Copies of copies, and of nothing, have none.
        tables.add_copied_text(range(COPY + 0x100, 0x100), VirtAddr(COPY + 0x100));
        tables.add_copied_text(range(COPY + 0x200, 0x100), VirtAddr(0));
        assert_eq!(kind(&tables, COPY), Some(None));
        assert_eq!(kind(&tables, COPY + 8), Some(Some(OrcKind::Call)));
        assert_eq!(kind(&tables, COPY + 0x100), Some(None));
        assert_eq!(kind(&tables, COPY + 0x200), Some(None));
    }

    #[test]
    fn the_cache_forgets_rather_than_grows() {
        let mut tables = Tables::new();
        tables.add_orc([range(TEXT, 0x10_0000)], table(TEXT));
        for ip in (TEXT..TEXT + 0x10_0000).step_by(SHARDS) {
            assert_eq!(kind(&tables, ip), Some(Some(OrcKind::Call)));
        }
        let longest = tables.rules.0.iter().map(|shard| shard.read().expect("lock").len()).max();
        assert!(longest <= Some(SHARD_CAPACITY));
    }
}
