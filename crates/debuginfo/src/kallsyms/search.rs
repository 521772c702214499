//! Finding the tables in memory, for kernels before 6.0, whose VMCOREINFO does not tell.
//!
//! Every symbol table holds digits, and a character that names hold is its own token: so in
//! `kallsyms_token_table`, 256 strings one behind the other, those of the digits stand in a row,
//! and `kallsyms_token_index` behind it says where each string starts. That pair cannot be
//! mistaken. The other tables stand before it, each aligned to 8 bytes: addresses (or offsets and
//! `kallsyms_relative_base`, since 2213e9a66bb8 in 4.6), `kallsyms_num_syms`, names, markers. The
//! count and the markers are 64-bit numbers until 80ffbaa5b1bd (5.1), 32-bit ones since.

use super::tables::KallsymsTables;
use crate::region::Region;
use memchr::memmem::Finder;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::ops::Range;

/// The tokens of the digits, as they stand in `kallsyms_token_table`.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
/// What one read takes.
const WINDOW: u64 = 4 << 20;
/// More than the tables of tokens take.
const TOKENS_LIMIT: u64 = 32 << 10;
/// The longest name: a length byte and 255 tokens.
const LONGEST_NAME: u64 = 256;
/// Symbols between two markers.
const MARKER_STEP: u64 = 256;
/// A kernel of more symbols than this has no such tables.
const MAX_MARKERS: u64 = (4 << 20) / MARKER_STEP;
/// The lowest address that `kallsyms_relative_base` may hold.
const KERNEL_HALF: u64 = 1 << 63;

impl KallsymsTables {
    /// Looks for the tables of a kernel before 6.0 in `range`, which is read once, up to where
    /// they are. Only their shape is checked; [`Kallsyms::read`](super::Kallsyms::read) proves
    /// them.
    pub fn search(memory: &dyn VirtualMemory, range: Range<VirtAddr>) -> Option<Self> {
        let finder = Finder::new(DIGITS);
        let mut at = range.start.align_down(8);
        while at < range.end {
            let len = WINDOW.min(range.end.0 - at.0) + DIGITS.len() as u64;
            let window = Region::read(memory, at, len as usize);
            let found = finder
                .find_iter(&window.bytes)
                .find_map(|hit| Self::around(memory, at.offset(hit as u64)));
            if found.is_some() {
                return found;
            }
            at = at.offset(WINDOW);
        }
        None
    }

    /// The tables whose token of the digit 0 stands at `digits`.
    fn around(memory: &dyn VirtualMemory, digits: VirtAddr) -> Option<Self> {
        let (token_table, token_index) = tokens(memory, digits)?;
        [8, 4].into_iter().find_map(|width| {
            let markers = markers(memory, token_table, width)?;
            let (num_syms, count) = count_before(memory, &markers)?;
            let mut tables = Self {
                num_syms,
                names: num_syms.offset(8),
                token_table,
                token_index,
                offsets: None,
                relative_base: None,
                addresses: None,
            };
            if are_addresses(memory, num_syms, count) {
                tables.addresses = Some(num_syms.back(count * 8));
            } else {
                let base = num_syms.back(8);
                if memory.read_u64(base).ok()? < KERNEL_HALF {
                    return None;
                }
                tables.relative_base = Some(base);
                tables.offsets = Some(base.back((count * 4).next_multiple_of(8)));
            }
            Some(tables)
        })
    }
}

/// Whether what stands before `end` are addresses. Pairs of offsets may look like one, but not
/// like some in a row, for those of high addresses descend.
fn are_addresses(memory: &dyn VirtualMemory, end: VirtAddr, count: u64) -> bool {
    let sample = count.min(64);
    let table = Region::read(memory, end.back(sample * 8), sample as usize * 8);
    let addresses: Option<Vec<u64>> =
        (0..sample as usize).map(|index| table.u64(index * 8)).collect();
    addresses.is_some_and(|addresses| {
        addresses.is_sorted() && addresses.first().is_some_and(|first| *first >= KERNEL_HALF)
    })
}

/// The start of the tokens and of their index, if the latter says what the former are.
fn tokens(memory: &dyn VirtualMemory, digits: VirtAddr) -> Option<(VirtAddr, VirtAddr)> {
    let start = digits.back(TOKENS_LIMIT);
    let before = Region::read(memory, start, TOKENS_LIMIT as usize);
    // The strings before the digit end in a NUL each, as does what stands before the first.
    let mut ends = before.bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == 0);
    let (first, _) = ends.nth(usize::from(b'0'))?;
    let token_table = start.offset(first as u64 + 1);
    let tokens = Region::read(memory, token_table, TOKENS_LIMIT as usize);
    let mut starts = Vec::with_capacity(256);
    let mut at = 0;
    for _ in 0..256 {
        starts.extend((at as u16).to_le_bytes());
        at += tokens.bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
    }
    let index = at.next_multiple_of(8);
    (tokens.get(index..index + starts.len())? == starts)
        .then(|| (token_table, token_table.offset(index as u64)))
}

/// Where the markers stand, and what is needed of them.
struct Markers {
    start: VirtAddr,
    count: u64,
    last: u64,
}

/// The markers before `end`, numbers of `width` bytes: they ascend from 0.
fn markers(memory: &dyn VirtualMemory, end: VirtAddr, width: u64) -> Option<Markers> {
    let read = |at: VirtAddr| match width {
        8 => memory.read_u64(at).ok(),
        _ => memory.read_u32(at).ok().map(u64::from),
    };
    // An odd number of narrow ones is filled up.
    [0, 8 - width].into_iter().find_map(|filling| {
        let mut at = end.back(filling + width);
        let last = read(at)?;
        let (mut above, mut count) = (last, 1);
        while above != 0 && count < MAX_MARKERS {
            at = at.back(width);
            let marker = read(at)?;
            // 256 names take a byte each at least.
            if marker.checked_add(MARKER_STEP)? > above {
                return None;
            }
            above = marker;
            count += 1;
        }
        (above == 0 && count > 1).then_some(Markers { start: at, count, last })
    })
}

/// Where the count of symbols stands, and the count: directly before the names, which end where
/// the markers start and of which the last marker tells nearly how long they are.
fn count_before(memory: &dyn VirtualMemory, markers: &Markers) -> Option<(VirtAddr, u64)> {
    let highest = markers.start.0.checked_sub(markers.last)?;
    let lowest = highest.checked_sub(MARKER_STEP * LONGEST_NAME)?;
    let fits = |at: VirtAddr| {
        let count = memory.read_u64(at).ok()?;
        (count.div_ceil(MARKER_STEP) == markers.count).then_some((at, count))
    };
    let highest = VirtAddr(highest).align_down(8).0;
    (lowest..=highest).rev().filter(|at| at % 8 == 0).find_map(|names| fits(VirtAddr(names - 8)))
}
