//! Walking the kernel's linked lists, however damaged.
//!
//! A walk yields the addresses of the linkage members. It ends at the head, and says so with an
//! error when it ends anywhere else: at a pointer that cannot be read, at a member met before, or
//! after more members than any kernel has. What came before the damage has been yielded by then.

use crate::error::{KernelError, Result};
use mortis_memory::{VirtAddr, VirtualMemory};

/// More members than a list of a living kernel has.
const MAX_MEMBERS: u64 = 1 << 26;

/// Walks a `struct list_head` list from its head; see the [module](self).
pub struct ListHead<'a> {
    memory: &'a dyn VirtualMemory,
    name: &'static str,
    head: VirtAddr,
    previous: VirtAddr,
    /// Brent's loop detection: a member remembered, and moved on at powers of two.
    milestone: VirtAddr,
    count: u64,
    done: bool,
}

impl<'a> ListHead<'a> {
    /// The list whose `struct list_head` lies at `head`; `name` says what it lists.
    pub fn new(memory: &'a dyn VirtualMemory, name: &'static str, head: VirtAddr) -> Self {
        Self { memory, name, head, previous: head, milestone: head, count: 0, done: false }
    }

    /// The same list from behind `member` on, for a head that cannot be read itself.
    #[must_use]
    pub fn after(mut self, member: VirtAddr) -> Self {
        self.previous = member;
        self
    }

    fn fail(&mut self, problem: &'static str, at: VirtAddr) -> Option<Result<VirtAddr>> {
        self.done = true;
        Some(Err(KernelError::DamagedList { list: self.name, problem, at }))
    }
}

impl Iterator for ListHead<'_> {
    type Item = Result<VirtAddr>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        // `next` is the first member of list_head and of hlist-like singly linked nodes alike.
        let next = match self.memory.read_pointer(self.previous) {
            Ok(next) => next,
            Err(error) => {
                self.done = true;
                return Some(Err(error.into()));
            }
        };
        if next == self.head {
            self.done = true;
            return None;
        }
        if next.is_null() {
            return self.fail("list ends in a null pointer", self.previous);
        }
        self.count += 1;
        if next == self.milestone {
            return self.fail("list loops", next);
        }
        if self.count.is_power_of_two() {
            self.milestone = next;
        }
        if self.count > MAX_MEMBERS {
            return self.fail("list does not end", next);
        }
        self.previous = next;
        Some(Ok(next))
    }
}

/// Walks a singly linked list that ends in a null pointer (`hlist_node`, `llist_node`).
pub struct SinglyLinked<'a> {
    memory: &'a dyn VirtualMemory,
    name: &'static str,
    next: VirtAddr,
    next_offset: u64,
    milestone: VirtAddr,
    count: u64,
}

impl<'a> SinglyLinked<'a> {
    /// The list whose first node is `first` (null for an empty list), each node holding the next
    /// one's address `next_offset` bytes in.
    pub fn new(
        memory: &'a dyn VirtualMemory,
        name: &'static str,
        first: VirtAddr,
        next_offset: u64,
    ) -> Self {
        Self { memory, name, next: first, next_offset, milestone: VirtAddr(0), count: 0 }
    }
}

impl Iterator for SinglyLinked<'_> {
    type Item = Result<VirtAddr>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_null() {
            return None;
        }
        let node = self.next;
        self.count += 1;
        if node == self.milestone || self.count > MAX_MEMBERS {
            self.next = VirtAddr(0);
            let problem = if node == self.milestone { "list loops" } else { "list does not end" };
            return Some(Err(KernelError::DamagedList { list: self.name, problem, at: node }));
        }
        if self.count.is_power_of_two() {
            self.milestone = node;
        }
        match self.memory.read_pointer(node.offset(self.next_offset)) {
            Ok(next) => {
                self.next = next;
                Some(Ok(node))
            }
            Err(error) => {
                self.next = VirtAddr(0);
                Some(Err(error.into()))
            }
        }
    }
}
