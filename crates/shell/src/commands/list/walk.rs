//! From entry to entry, with crash's notion of where a list ends.

use super::request::Request;
use super::unreadable;
use crate::command::CommandError;
use mortis_memory::{VirtAddr, VirtualMemory};
use rustc_hash::FxHashSet;

/// Entries that are remembered to tell at once when one comes again. A longer list is watched for
/// loops at milestones: a loop then is noticed late, and costs no memory.
const REMEMBERED: usize = 1 << 22;

/// More entries than any list has.
const MAX_ENTRIES: u64 = 1 << 26;

/// Goes through a list; yields the addresses of the links.
pub(super) struct Walk<'a> {
    memory: &'a dyn VirtualMemory,
    next_offset: u64,
    is_ring: bool,
    start: VirtAddr,
    end: Option<VirtAddr>,
    /// Whether only the head can end it: a ring gone into from its head, and no other end given.
    has_head: bool,
    /// The second entry.
    second: VirtAddr,
    /// What comes next.
    entry: Option<VirtAddr>,
    count: u64,
    seen: FxHashSet<u64>,
    milestone: VirtAddr,
    /// What is wrong with the list, in crash's words.
    problem: Option<String>,
}

impl<'a> Walk<'a> {
    /// Finds the first entry; `None` for a list without any.
    pub fn start(
        memory: &'a dyn VirtualMemory,
        request: &Request,
    ) -> Result<Option<Self>, CommandError> {
        let read = |address: VirtAddr, what: &str| {
            let read = memory.read_pointer(address);
            read.map_err(|error| CommandError::Message(unreadable(error, what)))
        };
        let (mut start, mut end) = (request.start, request.end);
        if let Some(head) = request.head {
            let head = start.offset(head);
            start = read(head.offset(request.next), "LIST_HEAD contents")?;
            let end = *end.get_or_insert(head);
            if start == end {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            memory,
            next_offset: request.next,
            is_ring: request.is_ring,
            start,
            end,
            has_head: request.head.is_some() && request.end.is_none(),
            second: read(start.offset(request.next), "first list entry")?,
            entry: Some(start),
            count: 0,
            seen: FxHashSet::default(),
            milestone: VirtAddr(0),
            problem: None,
        }))
    }

    /// Why the list ended, where a sound one would not have.
    pub fn problem(self) -> Option<String> {
        self.problem
    }

    /// The entry behind `last`; `None` where the list ends there.
    fn after(&mut self, last: VirtAddr) -> Option<VirtAddr> {
        let next = match self.memory.read_pointer(last.offset(self.next_offset)) {
            Ok(next) => next,
            Err(error) => {
                self.problem = Some(unreadable(error, "list entry"));
                return None;
            }
        };
        if next.is_null() {
            if self.is_ring {
                self.problem = Some("invalid list entry: 0".to_owned());
            }
            return None;
        }
        if Some(next) == self.end {
            return None;
        }
        let again = next == self.start || next == last || (next == self.second && self.count != 1);
        if again {
            // A ring ends at its head, or where it was begun at one of its entries. crash takes a
            // list that ends elsewhere so for complete.
            if self.is_ring && (self.has_head || next != self.start) {
                self.problem = Some(format!("duplicate list entry: {next:x}"));
            }
            return None;
        }
        Some(next)
    }

    /// Whether `entry` came before.
    fn is_again(&mut self, entry: VirtAddr) -> bool {
        if self.seen.len() < REMEMBERED {
            return !self.seen.insert(entry.0);
        }
        let again = entry == self.milestone || self.seen.contains(&entry.0);
        if self.count.is_power_of_two() {
            self.milestone = entry;
        }
        again
    }
}

