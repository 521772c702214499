//! Maple trees: maps from ranges of numbers to entries (include/linux/maple_tree.h, since 6.0).
//!
//! A node holds pivots, ascending, and one slot more than pivots: the slot in front of the first
//! pivot that is not below the index is the one. Pointers to nodes carry the node's type in their
//! low byte, and a node carries its parent and which slot of that it is in, so that a walk can tell
//! a node of the tree from anything else that a wild pointer leads to, and can come to no node
//! twice. What hangs below a node in the wrong place is left out, the rest of the tree is still
//! walked, and the first thing that was wrong is the walk's last item.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use mortis_debuginfo::types::TypeSource;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// The tree's root.
    pub struct MapleTree = "maple_tree" {
        root: "ma_root",
        flags: "ma_flags",
    }
}

layout! {
    /// A node of ranges, or a leaf.
    pub struct MapleRange = "maple_range_64" {
        pivot: "pivot",
        slot: "slot",
    }
}

layout! {
    /// A node that knows the gaps below it.
    pub struct MapleAllocRange = "maple_arange_64" {
        pivot: "pivot",
        slot: "slot",
        gap: "gap",
        meta_end: "meta.end",
        meta_gap: "meta.gap",
    }
}

/// Nodes are aligned to 256 bytes, and as long (`MAPLE_NODE_MASK`).
const NODE_MASK: u64 = 0xff;
/// Words of a node.
const NODE_WORDS: usize = 32;

/// A tree over all addresses is five nodes high.
const MAX_HEIGHT: usize = 32;

/// The tree's height in its flags (`MT_FLAGS_HEIGHT_MASK`).
pub const fn height(flags: u64) -> u64 {
    (flags & 0x7c) >> 2
}

/// What a node is (`enum maple_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// `maple_leaf_64`: its slots hold entries.
    Leaf,
    /// `maple_range_64`: its slots hold nodes.
    Range,
    /// `maple_arange_64`: its slots hold nodes, and it knows their gaps.
    AllocRange,
}

/// Where a kind of node keeps what, in words.
#[derive(Clone, Copy, Debug)]
struct Places {
    pivot: usize,
    pivots: usize,
    slot: usize,
    slots: usize,
}

impl Places {
    fn of(pivot: &Field, slot: &Field) -> Result<Self> {
        let words = |bytes: u64| usize::try_from(bytes / 8).unwrap_or(NODE_WORDS).min(NODE_WORDS);
        Ok(Self {
            pivot: words(pivot.offset()?),
            pivots: words(pivot.size()?),
            slot: words(slot.offset()?),
            slots: words(slot.size()?),
        })
    }
}

/// What this kernel's nodes look like.
#[derive(Clone, Copy, Debug)]
struct NodeFormat {
    leaf: u64,
    range: u64,
    alloc_range: u64,
    ranges: Places,
    alloc_ranges: Places,
}

impl NodeFormat {
    fn of(kernel: &Kernel) -> Result<Self> {
        let ranges = kernel.layout::<MapleRange>()?;
        let alloc_ranges = kernel.layout::<MapleAllocRange>()?;
        let kind = |name, otherwise| {
            let known = kernel.type_set().enumerator(name);
            known.map_or(otherwise, |(_, value)| value.cast_unsigned())
        };
        Ok(Self {
            leaf: kind("maple_leaf_64", 1),
            range: kind("maple_range_64", 2),
            alloc_range: kind("maple_arange_64", 3),
            ranges: Places::of(&ranges.pivot, &ranges.slot)?,
            alloc_ranges: Places::of(&alloc_ranges.pivot, &alloc_ranges.slot)?,
        })
    }

