//! LZO1X, the compression that makedumpfile's `-l` chooses, decoded into one page.
//!
//! The format is described in the kernel's Documentation/staging/lzo.rst. A stream is a row of
//! instructions; each repeats bytes that were written before and then takes up to three literal
//! bytes, or takes a longer run of literals.
//!
//! Scans spend most of their time here, and most copies are of a few bytes. Where there is room
//! they are therefore made in blocks of [`BLOCK`] bytes, which are one instruction each; what is
//! written beyond the copy is overwritten by the next.

use crate::codec::Damaged;

/// Bytes that are copied at once.
const BLOCK: usize = 16;

/// The distance from which the third kind of short instruction counts.
const LONG_MATCH: usize = 2049;
/// The distance from which instructions for what is far away count; it itself ends the stream.
const FAR: usize = 16384;

/// What the instruction before left behind: it says what an opcode below 16 means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// No literals.
    Nothing,
    /// One to three literals.
    FewLiterals,
    /// A run of literals.
    LiteralRun,
}

/// Decompresses `data` into `page` and says how many bytes that gave. Of what is behind them in
/// `page` some may be overwritten.
///
/// # Errors
/// When `data` is not one whole stream, or gives more than `page` holds.
pub(crate) fn decompress(data: &[u8], page: &mut [u8]) -> Result<usize, Damaged> {
    let mut decoder = Decoder { data, at: 0, page, len: 0 };
    let mut before = decoder.first_literals()?;
    loop {
        let opcode = usize::from(decoder.byte()?);
        let (distance, len, literals) = match opcode {
            0..16 if before == Before::Nothing => {
                let len = decoder.length(opcode, 15)? + 3;
                decoder.literals(len)?;
                before = Before::LiteralRun;
                continue;
            }
            0..16 => {
                let high = usize::from(decoder.byte()?) << 2 | opcode >> 2;
                match before {
                    Before::LiteralRun => (high + LONG_MATCH, 3, opcode & 3),
                    _ => (high + 1, 2, opcode & 3),
                }
            }
            16..32 => {
                let len = decoder.length(opcode & 7, 7)? + 2;
                let (distance, literals) = decoder.distance()?;
                let distance = ((opcode & 8) << 11) + distance + FAR;
                if distance == FAR {
                    return decoder.end(len);
                }
                (distance, len, literals)
            }
            32..64 => {
                let len = decoder.length(opcode & 31, 31)? + 2;
                let (distance, literals) = decoder.distance()?;
                (distance + 1, len, literals)
            }
            _ => {
                let high = usize::from(decoder.byte()?) << 3;
                (high + (opcode >> 2 & 7) + 1, (opcode >> 5) + 1, opcode & 3)
            }
        };
        decoder.repeat(distance, len)?;
        decoder.literals(literals)?;
        before = if literals == 0 { Before::Nothing } else { Before::FewLiterals };
    }
}

struct Decoder<'a> {
    data: &'a [u8],
    /// How far the data are read.
    at: usize,
    page: &'a mut [u8],
    /// How far the page is written.
    len: usize,
}

