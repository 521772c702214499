//! LiME and AVML images.
//!
//! ```text
//! header   u32 magic, u32 version, u64 first address, u64 last address, u64 zero
//! LiME     magic "LiME", version 1: the range's bytes
//! AVML     magic "AVML", version 2: the range's bytes in Snappy's framing format, then a u64:
//!          how long they are compressed
//! ```
//!
//! LiME writes a block for each range of RAM. AVML cuts ranges into blocks of 16 MiB and leaves out
//! those that are all zero (its image.rs: `copy_if_nonzero`), so that a hole between blocks may be
//! memory. It is, where blocks before and behind lie in one grid of 16 MiB, and the one before is
//! whole; such memory reads as excluded and not as zeroes, as nobody can tell for sure.

use super::snappy_frames::{Frame, SnappyFrames};
use crate::contents::Contents;
use crate::field::{u32_at, u64_at};
use crate::format::Format;
use crate::open::{OpenError, Opening};
use crate::region::{Region, RegionMemory, Regions};
use crate::source::{Source, read_up_to};
use mortis_memory::Unavailable;
use std::sync::Arc;

const LIME_MAGIC: u32 = 0x4c69_4d45;
const AVML_MAGIC: u32 = 0x4c4d_5641;
const HEADER_SIZE: u64 = 32;
const PAGE_SIZE: u64 = 4096;
/// What AVML cuts ranges into.
const AVML_BLOCK: u64 = 16 << 20;
/// Physical addresses have at most 52 bits.
const MAX_ADDRESS: u64 = 1 << 52;
/// A petabyte in AVML's blocks.
const MAX_BLOCKS: usize = 1 << 26;
/// The source of blocks that are stored as they are, and of those that are compressed.
const PLAIN: usize = 0;
const COMPRESSED: usize = 1;

/// A block's header.
struct Header {
    start: u64,
    /// One past the last byte.
    end: u64,
    compressed: bool,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let compressed = match (u32_at(bytes, 0)?, u32_at(bytes, 4)?) {
            (LIME_MAGIC, 1) => false,
            (AVML_MAGIC, 2) => true,
            _ => return None,
        };
        let start = u64_at(bytes, 8)?;
        let end = u64_at(bytes, 16)?.checked_add(1)?;
        (start < end && end <= MAX_ADDRESS).then_some(Self { start, end, compressed })
    }
}

/// Opens a LiME or AVML image.
pub(crate) fn open(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Contents, OpenError> {
    let mut blocks = Vec::new();
    let mut frames = SnappyFrames::new(Arc::clone(&source), opening);
    let kept = frames.read_index();
    let mut cut = false;
    let mut at = 0;
    while at < source.len() {
        let bytes = read_up_to(&*source, at, HEADER_SIZE);
        let Some(header) = Header::parse(&bytes) else {
            if blocks.is_empty() {
                return Err(opening.damaged(first_header(&bytes)));
            }
            // Blocks that were read are good; what follows was cut off or overwritten.
            cut = true;
            break;
        };
        if blocks.len() >= MAX_BLOCKS {
            return Err(opening.damaged(format!("more than {MAX_BLOCKS} blocks")));
        }
        let len = header.end - header.start;
        let body = at + HEADER_SIZE;
        let offset = match header.compressed {
            false => body,
            true => frames.len(),
        };
        let source_index = if header.compressed { COMPRESSED } else { PLAIN };
        blocks.push(Region { start: header.start, end: header.end, offset, source: source_index });
        at = match header.compressed {
            false => body.saturating_add(len),
            true => match frames.add_block(Frame { offset: body, len }, opening)? {
                Some(end) => end,
                None => {
                    cut = true;
                    break;
                }
            },
        };
        cut |= at > source.len();
    }
    if blocks.is_empty() {
        return Err(OpenError::NoMemory { path: opening.path.to_owned() });
    }
    let format = match frames.len() {
        0 => Format::Lime,
        _ => Format::Avml,
    };
    if !kept && !cut {
        frames.write_index();
    }
    // Nobody knows which memory the blocks would have been that were cut off.
    let elsewhere = if cut { Unavailable::Truncated } else { Unavailable::Unmapped };
    let regions = Regions { excluded: left_out(&blocks), present: blocks, elsewhere };
    let sources: Vec<Arc<dyn Source>> = vec![source, Arc::new(frames)];
    let cache_bytes = opening.options.cache_bytes;
    let memory = RegionMemory::new(sources, regions, PAGE_SIZE, cache_bytes, cut);
    Ok(Contents::of(format, Arc::new(memory)))
}

/// What is wrong with the first header.
fn first_header(bytes: &[u8]) -> String {
    match (u32_at(bytes, 0), u32_at(bytes, 4)) {
        (_, None) => "the file ends in the first header".to_owned(),
        (Some(AVML_MAGIC), Some(version)) if version != 2 => {
            format!("AVML version {version}; only 2 is known")
        }
        (_, Some(version)) if version > 2 => format!("LiME version {version}; only 1 is known"),
        _ => "the first header's range is none".to_owned(),
    }
}

/// Holes between blocks that AVML left because they were zero.
fn left_out(blocks: &[Region]) -> Vec<Region> {
    let mut blocks = blocks.to_vec();
    blocks.sort_by_key(|block| block.start);
    let hole = |pair: &[Region]| {
        let [before, behind] = pair else { return None };
        let whole = before.end - before.start == AVML_BLOCK;
        let one_grid = behind.start.checked_sub(before.end)? % AVML_BLOCK == 0;
        let hole = Region { start: before.end, end: behind.start, ..Region::default() };
        (whole && one_grid && hole.start < hole.end).then_some(hole)
    };
    blocks.windows(2).filter_map(hole).collect()
}
