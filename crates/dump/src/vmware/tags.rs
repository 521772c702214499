//! The layout of a checkpoint file: a header, groups, and in each group tagged items.
//!
//! ```text
//! header   u32 magic, u32 version, u32 groups
//! group    char name[64], u64 position, u64 size           one after the other behind the header
//! item     u16 tag, name, indices (u32 each), value        from the group's position on
//! tag      bits 15..8 length of the name, 7..6 number of indices, 5..0 size of the value
//! ```
//!
//! A tag of zero ends a group. Value sizes 62 and 63 stand for a block: the bytes that it takes on
//! disk, the bytes that it takes in memory, a u16 of padding, the padding, and the data, which are
//! compressed if the size is 62. (The facts are those of crash's vmware_vmss.h, by VMware.)

use crate::field::{c_string_at, u16_at, u32_at, u64_at};
use crate::source::{Source, read_up_to};

/// Checkpoints of the 32-bit form, of products before Workstation 4; nobody reads them.
pub(crate) const OLD_MAGIC: u32 = 0xbed0_bed0;
/// Block sizes are 32 bits wide (volatility's vmware.py: magics that end in 0).
pub(crate) const NARROW_MAGIC: u32 = 0xbed2_bed0;
/// A whole checkpoint.
pub(crate) const MAGIC: u32 = 0xbed2_bed2;
/// A partial one.
pub(crate) const PARTIAL_MAGIC: u32 = 0xbed3_bed3;
/// One that was resumed from.
pub(crate) const RESTORED_MAGIC: u32 = 0xbad1_bad1;
/// One that cannot be resumed from.
pub(crate) const NORESTORE_MAGIC: u32 = 0xbad2_bad2;

const HEADER_SIZE: u64 = 12;
const GROUP_SIZE: usize = 80;
const GROUP_NAME: usize = 64;
/// Real files have some 100.
const MAX_GROUPS: u32 = 65536;
/// Items of one group: a machine of 768 CPUs has some hundred each.
const MAX_ITEMS: usize = 1 << 20;
const COMPRESSED_BLOCK: u16 = 62;
const BLOCK: u16 = 63;
/// What is read ahead; most items take some 30 bytes.
const WINDOW: u64 = 64 << 10;

/// A group of items.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) position: u64,
}

/// The groups, and how wide the sizes of blocks are.
pub(crate) struct Groups {
    pub(crate) magic: u32,
    pub(crate) groups: Vec<Group>,
}

impl Groups {
    /// Reads the header. `None` if the file ends in it. Groups that the file is too short for are
    /// left out.
    pub(crate) fn parse(source: &dyn Source) -> Option<Self> {
        let header = read_up_to(source, 0, HEADER_SIZE);
        let magic = u32_at(&header, 0)?;
        let count = u32_at(&header, 8)?.min(MAX_GROUPS);
        let table = read_up_to(source, HEADER_SIZE, u64::from(count) * GROUP_SIZE as u64);
        let group = |bytes: &[u8]| {
            Some(Group {
                name: c_string_at(bytes, 0, GROUP_NAME)?,
                position: u64_at(bytes, GROUP_NAME)?,
            })
        };
        let groups = table.chunks_exact(GROUP_SIZE).filter_map(group).collect();
        Some(Self { magic, groups })
    }

    /// The items of the groups named `name`.
    pub(crate) fn items<'a>(
        &'a self,
        source: &'a dyn Source,
        name: &'a str,
    ) -> impl Iterator<Item = Item> + 'a {
        let groups = self.groups.iter().filter(move |group| group.name == name);
        groups.flat_map(move |group| {
            Items::new(source, group.position, self.magic == NARROW_MAGIC).take(MAX_ITEMS)
        })
    }
}

/// One item of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) indices: Vec<u32>,
    pub(crate) value: Value,
}

impl Item {
    /// The index at `place`.
    pub(crate) fn index(&self, place: usize) -> Option<u32> {
        self.indices.get(place).copied()
    }
}

/// What an item holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A few bytes, at most 61.
    Small(Vec<u8>),
    /// A block in the file.
    Block(Block),
}

impl Value {
    /// A small value as a number.
    pub(crate) fn number(&self) -> Option<u64> {
        let Value::Small(bytes) = self else { return None };
        let mut number = [0; 8];
        let len = bytes.len().min(8);
        number[..len].copy_from_slice(&bytes[..len]);
        (len > 0).then(|| u64::from_le_bytes(number))
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    /// Bytes in the file.
    pub(crate) len: u64,
    /// Bytes in the machine's memory.
    pub(crate) memory_len: u64,
    pub(crate) compressed: bool,
}

/// The items from a position on. Ends at a tag of zero, and where the file does.
struct Items<'a> {
    source: &'a dyn Source,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
    narrow: bool,
}

impl<'a> Items<'a> {
    fn new(source: &'a dyn Source, position: u64, narrow: bool) -> Self {
        Self { source, at: position, window: Vec::new(), window_at: 0, narrow }
    }

    /// The next `len` bytes, fewer than a window has.
    fn take_bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        let end = self.at.checked_add(len as u64)?;
        let window_end = self.window_at + self.window.len() as u64;
        if self.at < self.window_at || end > window_end {
            self.window = read_up_to(self.source, self.at, WINDOW);
            self.window_at = self.at;
        }
        let from = usize::try_from(self.at - self.window_at).ok()?;
        let bytes = self.window.get(from..from.checked_add(len)?)?.to_vec();
        self.at = end;
        Some(bytes)
    }

    fn block(&mut self, compressed: bool) -> Option<Block> {
        let (len, memory_len) = match self.narrow {
            true => {
                let sizes = self.take_bytes(8)?;
                (u32_at(&sizes, 0)?.into(), u32_at(&sizes, 4)?.into())
            }
            false => {
                let sizes = self.take_bytes(16)?;
                (u64_at(&sizes, 0)?, u64_at(&sizes, 8)?)
            }
        };
        let padding = u16_at(&self.take_bytes(2)?, 0)?;
        let offset = self.at.checked_add(padding.into())?;
        self.at = offset.checked_add(len)?;
        Some(Block { offset, len, memory_len, compressed })
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let tag = u16_at(&self.take_bytes(2)?, 0).filter(|tag| *tag != 0)?;
        let name = self.take_bytes(usize::from(tag >> 8))?;
        let indices = self.take_bytes(usize::from(tag >> 6 & 3) * 4)?;
        let value = match tag & 0x3f {
            size @ (COMPRESSED_BLOCK | BLOCK) => {
                Value::Block(self.block(size == COMPRESSED_BLOCK)?)
            }
            size => Value::Small(self.take_bytes(size.into())?),
        };
        let (indices, _) = indices.as_chunks::<4>();
        Some(Item {
            name: String::from_utf8_lossy(&name).into_owned(),
            indices: indices.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
            value,
        })
    }
}
