//! Where the pages of a process's memory are: page by page over a range, reading each page of the
//! page table once.

use crate::arch::x86_64::paging::{PRESENT, PROTNONE};
use crate::user_memory::{Mapping, UserMemory};
use mortis_memory::{PhysAddr, PhysicalMemory, ReadError, Unavailable, UserAddr};

/// Where a page of user memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePlace {
    /// In RAM.
    Memory(PhysAddr),
    /// Nowhere in RAM; this entry of the page table says where else.
    Entry(u64),
    /// Nowhere: never touched, or it can be had from its file again.
    Nowhere,
    /// A page of the page table is not in the dump.
    Unknown(Unavailable),
}

/// A page that was swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapEntry {
    /// The number of the swap device; those above the last one stand for something else, such as
    /// a page that is being moved.
    pub device: u32,
    /// Which page of the device.
    pub offset: u64,
}

impl SwapEntry {
    /// Decodes an entry of the page table that is not present
    /// (arch/x86/include/asm/pgtable_64.h): since 4.18, and what distributions made of it, the
    /// type is on top and the offset inverted, against L1TF.
    pub const fn decode(entry: u64) -> Self {
        Self { device: (entry >> 59) as u32, offset: (!entry << 5) >> 14 }
    }
}

impl SwapEntry {
    /// What the entry marks, where it stands for no page at all: a page that must not be touched
    /// (`MADV_GUARD_INSTALL`, since 6.13), that was lost to a memory error, or that userfaultfd
    /// protects (include/linux/swapops.h). Markers have the last number of all devices since 5.19;
    /// what had it before stood for pages far beyond the first seven.
    pub const fn marker(self) -> Option<&'static str> {
        match (self.device, self.offset) {
            (31, 4..=7) => Some("guard"),
            (31, 2..=3) => Some("poisoned"),
            (31, 1) => Some("write-protected"),
            _ => None,
        }
    }
}

const PAGE_SIZE: u64 = 4096;
/// What one page of the lowest level maps.
const TABLE_SPAN: u64 = 512 * PAGE_SIZE;

/// The pages from one address up to another; see [`UserMemory::pages`].
pub struct UserPages<'m> {
    memory: &'m UserMemory<'m>,
    physical: &'m dyn PhysicalMemory,
    next: u64,
    end: u64,
    span: Span,
}

/// What is known of the pages from one multiple of [`TABLE_SPAN`] to the next.
enum Span {
    /// Not looked at yet.
    New,
    /// All of them are the same: nowhere, or unknown.
    Same(PagePlace),
    /// Part of one large page, which begins here.
    Large(PhysAddr),
    /// The page of the page table.
    Table(Box<[u8; PAGE_SIZE as usize]>),
}

impl UserMemory<'_> {
    /// Where the pages from `start` up to `end` are.
    pub fn pages(&self, start: UserAddr, end: UserAddr) -> UserPages<'_> {
        UserPages {
            memory: self,
            physical: self.physical(),
            next: start.0 & !(PAGE_SIZE - 1),
            end: end.0,
            span: Span::New,
        }
    }
}

impl UserPages<'_> {
    fn look(&self, address: u64) -> Span {
        let base = address & !(TABLE_SPAN - 1);
        match self.memory.mapping(UserAddr(base)) {
            Ok(Mapping::Table(table)) => {
                let mut bytes = Box::new([0; PAGE_SIZE as usize]);
                match self.physical.read(table, &mut bytes[..]) {
                    Ok(()) => Span::Table(bytes),
                    Err(error) => Span::Same(PagePlace::Unknown(error.why)),
                }
            }
            Ok(Mapping::Large(start)) => Span::Large(start),
            Err(ReadError { why: Unavailable::Unmapped, .. }) => Span::Same(PagePlace::Nowhere),
            Err(error) => Span::Same(PagePlace::Unknown(error.why)),
        }
    }
}

impl UserPages<'_> {
    /// After a page that is nowhere: goes on behind the last one of those that the page table has
    /// nothing of either, at most to `limit`, and says how many bytes that is.
    pub fn skip_hole(&mut self, limit: UserAddr) -> u64 {
        let before = self.next;
        let end = self.end.min(limit.0 & !(PAGE_SIZE - 1));
        while self.next < end {
            let hole = match (self.next % TABLE_SPAN, &self.span) {
                (0, _) => self.memory.hole(UserAddr(self.next)).unwrap_or(0),
                (into, Span::Same(PagePlace::Nowhere)) => TABLE_SPAN - into,
                _ => 0,
            };
            if hole == 0 {
                break;
            }
            self.next = self.next.saturating_add(hole).min(end);
        }
        self.next - before
    }
}

impl Iterator for UserPages<'_> {
    type Item = (UserAddr, PagePlace);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let address = self.next;
        if matches!(self.span, Span::New) || address.is_multiple_of(TABLE_SPAN) {
            self.span = self.look(address);
        }
        self.next = address.saturating_add(PAGE_SIZE);
        let into = address % TABLE_SPAN;
        let place = match &self.span {
            Span::New => PagePlace::Nowhere,
            Span::Same(place) => *place,
            Span::Large(start) => PagePlace::Memory(start.offset(into)),
            Span::Table(bytes) => {
                let at = (into / PAGE_SIZE * 8) as usize;
                let entry = bytes.get(at..at + 8).and_then(|entry| entry.try_into().ok());
                self.memory.place(entry.map_or(0, u64::from_le_bytes))
            }
        };
        Some((UserAddr(address), place))
    }
}

impl UserMemory<'_> {
    /// What an entry of the lowest level of the page table says.
    fn place(&self, entry: u64) -> PagePlace {
        match entry {
            0 => PagePlace::Nowhere,
            entry if entry & (PRESENT | PROTNONE) == 0 => PagePlace::Entry(entry),
            entry => PagePlace::Memory(self.frame(entry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_entries_are_inverted() {
        // Page 5 of device 2.
        let entry = 2 << 59 | (!5u64 << 14) >> 5 & !(0x1f << 59) & !0x1ff;
        assert_eq!(SwapEntry::decode(entry), SwapEntry { device: 2, offset: 5 });
        assert_eq!(SwapEntry::decode(entry).marker(), None);
        assert_eq!(SwapEntry { device: 31, offset: 4 }.marker(), Some("guard"));
        assert_eq!(SwapEntry { device: 31, offset: 8 }.marker(), None);
    }
}
