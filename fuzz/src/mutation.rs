//! Deterministic mutations.

use mortis_dump_synthetic::Random;

/// Numbers that headers break on.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x1000,
    0x7fff_ffff,
    0xffff_ffff,
    0x10_0000_0000,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX,
];

/// A changed copy of one of the seeds.
pub fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Random| seeds.get(random.below(seeds.len())).cloned();
    let mut data = pick(random).unwrap_or_default();
    for _ in 0..random.below(6) + 1 {
        let at = position(random, data.len());
        match random.below(16) {
            0..=4 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            5 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = random.number() as u8;
                }
            }
            6..=10 => {
                let width = 1 << random.below(4);
                let at = at / width * width;
                let number = match random.below(4) {
                    0 => random.number(),
                    1 => data.len() as u64 - random.below(64).min(data.len()) as u64,
                    _ => EDGES[random.below(EDGES.len())],
                };
                if let Some(field) = data.get_mut(at..at + width) {
                    field.copy_from_slice(&number.to_le_bytes()[..width]);
                }
            }
            11 => data.truncate(random.below(data.len() + 1)),
            12 => {
                let end = at + random.below(256).min(data.len() - at);
                data.drain(at..end);
            }
            13 => {
                let end = at + random.below(256).min(data.len() - at);
                let copy = data[at..end].to_vec();
                let to = position(random, data.len());
                data.splice(to..to, copy);
            }
            14 => {
                let fill = [0, 0xff, random.number() as u8][random.below(3)];
                let end = at + random.below(4096).min(data.len() - at);
                data[at..end].fill(fill);
            }
            _ => {
                let other = pick(random).unwrap_or_default();
                let from = at.min(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data
}

/// A place in `len` bytes: half of them at the start, where headers are.
fn position(random: &mut Random, len: usize) -> usize {
    let near = match random.below(4) {
        0 => len.min(64),
        1 => len.min(512),
        _ => len,
    };
    random.below(near)
}
