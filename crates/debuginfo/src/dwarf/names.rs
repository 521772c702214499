//! The index by name: which entry defines `struct task_struct`, `jiffies` or `PM_SUSPEND_MEM`.
//!
//! Every C file that includes a header repeats its types: `task_struct` is in most of the 2,500
//! units. The index keeps one entry for each name and kind, the first that is a definition, and
//! of it the offsets only. Names are told apart by where they are written: the linker merges equal
//! strings in `.debug_str`, so the offset of a string is as good as the string and is compared
//! without reading it.

use std::hash::Hasher;
use std::sync::Mutex;

use gimli::{Section, constants};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHasher};

use super::shape::{Lost, NameKind, NamePlace, Passed, Walker, kind_of};
use super::unit::LoadedUnit;
use super::{Dwarf, DwarfError, Slice};

/// One name: its kind, and the name itself if it is short, else where it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct NameKey(u64);

impl NameKey {
    const KIND_SHIFT: u32 = 60;
    const FORM_SHIFT: u32 = 58;
    /// An offset of `.debug_str`.
    const IN_STR: u64 = 0;
    /// An offset of `.debug_info`.
    const IN_INFO: u64 = 1;
    /// The name: up to seven bytes, the first lowest. Compilers write names shorter than a
    /// reference into the entry, where the linker does not merge them.
    const SHORT: u64 = 2;

    fn new(kind: NameKind, form: u64, payload: u64) -> Option<Self> {
        let fits = payload >> Self::FORM_SHIFT == 0;
        fits.then_some(Self((kind as u64) << Self::KIND_SHIFT | form << Self::FORM_SHIFT | payload))
    }

    /// For a name that is written in the entry, at `offset` of `.debug_info`.
    fn inline(kind: NameKind, name: &[u8], offset: u64) -> Option<Self> {
        if name.len() > 7 {
            return Self::new(kind, Self::IN_INFO, offset);
        }
        let packed = name.iter().rev().fold(0, |packed, &byte| packed << 8 | u64::from(byte));
        Self::new(kind, Self::SHORT, packed)
    }

    fn kind(self) -> u64 {
        self.0 >> Self::KIND_SHIFT
    }

    /// Calls `with` with the name.
    fn name<R>(self, texts: &Texts<'_>, with: impl FnOnce(&[u8]) -> R) -> R {
        let payload = self.0 & ((1 << Self::FORM_SHIFT) - 1);
        let packed = payload.to_le_bytes();
        let from = match self.0 >> Self::FORM_SHIFT & 3 {
            Self::IN_STR => texts.str.get(payload as usize..),
            Self::IN_INFO => texts.info.get(payload as usize..),
            _ => Some(packed.as_slice()),
        };
        let from = from.unwrap_or_default();
        with(memchr::memchr(0, from).and_then(|end| from.get(..end)).unwrap_or_default())
    }
}

/// An entry that has a name. Ordered so that the better of two comes first: a definition before
/// a declaration, then the one that comes first in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    const DECLARATION: u64 = 1 << 63;

    fn new(entry: u64, declaration: bool) -> Self {
        Self(if declaration { entry | Self::DECLARATION } else { entry })
    }

    fn entry(self) -> u64 {
        self.0 & !Self::DECLARATION
    }
}

/// The sections that names are written in.
struct Texts<'a> {
    str: &'a [u8],
    info: &'a [u8],
}

struct Name {
    hash: u64,
    key: NameKey,
    candidate: Candidate,
}

/// The names of all types, functions, variables and enumerators outside functions.
pub(super) struct NameIndex {
    /// Ascending by hash.
    names: Vec<Name>,
}

/// Best candidates by name, as one thread found them.
type Found = FxHashMap<NameKey, Candidate>;

/// Bytes of `.debug_info` that one thread takes at once, and gives back to the system when it
/// has passed over them.
const BYTES_AT_ONCE: u64 = 4 << 20;

impl NameIndex {
    /// Passes over all units, on all cores. A unit that is damaged is indexed up to the damage.
    pub fn build(dwarf: &Dwarf) -> Result<Self, DwarfError> {
        let sections = dwarf.sections()?;
        let units = dwarf.unit_offsets()?;
        let batches: Vec<&[u64]> =
            units.chunk_by(|a, b| a / BYTES_AT_ONCE == b / BYTES_AT_ONCE).collect();
        // A map for each thread that is at work, not for each batch: the same names are
        // everywhere.
        let idle: Mutex<Vec<Found>> = Mutex::default();
        batches.par_iter().for_each(|batch| {
            let mut found = lock(&idle).pop().unwrap_or_default();
            for &unit in *batch {
                let _ = index_unit(&sections, unit, &mut found);
            }
            lock(&idle).push(found);
            if let (Some(&first), Some(&last)) = (batch.first(), batch.last()) {
                dwarf.release_info(first..last);
            }
        });
        let texts = Texts::of(dwarf)?;
        Ok(Self::merge(std::mem::take(&mut *lock(&idle)), &texts))
    }

    fn merge(found: Vec<Found>, texts: &Texts<'_>) -> Self {
        let mut names: Vec<Name> = found
            .into_iter()
            .flatten()
            .map(|(key, candidate)| Name { hash: key.name(texts, hash), key, candidate })
            .collect();
        names.par_sort_unstable_by_key(|name| (name.hash, name.key.kind(), name.candidate));
        names.dedup_by(|later, first| {
            later.hash == first.hash
                && later.key.kind() == first.key.kind()
                && later.key.name(texts, |later| first.key.name(texts, |first| later == first))
        });
        names.shrink_to_fit();
        Self { names }
    }