    /// Reads the node that `entry` points to; `None` when that is no pointer to a node.
    fn read(&self, memory: &dyn VirtualMemory, entry: u64) -> Result<Option<Node>> {
        let kind = entry >> 3 & 0xf;
        let (kind, places) = match kind {
            kind if kind == self.leaf => (NodeKind::Leaf, self.ranges),
            kind if kind == self.range => (NodeKind::Range, self.ranges),
            kind if kind == self.alloc_range => (NodeKind::AllocRange, self.alloc_ranges),
            _ => return Ok(None),
        };
        let address = VirtAddr(entry & !NODE_MASK);
        let mut bytes = [0; NODE_WORDS * 8];
        memory.read(address, &mut bytes)?;
        let mut words = [0; NODE_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Ok(Some(Node { address, kind, places, words }))
    }
}

/// A node, read.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its `struct maple_node`.
    pub address: VirtAddr,
    /// What its slots hold.
    pub kind: NodeKind,
    places: Places,
    words: [u64; NODE_WORDS],
}

impl Node {
    /// Its words as they lie in memory; the first is [`Node::parent`].
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Its parent with the slot it is in, as the node tells it; of the topmost node, the tree.
    pub fn parent(&self) -> u64 {
        let [parent, ..] = self.words;
        parent
    }

    /// The pivots, in use or not.
    pub fn pivots(&self) -> &[u64] {
        let Places { pivot, pivots, .. } = self.places;
        self.words.get(pivot..(pivot + pivots).min(NODE_WORDS)).unwrap_or_default()
    }

    /// The slots, in use or not.
    pub fn slots(&self) -> &[u64] {
        let Places { slot, slots, .. } = self.places;
        self.words.get(slot..(slot + slots).min(NODE_WORDS)).unwrap_or_default()
    }

    /// The last index that slot `number` covers, in a node that covers up to `max`.
    fn last(&self, number: usize, max: u64) -> u64 {
        match self.pivots().get(number) {
            // A pivot of 0 behind the first is not in use: the slot in front of it is the last.
            Some(0) if number > 0 => max,
            Some(pivot) => *pivot,
            None => max,
        }
    }
}

/// Whether the root's entry leads to a node (`xa_is_node()`); below it pointers to nodes lack that
/// mark.
const fn is_root_node(entry: u64) -> bool {
    entry & 3 == 2 && entry > 4096
}

/// Whether an entry is an object's address, and no mark such as `XA_ZERO_ENTRY` and no value.
pub const fn object(entry: u64) -> Option<VirtAddr> {
    if entry & 3 == 0 && entry != 0 { Some(VirtAddr(entry)) } else { None }
}

/// The number that an entry is (`xa_to_value()`); `None` for a pointer.
pub const fn value(entry: u64) -> Option<u64> {
    if entry & 1 == 1 { Some(entry >> 1) } else { None }
}

impl Kernel {
    /// The entry of the maple tree at `tree` that covers `index`; null where none does.
    ///
    /// # Errors
    /// When a node is not in the dump, or is none.
    pub fn maple_entry(&self, tree: VirtAddr, index: u64) -> Result<VirtAddr> {
        let damaged = |at| KernelError::DamagedList {
            list: "maple tree",
            problem: "no node of it",
            at: VirtAddr(at),
        };
        let format = NodeFormat::of(self)?;
        let mut entry = self.layout::<MapleTree>()?.root.u64(self, tree)?;
        // An entry of the root alone covers index 0 only.
        if !is_root_node(entry) {
            return Ok(VirtAddr(0));
        }
        let mut max = u64::MAX;
        for _ in 0..MAX_HEIGHT {
            if entry == 0 {
                return Ok(VirtAddr(0));
            }
            let node = format.read(self, entry)?.ok_or_else(|| damaged(entry & !NODE_MASK))?;
            let covers = |number: &usize| node.last(*number, max) >= index;
            let number = (0..node.slots().len()).find(covers);
            let slot = number.and_then(|number| Some((number, *node.slots().get(number)?)));
            let (number, slot) = slot.ok_or_else(|| damaged(node.address.0))?;
            max = node.last(number, max);
            entry = slot;
            if node.kind == NodeKind::Leaf {
                return Ok(VirtAddr(if entry & 3 == 2 { 0 } else { entry }));
            }
        }
        Err(damaged(tree.0))
    }
}

