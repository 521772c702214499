//! Files compressed as a whole.

use std::io::Write;

/// What a whole file is compressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Wrapping {
    Gzip,
    Xz,
    Zstd,
    Bzip2,
    Lz4,
    Lzop,
}

impl Wrapping {
    /// All of them.
    pub const ALL: [Wrapping; 6] = [
        Wrapping::Gzip,
        Wrapping::Xz,
        Wrapping::Zstd,
        Wrapping::Bzip2,
        Wrapping::Lz4,
        Wrapping::Lzop,
    ];

    /// The file.
    ///
    /// # Panics
    /// When the encoder fails, which would be a bug in it.
    pub fn compress(self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Wrapping::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
                encoder.write_all(data).expect("writing to memory");
                encoder.finish().expect("writing to memory");
            }
            Wrapping::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(0);
                let mut encoder =
                    lzma_rust2::XzWriter::new(&mut out, options).expect("these options are valid");
                encoder.write_all(data).expect("writing to memory");
                encoder.finish().expect("writing to memory");
            }
            Wrapping::Zstd => {
                let mut encoder = zstd::Encoder::new(&mut out, 1).expect("the level is valid");
                encoder.include_checksum(true).expect("as the zstd command does");
                encoder.write_all(data).expect("writing to memory");
                encoder.finish().expect("writing to memory");
            }
            Wrapping::Bzip2 => {
                let mut encoder =
                    bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast());
                encoder.write_all(data).expect("writing to memory");
                encoder.finish().expect("writing to memory");
            }
            Wrapping::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_checksums(true);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, &mut out);
                encoder.write_all(data).expect("writing to memory");
                encoder.finish().expect("writing to memory");
            }
            Wrapping::Lzop => out = lzop(data, 256 << 10),
        }
        out
    }
}

/// An lzop file as lzop 1.04 writes one, in blocks of `block` bytes.
fn lzop(data: &[u8], block: usize) -> Vec<u8> {
    let mut file = vec![0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];
    file.extend(0x1040u16.to_be_bytes()); // lzop's version
    file.extend(0x20a0u16.to_be_bytes()); // the library's
    file.extend(0x0940u16.to_be_bytes()); // needed
    file.push(1); // LZO1X-1
    file.push(5); // level
    file.extend(0x0300_0003u32.to_be_bytes()); // Unix, Adler-32 of both
    file.extend(0o100_644u32.to_be_bytes()); // mode
    file.extend([0; 8]); // time, lower and upper half
    file.extend(b"\x06vmcore");
    file.extend([0; 4]); // the header's checksum
    for piece in data.chunks(block) {
        let compressed = lzokay::compress::compress(piece).expect("LZO compresses");
        let stored: &[u8] = if compressed.len() < piece.len() { &compressed } else { piece };
        file.extend((piece.len() as u32).to_be_bytes());
        file.extend((stored.len() as u32).to_be_bytes());
        file.extend(adler(piece).to_be_bytes());
        if stored.len() < piece.len() {
            file.extend(adler(stored).to_be_bytes());
        }
        file.extend(stored);
    }
    file.extend([0; 4]);
    file
}

fn adler(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1u64, 0u64), |(low, high), &byte| {
        let low = (low + u64::from(byte)) % 65521;
        (low, (high + low) % 65521)
    });
    (high << 16 | low) as u32
}
