//! VMware: the state of a suspended machine (`.vmss`) or of a snapshot (`.vmsn`), and the short
//! form that ESXi writes when a guest panics (`debug.guest`).
//!
//! The memory is in the state file itself (group `memory`, block `Memory`; older ESX) or in a
//! `.vmem` beside it. Either way it is without holes: regions say which of its pages the machine
//! had where. Below 3 GiB there is one, and it may be left unsaid. Whichever of the files is given,
//! the other is found by its name, or both are given.
//!
//! `align_mask` needs no attention: the padding that it asked for is in each block's own header.

mod compressed;
mod cpu;
mod guest;
mod sibling;
pub(crate) mod tags;

pub(crate) use guest::{is_guest, open as open_guest};
pub(crate) use sibling::{is_guest_name, is_memory_name, is_pair, open_memory};

use crate::contents::Contents;
use crate::format::Format;
use crate::open::{OpenError, Opening};
use crate::region::{Region, RegionMemory, Regions};
use crate::source::Source;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tags::{Block, Groups, Item, Value};

const PAGE_SIZE: u64 = 4096;
/// Physical addresses have at most 52 bits.
const MAX_ADDRESS: u64 = 1 << 52;

/// Opens a `.vmss` or `.vmsn`.
pub(crate) fn open(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Contents, OpenError> {
    let cut = || opening.damaged("the file ends in the header of a VMware checkpoint");
    let groups = Groups::parse(&*source).ok_or_else(cut)?;
    if groups.magic == tags::OLD_MAGIC {
        return Err(OpenError::Wanting {
            path: opening.path.to_owned(),
            what: "a VMware checkpoint of the old 32-bit form (0xbed0bed0), not supported"
                .to_owned(),
            advice: "convert it by vmss2core, which comes with VMware Workstation and Fusion"
                .to_owned(),
        });
    }
    let layout = MemoryLayout::of(groups.items(&*source, "memory"));
    let cpu_states = cpu::cpus(&*source, groups.items(&*source, "cpu"));
    let separate = layout.blocks.is_empty();
    let compressed = layout.blocks.iter().any(|block| block.compressed);
    let mut beside = Vec::new();
    let mut pieces = Vec::new();
    if separate {
        let (path, memory) = sibling::memory_of(opening, layout.memory_len())?;
        pieces.push(Piece { offset: 0, len: memory.len(), source: Arc::clone(&memory) });
        beside.push(path);
    }
    for block in &layout.blocks {
        pieces.push(match block.compressed {
            true => compressed::open(&source, *block, opening)?,
            false => Piece {
                offset: block.offset,
                len: block.len.min(block.memory_len),
                source: Arc::clone(&source),
            },
        });
    }
    let format = Format::Vmware { separate, compressed };
    let contents = contents(format, layout.regions(&pieces), pieces, beside, opening)?;
    Ok(contents.with_cpu_states(cpu_states))
}

/// Memory without holes, or a part of it.
struct Piece {
    source: Arc<dyn Source>,
    offset: u64,
    len: u64,
}

/// Memory of `regions`, whose sources are the pieces.
fn contents(
    format: Format,
    regions: Vec<Region>,
    pieces: Vec<Piece>,
    beside: Vec<PathBuf>,
    opening: &Opening<'_>,
) -> Result<Contents, OpenError> {
    if regions.is_empty() {
        return Err(OpenError::NoMemory { path: opening.path.to_owned() });
    }
    let sources: Vec<Arc<dyn Source>> = pieces.into_iter().map(|piece| piece.source).collect();
    let is_cut = |region: &Region| {
        let len = sources.get(region.source).map_or(0, |source| source.len());
        region.offset.saturating_add(region.end - region.start) > len
    };
    let is_truncated = regions.iter().any(is_cut);
    let regions = Regions { present: regions, ..Regions::default() };
    let cache_bytes = opening.options.cache_bytes;
    let memory = RegionMemory::new(sources, regions, PAGE_SIZE, cache_bytes, is_truncated);
    Ok(Contents { beside, ..Contents::of(format, Arc::new(memory)) })
}

/// What the group `memory` says.
#[derive(Default)]
struct MemoryLayout {
    /// How many regions there are to be; 0 if the memory is flat.
    count: u64,
    regions: BTreeMap<u32, MemoryRegion>,
    blocks: Vec<Block>,
}

/// A region, in pages; an item may be missing.
#[derive(Clone, Copy, Default)]
struct MemoryRegion {
    /// The first page of it in the memory without holes.
    page: Option<u64>,
    /// Its first page of the machine.
    ppn: Option<u64>,
    pages: Option<u64>,
}

impl MemoryLayout {
    fn of(items: impl Iterator<Item = Item>) -> Self {
        let mut layout = Self::default();
        let mut blocks = BTreeMap::new();
        for item in items {
            match (&*item.name, &item.value) {
                ("Memory", Value::Block(block)) if block.memory_len > 0 => {
                    blocks.insert(item.indices, *block);
                }
                ("regionsCount", value) => layout.count = value.number().unwrap_or(0),
                ("regionPageNum", value) => layout.region(&item).page = value.number(),
                ("regionPPN", value) => layout.region(&item).ppn = value.number(),
                ("regionSize", value) => layout.region(&item).pages = value.number(),
                _ => {}
            }
        }
        layout.blocks = blocks.into_values().collect();
        layout
    }

    fn region(&mut self, item: &Item) -> &mut MemoryRegion {
        self.regions.entry(item.index(0).unwrap_or(0)).or_default()
    }

    /// The regions that are said in full: first page of the memory, of the machine, pages.
    fn complete(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        // ESXi leaves room for more regions than there are.
        let used = self.regions.iter().filter(|(index, _)| u64::from(**index) < self.count);
        used.filter_map(|(_, region)| Some((region.page?, region.ppn?, region.pages?)))
            .filter(|(.., pages)| *pages > 0)
    }

    /// How long the memory is in bytes, if the regions tell.
    fn memory_len(&self) -> Option<u64> {
        let end = |(page, _, pages): (u64, u64, u64)| page.saturating_add(pages);
        self.complete().map(end).max().map(|pages| pages.saturating_mul(PAGE_SIZE))
    }

    /// Where the machine's memory is in `pieces`, which follow one another.
    fn regions(&self, pieces: &[Piece]) -> Vec<Region> {
        let mut all: Vec<(u64, u64, u64)> = self.complete().collect();
        if self.count == 0 {
            let len = pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.len));
            all.push((0, 0, len.div_ceil(PAGE_SIZE)));
        }
        let mut regions = Vec::new();
        for (page, ppn, pages) in all {
            let (Some(mut at), Some(mut start), Some(len)) = (
                page.checked_mul(PAGE_SIZE),
                ppn.checked_mul(PAGE_SIZE),
                pages.checked_mul(PAGE_SIZE),
            ) else {
                continue;
            };
            let end = start.saturating_add(len).min(MAX_ADDRESS);
            let mut piece_at = 0u64;
            for (index, piece) in pieces.iter().enumerate() {
                let piece_end = piece_at.saturating_add(piece.len);
                // What is beyond all pieces is announced all the same, and reads as cut off.
                let is_last = index + 1 == pieces.len();
                let here = if is_last { u64::MAX } else { piece_end.saturating_sub(at) };
                if start < end && (at < piece_end || is_last) {
                    let region_end = start.saturating_add(here).min(end);
                    regions.push(Region {
                        start,
                        end: region_end,
                        offset: piece.offset.saturating_add(at - piece_at.min(at)),
                        source: index,
                    });
                    at = at.saturating_add(region_end - start);
                    start = region_end;
                }
                piece_at = piece_end;
            }
        }
        regions
    }
}
