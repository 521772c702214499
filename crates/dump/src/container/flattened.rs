//! Flattened streams, read in place: `makedumpfile -F` and QEMU's `dump-guest-memory -z`.
//!
//! A pipe cannot go back, so a writer that would seek writes records instead (makedumpfile's
//! makedumpfile.h): 4096 bytes of header, then an offset and a length, big-endian, in front of each
//! piece of data, and -1 twice at the end. A record may change what an earlier one wrote.
//!
//! One pass over the records, from header to header, finds where all is. What it found is kept for
//! the next time. Records have up to 64 KiB, so that a dump of 30 GB has a million of them, and the
//! index 24 MB.

use super::extents::{Extent, ExtentSource, Holes, last_wins};
use crate::field::{u32_at, u64_at};
use crate::index_file::IndexFile;
use crate::open::{OpenError, Opening};
use crate::source::{Source, read_up_to};
use std::io::Write;
use std::sync::Arc;

/// Where the records start.
const RECORDS: u64 = 4096;
/// A record's offset and length.
const RECORD_HEADER: u64 = 16;
/// What is fetched with the header of a record: writers let short records follow the long ones.
const WINDOW: u64 = 1 << 10;
/// What is fetched where one short record follows the other.
const MAX_WINDOW: u64 = 1 << 16;
/// A record of so many bytes is not a short one.
const LONG: u64 = 4096;
/// The most records; their index takes 150 MB while it is made. No writer needs as many for a dump
/// below 100 GB, but a hostile one may write a byte in each.
const MAX_RECORDS: usize = 3 << 20;
/// Records between two looks at how far the pass is.
const TOLD: usize = 1 << 10;
const MAGIC: &str = "flattened 1";

/// What all records together say.
struct Index {
    extents: Vec<Extent>,
    /// Why the stream has no end mark.
    cut: String,
}

/// Gives the file that a flattened stream describes.
pub(super) fn open(
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let header = read_up_to(&*source, 0, 32);
    let number = |offset: usize| u64_at(&header, offset).map(u64::swap_bytes);
    match (number(16), number(24)) {
        (Some(1), Some(1)) => {}
        (Some(kind), Some(version)) => {
            return Err(opening.damaged(format!(
                "a flattened stream of type {kind}, version {version}: only type 1, version 1 is \
                 known"
            )));
        }
        _ => return Err(opening.damaged("the header of the flattened stream is cut off")),
    }
    let place = IndexFile::of(opening, &*source, MAGIC);
    let index = match place.as_ref().and_then(IndexFile::read).and_then(|bytes| decode(&bytes)) {
        Some(index) => index,
        None => {
            let index = pass(&*source, opening)?;
            if let Some(place) = &place {
                // Without it the next opening takes the pass again.
                let _ = place.write(|file| file.write_all(&encode(&index)));
            }
            index
        }
    };
    let holes = if index.cut.is_empty() {
        Holes::Zeroes
    } else {
        opening.cut_short(&index.cut);
        Holes::Missing
    };
    let len = index.extents.last().map_or(0, Extent::end);
    Ok(Arc::new(ExtentSource::new(source, index.extents, holes, len, "flattened")))
}

/// Goes from record to record.
fn pass(source: &dyn Source, opening: &Opening<'_>) -> Result<Index, OpenError> {
    let len = source.len();
    let mut headers = Headers { source, window: Vec::new(), at: 0, len: WINDOW };
    let mut records = Vec::new();
    let mut at = RECORDS;
    let mut before = LONG;
    let mut seen = 0usize;
    let cut = loop {
        if seen.is_multiple_of(TOLD) {
            opening.progress("indexing", at.min(len.saturating_sub(1)), len)?;
        }
        seen += 1;
        let Some((start, size)) = headers.read(at, before) else {
            break format!("the flattened stream is cut off at byte {len}");
        };
        if start == u64::MAX && size == u64::MAX {
            break String::new();
        }
        let known = |number: u64| number <= i64::MAX as u64;
        if !known(start) || !known(size) || !known(start.wrapping_add(size)) {
            break format!("the flattened stream is damaged at byte {at}: no record is there");
        }
        let data = at + RECORD_HEADER;
        let there = size.min(len.saturating_sub(data));
        if there > 0 {
            records.push(Extent { start, len: there, at: data });
        }
        if there < size {
            break format!("the flattened stream is cut off at byte {len}");
        }
        if records.len() > MAX_RECORDS {
            return Err(OpenError::Wanting {
                path: opening.path.to_owned(),
                what: format!("a flattened stream of more than {MAX_RECORDS} records"),
                advice: "put it in order first: makedumpfile -R VMCORE < FILE".to_owned(),
            });
        }
        at = data + size;
        before = size;
    };
    opening.progress("indexing", len, len)?;
    if records.is_empty() {
        let why = if cut.is_empty() { "the flattened stream has no records" } else { &*cut };
        return Err(opening.damaged(why));
    }
    Ok(Index { extents: last_wins(records), cut })
}

/// Reads record headers.
struct Headers<'a> {
    source: &'a dyn Source,
    window: Vec<u8>,
    /// Where the window is.
    at: u64,
    /// The bytes that it had or should have had.
    len: u64,
}

impl Headers<'_> {
    /// The offset and length at `at`, behind a record of `before` bytes.
    fn read(&mut self, at: u64, before: u64) -> Option<(u64, u64)> {
        let within = |window_at: u64, window: &[u8]| {
            let skip = usize::try_from(at.checked_sub(window_at)?).ok()?;
            let header = window.get(skip..)?;
            Some((u64_at(header, 0)?.swap_bytes(), u64_at(header, 8)?.swap_bytes()))
        };
        if let Some(header) = within(self.at, &self.window) {
            return Some(header);
        }
        self.len = if before < LONG { (self.len * 2).min(MAX_WINDOW) } else { WINDOW };
        self.window = read_up_to(self.source, at, self.len);
        self.at = at;
        within(self.at, &self.window)
    }
}

/// The length of the remark, the remark, the extents.
fn encode(index: &Index) -> Vec<u8> {
    let mut bytes = (index.cut.len() as u32).to_le_bytes().to_vec();
    bytes.extend(index.cut.as_bytes());
    bytes.reserve_exact(index.extents.len() * 24 + 8);
    bytes.extend((index.extents.len() as u64).to_le_bytes());
    for extent in &index.extents {
        for number in [extent.start, extent.len, extent.at] {
            bytes.extend(number.to_le_bytes());
        }
    }
    bytes
}

/// `None` for what is not an index, or not a whole one.
fn decode(bytes: &[u8]) -> Option<Index> {
    let remark_len = u32_at(bytes, 0)? as usize;
    let remark = bytes.get(4..)?.get(..remark_len)?;
    let count = usize::try_from(u64_at(bytes, 4 + remark_len)?).ok()?;
    let (extents, rest) = bytes.get(12 + remark_len..)?.as_chunks::<24>();
    if extents.len() != count || !rest.is_empty() {
        return None;
    }
    let extent = |bytes: &[u8; 24]| {
        let number = |offset| u64_at(bytes, offset).unwrap_or(0);
        Extent { start: number(0), len: number(8), at: number(16) }
    };
    let extents: Vec<Extent> = extents.iter().map(extent).collect();
    let sane = |extent: &Extent| {
        extent.start.checked_add(extent.len).is_some()
            && extent.at.checked_add(extent.len).is_some()
    };
    let sorted = extents.is_sorted_by(|one, next| one.end() <= next.start);
    let cut = std::str::from_utf8(remark).ok()?.to_owned();
    (sorted && extents.iter().all(sane)).then_some(Index { extents, cut })
}
