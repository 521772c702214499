//! The compressed names.
//!
//! Each name is its length and that many bytes; each byte stands for one of 256 tokens. The
//! first character of a name is the symbol's `nm` letter. Every 256th name's position is in
//! `kallsyms_markers`, which VMCOREINFO does not tell but which lies at a place that follows from
//! the others; it is needed only to go on behind a missing page.

use super::tables::{KallsymsError, KallsymsTables};
use crate::region::Region;
use mortis_memory::VirtualMemory;
use std::sync::Arc;

/// A name takes at most this much, letter and length included: what the names may occupy where
/// the tables stand in an order that does not tell.
const MEAN_NAME_LIMIT: usize = 64;

/// Tokens are indexed by 16 bits.
const TOKEN_TABLE_LIMIT: u64 = 1 << 16;

/// The most that the stream of names may take, far above that of any kernel.
const STREAM_LIMIT: usize = 64 << 20;

/// Symbols between two markers.
const MARKER_STEP: usize = 256;

/// How the length of a name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LengthEncoding {
    /// Up to 127 in one byte, above in two (73bbb94466fd, 6.1).
    Uleb,
    /// One byte.
    Byte,
}

/// The compressed names and what their bytes stand for.
#[derive(Clone, Debug)]
pub(super) struct Names {
    stream: Arc<Vec<u8>>,
    lengths: LengthEncoding,
    tokens: Arc<Tokens>,
}

/// `KSYM_NAME_LEN` is 512 (since b8a94bfb3395, 6.1); what is longer is cut.
const MAX_NAME: usize = 1024;

/// Room for one expanded name.
pub(super) struct NameBuffer([u8; MAX_NAME]);

impl Default for NameBuffer {
    fn default() -> Self {
        Self([0; MAX_NAME])
    }
}

/// Tokens of up to this length are copied without looking at it.
const SHORT_TOKEN: usize = 16;

#[derive(Debug)]
struct Tokens {
    bytes: Vec<u8>,
    starts: [u16; 256],
    lengths: [u16; 256],
    /// The start of each token, and its length.
    short: Box<[([u8; SHORT_TOKEN], u16); 256]>,
}

impl Names {
    /// Reads the names of `count` symbols: the stream, and where in it each one stands (`None`
    /// where it is not in the dump).
    pub(super) fn read(
        memory: &dyn VirtualMemory,
        tables: &KallsymsTables,
        count: u32,
    ) -> Result<(Self, Vec<Option<u32>>), KallsymsError> {
        let tokens = Arc::new(Tokens::read(memory, tables)?);
        let count = count as usize;
        // The tokens stand behind the names in every order of the tables that there has been.
        let span = tables.token_table.0.checked_sub(tables.names.0).unwrap_or(u64::MAX);
        let limit = (count * MEAN_NAME_LIMIT).clamp(4096, STREAM_LIMIT);
        let len = usize::try_from(span).unwrap_or(usize::MAX).min(limit);
        let mut region = Region::read(memory, tables.names, len);
        for lengths in [LengthEncoding::Uleb, LengthEncoding::Byte] {
            if let Some((positions, end)) = walk(&region, lengths, &tokens, count) {
                region.bytes.truncate(end);
                let names = Self { stream: Arc::new(region.bytes), lengths, tokens };
                return Ok((names, positions));
            }
        }
        Err(KallsymsError::Names(tables.names))
    }

    /// The letter and the name that stand at `position`, in `buffer`.
    pub(super) fn expand<'a>(&self, position: u32, buffer: &'a mut NameBuffer) -> &'a [u8] {
        let codes = self
            .lengths
            .read(&self.stream, position as usize)
            .and_then(|(start, len)| self.stream.get(start..start + len))
            .unwrap_or(&[]);
        let text = &mut buffer.0;
        let mut end = 0;
        for &code in codes {
            let (token, len) = &self.tokens.short[usize::from(code)];
            match text.get_mut(end..end + SHORT_TOKEN) {
                // A copy of fixed length is one instruction, and nearly every token fits.
                Some(room) if usize::from(*len) <= SHORT_TOKEN => {
                    room.copy_from_slice(token);
                    end += usize::from(*len);
                }
                _ => {
                    let token = self.tokens.get(code);
                    let Some(room) = text.get_mut(end..end + token.len()) else { break };
                    room.copy_from_slice(token);
                    end += token.len();
                }
            }
        }
        text.get(..end).unwrap_or(&[])
    }

    pub(super) fn memory_usage(&self) -> usize {
        self.stream.capacity() + self.tokens.bytes.len() + size_of::<Tokens>()
    }
}

impl LengthEncoding {
    /// Where the bytes of the name at `position` start, and how many they are.
    fn read(self, stream: &[u8], position: usize) -> Option<(usize, usize)> {
        let first = usize::from(*stream.get(position)?);
        if self == LengthEncoding::Byte || first < 0x80 {
            return Some((position + 1, first));
        }
        let second = usize::from(*stream.get(position + 1)?);
        Some((position + 2, (first & 0x7f) | (second << 7)))
    }
}

