//! LZO1X, as [`lzo`](crate::lzo) reads it, made from one page.
//!
//! Greedy: at each place the last place with the same four bytes, by a table of hashes, is tried.
//! After a while without one, places are passed over in growing steps, so that noise costs little.

/// Bits of a hash: as many places are remembered.
const HASH_BITS: u32 = 13;
/// The shortest match that is looked for.
const MIN_MATCH: usize = 4;
/// The farthest that each of the three instructions reaches.
const NEAR: usize = 0x800;
const MIDDLE: usize = 0x4000;
const FAR: usize = 0xbfff;
/// The longest match that the instruction for near ones holds.
const SHORT_MATCH: usize = 8;
/// Misses after which the step grows by one.
const PATIENCE: usize = 32;
/// The end of the stream.
const END: [u8; 3] = [17, 0, 0];

/// Places by the hash of their four bytes, for each page anew. No page is larger than 64 KiB.
pub(crate) struct Encoder {
    places: Box<[u16]>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { places: vec![0; 1 << HASH_BITS].into() }
    }

    /// Appends `page` as one stream to `out`. `page` has at most 64 KiB.
    pub(crate) fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) {
        self.places.fill(0);
        let start = out.len();
        let mut stream = Stream { out, start, few: None };
        let (mut at, mut literals) = (0, 0);
        while let Some(word) = word_at(page, at) {
            let place = &mut self.places[hash(word)];
            let before = usize::from(*place);
            *place = at as u16;
            if before >= at || at - before > FAR || word_at(page, before) != Some(word) {
                at += 1 + (at - literals) / PATIENCE;
                continue;
            }
            let len = MIN_MATCH + common(&page[before + MIN_MATCH..], &page[at + MIN_MATCH..]);
            stream.literals(&page[literals..at]);
            stream.repeat(at - before, len);
            at += len;
            literals = at;
        }
        stream.literals(page.get(literals..).unwrap_or_default());
        stream.out.extend(END);
    }
}

fn word_at(page: &[u8], at: usize) -> Option<u32> {
    let bytes = page.get(at..)?.first_chunk::<MIN_MATCH>()?;
    Some(u32::from_le_bytes(*bytes))
}

fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// How many bytes are the same in both, from the first on. `later` is the end of `earlier`.
fn common(earlier: &[u8], later: &[u8]) -> usize {
    let (ours, _) = earlier.as_chunks::<8>();
    let (theirs, _) = later.as_chunks::<8>();
    let whole = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count() * 8;
    let rest = earlier[whole..].iter().zip(&later[whole..]);
    whole + rest.take_while(|(a, b)| a == b).count()
}

/// Instructions, one after the other.
struct Stream<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where the last instruction says how many literals, up to three, follow it.
    few: Option<usize>,
}

impl Stream<'_> {
    /// Takes bytes as they are.
    fn literals(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        match (len, self.few) {
            (0, _) => return,
            (1..=3, Some(at)) => self.out[at] |= len as u8,
            (1..=238, None) if self.out.len() == self.start => self.out.push(17 + len as u8),
            _ => self.length(0, len - 3, 15),
        }
        self.out.extend_from_slice(bytes);
        self.few = None;
    }

    /// Repeats `len` bytes from `distance` bytes before.
    fn repeat(&mut self, distance: usize, len: usize) {
        if distance <= NEAR && len <= SHORT_MATCH {
            let low = (distance - 1) & 7;
            self.few = Some(self.out.len());
            self.out.push(((len - 1) << 5 | low << 2) as u8);
            self.out.push(((distance - 1) >> 3) as u8);
            return;
        }
        let field = if distance <= MIDDLE {
            self.length(32, len - 2, 31);
            distance - 1
        } else {
            let beyond = distance - MIDDLE;
            self.length(16 | (beyond >> 11 & 8) as u8, len - 2, 7);
            beyond & 0x3fff
        };
        self.few = Some(self.out.len());
        self.out.extend(((field << 2) as u16).to_le_bytes());
    }

    /// An opcode with a length that, if it is more than `most`, goes on in bytes of its own.
    fn length(&mut self, opcode: u8, len: usize, most: usize) {
        if len <= most {
            self.out.push(opcode | len as u8);
            return;
        }
        self.out.push(opcode);
        let rest = len - most - 1;
        self.out.extend(std::iter::repeat_n(0, rest / 255));
        self.out.push((rest % 255) as u8 + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lzo;
    use mortis_dump_synthetic::{noise, page};

    fn round_trip(bytes: &[u8]) -> usize {
        let mut data = vec![7; 3];
        Encoder::new().compress(bytes, &mut data);
        let mut back = vec![0; bytes.len()];
        assert_eq!(lzo::decompress(&data[3..], &mut back), Ok(bytes.len()));
        assert!(back == bytes, "{} bytes", bytes.len());
        // Somebody else's decoder agrees.
        let mut theirs = vec![0; bytes.len()];
        let len = lzokay::decompress::decompress(&data[3..], &mut theirs).map_err(|_| ());
        assert_eq!(len, Ok(bytes.len()));
        assert!(theirs == bytes);
        data.len() - 3
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for seed in 0..200 {
            let small = round_trip(&page(seed, 4096));
            assert!(small < 4096, "{small}");
        }
        for size in [4096, 16384, 65536] {
            round_trip(&page(1, size));
            round_trip(&noise(2, size));
            assert!(round_trip(&vec![0; size]) < size / 100);
        }
    }

    #[test]
    fn matches_of_every_length_and_distance() {
        for gap in [1, 3, 4, 100, 0x7f0, 0x900, 0x3ff0, 0x4100, 0xbf00] {
            for len in [4, 8, 9, 33, 34, 35, 288, 289, 600] {
                for behind in 0..6 {
                    let repeated = noise(3, len);
                    let bytes = [&repeated[..], &noise(4, gap), &repeated, &noise(5, behind)];
                    round_trip(&bytes.concat());
                }
            }
        }
        for literals in (1..30).chain([237, 238, 239, 272, 273, 274, 528, 529, 530]) {
            round_trip(&[&noise(6, literals)[..], &[9; 40], &noise(7, literals), &[9; 9]].concat());
        }
    }
}
