//! A bitmap in the file: bit n, lowest first, is page frame n.
//!
//! Kept are only counts of set bits: before each chunk of the file, and within it before each
//! line, together 40 bytes for 128 MiB of memory. The chunks themselves are read when asked for
//! and go through the source's cache. Counting is one pass over the bitmap, 32 MiB for a terabyte
//! of memory, and waits for the first page.

use crate::cache::CachedSource;
use crate::source::read_exact;
use mortis_memory::Unavailable;
use std::sync::OnceLock;

/// Bits in a chunk: one block of the cached source.
const CHUNK_BITS: u64 = CachedSource::BLOCK * 8;
/// Bytes between the counts within a chunk: few enough words to count at each look-up.
const LINE: usize = 256;
const LINES: usize = CachedSource::BLOCK as usize / LINE;
/// What one read of the counting pass takes.
const PASS_BYTES: u64 = 1 << 18;
/// The most of a bitmap that is looked at: 128 TiB of memory in pages of 4 KiB, beyond any
/// machine, so that a hostile header over a sparse file cannot keep the pass busy for hours.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

/// Machines have a few dozen stretches of memory; noise in a bitmap could be billions.
const MAX_RUNS: usize = 1 << 16;

/// One of the two bitmaps.
pub(super) struct Bitmap {
    offset: u64,
    bits: u64,
    ranks: OnceLock<Ranks>,
}

/// Counts of set bits.
#[derive(Default)]
struct Ranks {
    /// Before each chunk.
    chunks: Vec<u64>,
    /// From the start of its chunk to each line, at most 32768 - 2048.
    lines: Vec<[u16; LINES]>,
    total: u64,
}

impl Bitmap {
    /// A bitmap of at most `bits` bits in `len` bytes at `offset`, a multiple of the block size.
    pub(super) fn new((offset, len): (u64, u64), bits: u64) -> Self {
        let len = len.min(MAX_BYTES);
        Self { offset, bits: bits.min(len * 8), ranks: OnceLock::new() }
    }

    /// Whether a page's bit is set; beyond the end none is.
    pub(super) fn contains(&self, source: &CachedSource, pfn: u64) -> Result<bool, Unavailable> {
        if pfn >= self.bits {
            return Ok(false);
        }
        let bit = pfn % CHUNK_BITS;
        self.with_chunk(source, pfn, |bytes| bit_at(bytes, bit))?.ok_or(Unavailable::Truncated)
    }

    /// The number of set bits before that of a page, if its own is set.
    pub(super) fn rank(&self, source: &CachedSource, pfn: u64) -> Result<Option<u64>, Unavailable> {
        if pfn >= self.bits {
            return Ok(None);
        }
        let bit = pfn % CHUNK_BITS;
        // Every page that is read is looked for here: both answers take one look at the chunk.
        let within = self.with_chunk(source, pfn, |bytes| {
            bit_at(bytes, bit).map(|set| set.then(|| count_in_line(bytes, bit)))
        })?;
        let Some(within) = within.ok_or(Unavailable::Truncated)? else { return Ok(None) };
        self.before_line(source, pfn).map(|before| Some(before + within))
    }

    /// The number of set bits before a page's position, set or not.
    pub(super) fn rank_of_position(
        &self,
        source: &CachedSource,
        pfn: u64,
    ) -> Result<u64, Unavailable> {
        if pfn >= self.bits {
            return Ok(self.ranks(source).total);
        }
        let before = self.before_line(source, pfn)?;
        let bit = pfn % CHUNK_BITS;
        Ok(before + self.with_chunk(source, pfn, |bytes| count_in_line(bytes, bit))?)
    }

    /// The number of set bits before the line that a page's bit is in.
    fn before_line(&self, source: &CachedSource, pfn: u64) -> Result<u64, Unavailable> {
        let ranks = self.ranks(source);
        let chunk = (pfn / CHUNK_BITS) as usize;
        let line = (pfn % CHUNK_BITS / 8) as usize / LINE;
        let counts = ranks.chunks.get(chunk).zip(ranks.lines.get(chunk));
        let (before, lines) = counts.ok_or(Unavailable::Truncated)?;
        Ok(before + u64::from(lines[line]))
    }

    /// All set bits, of a bitmap cut short those that are left.
    pub(super) fn count(&self, source: &CachedSource) -> u64 {
        self.ranks(source).total
    }

