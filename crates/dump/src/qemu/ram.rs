//! The "ram" section, version 4, and 3 of before 2010 (QEMU migration/ram.c).
//!
//! Numbers of 64 bits: an offset in a block of RAM, with flags in the bits that a page's offset
//! leaves free, and what the flags announce.

use super::mapped_ram::Mapped;
use super::page_index::{PageIndex, Stored, TooLarge};
use super::stream::Stream;
use crate::open::OpenError;

/// `RAM_SAVE_FLAG_*`.
const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const XBZRLE: u64 = 0x40;
const HOOK: u64 = 0x80;
const COMPRESS_PAGE: u64 = 0x100;
const MULTIFD_FLUSH: u64 = 0x200;
const KNOWN: u64 = ZERO | MEM_SIZE | PAGE | EOS | CONTINUE | XBZRLE | COMPRESS_PAGE | MULTIFD_FLUSH;

/// The most blocks that are kept: a machine has some dozens, with all its ROMs.
const MAX_BLOCKS: usize = 4096;
/// Physical addresses have at most 52 bits.
const MAX_BLOCK: u64 = 1 << 52;
/// What an index may take beside the length of the stream: a page that is sent takes nine bytes of
/// the stream at least, and eight of the index at most.
const INDEX_ALLOWANCE: u64 = 64 << 20;
/// Records after which the index is measured.
const CHECKED_EACH: u64 = 1024;
const TOO_MANY: &str = "more pages were sent again than can be kept in mind";
/// What remains of a compressed page is not longer than this.
pub(super) const MAX_COMPRESSED: u64 = 128 << 10;

/// A block of the guest's RAM, by the name that QEMU has for it.
pub(super) struct Block {
    pub(super) name: String,
    /// Bytes.
    pub(super) len: u64,
    pub(super) pages: PageIndex,
    /// Where its pages are, with the `mapped-ram` capability.
    pub(super) mapped: Option<Mapped>,
}

/// All RAM that a stream holds.
pub(super) struct Ram {
    pub(super) blocks: Vec<Block>,
    pub(super) page_size: u64,
    /// Whether the last part was read to its end.
    pub(super) complete: bool,
    current: Option<usize>,
}

/// How a part of the section ended.
pub(super) enum PartEnd {
    /// As it should.
    Eos,
    /// The stream is too short.
    Cut,
    /// Nothing more can be made of it.
    Damaged(String),
}

impl Ram {
    pub(super) fn new(page_size: u64) -> Self {
        Self { blocks: Vec::new(), page_size, complete: false, current: None }
    }

    /// All as it was kept.
    pub(super) fn restored(blocks: Vec<Block>, page_size: u64, complete: bool) -> Self {
        Self { blocks, page_size, complete, current: None }
    }

