//! Where in the stream each page of a block is.
//!
//! A guest that stood still is sent from its first page to its last, and a record says so little
//! beside the page that its place follows from those before: 64 pages need the place of the first
//! record, and a bit each for "a page" and "all zero". Groups in which that does not hold (a page
//! was sent again, or is compressed, or a section ended between two records) have eight bytes a
//! page instead.

use std::collections::BTreeMap;
use std::mem::size_of;

/// Pages of a group.
const GROUP: usize = 64;
/// Groups that are allocated together.
const CHUNK: usize = 256;
/// A page's offset and flags, in front of what is sent of it.
const RECORD_HEADER: u64 = 8;
/// What is sent of a page of zeroes: one.
const FILL_RECORD: u64 = RECORD_HEADER + 1;
/// In [`Group::base`]: the rest is where in [`PageIndex::tables`] the group's table starts.
const TABLE: u64 = 1 << 63;
/// Differences that are kept of a block, half a gigabyte of them at most.
const MAX_DELTAS: usize = 1 << 25;
/// Differences on top of each other. A page that a guest writes all the time has one for each pass
/// over memory, a few hundred.
const MAX_CHAIN: usize = 1 << 16;

/// How a page is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Never sent.
    Absent,
    /// All of one byte.
    Fill(u8),
    /// As it is, there.
    Page(u64),
    /// Behind a 32-bit length there, zlib.
    Zlib(u64),
    /// The difference to what was sent before: a number for [`PageIndex::chain`].
    Delta(u32),
}

impl Stored {
    fn pack(self) -> u64 {
        match self {
            Stored::Absent => 0,
            Stored::Fill(byte) => u64::from(byte) << 3 | 1,
            Stored::Page(at) => at << 3 | 2,
            Stored::Zlib(at) => at << 3 | 3,
            Stored::Delta(number) => u64::from(number) << 3 | 4,
        }
    }

