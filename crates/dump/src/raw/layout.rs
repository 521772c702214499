//! Raw memory: files without headers, and where in physical memory their bytes lie.
//!
//! `FILE@PHYS` puts all of a file at an address, `FILE:OFFSET+LEN@PHYS` a part of it; several are
//! separated by commas. Numbers are decimal or, behind `0x`, hexadecimal, and may end in K, M, G or
//! T. A padded image is `FILE@0`; one that skips the hole below 4 GiB is
//! `FILE:0+3G@0,FILE:3G@4G`.

use crate::contents::Contents;
use crate::format::Format;
use crate::open::{OpenError, OpenOptions};
use crate::region::{Region, RegionMemory, Regions};
use crate::source::{FileSource, Source};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

const PAGE_SIZE: u64 = 4096;
/// Physical addresses have at most 52 bits.
const MAX_ADDRESS: u64 = 1 << 52;
/// A line of pieces ends somewhere.
const MAX_PIECES: usize = 4096;

/// Where raw memory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The pieces, in the order in which they were given.
    pub pieces: Vec<LayoutPiece>,
}

/// A file, or a part of it, at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutPiece {
    /// The file.
    pub file: PathBuf,
    /// Where in the file the piece starts.
    pub offset: u64,
    /// How long it is; `None` for all of the rest.
    pub len: Option<u64>,
    /// The physical address of its first byte.
    pub address: u64,
}

/// Why a layout cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{piece}': {what}; a layout is FILE@PHYS or FILE:OFFSET+LEN@PHYS, separated by commas")]
pub struct LayoutError {
    /// The piece that is wrong.
    pub piece: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let pieces = text.split(',').map(piece).collect::<Result<Vec<_>, _>>()?;
        if pieces.len() > MAX_PIECES {
            let what = "there are too many pieces";
            return Err(LayoutError { piece: text.chars().take(40).collect(), what });
        }
        Ok(Self { pieces })
    }
}

fn piece(text: &str) -> Result<LayoutPiece, LayoutError> {
    let error = |what| LayoutError { piece: text.to_owned(), what };
    let (file, address) = text.rsplit_once('@').ok_or_else(|| error("there is no @PHYS"))?;
    let address = number(address).ok_or_else(|| error("the address is no number"))?;
    // A colon that no numbers follow belongs to the name.
    let part = file.rsplit_once(':').and_then(|(name, part)| {
        let (offset, len) = match part.split_once('+') {
            Some((offset, len)) => (offset, Some(number(len)?)),
            None => (part, None),
        };
        Some((name, number(offset)?, len))
    });
    let (file, offset, len) = part.unwrap_or((file, 0, None));
    if file.is_empty() {
        return Err(error("there is no file"));
    }
    if address >= MAX_ADDRESS {
        return Err(error("the address is beyond what a machine can have"));
    }
    Ok(LayoutPiece { file: file.into(), offset, len, address })
}

/// A number as people write sizes.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    let number: u64 = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    number.checked_mul(1 << shift)
}

/// Opens raw memory.
pub(crate) fn open(
    layout: &Layout,
    options: &OpenOptions,
) -> Result<(Contents, Vec<(PathBuf, u64)>), OpenError> {
    let mut files: Vec<(PathBuf, u64)> = Vec::new();
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    let mut regions: Vec<Region> = Vec::new();
    let mut is_truncated = false;
    for piece in &layout.pieces {
        let index = match files.iter().position(|(file, _)| *file == piece.file) {
            Some(index) => index,
            None => {
                let path = piece.file.clone();
                let source = FileSource::open(&path)
                    .map_err(|source| OpenError::Io { path: path.clone(), source })?;
                files.push((path, source.len()));
                sources.push(Arc::new(source));
                files.len() - 1
            }
        };
        let rest = sources.get(index).map_or(0, |source| source.len()).saturating_sub(piece.offset);
        let len = piece.len.unwrap_or(rest);
        is_truncated |= len > rest;
        let end = piece.address.saturating_add(len).min(MAX_ADDRESS);
        if rest == 0 || end <= piece.address {
            return Err(wrong(piece, "there is nothing in the file at that offset".to_owned()));
        }
        let region = Region { start: piece.address, end, offset: piece.offset, source: index };
        let overlaps = |other: &&Region| other.start < region.end && region.start < other.end;
        if let Some(other) = regions.iter().find(overlaps) {
            let other = format!("{:#x} to {:#x}", other.start, other.end);
            let what = format!("this piece, up to {end:#x}, overlaps another one: {other}");
            return Err(wrong(piece, what));
        }
        regions.push(region);
    }
    let regions = Regions { present: regions, ..Regions::default() };
    let memory = RegionMemory::new(sources, regions, PAGE_SIZE, options.cache_bytes, is_truncated);
    Ok((Contents::of(Format::Raw, Arc::new(memory)), files))
}

fn wrong(piece: &LayoutPiece, what: String) -> OpenError {
    OpenError::Wanting {
        path: piece.file.clone(),
        what: format!("at {:#x}: {what}", piece.address),
        advice: "correct --layout: FILE@PHYS or FILE:OFFSET+LEN@PHYS, separated by commas"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sizes() {
        let expected =
            [("0", 0), ("4096", 4096), ("0x1000", 4096), ("4K", 4096), ("0x10M", 16 << 20)];
        for (text, value) in expected {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "K", "0x", "1x", "-1", "99999999999999999999", "20000000T", "1é"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_colon_may_be_of_the_name() {
        let layout: Layout = "a:b@0,C:\\x.vmem:0x1000+2M@3G,x:4K@8K".parse().expect("it is one");
        let piece = |file: &str, offset, len, address| LayoutPiece {
            file: file.into(),
            offset,
            len,
            address,
        };
        assert_eq!(
            layout.pieces,
            [
                piece("a:b", 0, None, 0),
                piece("C:\\x.vmem", 4096, Some(2 << 20), 3 << 30),
                piece("x", 4096, None, 8192),
            ]
        );
        for (text, what) in [
            ("x", "@PHYS"),
            ("x@y", "no number"),
            ("@0", "no file"),
            ("x@0,", "@PHYS"),
            ("x@0xffffffffffffffff", "beyond"),
        ] {
            let error = text.parse::<Layout>().expect_err(text).to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
