//! Walking xarrays and the radix trees they once were, however damaged: maps from numbers to
//! entries (include/linux/xarray.h since 4.20, include/linux/radix-tree.h; an `idr` is one too).
//!
//! Both are trees of nodes with 64 slots, and differ in how a slot says that it holds another
//! node: by its low two bits, 2 in an xarray, 1 in a radix tree. A node knows its parent and the
//! slot it is in, and so a walk can tell a node of the tree from anything else that a wild pointer
//! leads to, and can come to no node twice. What hangs below a node that is in the wrong place is
//! left out, the rest is still walked, and the first thing that was wrong is the walk's last item.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// Such a map: include/linux/xarray.h.
    pub struct XArray = "xarray" | "radix_tree_root" {
        /// A radix tree's until 4.20.
        head: "xa_head" | "rnode",
    }
}

layout! {
    /// A node of it.
    pub struct XaNode = "xa_node" | "radix_tree_node" {
        /// How far the index is shifted to number this node's slots; since 4.7, `height` before.
        shift: "shift",
        offset: "offset",
        parent: "parent",
        slots: "slots",
    }
}

/// `XA_CHUNK_SIZE`, `RADIX_TREE_MAP_SIZE`; 16 on small machines (CONFIG_BASE_SMALL).
const MAX_SLOTS: u64 = 64;

/// Internal entries up to here are marks and no pointers to nodes (`xa_is_node()`).
const MAX_MARK: u64 = 4096;

/// `XA_ZERO_ENTRY`: a place that is taken, but holds nothing yet.
pub const ZERO_ENTRY: u64 = 257 << 2 | 2;

/// The object that `entry` points to; `None` for a value and for a mark.
pub const fn object(entry: u64) -> Option<VirtAddr> {
    if entry & 3 == 0 && entry != 0 { Some(VirtAddr(entry)) } else { None }
}

/// The number that `entry` of an xarray is (`xa_to_value()`); `None` for a pointer.
pub const fn value(entry: u64) -> Option<u64> {
    if entry & 1 == 1 { Some(entry >> 1) } else { None }
}

/// The entries of the map at `root` (a `struct xarray`, a `struct radix_tree_root`, or the `idr_rt`
/// of a `struct idr`) by index; `name` says what is in it.
///
/// An entry that spans several indices comes once, at its first. An `idr` may start at another
/// number than 0 (`idr_base`), which is to be added.
///
/// # Errors
/// [`KernelError::NoType`], [`KernelError::NoMember`]: this kernel has no such maps. What is wrong
/// with the map itself comes as the last item.
pub fn entries<'a>(kernel: &'a Kernel, name: &'static str, root: VirtAddr) -> Result<Entries<'a>> {
    let head = root.offset(kernel.layout::<XArray>()?.head.offset()?);
    Ok(Entries::new(kernel, name, Start::Head(head), NodeFormat::of(kernel)?))
}

/// The entries below the node at `node`, as if it were the topmost.
///
/// # Errors
/// As [`entries`].
pub fn entries_below<'a>(
    kernel: &'a Kernel,
    name: &'static str,
    node: VirtAddr,
) -> Result<Entries<'a>> {
    Ok(Entries::new(kernel, name, Start::Node(node), NodeFormat::of(kernel)?))
}

/// Where a node keeps what.
#[derive(Clone, Copy, Debug)]
struct NodeFormat {
    /// What the low two bits of a slot say that holds a node.
    node_tag: u64,
    shift: u64,
    offset: u64,
    parent: u64,
    slots: u64,
    slot_count: u64,
    /// Bytes of all that.
    size: u64,
}

impl NodeFormat {
    fn of(kernel: &Kernel) -> Result<Self> {
        let is_xarray = kernel.layout::<XArray>()?.head.name() == Some("xa_head");
        let node = kernel.layout::<XaNode>()?;
        let slot_count = (node.slots.size()? / 8).clamp(1, MAX_SLOTS);
        let slots = node.slots.offset()?;
        Ok(Self {
            node_tag: if is_xarray { 2 } else { 1 },
            shift: node.shift.offset()?,
            offset: node.offset.offset()?,
            parent: node.parent.offset()?,
            slots,
            slot_count,
            size: slots.saturating_add(slot_count * 8),
        })
    }