    fn unpack(packed: u64) -> Self {
        let rest = packed >> 3;
        match packed & 7 {
            1 => Stored::Fill(rest as u8),
            2 => Stored::Page(rest),
            3 => Stored::Zlib(rest),
            4 => Stored::Delta(rest as u32),
            _ => Stored::Absent,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Group {
    /// Where the first record starts, or which table; see [`TABLE`].
    base: u64,
    /// Pages that are there as they are.
    pages: u64,
    /// Pages of zeroes.
    zeroes: u64,
}

impl Group {
    /// Where the record of page `index` is, or would be if it came next.
    fn place(&self, index: u32, page_size: u64) -> u64 {
        let below = (1u64 << index) - 1;
        let pages = u64::from((self.pages & below).count_ones());
        let zeroes = u64::from((self.zeroes & below).count_ones());
        self.base + pages * (RECORD_HEADER + page_size) + zeroes * FILL_RECORD
    }

    fn get(&self, index: u32, page_size: u64) -> Stored {
        if self.pages >> index & 1 != 0 {
            Stored::Page(self.place(index, page_size) + RECORD_HEADER)
        } else if self.zeroes >> index & 1 != 0 {
            Stored::Fill(0)
        } else {
            Stored::Absent
        }
    }
}

#[derive(Clone, Copy)]
struct Delta {
    /// Where the difference is, behind the page's offset and flags.
    at: u64,
    /// What it is the difference to.
    base: u64,
}

/// The index grew beyond what a stream of that length can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Where each page of a block is.
#[derive(Default)]
pub(super) struct PageIndex {
    chunks: BTreeMap<u64, Box<[Group]>>,
    tables: Vec<u64>,
    deltas: Vec<Delta>,
}

impl PageIndex {
    /// Whether no page was ever sent.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes in memory.
    pub(super) fn size(&self) -> u64 {
        let bytes = self.chunks.len() * (CHUNK * size_of::<Group>() + 64)
            + self.tables.len() * size_of::<u64>()
            + self.deltas.len() * size_of::<Delta>();
        bytes as u64
    }

    /// Notes what was sent of a page; `at` is where it is, behind the offset and flags.
    pub(super) fn add(&mut self, page: u64, stored: Stored, at: u64, page_size: u64) {
        let Self { chunks, tables, .. } = self;
        let (number, index) = (page / GROUP as u64, (page % GROUP as u64) as u32);
        let chunk = chunks
            .entry(number / CHUNK as u64)
            .or_insert_with(|| vec![Group::default(); CHUNK].into_boxed_slice());
        let Some(group) = chunk.get_mut(number as usize % CHUNK) else { return };
        if group.base & TABLE != 0 {
            let slot = (group.base & !TABLE) as usize + index as usize;
            if let Some(slot) = tables.get_mut(slot) {
                *slot = stored.pack();
            }
            return;
        }
        let seen = group.pages | group.zeroes;
        let place = at.saturating_sub(RECORD_HEADER);
        let in_order = seen >> index == 0
            && (seen == 0 || group.place(index, page_size) == place)
            && matches!(stored, Stored::Page(_) | Stored::Fill(0));
        if in_order {
            if seen == 0 {
                group.base = place;
            }
            match stored {
                Stored::Page(_) => group.pages |= 1 << index,
                _ => group.zeroes |= 1 << index,
            }
            return;
        }
        let start = tables.len();
        tables.extend((0..GROUP as u32).map(|index| group.get(index, page_size).pack()));
        if let Some(slot) = tables.get_mut(start + index as usize) {
            *slot = stored.pack();
        }
        *group = Group { base: TABLE | start as u64, pages: 0, zeroes: 0 };
    }

    /// Notes that the difference at `at` to what was sent before is the page.
    pub(super) fn add_delta(&mut self, page: u64, at: u64, page_size: u64) -> Result<(), TooLarge> {
        if self.deltas.len() >= MAX_DELTAS {
            return Err(TooLarge);
        }
        let base = self.get(page, page_size).pack();
        let number = self.deltas.len() as u32;
        self.deltas.push(Delta { at, base });
        self.add(page, Stored::Delta(number), at, page_size);
        Ok(())
    }

    /// How a page is in the stream.
    pub(super) fn get(&self, page: u64, page_size: u64) -> Stored {
        let (number, index) = (page / GROUP as u64, (page % GROUP as u64) as u32);
        let chunk = self.chunks.get(&(number / CHUNK as u64));
        let Some(group) = chunk.and_then(|chunk| chunk.get(number as usize % CHUNK)) else {
            return Stored::Absent;
        };
        if group.base & TABLE == 0 {
            return group.get(index, page_size);
        }
        let slot = (group.base & !TABLE) as usize + index as usize;
        self.tables.get(slot).map_or(Stored::Absent, |packed| Stored::unpack(*packed))
    }

    /// Resolves differences: what all of them start from, and where they are, the last one first.
    /// `None` if there are more of them than any stream has.
    pub(super) fn chain(&self, stored: Stored) -> Option<(Stored, Vec<u64>)> {
        let mut stored = stored;
        let mut places = Vec::new();
        while let Stored::Delta(number) = stored {
            let delta = self.deltas.get(number as usize)?;
            if places.len() >= MAX_CHAIN {
                return None;
            }
            places.push(delta.at);
            stored = Stored::unpack(delta.base);
        }
        Some((stored, places))
    }

    /// Pages that were sent.
    pub(super) fn count(&self) -> u64 {
        let in_group = |group: &Group| match group.base & TABLE {
            0 => (group.pages | group.zeroes).count_ones() as usize,
            _ => {
                let start = (group.base & !TABLE) as usize;
                let table = self.tables.get(start..start.saturating_add(GROUP));
                table.unwrap_or_default().iter().filter(|packed| **packed != 0).count()
            }
        };
        self.chunks
            .values()
            .flat_map(|chunk| chunk.iter())
            .map(|group| in_group(group) as u64)
            .sum()
    }

    /// All of it as numbers, to be kept.
    pub(super) fn save(&self, put: &mut impl FnMut(u64)) {
        put(self.chunks.len() as u64);
        for (number, chunk) in &self.chunks {
            put(*number);
            for group in chunk.iter() {
                put(group.base);
                put(group.pages);
                put(group.zeroes);
            }
        }
        put(self.tables.len() as u64);
        self.tables.iter().for_each(|packed| put(*packed));
        put(self.deltas.len() as u64);
        for delta in &self.deltas {
            put(delta.at);
            put(delta.base);
        }
    }

    /// What [`PageIndex::save`] gave.
    pub(super) fn load(take: &mut impl FnMut() -> Option<u64>) -> Option<Self> {
        let mut index = Self::default();
        for _ in 0..take()? {
            let number = take()?;
            let mut chunk = Vec::with_capacity(CHUNK);
            for _ in 0..CHUNK {
                chunk.push(Group { base: take()?, pages: take()?, zeroes: take()? });
            }
            index.chunks.insert(number, chunk.into_boxed_slice());
        }
        for _ in 0..take()? {
            index.tables.push(take()?);
        }
        for _ in 0..take()? {
            index.deltas.push(Delta { at: take()?, base: take()? });
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    #[test]
    fn pages_in_order_need_no_table() {
        let mut index = PageIndex::default();
        let mut at = 1000;
        for page in 0..10_000 {
            let stored = if page % 3 == 0 { Stored::Fill(0) } else { Stored::Page(at + 8) };
            index.add(page, stored, at + 8, PAGE);
            at += if page % 3 == 0 { 9 } else { 8 + PAGE };
        }
        assert!(index.tables.is_empty());
        assert!(index.size() < 10_000, "{}", index.size());
        assert_eq!(index.count(), 10_000);
        assert_eq!(index.get(0, PAGE), Stored::Fill(0));
        assert_eq!(index.get(1, PAGE), Stored::Page(1000 + 9 + 8));
        assert_eq!(index.get(5, PAGE), Stored::Page(1000 + 2 * 9 + 3 * (8 + PAGE) + 8));
        assert_eq!(index.get(10_000, PAGE), Stored::Absent);
        assert_eq!(index.get(1 << 50, PAGE), Stored::Absent);
    }

    #[test]
    fn what_is_sent_again_takes_the_place() {
        let mut index = PageIndex::default();
        for page in 0..64 {
            let at = 8 + page * (8 + PAGE);
            index.add(page, Stored::Page(at), at, PAGE);
        }
        index.add(7, Stored::Fill(0xcc), 500_000, PAGE);
        index.add_delta(8, 600_000, PAGE).expect("it fits");
        index.add_delta(8, 700_000, PAGE).expect("it fits");
        index.add_delta(99, 800_000, PAGE).expect("it fits");
        let check = |index: &PageIndex| {
            assert_eq!(index.get(7, PAGE), Stored::Fill(0xcc));
            assert_eq!(index.get(9, PAGE), Stored::Page(8 + 9 * (8 + PAGE)));
            let chain = index.chain(index.get(8, PAGE));
            let first = Stored::Page(8 + 8 * (8 + PAGE));
            assert_eq!(chain, Some((first, vec![700_000, 600_000])));
            assert_eq!(index.chain(index.get(99, PAGE)), Some((Stored::Absent, vec![800_000])));
            assert_eq!(index.count(), 65);
        };
        check(&index);
        let mut kept = Vec::new();
        index.save(&mut |number| kept.push(number));
        let mut rest = kept.iter().copied();
        check(&PageIndex::load(&mut || rest.next()).expect("what was saved"));
        let mut rest = kept[..kept.len() - 1].iter().copied();
        assert!(PageIndex::load(&mut || rest.next()).is_none());
    }
}
