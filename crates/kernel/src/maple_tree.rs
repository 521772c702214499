//! Maple trees: which entry covers an index (include/linux/maple_tree.h, since 6.0).
//!
//! A node holds pivots, ascending, and one slot more than pivots: the slot in front of the first
//! pivot that is not below the index is the one. Pointers to nodes carry the node's type in their
//! low byte.

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
    }
}

/// Nodes are aligned to 256 bytes, and as long (`MAPLE_NODE_MASK`).
const NODE_MASK: u64 = 0xff;

/// A tree over all addresses is five nodes high.
const MAX_HEIGHT: usize = 32;

impl Kernel {
    /// The entry of the maple tree at `tree` that covers `index`; null where none does.
    ///
    /// # Errors
    /// When a node is not in the dump, or is none.
    pub fn maple_entry(&self, tree: VirtAddr, index: u64) -> Result<VirtAddr> {
        let range = self.layout::<MapleRange>()?;
        let alloc_range = self.layout::<MapleAllocRange>()?;
        let kind = |name, otherwise| {
            let known = self.type_set().enumerator(name);
            known.map_or(otherwise, |(_, value)| value.cast_unsigned())
        };
        let leaf = kind("maple_leaf_64", 1);
        let inner = kind("maple_range_64", 2);
        let alloc = kind("maple_arange_64", 3);
        let mut entry = self.layout::<MapleTree>()?.root.u64(self, tree)?;
        // An entry of the root alone covers index 0 only.
        if !is_root_node(entry) {
            return Ok(VirtAddr(0));
        }
        for _ in 0..MAX_HEIGHT {
            if entry == 0 {
                return Ok(VirtAddr(0));
            }
            let node = VirtAddr(entry & !NODE_MASK);
            let node_kind = entry >> 3 & 0xf;
            let (pivot, slot) = match node_kind {
                kind if kind == leaf || kind == inner => (&range.pivot, &range.slot),
                kind if kind == alloc => (&alloc_range.pivot, &alloc_range.slot),
                _ => return Err(damaged(node)),
            };
            let bytes = self.read_bytes(node, NODE_MASK + 1)?;
            entry = chosen_slot(&bytes, pivot, slot, index)?.ok_or_else(|| damaged(node))?;
            if node_kind == leaf {
                // What looks like no pointer is a mark, such as XA_ZERO_ENTRY.
                return Ok(VirtAddr(if entry & 3 == 2 { 0 } else { entry }));
            }
        }
        Err(damaged(tree))
    }
}

fn damaged(at: VirtAddr) -> KernelError {
    KernelError::DamagedList { list: "maple tree", problem: "no node of it", at }
}

/// Whether the root's entry leads to a node (`xa_is_node()`); below it pointers to nodes lack that
/// mark.
const fn is_root_node(entry: u64) -> bool {
    entry & 3 == 2 && entry > 4096
}

/// The slot for `index` in the node with these bytes.
fn chosen_slot(bytes: &[u8], pivot: &Field, slot: &Field, index: u64) -> Result<Option<u64>> {
    let word = |field: &Field, number: u64| -> Result<Option<u64>> {
        if number >= field.size()? / 8 {
            return Ok(None);
        }
        let at = usize::try_from(field.offset()?.saturating_add(number * 8)).unwrap_or(usize::MAX);
        let bytes = at.checked_add(8).and_then(|end| bytes.get(at..end));
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes))
    };
    let mut number = 0;
    // A pivot of 0 behind the first is not in use: the slot in front of it is the last.
    while let Some(pivot) = word(pivot, number)?
        && pivot < index
        && !(pivot == 0 && number > 0)
    {
        number += 1;
    }
    word(slot, number)
}