impl Decoder<'_> {
    /// The first byte may say that the stream begins with literals.
    fn first_literals(&mut self) -> Result<Before, Damaged> {
        let count = match self.data.first() {
            Some(first) => usize::from(*first).saturating_sub(17),
            None => return Err(Damaged),
        };
        if count == 0 {
            return Ok(Before::Nothing);
        }
        self.at = 1;
        self.literals(count)?;
        Ok(if count < 4 { Before::FewLiterals } else { Before::LiteralRun })
    }

    #[inline(always)]
    fn byte(&mut self) -> Result<u8, Damaged> {
        let byte = *self.data.get(self.at).ok_or(Damaged)?;
        self.at += 1;
        Ok(byte)
    }

    /// A length of which the opcode holds `low`; where that is 0, bytes of their own hold it, and
    /// count from `most`, the most that the opcode could have said.
    #[inline(always)]
    fn length(&mut self, low: usize, most: usize) -> Result<usize, Damaged> {
        if low > 0 {
            return Ok(low);
        }
        let mut len = most;
        loop {
            match self.byte()? {
                // Cannot overflow: there are not that many bytes.
                0 => len += 255,
                last => return Ok(len + usize::from(last)),
            }
        }
    }

    /// The two bytes of a longer distance, and the count of literals that they hold, too.
    #[inline(always)]
    fn distance(&mut self) -> Result<(usize, usize), Damaged> {
        let bytes = self.data.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(Damaged)?;
        self.at += bytes.len();
        let word = usize::from(u16::from_le_bytes(*bytes));
        Ok((word >> 2, word & 3))
    }

    /// Takes `len` bytes as they are.
    #[inline(always)]
    fn literals(&mut self, len: usize) -> Result<(), Damaged> {
        let from = self.data.get(self.at..).ok_or(Damaged)?;
        let to = self.page.get_mut(self.len..).ok_or(Damaged)?;
        match (from.first_chunk::<BLOCK>(), to.first_chunk_mut::<BLOCK>()) {
            (Some(from), Some(to)) if len <= BLOCK => *to = *from,
            _ => to
                .get_mut(..len)
                .zip(from.get(..len))
                .ok_or(Damaged)
                .map(|(to, from)| to.copy_from_slice(from))?,
        }
        self.at += len;
        self.len += len;
        Ok(())
    }

    /// Writes `len` bytes that are the same as those `distance` before them, which they may
    /// overlap.
    #[inline(always)]
    fn repeat(&mut self, distance: usize, len: usize) -> Result<(), Damaged> {
        let start = self.len.checked_sub(distance).ok_or(Damaged)?;
        let end = self.len + len;
        if end > self.page.len() {
            return Err(Damaged);
        }
        match distance {
            BLOCK.. if end + BLOCK <= self.page.len() => self.repeat_blocks::<BLOCK>(start, end),
            8.. if end + 8 <= self.page.len() => self.repeat_blocks::<8>(start, end),
            _ => {
                // Each turn doubles what can be copied from.
                let mut to = self.len;
                while to < end {
                    let count = (to - start).min(end - to);
                    self.page.copy_within(start..start + count, to);
                    to += count;
                }
            }
        }
        self.len = end;
        Ok(())
    }

    /// Copies blocks from `start` on until `end` is reached or passed; a block may not overlap
    /// where it is copied to.
    #[inline(always)]
    fn repeat_blocks<const N: usize>(&mut self, start: usize, end: usize) {
        let distance = self.len - start;
        let mut to = self.len;
        loop {
            let (from, rest) = self.page.split_at_mut(to);
            let from = from.get(to - distance..).and_then(|from| from.first_chunk::<N>());
            if let (Some(from), Some(to)) = (from, rest.first_chunk_mut()) {
                *to = *from;
            }
            to += N;
            if to >= end {
                return;
            }
        }
    }

    /// The end of the stream: an instruction of `len` bytes with nothing behind it.
    fn end(&self, len: usize) -> Result<usize, Damaged> {
        if len == 3 && self.at == self.data.len() { Ok(self.len) } else { Err(Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    struct Noise(u64);

    impl Noise {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % limit
        }
    }

    /// Bytes with repetitions of all lengths and distances.
    fn page(noise: &mut Noise, len: usize) -> Vec<u8> {
        let mut page = vec![0; noise.below(300)];
        while page.len() < len {
            let most = 1 << noise.below(10);
            let count = 1 + noise.below(most);
            let furthest = 1 << noise.below(13);
            let distance = 1 + noise.below(page.len().clamp(1, furthest));
            let is_new = noise.below(3) == 0;
            for _ in 0..count {
                let repeated = page.len().checked_sub(distance).map(|at| page[at]);
                let byte = repeated.filter(|_| !is_new);
                page.push(byte.unwrap_or_else(|| noise.below(256) as u8));
            }
        }
        page.truncate(len);
        page
    }

    /// What another decoder makes of the same data.
    fn agrees(data: &[u8], room: usize) -> Result<Vec<u8>, Damaged> {
        let (mut ours, mut theirs) = (vec![0; room], vec![0; room]);
        let len = decompress(data, &mut ours);
        let expected = lzokay::decompress::decompress(data, &mut theirs).map_err(|_| Damaged);
        assert_eq!(len, expected, "{data:x?} into {room} bytes");
        let len = len?;
        assert_eq!(ours[..len], theirs[..len], "{data:x?} into {room} bytes");
        ours.truncate(len);
        Ok(ours)
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut noise = Noise(1);
        for round in 0..400 {
            let len = if round % 4 == 0 { 1 + noise.below(65536) } else { 4096 };
            let page = page(&mut noise, len);
            let data = lzokay::compress::compress(&page).expect("LZO compresses");
            assert_eq!(agrees(&data, len), Ok(page));
            // Too small a page is an error, not a panic.
            assert_eq!(agrees(&data, noise.below(len)), Err(Damaged));
        }
    }

    #[test]
    fn damaged_data_are_an_error_where_they_are_for_others() {
        let mut noise = Noise(2);
        for _ in 0..400 {
            let page = page(&mut noise, 4096);
            let data = lzokay::compress::compress(&page).expect("LZO compresses");
            for _ in 0..20 {
                let mut damaged = data.clone();
                for _ in 0..=noise.below(3) {
                    let at = noise.below(damaged.len());
                    damaged[at] = noise.below(256) as u8;
                }
                if noise.below(2) == 0 {
                    damaged.truncate(noise.below(data.len()));
                }
                let _ = agrees(&damaged, 4096);
            }
        }
        for len in (0..64).cycle().take(100_000) {
            let garbage: Vec<u8> = (0..len).map(|_| noise.below(256) as u8).collect();
            let _ = agrees(&garbage, 4096);
        }
    }
}
