//! A stack walked by ORC tables, frame pointers and guesses.

use mortis_dump_synthetic::Random;

/// Bytes of registers and options in front of the four parts.
const HEADER: usize = 1 + 17 * 8;
const TEXT: u64 = 0xffff_ffff_8100_0000;
const IPS: u64 = 0xffff_ffff_8200_0000;
const STACK: u64 = 0xffff_c900_0000_0000;

/// Walks.
pub fn fuzz(data: &[u8]) {
    if let Some(trace) = mortis_unwind::fuzz::walk(data) {
        assert!(trace.frames.len() <= 256, "{} frames", trace.frames.len());
    }
}

/// Sorted tables over text with calls in it, and stacks of return addresses, of all formats.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..8).map(seed).collect()
}

fn seed(number: u64) -> Vec<u8> {
    const PART: usize = 768;
    let mut random = Random::new(number);
    let mut input = vec![number as u8 & 3 | (number as u8 & 4) << 2];
    while input.len() < HEADER {
        input.extend(random.number().to_le_bytes());
    }
    input.truncate(HEADER);
    for index in 0..PART as u64 / 4 {
        let ip = TEXT + 4 * index;
        input.extend((ip.wrapping_sub(IPS + 4 * index) as u32).to_le_bytes());
    }
    for _ in 0..PART / 6 {
        let offset = 8 + 8 * random.below(4) as u8;
        let register = [0x05, 0x05, 0x13, 0x14][random.below(4)];
        let kind = [2, 2, 2, 3][random.below(4)];
        input.extend([offset, 0, 0, 0, register, kind]);
    }
    input.resize(HEADER + 2 * PART, 0);
    input.extend((0..PART).map(|_| if random.below(3) == 0 { 0xe8 } else { random.number() as u8 }));
    for _ in 0..PART / 8 {
        let word = match random.below(6) {
            0 => STACK + 8 * random.below(PART / 8) as u64,
            1 => 0x10,
            _ => TEXT + random.below(PART) as u64,
        };
        input.extend(word.to_le_bytes());
    }
    input
}