    fn is_node(&self, entry: u64) -> bool {
        entry & 3 == self.node_tag && entry > MAX_MARK
    }
}

/// An entry and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// What the slot holds.
    pub entry: u64,
    /// The slots taken from the topmost node on; empty for an entry in the root itself.
    pub slots: Vec<u8>,
}

/// Where a walk starts.
enum Start {
    /// At what the root's head, here, holds.
    Head(VirtAddr),
    /// At this node, whatever its parent.
    Node(VirtAddr),
    /// It has.
    Begun,
}

/// A node that is being gone through.
struct Level {
    /// Its address.
    node: VirtAddr,
    shift: u8,
    slots: Vec<u64>,
    next: usize,
    /// The index of the first slot.
    index: u64,
}

/// The walk that [`entries`] starts.
pub struct Entries<'a> {
    memory: &'a dyn VirtualMemory,
    name: &'static str,
    format: NodeFormat,
    start: Start,
    levels: Vec<Level>,
    error: Option<KernelError>,
}

impl<'a> Entries<'a> {
    fn new(
        memory: &'a dyn VirtualMemory,
        name: &'static str,
        start: Start,
        format: NodeFormat,
    ) -> Self {
        Self { memory, name, format, start, levels: Vec::new(), error: None }
    }

    /// The next entry, with the way to it.
    pub fn next_entry(&mut self) -> Option<Result<Entry>> {
        if let Some(entry) = self.begin() {
            return Some(Ok(Entry { index: 0, entry, slots: Vec::new() }));
        }
        while let Some((index, entry)) = self.next_slot() {
            if self.format.is_node(entry) {
                if let Err(error) = self.descend(VirtAddr(entry & !3), index) {
                    self.error.get_or_insert(error);
                }
            } else if !self.is_part_of_another(entry) {
                let slots = self.levels.iter().map(|level| (level.next - 1) as u8).collect();
                return Some(Ok(Entry { index, entry, slots }));
            }
        }
        self.error.take().map(Err)
    }