    /// Runs of set bits, ascending, as `start..end`. From [`MAX_RUNS`] on, the last run covers
    /// what is left.
    pub(super) fn runs(&self, source: &CachedSource) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        self.for_each_chunk(source, |first, bytes| {
            let mut add = |start: u64, end: u64| {
                let full = runs.len() >= MAX_RUNS;
                match runs.last_mut() {
                    Some(last) if last.1 == start || full => last.1 = end,
                    _ => runs.push((start, end)),
                }
            };
            for (index, word) in words(bytes).enumerate() {
                let base = first + index as u64 * 64;
                let mut word = word;
                let mut skipped = 0;
                while word != 0 {
                    let zeroes = word.trailing_zeros();
                    word >>= zeroes;
                    skipped += zeroes;
                    let ones = word.trailing_ones();
                    add(base + u64::from(skipped), base + u64::from(skipped + ones));
                    skipped += ones;
                    word = if ones == 64 { 0 } else { word >> ones };
                }
            }
        });
        runs
    }

    fn with_chunk<R>(
        &self,
        source: &CachedSource,
        pfn: u64,
        look: impl FnMut(&[u8]) -> R,
    ) -> Result<R, Unavailable> {
        let first_block = self.offset / CachedSource::BLOCK;
        source.with_block(first_block.saturating_add(pfn / CHUNK_BITS), look)
    }

    fn ranks(&self, source: &CachedSource) -> &Ranks {
        self.ranks.get_or_init(|| {
            let mut ranks = Ranks::default();
            self.for_each_chunk(source, |_, bytes| {
                let mut lines = [0; LINES];
                let mut count = 0;
                for (line, bytes) in lines.iter_mut().zip(bytes.chunks(LINE)) {
                    *line = count;
                    count += words(bytes).map(u64::count_ones).sum::<u32>() as u16;
                }
                ranks.chunks.push(ranks.total);
                ranks.lines.push(lines);
                ranks.total += u64::from(count);
            });
            ranks
        })
    }

    /// Reads the bitmap in order and hands out each chunk with the page of its first bit. Bits
    /// beyond the last page are cleared; the end of the file ends it.
    fn for_each_chunk(&self, source: &CachedSource, mut each: impl FnMut(u64, &[u8])) {
        let bytes = self.bits.div_ceil(8);
        let mut buf = vec![0; bytes.min(PASS_BYTES) as usize];
        let mut done = 0;
        while done < bytes {
            let wanted = (bytes - done).min(PASS_BYTES) as usize;
            let result = read_exact(source.source(), self.offset + done, &mut buf[..wanted]);
            let len = result.err().map_or(wanted, |short| short.filled);
            if done + len as u64 == bytes && !self.bits.is_multiple_of(8) {
                buf[len - 1] &= (1 << (self.bits % 8)) - 1;
            }
            for chunk in buf[..len].chunks(CachedSource::BLOCK as usize) {
                each(done * 8, chunk);
                done += chunk.len() as u64;
            }
            if len < wanted {
                return;
            }
        }
    }
}

/// The bytes as little-endian words, the last one filled up with zeroes.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = (!rest.is_empty()).then_some(last);
    whole.iter().copied().chain(last).map(u64::from_le_bytes)
}

/// Whether bit `bit` of a chunk is set; `None` where the chunk is cut short before it.
fn bit_at(chunk: &[u8], bit: u64) -> Option<bool> {
    Some(chunk.get((bit / 8) as usize)? >> (bit % 8) & 1 == 1)
}

/// Set bits before bit `bit` of a chunk, from the start of its line on.
fn count_in_line(chunk: &[u8], bit: u64) -> u64 {
    let line = (bit / 8) as usize / LINE;
    count_before(chunk.get(line * LINE..).unwrap_or_default(), bit % (LINE as u64 * 8))
}

/// Set bits before `bit`.
fn count_before(bytes: &[u8], bit: u64) -> u64 {
    let full = (bit / 64) as usize;
    words(bytes)
        .take(full + 1)
        .enumerate()
        .map(|(index, word)| {
            let kept = if index < full { word } else { word & ((1 << (bit % 64)) - 1) };
            u64::from(kept.count_ones())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn ranks_and_runs_agree_with_counting_by_hand() {
        let offset = 8192;
        let bits: u64 = 3 * CHUNK_BITS + 1234 + 5;
        let is_set = |n: u64| n * n % 7 < 3 || n % 40_000 > 39_000 || (64..256).contains(&n);
        let mut file = vec![0; offset as usize + bits.div_ceil(8) as usize];
        for n in (0..bits).filter(|&n| is_set(n)) {
            file[(offset + n / 8) as usize] |= 1 << (n % 8);
        }
        // A bit beyond the last page must not count.
        *file.last_mut().expect("a file") |= 0x80;
        let source = CachedSource::new(Arc::new(file), 1 << 20);
        let bitmap = Bitmap::new((offset, bits.div_ceil(8) + 4096), bits);
        let mut before = 0;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for n in 0..bits {
            let expected = is_set(n).then_some(before);
            assert_eq!(bitmap.rank(&source, n), Ok(expected), "bit {n}");
            if n % 97 == 0 {
                assert_eq!(bitmap.rank_of_position(&source, n), Ok(before));
            }
            if is_set(n) {
                before += 1;
                match runs.last_mut() {
                    Some(last) if last.1 == n => last.1 += 1,
                    _ => runs.push((n, n + 1)),
                }
            }
        }
        assert_eq!(bitmap.count(&source), before);
        assert_eq!(bitmap.rank_of_position(&source, u64::MAX), Ok(before));
        assert_eq!(bitmap.runs(&source), runs);
        assert_eq!(bitmap.contains(&source, bits), Ok(false));
        assert_eq!(bitmap.contains(&source, u64::MAX), Ok(false));
    }

    #[test]
    fn a_bitmap_cut_short_is_truncated_where_it_ends() {
        let source = CachedSource::new(Arc::new(vec![0xff; 4096 + 5000]), 1 << 20);
        let bitmap = Bitmap::new((4096, 1 << 40), 1 << 60);
        assert_eq!(bitmap.rank(&source, 5000 * 8 - 1), Ok(Some(5000 * 8 - 1)));
        assert_eq!(bitmap.rank(&source, 5000 * 8), Err(Unavailable::Truncated));
        assert_eq!(bitmap.rank(&source, 5000 * 80), Err(Unavailable::Truncated));
        assert_eq!(bitmap.count(&source), 5000 * 8);
    }
}