/// All entries of the maple tree at `tree` (a `struct maple_tree`): the first and the last index
/// that each covers, and the entry. What is not in use does not come; [`object`] tells addresses
/// from marks. `name` says what is in the tree.
///
/// # Errors
/// [`KernelError::NoType`], [`KernelError::NoMember`]: this kernel has no maple trees. What is
/// wrong with the tree itself comes as the last item.
pub fn entries<'a>(kernel: &'a Kernel, name: &'static str, tree: VirtAddr) -> Result<Walk<'a>> {
    let root = kernel.layout::<MapleTree>()?.root.address(tree)?;
    Ok(Walk::new(kernel, name, Start::Root(root), NodeFormat::of(kernel)?))
}

/// The entries below a node, given as its parent's slot holds it: with its type in the low byte.
///
/// # Errors
/// As [`entries`].
pub fn entries_below<'a>(kernel: &'a Kernel, name: &'static str, node: u64) -> Result<Walk<'a>> {
    Ok(Walk::new(kernel, name, Start::Node(node), NodeFormat::of(kernel)?))
}

/// What a walk comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node, before what is in it; see [`Walk::node`].
    Node {
        /// The first index it covers.
        first: u64,
        /// The last.
        last: u64,
        /// How far below the topmost node.
        depth: usize,
    },
    /// What a leaf, or the root itself, holds; 0 for a range with nothing in it.
    Entry {
        /// The first index it covers.
        first: u64,
        /// The last.
        last: u64,
        /// The entry.
        entry: u64,
    },
}

/// Where a walk starts.
#[derive(Clone, Copy)]
enum Start {
    /// At what the `ma_root` here holds.
    Root(VirtAddr),
    /// At this node, whatever its parent.
    Node(u64),
    /// It has.
    Begun,
}

/// A node that is being gone through.
struct Level {
    node: Node,
    /// The slot to be taken next.
    next: usize,
    /// Its first index; `None` behind the last slot in use.
    first: Option<u64>,
    /// The last index of the node.
    last: u64,
}

/// The walk that [`entries`] starts.
pub struct Walk<'a> {
    memory: &'a dyn VirtualMemory,
    name: &'static str,
    format: NodeFormat,
    start: Start,
    levels: Vec<Level>,
    error: Option<KernelError>,
}

impl<'a> Walk<'a> {
    fn new(
        memory: &'a dyn VirtualMemory,
        name: &'static str,
        start: Start,
        format: NodeFormat,
    ) -> Self {
        Self { memory, name, format, start, levels: Vec::new(), error: None }
    }