impl Tokens {
    fn read(memory: &dyn VirtualMemory, tables: &KallsymsTables) -> Result<Self, KallsymsError> {
        let mut index = [0; 512];
        memory
            .read(tables.token_index, &mut index)
            .map_err(|error| KallsymsError::Read { table: "kallsyms_token_index", error })?;
        let mut starts = [0; 256];
        for (start, bytes) in starts.iter_mut().zip(index.as_chunks::<2>().0) {
            *start = u16::from_le_bytes(*bytes);
        }
        // The last token ends before the index begins, which is the next table.
        let span = tables.token_index.0.checked_sub(tables.token_table.0);
        let len = match span {
            Some(span) if span <= TOKEN_TABLE_LIMIT => span,
            _ => u64::from(starts.iter().copied().max().unwrap_or(0)) + 1,
        };
        let bytes = memory
            .read_bytes(tables.token_table, len)
            .map_err(|error| KallsymsError::Read { table: "kallsyms_token_table", error })?;
        let mut lengths = [0; 256];
        for (length, &start) in lengths.iter_mut().zip(&starts) {
            let token = bytes.get(usize::from(start)..).unwrap_or(&[]);
            *length = token.iter().position(|&byte| byte == 0).unwrap_or(token.len()) as u16;
        }
        let mut tokens =
            Self { bytes, starts, lengths, short: Box::new([([0; SHORT_TOKEN], 0); 256]) };
        for code in 0..=255u8 {
            let mut short = [0; SHORT_TOKEN];
            let token = tokens.get(code);
            for (to, from) in short.iter_mut().zip(token) {
                *to = *from;
            }
            let len = token.len() as u16;
            tokens.short[usize::from(code)] = (short, len);
        }
        Ok(tokens)
    }

    fn get(&self, code: u8) -> &[u8] {
        let (start, len) = match (self.starts.get(code as usize), self.lengths.get(code as usize)) {
            (Some(&start), Some(&len)) => (usize::from(start), usize::from(len)),
            _ => return &[],
        };
        self.bytes.get(start..start + len).unwrap_or(&[])
    }
}

/// The position of each of `count` names, and where the last one ends; `None` if the stream is
/// not in the form `lengths`: each name must begin with a letter.
fn walk(
    region: &Region,
    lengths: LengthEncoding,
    tokens: &Tokens,
    count: usize,
) -> Option<(Vec<Option<u32>>, usize)> {
    let is_letter: [bool; 256] = std::array::from_fn(|code| {
        tokens.get(code as u8).first().is_some_and(|byte| byte.is_ascii_alphabetic())
    });
    let mut positions = Vec::with_capacity(count);
    let mut at = 0;
    let mut next_hole = region.holes.first().map_or(usize::MAX, |hole| hole.start);
    while positions.len() < count {
        let name = lengths.read(&region.bytes, at);
        let end = name.map_or(at + 1, |(start, len)| start + len).max(at + 1);
        if end > next_hole {
            at = skip_hole(region, at..end, &mut positions, count);
            next_hole = region.hole_in(&(at..usize::MAX)).map_or(usize::MAX, |hole| hole.start);
            continue;
        }
        let (start, len) = name?;
        let code = *region.bytes.get(start)?;
        if len == 0 || end > region.bytes.len() || !is_letter[usize::from(code)] {
            return None;
        }
        positions.push(u32::try_from(at).ok());
        at = end;
    }
    Some((positions, at))
}

/// Goes on behind the hole that `name` runs into, at the next name whose position a marker tells;
/// the names between are lost. Returns that position.
fn skip_hole(
    region: &Region,
    name: std::ops::Range<usize>,
    positions: &mut Vec<Option<u32>>,
    count: usize,
) -> usize {
    let hole_end = region.hole_in(&name).map_or(name.end, |hole| hole.end);
    let markers = Markers::find(region, count, positions);
    let first = positions.len() / MARKER_STEP + 1;
    for index in first..count.div_ceil(MARKER_STEP) {
        let Some(at) = markers.and_then(|markers| markers.get(region, index)) else { continue };
        let at = at as usize;
        if at >= hole_end.min(region.bytes.len()) && region.hole_in(&(at..at + 1)).is_none() {
            positions.resize(index * MARKER_STEP, None);
            return at;
        }
    }
    positions.resize(count, None);
    name.start
}

/// `kallsyms_markers` in a region that ends where the tokens start.
#[derive(Clone, Copy)]
struct Markers {
    start: usize,
    width: usize,
}

impl Markers {
    /// It is the last table in the region but for `kallsyms_seqs_of_names`, of three or four bytes
    /// a symbol, which stood between in 6.2 and 6.3. Markers are 64-bit numbers until 5.1. Tables
    /// are aligned to 8 bytes, since 7.0 to 4.
    fn find(region: &Region, count: usize, known: &[Option<u32>]) -> Option<Self> {
        let candidates = [(4, 0), (4, count * 3), (4, count * 4), (8, 0)];
        candidates.into_iter().find_map(|(width, sequences)| {
            let table = count.div_ceil(MARKER_STEP) * width;
            [4, 8].into_iter().find_map(|alignment: usize| {
                let behind =
                    table.next_multiple_of(alignment) + sequences.next_multiple_of(alignment);
                let start = region.bytes.len().checked_sub(behind)?;
                let markers = Self { start, width };
                markers.are_sound(region, count, known).then_some(markers)
            })
        })
    }

    /// The position of name 256 × `index`.
    fn get(self, region: &Region, index: usize) -> Option<u32> {
        let at = self.start + index * self.width;
        match self.width {
            8 => u32::try_from(region.u64(at)?).ok(),
            _ => region.u32(at),
        }
    }

    /// Whether what can be read of the table ascends, stays in front of the table and agrees with
    /// the positions that are `known`.
    fn are_sound(self, region: &Region, count: usize, known: &[Option<u32>]) -> bool {
        let mut last = None;
        for index in 0..count.div_ceil(MARKER_STEP) {
            let Some(marker) = self.get(region, index) else { continue };
            let agrees = match known.get(index * MARKER_STEP) {
                Some(&Some(position)) => position == marker,
                _ => (marker as usize) < self.start,
            };
            if !agrees || last.is_some_and(|last| last >= marker) {
                return false;
            }
            last = Some(marker);
        }
        last.is_some()
    }
}