    /// The next slot that holds anything, with its index.
    fn next_slot(&mut self) -> Option<(u64, u64)> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(&entry) = level.slots.get(level.next) else {
                self.levels.pop();
                continue;
            };
            let index = level.index | (level.next as u64) << level.shift;
            level.next += 1;
            if entry != 0 {
                return Some((index, entry));
            }
        }
    }

    /// Whether the slot only says that an entry before it goes on (`xa_is_sibling()`, in a radix
    /// tree a pointer to that slot), or that something was just being moved (`XA_RETRY_ENTRY`).
    fn is_part_of_another(&self, entry: u64) -> bool {
        const RETRY_ENTRY: u64 = 256 << 2 | 2;
        match self.format.node_tag {
            2 => entry & 3 == 2 && entry <= RETRY_ENTRY,
            _ => entry & 3 == 1,
        }
    }

    /// Takes the topmost node up; gives the entry that stands there instead of one.
    fn begin(&mut self) -> Option<u64> {
        let entered = match std::mem::replace(&mut self.start, Start::Begun) {
            Start::Begun => return None,
            Start::Node(node) => self.enter(VirtAddr(node.0 & !3), None, 0),
            Start::Head(head) => match self.memory.read_u64(head) {
                Ok(0) => return None,
                Ok(entry) if !self.format.is_node(entry) => return Some(entry),
                Ok(entry) => self.enter(VirtAddr(entry & !3), Some((VirtAddr(0), 0)), 0),
                Err(error) => Err(error.into()),
            },
        };
        if let Err(error) = entered {
            self.error.get_or_insert(error);
        }
        None
    }

    /// Goes into the node that the slot taken last holds.
    fn descend(&mut self, node: VirtAddr, index: u64) -> Result<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        if level.shift == 0 {
            // A radix tree marks with the same bits a slot that goes on with what another holds.
            let first = level.node.offset(self.format.slots);
            let within = node.0.wrapping_sub(first.0) < self.format.slot_count * 8;
            return if within { Ok(()) } else { Err(self.damaged("node below a leaf", node)) };
        }
        let place = (level.node, (level.next - 1) as u8);
        let above = level.shift;
        self.enter(node, Some(place), index)?;
        if self.levels.last().is_some_and(|level| level.shift >= above) {
            self.levels.pop();
            return Err(self.damaged("node of another height", node));
        }
        Ok(())
    }

    /// Reads a node, which must say that it is in this place: its parent, and which slot of it.
    fn enter(&mut self, node: VirtAddr, place: Option<(VirtAddr, u8)>, index: u64) -> Result<()> {
        let format = self.format;
        let bytes = self.memory.read_bytes(node, format.size)?;
        let word = |at: u64| -> Option<u64> {
            let bytes = bytes.get(at as usize..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let byte = |at: u64| bytes.get(at as usize).copied();
        let wrong = || self.damaged("no node of it", node);
        let shift = byte(format.shift).filter(|shift| *shift < 64).ok_or_else(wrong)?;
        let found = (word(format.parent).map(VirtAddr), byte(format.offset));
        if place.is_some_and(|(parent, slot)| {
            // The topmost node's slot number means nothing.
            found.0 != Some(parent) || (!parent.is_null() && found.1 != Some(slot))
        }) {
            return Err(self.damaged("node in another place", node));
        }
        let slots =
            (0..format.slot_count).map_while(|slot| word(format.slots + slot * 8)).collect();
        self.levels.push(Level { node, shift, slots, next: 0, index });
        Ok(())
    }

    fn damaged(&self, problem: &'static str, at: VirtAddr) -> KernelError {
        KernelError::DamagedList { list: self.name, problem, at }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().map(|entry| entry.map(|entry| (entry.index, entry.entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_memory::Words;

    const FORMAT: NodeFormat = NodeFormat {
        node_tag: 2,
        shift: 0,
        offset: 1,
        parent: 8,
        slots: 40,
        slot_count: 64,
        size: 40 + 64 * 8,
    };
    const HEAD: u64 = 0x108;

    /// A node of 64 slots, those given filled.
    fn node(words: &mut Words, at: u64, place: (u64, u64), shift: u64, filled: &[(u64, u64)]) {
        words.put(at, &[shift | place.1 << 8, place.0, 0, 0, 0]);
        words.put(at + 40, &[0; 64]);
        for (slot, entry) in filled {
            words.put(at + 40 + slot * 8, &[*entry]);
        }
    }

    /// Two levels: entries at 0, 1 (a value), 64 (four wide) and 130.
    fn map() -> Words {
        let mut words = Words::default();
        words.put(HEAD, &[0x10002]);
        node(&mut words, 0x10000, (0, 9), 6, &[(0, 0x11002), (1, 0x12002), (2, 0x13002)]);
        node(&mut words, 0x11000, (0x10000, 0), 0, &[(0, 0xa000), (1, 0xb)]);
        let wide = [(0, 0xc000), (1, 2), (2, 2), (3, 2)];
        node(&mut words, 0x12000, (0x10000, 1), 0, &wide);
        node(&mut words, 0x13000, (0x10000, 2), 0, &[(2, 0xd000)]);
        words
    }

    fn walked(words: &Words, format: NodeFormat) -> (Vec<(u64, u64)>, Option<String>) {
        let (mut entries, mut problem) = (Vec::new(), None);
        for entry in Entries::new(words, "map", Start::Head(VirtAddr(HEAD)), format) {
            assert_eq!(problem, None, "nothing comes behind a problem");
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        (entries, problem)
    }

    #[test]
    fn entries_come_by_index_and_wide_ones_once() {
        let entries = vec![(0, 0xa000), (1, 0xb), (64, 0xc000), (130, 0xd000)];
        assert_eq!(walked(&map(), FORMAT), (entries, None));
        assert_eq!((value(0xb), object(0xb)), (Some(5), None));
        assert_eq!((value(0xa000), object(0xa000)), (None, Some(VirtAddr(0xa000))));
        assert_eq!((value(ZERO_ENTRY), object(ZERO_ENTRY)), (None, None));
        let words = map();
        let walk = Entries::new(&words, "map", Start::Node(VirtAddr(0x13000)), FORMAT);
        assert_eq!(walk.map(Result::ok).collect::<Vec<_>>(), [Some((2, 0xd000))]);
        let mut walk = Entries::new(&words, "map", Start::Head(VirtAddr(HEAD)), FORMAT);
        let last = std::iter::from_fn(|| walk.next_entry()).last().expect("one").expect("sound");
        assert_eq!(last.slots, [2, 2]);
    }

    #[test]
    fn an_entry_may_stand_in_the_root() {
        let mut words = Words::default();
        words.put(HEAD, &[0]);
        assert_eq!(walked(&words, FORMAT), (vec![], None));
        words.put(HEAD, &[0xa000]);
        assert_eq!(walked(&words, FORMAT), (vec![(0, 0xa000)], None));
    }

    #[test]
    fn a_radix_tree_differs_in_its_tags() {
        let mut words = Words::default();
        words.put(HEAD, &[0x10001]);
        node(&mut words, 0x10000, (0, 0), 6, &[(1, 0x11001)]);
        // The second slot goes on with what the first one holds; the third is a value.
        let slots = [(0, 0xa000), (1, 0x11029), (2, 0xa)];
        node(&mut words, 0x11000, (0x10000, 1), 0, &slots);
        let format = NodeFormat { node_tag: 1, ..FORMAT };
        assert_eq!(walked(&words, format), (vec![(64, 0xa000), (66, 0xa)], None));
    }

    #[test]
    fn a_loop_is_left_out() {
        // A slot that holds its own node, one that holds the topmost, one that holds another's.
        for (target, problem) in [
            (0x12002, "map: node in another place at 12000"),
            (0x10002, "map: node in another place at 10000"),
            (0x11002, "map: node in another place at 11000"),
        ] {
            let mut words = map();
            words.put(0x10000 + 40 + 3 * 8, &[target]);
            let (entries, found) = walked(&words, FORMAT);
            assert_eq!(entries.len(), 4);
            assert_eq!(found.as_deref(), Some(problem));
        }
        let mut words = map();
        words.put(0x12000 + 40, &[0x10002]);
        let problem = Some("map: node below a leaf at 10000".to_owned());
        let entries = vec![(0, 0xa000), (1, 0xb), (130, 0xd000)];
        assert_eq!(walked(&words, FORMAT), (entries, problem));
    }

    #[test]
    fn a_wild_pointer_costs_one_branch() {
        let mut words = map();
        words.put(0x10000 + 40 + 8, &[0xdead_0002]);
        let (entries, problem) = walked(&words, FORMAT);
        assert_eq!(entries, [(0, 0xa000), (1, 0xb), (130, 0xd000)]);
        assert!(problem.is_some_and(|problem| problem.contains("dead0000")));
    }

    #[test]
    fn heights_must_descend() {
        let mut words = map();
        node(&mut words, 0x12000, (0x10000, 1), 6, &[(0, 0xc000)]);
        let (entries, problem) = walked(&words, FORMAT);
        assert_eq!(entries.len(), 3);
        assert_eq!(problem, Some("map: node of another height at 12000".to_owned()));
        node(&mut words, 0x12000, (0x10000, 1), 64, &[(0, 0xc000)]);
        assert_eq!(walked(&words, FORMAT).1, Some("map: no node of it at 12000".to_owned()));
    }
}