    /// The slots that lead from the topmost node to the entry last come to.
    pub fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.levels.iter().filter_map(|level| level.next.checked_sub(1))
    }

    /// The node last come to: after [`Step::Node`] that one.
    pub fn node(&self) -> Option<&Node> {
        self.levels.last().map(|level| &level.node)
    }

    /// The next node or range, also one with nothing in it.
    pub fn next_step(&mut self) -> Option<Result<Step>> {
        match std::mem::replace(&mut self.start, Start::Begun) {
            Start::Begun => {}
            Start::Node(node) => return Some(self.enter(node, None, 0, u64::MAX)),
            Start::Root(root) => match self.memory.read_u64(root) {
                Ok(entry) if is_root_node(entry) => {
                    return Some(self.enter(entry, None, 0, u64::MAX));
                }
                Ok(entry) => return Some(Ok(Step::Entry { first: 0, last: 0, entry })),
                Err(error) => return Some(Err(error.into())),
            },
        }
        while let Some((slot, first, last)) = self.next_slot() {
            let Some(level) = self.levels.last() else { break };
            if level.node.kind == NodeKind::Leaf {
                return Some(Ok(Step::Entry { first, last, entry: slot }));
            }
            if slot != 0 {
                let place = Some((level.node.address, level.next - 1));
                match self.enter(slot, place, first, last) {
                    Ok(step) => return Some(Ok(step)),
                    Err(error) => self.note(error),
                }
            }
        }
        self.error.take().map(Err)
    }

    /// The next slot with the first and last index it covers.
    fn next_slot(&mut self) -> Option<(u64, u64, u64)> {
        loop {
            let level = self.levels.last_mut()?;
            let slot = level.node.slots().get(level.next).copied();
            let (Some(slot), Some(first)) = (slot, level.first) else {
                self.levels.pop();
                continue;
            };
            let last = level.node.last(level.next, level.last);
            if last < first || last > level.last {
                let at = level.node.address;
                self.levels.pop();
                self.note(self.damaged("node is out of order", at));
                continue;
            }
            level.next += 1;
            level.first = last.checked_add(1).filter(|_| last < level.last);
            return Some((slot, first, last));
        }
    }

    /// Reads a node, which must say that it is in this place: its parent, and which slot of it.
    fn enter(
        &mut self,
        entry: u64,
        place: Option<(VirtAddr, usize)>,
        first: u64,
        last: u64,
    ) -> Result<Step> {
        let address = VirtAddr(entry & !NODE_MASK);
        if self.levels.len() > MAX_HEIGHT {
            return Err(self.damaged("tree is too deep", address));
        }
        let node = self.format.read(self.memory, entry)?;
        let node = node.ok_or_else(|| self.damaged("no node of it", address))?;
        // `ma_parent_ptr()`: the slot stands above three bits of marks.
        let found = (node.parent() & !NODE_MASK, (node.parent() >> 3 & 0x1f) as usize);
        if place.is_some_and(|(parent, slot)| found != (parent.0, slot)) {
            return Err(self.damaged("node in another place", address));
        }
        let depth = self.levels.len();
        self.levels.push(Level { node, next: 0, first: Some(first), last });
        Ok(Step::Node { first, last, depth })
    }

    fn damaged(&self, problem: &'static str, at: VirtAddr) -> KernelError {
        KernelError::DamagedList { list: self.name, problem, at }
    }

    fn note(&mut self, error: KernelError) {
        self.error.get_or_insert(error);
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(u64, u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_step()? {
                Ok(Step::Node { .. } | Step::Entry { entry: 0, .. }) => {}
                Ok(Step::Entry { first, last, entry }) => return Some(Ok((first, last, entry))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_memory::Words;

    const FORMAT: NodeFormat = NodeFormat {
        leaf: 1,
        range: 2,
        alloc_range: 3,
        ranges: Places { pivot: 1, pivots: 15, slot: 16, slots: 16 },
        alloc_ranges: Places { pivot: 1, pivots: 9, slot: 10, slots: 10 },
    };
    const ROOT: u64 = 0x108;
    const TOP: u64 = 0x10000;
    const LEFT: u64 = 0x11000;
    const RIGHT: u64 = 0x12000;
    const ALLOC: u64 = 3 << 3;
    const LEAF: u64 = 1 << 3;

    /// A node that covers up to each pivot with the slot beside it.
    fn node(words: &mut Words, at: u64, parent: u64, slot_word: u64, filled: &[(u64, u64)]) {
        words.put(at, &[0; NODE_WORDS]);
        words.put(at, &[parent]);
        for ((pivot, slot), number) in filled.iter().zip(0..) {
            words.put(at + 8 + number * 8, &[*pivot]);
            words.put(at + (slot_word + number) * 8, &[*slot]);
        }
    }

    /// Entries a (0 to 9), none, b (20 to 29), c (100 to the end).
    fn tree() -> Words {
        let mut words = Words::default();
        words.put(ROOT, &[TOP | ALLOC | 2]);
        node(&mut words, TOP, 0x100 | 1, 10, &[(29, LEFT | LEAF), (u64::MAX, RIGHT | LEAF)]);
        node(&mut words, LEFT, TOP | 6, 16, &[(9, 0xa00), (19, 0), (29, 0xb00)]);
        node(&mut words, RIGHT, TOP | 1 << 3 | 6, 16, &[(99, 0), (u64::MAX, 0xc00)]);
        words
    }

    fn walk(words: &Words) -> Walk<'_> {
        Walk::new(words, "tree", Start::Root(VirtAddr(ROOT)), FORMAT)
    }

    fn walked(words: &Words) -> (Vec<(u64, u64, u64)>, Option<String>) {
        let (mut entries, mut problem) = (Vec::new(), None);
        for entry in walk(words) {
            assert_eq!(problem, None, "nothing comes behind a problem");
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        (entries, problem)
    }

    const A: (u64, u64, u64) = (0, 9, 0xa00);
    const B: (u64, u64, u64) = (20, 29, 0xb00);
    const C: (u64, u64, u64) = (100, u64::MAX, 0xc00);

    #[test]
    fn entries_come_by_index() {
        let words = tree();
        assert_eq!(walked(&words), (vec![A, B, C], None));
        let below = Walk::new(&words, "tree", Start::Node(RIGHT | LEAF), FORMAT);
        assert_eq!(below.map(Result::ok).collect::<Vec<_>>(), [Some(C)]);
        let mut walk = walk(&words);
        let mut nodes = Vec::new();
        while let Some(step) = walk.next_step() {
            if let Ok(Step::Node { first, last, depth }) = step {
                let node = walk.node().expect("just come to");
                nodes.push((node.address.0, node.kind, first, last, depth));
            }
        }
        let expected = [
            (TOP, NodeKind::AllocRange, 0, u64::MAX, 0),
            (LEFT, NodeKind::Leaf, 0, 29, 1),
            (RIGHT, NodeKind::Leaf, 30, u64::MAX, 1),
        ];
        assert_eq!(nodes, expected);
    }

    #[test]
    fn an_entry_may_stand_in_the_root() {
        let mut words = Words::default();
        words.put(ROOT, &[0]);
        assert_eq!(walked(&words), (vec![], None));
        words.put(ROOT, &[0xa00]);
        assert_eq!(walked(&words), (vec![(0, 0, 0xa00)], None));
        assert!(walked(&Words::default()).1.is_some());
    }

    #[test]
    fn a_pivot_of_zero_ends_a_node() {
        let mut words = tree();
        node(&mut words, RIGHT, TOP | 1 << 3 | 6, 16, &[(99, 0), (0, 0xc00), (7, 0xbad)]);
        assert_eq!(walked(&words), (vec![A, B, C], None));
    }

    #[test]
    fn loops_and_wild_pointers_cost_one_branch() {
        for (slot, problem) in [
            (TOP | ALLOC, "tree: node in another place at 10000"),
            (RIGHT | LEAF, "tree: node in another place at 12000"),
            (LEFT, "tree: no node of it at 11000"),
            (LEFT | 5 << 3, "tree: no node of it at 11000"),
        ] {
            let mut words = tree();
            words.put(TOP + 80, &[slot]);
            assert_eq!(walked(&words), (vec![C], Some(problem.to_owned())));
        }
        let mut words = tree();
        words.put(TOP + 88, &[0xdead_0000 | LEAF]);
        let (entries, problem) = walked(&words);
        assert_eq!(entries, [A, B]);
        assert!(problem.is_some_and(|problem| problem.contains("dead0000")));
    }

    #[test]
    fn pivots_must_ascend_and_stay_inside() {
        let problem = Some("tree: node is out of order at 11000".to_owned());
        let mut words = tree();
        words.put(LEFT + 16, &[3]);
        assert_eq!(walked(&words), (vec![A, C], problem.clone()));
        words.put(LEFT + 16, &[1000]);
        assert_eq!(walked(&words), (vec![A, C], problem));
    }

    #[test]
    fn a_tree_that_is_too_deep_ends() {
        let mut words = tree();
        for level in 0..100 {
            let at = 0x100000 + level * 0x1000;
            let parent = if level == 0 { TOP } else { at - 0x1000 };
            node(&mut words, at, parent | 6, 10, &[(29, (at + 0x1000) | ALLOC)]);
        }
        words.put(TOP + 80, &[0x100000 | ALLOC]);
        let (entries, problem) = walked(&words);
        assert_eq!(entries, [C]);
        assert!(problem.is_some_and(|problem| problem.starts_with("tree: tree is too deep")));
    }
}