    /// Where in `.debug_info` the entry is that defines `name`, or, without a definition,
    /// declares it.
    pub fn lookup(&self, dwarf: &Dwarf, kind: NameKind, name: &str) -> Option<u64> {
        let texts = Texts::of(dwarf).ok()?;
        let wanted = hash(name.as_bytes());
        let first = self.names.partition_point(|name| name.hash < wanted);
        self.names
            .get(first..)?
            .iter()
            .take_while(|name| name.hash == wanted)
            .filter(|found| found.key.kind() == kind as u64)
            .find(|found| found.key.name(&texts, |found| found == name.as_bytes()))
            .map(|found| found.candidate.entry())
    }

    /// Calls `visit` with every name of that kind and its entry.
    pub fn for_each(&self, dwarf: &Dwarf, kind: NameKind, visit: &mut dyn FnMut(&str, u64)) {
        let Ok(texts) = Texts::of(dwarf) else { return };
        let mut found: Vec<_> =
            self.names.iter().filter(|name| name.key.kind() == kind as u64).collect();
        // Who decodes them all goes from unit to unit this way, and to each one once.
        found.sort_unstable_by_key(|name| name.candidate.entry());
        for found in found {
            found.key.name(&texts, |name| {
                if let Ok(name) = std::str::from_utf8(name) {
                    visit(name, found.candidate.entry());
                }
            });
        }
    }
}

impl<'a> Texts<'a> {
    fn of(dwarf: &'a Dwarf) -> Result<Self, DwarfError> {
        Ok(Self {
            str: dwarf.section(".debug_str")?.slice(),
            info: dwarf.section(".debug_info")?.slice(),
        })
    }
}

fn lock(found: &Mutex<Vec<Found>>) -> std::sync::MutexGuard<'_, Vec<Found>> {
    found.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    hasher.finish()
}

/// The unit whose entries are being passed over.
struct Scan<'a, 'u> {
    sections: &'u gimli::Dwarf<Slice<'a>>,
    unit: &'u gimli::Unit<Slice<'a>>,
    walker: Walker<'u>,
    found: &'u mut Found,
}

fn index_unit(
    sections: &gimli::Dwarf<Slice<'_>>,
    offset: u64,
    found: &mut Found,
) -> Result<(), Lost> {
    let loaded = LoadedUnit::load(sections, offset).map_err(|_| Lost)?;
    // Rust's types have names of their own (`core::option::Option<T>`) and live in name spaces;
    // its basic types would only get in the way of C's.
    if loaded.language == Some(constants::DW_LANG_Rust) {
        return Ok(());
    }
    let unit = loaded.open(sections).map_err(|_| Lost)?;
    let bytes = sections.debug_info.reader().slice();
    let end = offset.saturating_add(unit.header.length_including_self() as u64);
    let bytes = bytes.get(offset as usize..end as usize).ok_or(Lost)?;
    let walker = Walker::new(bytes, &unit.header, &unit.abbreviations);
    Scan { sections, unit: &unit, walker, found }.unit(offset)
}

impl Scan<'_, '_> {
    fn unit(&mut self, offset: u64) -> Result<(), Lost> {
        let root = self.walker.pass()?;
        if !root.is_some_and(|root| root.has_children) {
            return Ok(());
        }
        let mut depth = 1usize;
        let mut enumeration = 0;
        while !self.walker.is_at_end() {
            let entry = offset + self.walker.at as u64;
            let Some(passed) = self.walker.pass()? else {
                depth -= 1;
                if depth == 0 {
                    break;
                }
                continue;
            };
            let enumerator = passed.tag == constants::DW_TAG_enumerator;
            match depth {
                1 => self.add(&passed, offset, entry)?,
                // An enumerator is found through its enumeration.
                2 if enumerator => self.add(&passed, offset, enumeration)?,
                _ => {}
            }
            if !passed.has_children {
                continue;
            }
            let sibling = passed.sibling.filter(|&sibling| sibling > self.walker.at);
            match sibling {
                _ if depth == 1 && passed.tag == constants::DW_TAG_enumeration_type => {
                    enumeration = entry;
                    depth += 1;
                }
                Some(sibling) => self.walker.at = sibling,
                None => depth += 1,
            }
        }
        Ok(())
    }

    fn add(&mut self, passed: &Passed, unit: u64, entry: u64) -> Result<(), Lost> {
        let Some(kind) = kind_of(passed.tag) else { return Ok(()) };
        let mut name = passed.name;
        if let (None, Some(declaration)) = (name, passed.specification) {
            // The definition of something declared before leaves the name to the declaration.
            let behind = std::mem::replace(&mut self.walker.at, declaration);
            name = self.walker.pass()?.and_then(|declaration| declaration.name);
            self.walker.at = behind;
        }
        let key = match name {
            Some(NamePlace::Str(offset)) => NameKey::new(kind, NameKey::IN_STR, offset),
            Some(NamePlace::Inline(at)) => {
                NameKey::inline(kind, self.walker.string(at), unit + at as u64)
            }
            Some(NamePlace::Index(index)) => {
                let offset = self.string_offset(index).ok_or(Lost)?;
                NameKey::new(kind, NameKey::IN_STR, offset)
            }
            Some(NamePlace::Elsewhere) | None => None,
        };
        let Some(key) = key else { return Ok(()) };
        let candidate = Candidate::new(entry, passed.declaration);
        self.found.entry(key).and_modify(|best| *best = candidate.min(*best)).or_insert(candidate);
        Ok(())
    }

    fn string_offset(&self, index: u64) -> Option<u64> {
        let index = gimli::DebugStrOffsetsIndex(usize::try_from(index).ok()?);
        self.sections.string_offset(self.unit, index).ok().map(|offset| offset.0 as u64)
    }
}
