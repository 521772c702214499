//! Walking red-black trees, however damaged (include/linux/rbtree.h).
//!
//! A node knows its parent, and so a walk can tell a node of the tree from anything else that a
//! wild pointer leads to, and can come to no node twice: a node counts only where it is reached
//! from its own parent. What hangs below a node that does not is left out, the rest of the tree is
//! still walked, and the first thing that was wrong is the walk's last item.

use crate::error::{KernelError, Result};
use mortis_memory::{VirtAddr, VirtualMemory};

/// A tree of n nodes is at most 2·log2(n+1) high, and no kernel has 2^48 nodes.
const MAX_HEIGHT: u32 = 96;

/// In which order the nodes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// By key: left, node, right.
    Sorted,
    /// A node before what is below it: node, left, right.
    ParentFirst,
}

/// A node and the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RbNode {
    /// The `struct rb_node`.
    pub address: VirtAddr,
    /// How far below the root.
    pub depth: u32,
    /// The turns taken from the root, the last one in the lowest bit: 1 for right.
    turns: u128,
}

impl RbNode {
    /// The turns taken from the root, the first one first: true for right.
    pub fn turns(&self) -> impl Iterator<Item = bool> + use<> {
        let turns = self.turns;
        (0..self.depth).rev().map(move |level| turns >> level & 1 == 1)
    }

    fn child(&self, address: VirtAddr, right: bool) -> Self {
        Self { address, depth: self.depth + 1, turns: self.turns << 1 | u128::from(right) }
    }
}

/// What is still to be done.
enum Pending {
    /// To be read, with the parent that it must name.
    Unread(RbNode, VirtAddr),
    /// Read, and next.
    Ready(RbNode),
}

/// Walks a red-black tree; see the [module](self).
pub struct RbTree<'a> {
    memory: &'a dyn VirtualMemory,
    name: &'static str,
    order: Order,
    pending: Vec<Pending>,
    start: Start,
    error: Option<KernelError>,
}

/// Where a walk starts.
enum Start {
    /// At the node that the `struct rb_root` here holds.
    Root(VirtAddr),
    /// At this node, whatever its parent.
    Node(VirtAddr),
    /// It has.
    Begun,
}

/// `struct rb_node` has been these three words since 2.6.18.
struct Links {
    right: VirtAddr,
    left: VirtAddr,
}

impl<'a> RbTree<'a> {
    /// The tree whose `struct rb_root` (or `rb_root_cached`) lies at `root`, its nodes by key;
    /// `name` says what is in it.
    pub fn new(memory: &'a dyn VirtualMemory, name: &'static str, root: VirtAddr) -> Self {
        Self::starting(memory, name, Start::Root(root))
    }

    /// The part of a tree from the `struct rb_node` at `node` down.
    pub fn below(memory: &'a dyn VirtualMemory, name: &'static str, node: VirtAddr) -> Self {
        Self::starting(memory, name, Start::Node(node))
    }

    fn starting(memory: &'a dyn VirtualMemory, name: &'static str, start: Start) -> Self {
        Self { memory, name, order: Order::Sorted, pending: Vec::new(), start, error: None }
    }

    /// The same tree, each node before what is below it.
    #[must_use]
    pub fn parent_first(mut self) -> Self {
        self.order = Order::ParentFirst;
        self
    }

    /// The next node, with the way to it.
    pub fn next_node(&mut self) -> Option<Result<RbNode>> {
        self.begin();
        while let Some(pending) = self.pending.pop() {
            let (node, parent) = match pending {
                Pending::Ready(node) => return Some(Ok(node)),
                Pending::Unread(node, parent) => (node, parent),
            };
            match self.links(&node, Some(parent)) {
                Ok(links) => self.expand(node, &links),
                Err(error) => self.note(error),
            }
        }
        self.error.take().map(Err)
    }

    /// Reads the topmost node.
    fn begin(&mut self) {
        let first = match std::mem::replace(&mut self.start, Start::Begun) {
            Start::Begun => return,
            Start::Node(node) => Ok((node, None)),
            Start::Root(root) => {
                self.memory.read_pointer(root).map(|node| (node, Some(VirtAddr(0))))
            }
        };
        let links = match first {
            Ok((node, _)) if node.is_null() => return,
            Ok((address, parent)) => {
                let node = RbNode { address, depth: 0, turns: 0 };
                self.links(&node, parent).map(|links| (node, links))
            }
            Err(error) => Err(error.into()),
        };
        match links {
            Ok((node, links)) => self.expand(node, &links),
            Err(error) => self.note(error),
        }
    }

