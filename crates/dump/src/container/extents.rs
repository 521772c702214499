//! A source put together from stretches of another one: records of a flattened stream, the data of
//! a sparse file in an archive.

use crate::source::Source;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

/// Bytes `start..start + len`, and where in the source below they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) at: u64,
}

impl Extent {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// What of it is in `start..end`.
    fn part(&self, start: u64, end: u64) -> Self {
        let cut = start.saturating_sub(self.start);
        let end = end.min(self.end());
        let start = self.start + cut;
        Self { start, len: end.saturating_sub(start), at: self.at + cut }
    }
}

/// Sorts extents and cuts them so that none overlap: of two, the one whose bytes lie further behind
/// in the source below counts, because it was written later.
pub(super) fn last_wins(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.retain(|extent| extent.len > 0);
    extents.sort_by_key(|extent| (extent.start, extent.at));
    if extents.is_sorted_by(|one, next| one.end() <= next.start) {
        return extents;
    }
    let mut disjoint: Vec<Extent> = Vec::with_capacity(extents.len());
    let mut rest = &extents[..];
    while let Some(first) = rest.first() {
        let mut end = first.end();
        let mut count = 1;
        while let Some(next) = rest.get(count).filter(|next| next.start < end) {
            end = end.max(next.end());
            count += 1;
        }
        let (cluster, behind) = rest.split_at(count);
        match cluster {
            [alone] => disjoint.push(*alone),
            cluster => resolve(cluster, &mut disjoint),
        }
        rest = behind;
    }
    disjoint
}

/// [`last_wins`] for sorted extents of which each overlaps another.
fn resolve(cluster: &[Extent], disjoint: &mut Vec<Extent>) {
    let edges = cluster.iter().flat_map(|extent| [extent.start, extent.end()]);
    let mut edges: Vec<u64> = edges.collect();
    edges.sort_unstable();
    edges.dedup();
    let mut coming = cluster.iter().peekable();
    // By where their bytes are, the furthest first.
    let mut open: BinaryHeap<(u64, Reverse<u64>, u64)> = BinaryHeap::new();
    for edge in edges.windows(2) {
        let &[start, end] = edge else { continue };
        while let Some(extent) = coming.next_if(|extent| extent.start <= start) {
            open.push((extent.at, Reverse(extent.start), extent.len));
        }
        while open.peek().is_some_and(|(_, from, len)| from.0.saturating_add(*len) <= start) {
            open.pop();
        }
        let Some(&(at, Reverse(from), len)) = open.peek() else { continue };
        let part = Extent { start: from, len, at }.part(start, end);
        match disjoint.last_mut() {
            Some(last) if last.end() == part.start && last.at + last.len == part.at => {
                last.len += part.len;
            }
            _ => disjoint.push(part),
        }
    }
}

/// What is where no extent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holes {
    /// Zeroes: a file that was written to there only.
    Zeroes,
    /// The end: what should be there was lost.
    Missing,
}

/// The source that extents make.
pub(super) struct ExtentSource {
    source: Arc<dyn Source>,
    /// Sorted, none overlapping another.
    extents: Vec<Extent>,
    holes: Holes,
    len: u64,
    name: String,
}

impl ExtentSource {
    /// `extents` are sorted and do not overlap; `name` says of what kind the source is.
    pub(super) fn new(
        source: Arc<dyn Source>,
        extents: Vec<Extent>,
        holes: Holes,
        len: u64,
        name: impl Into<String>,
    ) -> Self {
        Self { source, extents, holes, len, name: name.into() }
    }

    /// Reads a piece from one extent, or from one hole.
    fn read_piece(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let up_to = |end: u64| usize::try_from(end - offset).unwrap_or(usize::MAX);
        if offset >= self.len {
            return Ok(0);
        }
        let room = up_to(self.len).min(buf.len());
        let after = self.extents.partition_point(|extent| extent.start <= offset);
        let before = after.checked_sub(1).and_then(|index| self.extents.get(index));
        if let Some(extent) = before.filter(|extent| offset < extent.end()) {
            let room = up_to(extent.end()).min(room);
            return self.source.read_at(extent.at + (offset - extent.start), &mut buf[..room]);
        }
        if self.holes == Holes::Missing {
            return Ok(0);
        }
        let next = self.extents.get(after).map_or(u64::MAX, |extent| extent.start);
        let room = up_to(next).min(room);
        buf[..room].fill(0);
        Ok(room)
    }
}

impl Source for ExtentSource {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read_piece(offset.saturating_add(filled as u64), &mut buf[filled..]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if filled == 0 => return Err(error),
                // Whoever wants the rest asks again and hears it.
                Err(_) => break,
            }
        }
        Ok(filled)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{} of {}", self.name, self.source.identity()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_bytes_count() {
        let mut state = 7u64;
        let mut random = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % end
        };
        for round in 0..300 {
            let mut extents = Vec::new();
            let mut written: Vec<Option<u64>> = vec![None; 400];
            let mut at = 0;
            for _ in 0..random(40) {
                let (start, len) = (random(350), random(if round % 2 == 0 { 50 } else { 4 }));
                extents.push(Extent { start, len, at });
                for n in 0..len {
                    written[(start + n) as usize] = Some(at + n);
                }
                at += len + 16;
            }
            let disjoint = last_wins(extents);
            assert!(disjoint.is_sorted_by(|one, next| one.end() <= next.start));
            let mut found = vec![None; 400];
            for extent in disjoint {
                for n in 0..extent.len {
                    found[(extent.start + n) as usize] = Some(extent.at + n);
                }
            }
            assert_eq!(found, written);
        }
    }

    #[test]
    fn holes_are_zeroes_or_an_end() {
        let bytes: Arc<dyn Source> = Arc::new((0..100).collect::<Vec<u8>>());
        let extents =
            || vec![Extent { start: 10, len: 5, at: 50 }, Extent { start: 20, len: 5, at: 3 }];
        let mut buf = [9; 30];
        let source = ExtentSource::new(Arc::clone(&bytes), extents(), Holes::Zeroes, 27, "x");
        assert_eq!(source.read_at(8, &mut buf).expect("it reads"), 19);
        let want = [0, 0, 50, 51, 52, 53, 54, 0, 0, 0, 0, 0, 3, 4, 5, 6, 7, 0, 0, 9];
        assert_eq!(buf[..20], want);
        let source = ExtentSource::new(bytes, extents(), Holes::Missing, 27, "x");
        assert_eq!(source.read_at(12, &mut buf).expect("it reads"), 3);
        assert_eq!(source.read_at(8, &mut buf).expect("it reads"), 0);
        assert_eq!(source.read_at(u64::MAX, &mut buf).expect("it reads"), 0);
    }
}