    /// Reads one part of the section; `tick` hears the position.
    pub(super) fn part(
        &mut self,
        stream: &mut Stream<'_>,
        version: u32,
        tick: &mut dyn FnMut(u64) -> Result<(), OpenError>,
    ) -> Result<PartEnd, OpenError> {
        let room = stream.len().saturating_add(INDEX_ALLOWANCE);
        for number in 1u64.. {
            let at = stream.position();
            tick(at)?;
            if number % CHECKED_EACH == 0
                && self.blocks.iter().map(|block| block.pages.size()).sum::<u64>() > room
            {
                return Ok(PartEnd::Damaged(format!("at {at:#x}: {TOO_MANY}")));
            }
            let Some(word) = stream.be64() else { return Ok(PartEnd::Cut) };
            let flags = word & (self.page_size - 1);
            let offset = word & !(self.page_size - 1);
            let end = match flags {
                EOS => Some(PartEnd::Eos),
                MULTIFD_FLUSH => None,
                MEM_SIZE => self.block_list(stream, version, offset),
                _ if flags & HOOK != 0 => Some(PartEnd::Damaged(format!(
                    "at {at:#x}: pages that went by RDMA, which the file does not hold"
                ))),
                _ if flags & !KNOWN != 0 || flags & (ZERO | PAGE | XBZRLE | COMPRESS_PAGE) == 0 => {
                    Some(PartEnd::Damaged(format!(
                        "at {at:#x}: {flags:#x} is no kind of page in a ram section"
                    )))
                }
                _ => self.page(stream, version, offset, flags),
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
        Ok(PartEnd::Cut)
    }

    /// The sizes of all blocks. Version 3 knows their sum alone.
    fn block_list(&mut self, stream: &mut Stream<'_>, version: u32, total: u64) -> Option<PartEnd> {
        let at = stream.position();
        let damaged = |what: &str| Some(PartEnd::Damaged(format!("at {at:#x}: {what}")));
        self.blocks.clear();
        self.current = None;
        let block = |name: String, len: u64, mapped| Block {
            name,
            len,
            pages: PageIndex::default(),
            mapped,
        };
        if version < 4 {
            if total > MAX_BLOCK {
                return damaged("more RAM than there are physical addresses");
            }
            self.blocks.push(block("pc.ram".to_owned(), total, None));
            return None;
        }
        let mut left = total;
        while left > 0 {
            let Some(name) = stream.short_text() else { return Some(PartEnd::Cut) };
            let Some(len) = stream.be64() else { return Some(PartEnd::Cut) };
            let aligned = len <= MAX_BLOCK && len % self.page_size == 0;
            left = match left.checked_sub(len) {
                Some(left) if aligned && len > 0 && self.blocks.len() < MAX_BLOCKS => left,
                _ => return damaged("the list of RAM blocks does not add up"),
            };
            let mapped = Mapped::take(stream, len, left == 0);
            match mapped {
                Ok(mapped) => self.blocks.push(block(name, len, mapped)),
                Err(()) => return damaged("what follows a RAM block's name is not known"),
            }
        }
        None
    }

    fn page(
        &mut self,
        stream: &mut Stream<'_>,
        version: u32,
        offset: u64,
        flags: u64,
    ) -> Option<PartEnd> {
        let at = stream.position();
        let damaged = |what: String| Some(PartEnd::Damaged(format!("at {at:#x}: {what}")));
        if version < 4 {
            self.current = Some(0);
        } else if flags & CONTINUE == 0 {
            let Some(name) = stream.short_text() else { return Some(PartEnd::Cut) };
            self.current = self.blocks.iter().position(|block| block.name == name);
            if self.current.is_none() {
                return damaged(format!("a page of {name:?}, which is no block of RAM"));
            }
        }
        let page_size = self.page_size;
        let Some(block) = self.current.and_then(|current| self.blocks.get_mut(current)) else {
            return damaged("a page of no block".to_owned());
        };
        if offset >= block.len {
            return damaged(format!("offset {offset:#x} is not in {}", block.name));
        }
        let page = offset / page_size;
        let at = stream.position();
        if flags & ZERO != 0 {
            let Some(byte) = stream.u8() else { return Some(PartEnd::Cut) };
            block.pages.add(page, Stored::Fill(byte), at, page_size);
        } else if flags & PAGE != 0 {
            if !stream.skip(page_size) {
                return Some(PartEnd::Cut);
            }
            block.pages.add(page, Stored::Page(at), at, page_size);
        } else if flags & COMPRESS_PAGE != 0 {
            let Some(len) = stream.be32() else { return Some(PartEnd::Cut) };
            if u64::from(len) > MAX_COMPRESSED {
                return damaged(format!("a compressed page of {len} bytes"));
            }
            if !stream.skip(len.into()) {
                return Some(PartEnd::Cut);
            }
            block.pages.add(page, Stored::Zlib(at), at, page_size);
        } else {
            let (Some(encoding), Some(len)) = (stream.u8(), stream.be16()) else {
                return Some(PartEnd::Cut);
            };
            if encoding != 1 || u64::from(len) > page_size {
                return damaged("no XBZRLE page".to_owned());
            }
            if !stream.skip(len.into()) {
                return Some(PartEnd::Cut);
            }
            if block.pages.add_delta(page, at, page_size) == Err(TooLarge) {
                return damaged(TOO_MANY.to_owned());
            }
        }
        None
    }
}