    /// Reads a node, which must name `parent` where that is known.
    fn links(&self, node: &RbNode, parent: Option<VirtAddr>) -> Result<Links> {
        if node.depth > MAX_HEIGHT {
            return Err(self.damaged("tree is too deep", node.address));
        }
        // Nodes are aligned: the low bits of the parent's address hold the colour.
        if node.address.0 & 3 != 0 {
            return Err(self.damaged("no node of the tree", node.address));
        }
        let mut bytes = [0; 24];
        self.memory.read(node.address, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        let [coloured_parent, right, left] = [0, 1, 2].map(|word| u64::from_le_bytes(words[word]));
        if parent.is_some_and(|parent| coloured_parent & !3 != parent.0) {
            return Err(self.damaged("node has another parent", node.address));
        }
        if right == left && right != 0 {
            return Err(self.damaged("node has one child twice", node.address));
        }
        Ok(Links { right: VirtAddr(right), left: VirtAddr(left) })
    }

    fn expand(&mut self, node: RbNode, links: &Links) {
        let left = Pending::Unread(node.child(links.left, false), node.address);
        let right = Pending::Unread(node.child(links.right, true), node.address);
        if !links.right.is_null() {
            self.pending.push(right);
        }
        if self.order == Order::Sorted {
            self.pending.push(Pending::Ready(node));
        }
        if !links.left.is_null() {
            self.pending.push(left);
        }
        if self.order == Order::ParentFirst {
            self.pending.push(Pending::Ready(node));
        }
    }

    fn damaged(&self, problem: &'static str, at: VirtAddr) -> KernelError {
        KernelError::DamagedList { list: self.name, problem, at }
    }

    fn note(&mut self, error: KernelError) {
        self.error.get_or_insert(error);
    }
}

impl Iterator for RbTree<'_> {
    type Item = Result<VirtAddr>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_node().map(|node| node.map(|node| node.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_memory::Words;

    const ROOT: u64 = 0x100;

    /// A tree of seven nodes, at 0x1000, 0x2000 … 0x7000 by key; the root is 0x4000.
    fn tree() -> Words {
        let mut words = Words::default();
        words.put(ROOT, &[0x4000]);
        for (node, parent, right, left) in [
            (0x4000, 0, 0x6000, 0x2000),
            (0x2000, 0x4000, 0x3000, 0x1000),
            (0x6000, 0x4000, 0x7000, 0x5000),
            (0x1000, 0x2000, 0, 0),
            (0x3000, 0x2000, 0, 0),
            (0x5000, 0x6000, 0, 0),
            (0x7000, 0x6000, 0, 0),
        ] {
            words.put(node, &[parent | 1, right, left]);
        }
        words
    }

    /// The nodes, in thousands, and the problem that ended the walk.
    fn walked(walk: RbTree<'_>) -> (Vec<u64>, Option<String>) {
        let (mut nodes, mut problem) = (Vec::new(), None);
        for node in walk {
            assert_eq!(problem, None, "nothing comes behind a problem");
            match node {
                Ok(node) => nodes.push(node.0 >> 12),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        (nodes, problem)
    }

    fn sorted(memory: &Words) -> (Vec<u64>, Option<String>) {
        walked(RbTree::new(memory, "tree", VirtAddr(ROOT)))
    }

    #[test]
    fn nodes_come_by_key_or_parents_first() {
        let memory = tree();
        assert_eq!(sorted(&memory), (vec![1, 2, 3, 4, 5, 6, 7], None));
        let walk = RbTree::new(&memory, "tree", VirtAddr(ROOT)).parent_first();
        assert_eq!(walked(walk), (vec![4, 2, 1, 3, 6, 5, 7], None));
        let walk = RbTree::below(&memory, "tree", VirtAddr(0x6000));
        assert_eq!(walked(walk), (vec![5, 6, 7], None));
        let mut walk = RbTree::new(&memory, "tree", VirtAddr(ROOT));
        let third =
            std::iter::from_fn(|| walk.next_node()).nth(2).expect("a third").expect("sound");
        assert_eq!(third.turns().collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn an_empty_tree_has_no_nodes() {
        let mut memory = Words::default();
        memory.put(ROOT, &[0]);
        assert_eq!(sorted(&memory), (vec![], None));
    }

    #[test]
    fn a_loop_is_left_out() {
        // The largest node's right child is the root again; then the node itself.
        for (target, way) in [(0x4000, 7), (0x7000, 7)] {
            let mut memory = tree();
            memory.put(0x7008, &[target]);
            let (nodes, problem) = sorted(&memory);
            assert_eq!(nodes, [1, 2, 3, 4, 5, 6, way]);
            let expected = format!("tree: node has another parent at {target:x}");
            assert_eq!(problem, Some(expected));
        }
    }

    #[test]
    fn a_wild_pointer_costs_one_branch() {
        let mut memory = tree();
        memory.put(0x2010, &[0xdead_0000]);
        let (nodes, problem) = sorted(&memory);
        assert_eq!(nodes, [2, 3, 4, 5, 6, 7]);
        assert!(problem.is_some_and(|problem| problem.contains("dead0000")));
        let mut memory = tree();
        memory.put(0x2010, &[0x3000]);
        let problem = Some("tree: node has one child twice at 2000".to_owned());
        assert_eq!(sorted(&memory), (vec![4, 5, 6, 7], problem));
        let mut memory = tree();
        memory.put(0x6010, &[0x5001]);
        let problem = Some("tree: no node of the tree at 5001".to_owned());
        assert_eq!(sorted(&memory), (vec![1, 2, 3, 4, 6, 7], problem));
    }

    #[test]
    fn a_root_that_cannot_be_read_is_an_error() {
        let (nodes, problem) = sorted(&Words::default());
        assert!(nodes.is_empty() && problem.is_some());
        let mut memory = Words::default();
        memory.put(ROOT, &[0x8000]);
        let (nodes, problem) = sorted(&memory);
        assert!(nodes.is_empty() && problem.is_some());
    }

    #[test]
    fn a_tree_that_is_a_long_list_ends() {
        let mut memory = Words::default();
        memory.put(ROOT, &[0x1000]);
        for node in 1..1000u64 {
            let parent = if node == 1 { 0 } else { (node - 1) << 12 };
            memory.put(node << 12, &[parent, (node + 1) << 12, 0]);
        }
        let (nodes, problem) = sorted(&memory);
        assert_eq!(nodes.len(), MAX_HEIGHT as usize + 1);
        assert_eq!(problem, Some("tree: tree is too deep at 62000".to_owned()));
    }
}