impl Iterator for Walk<'_> {
    type Item = VirtAddr;

    fn next(&mut self) -> Option<VirtAddr> {
        let entry = self.entry.take()?;
        self.count += 1;
        // As crash does, an entry that came before is shown again, and is the last.
        if self.is_again(entry) {
            self.problem = Some(format!("duplicate list entry: {entry:x}"));
        } else if self.count > MAX_ENTRIES {
            self.problem = Some(format!("list does not end: {entry:x}"));
        } else {
            self.entry = self.after(entry);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_memory::{ReadError, Unavailable};
    use std::collections::BTreeMap;

    /// Words at addresses; everything else is unmapped.
    struct Words(BTreeMap<u64, u64>);

    impl VirtualMemory for Words {
        fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
            let word = self.0.get(&address.0);
            let word = word.ok_or_else(|| ReadError::new(address, Unavailable::Unmapped))?;
            buf.copy_from_slice(&word.to_le_bytes());
            Ok(())
        }
    }

    /// A list in which each address holds the next one's.
    fn walked(links: &[(u64, u64)], request: &Request) -> (Vec<u64>, String) {
        let memory = Words(links.iter().copied().collect());
        let started = Walk::start(&memory, request).map_err(|error| error.to_string());
        let mut walk = match started {
            Ok(Some(walk)) => walk,
            Ok(None) => return (Vec::new(), "empty".to_owned()),
            Err(error) => return (Vec::new(), error),
        };
        let entries = walk.by_ref().map(|entry| entry.0).collect();
        let end = walk.problem().unwrap_or_default();
        (entries, end)
    }

    fn from(start: u64) -> Request {
        Request { start: VirtAddr(start), ..Request::default() }
    }

    fn ring(head: u64) -> Request {
        Request { head: Some(0), is_ring: true, ..from(head) }
    }

    #[test]
    fn lists_end_at_null_at_the_start_and_at_the_end() {
        let whole = (vec![1, 2, 3], String::new());
        assert_eq!(walked(&[(1, 2), (2, 3), (3, 0)], &from(1)), whole);
        assert_eq!(walked(&[(1, 2), (2, 3), (3, 1)], &from(1)), whole);
        assert_eq!(walked(&[(1, 2), (2, 3), (3, 2)], &from(1)), whole);
        assert_eq!(walked(&[(1, 2), (2, 3), (3, 3)], &from(1)), whole);
        let request = Request { end: Some(VirtAddr(4)), ..from(1) };
        assert_eq!(walked(&[(1, 2), (2, 3), (3, 4), (4, 5)], &request), whole);
        assert_eq!(walked(&[(9, 1), (1, 2), (2, 3), (3, 9)], &ring(9)), whole);
        assert_eq!(walked(&[(9, 9)], &ring(9)), (vec![], "empty".to_owned()));
        let member = Request { is_ring: true, ..from(1) };
        assert_eq!(walked(&[(1, 2), (2, 3), (3, 1)], &member), whole);
    }

    #[test]
    fn a_loop_ends_behind_the_entry_that_comes_again() {
        let links = [(9, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 3)];
        let expected = (vec![1, 2, 3, 4, 5, 3], "duplicate list entry: 3".to_owned());
        assert_eq!(walked(&links, &ring(9)), expected);
        assert_eq!(walked(&links, &from(1)), expected);
    }

    #[test]
    fn a_ring_that_misses_its_head_is_told_of() {
        for (again, entries) in [(1, vec![1, 2, 3]), (2, vec![1, 2, 3]), (3, vec![1, 2, 3])] {
            let links = [(9, 1), (1, 2), (2, 3), (3, again)];
            let message = format!("duplicate list entry: {again}");
            assert_eq!(walked(&links, &ring(9)), (entries, message));
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        let (entries, end) = walked(&[(9, 1), (1, 2), (2, 0xdead)], &ring(9));
        assert_eq!(entries, [1, 2, 0xdead]);
        assert!(end.contains("dead") && end.contains("list entry"), "{end}");
        let (entries, end) = walked(&[(9, 1), (1, 2), (2, 0)], &ring(9));
        assert_eq!((entries, end.as_str()), (vec![1, 2], "invalid list entry: 0"));
        assert!(walked(&[], &ring(9)).1.contains("LIST_HEAD contents"));
        assert!(walked(&[(9, 1)], &ring(9)).1.contains("first list entry"));
    }
}
