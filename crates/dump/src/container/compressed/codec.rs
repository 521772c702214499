//! The compressions that a whole file may have, each as a stream of what comes out.

use super::input::Input;
use super::lzop::LzopDecoder;
use crate::field::u32_at;
use std::fmt;
use std::io::{self, ErrorKind, Read};

/// Memory for the window of an xz file, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 192 << 10;
/// The base-2 logarithm of the largest window of a zstd file; `zstd --long` needs 27.
const ZSTD_WINDOW: u32 = 27;

/// How a whole file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// RFC 1952, also several members after each other.
    Gzip,
    /// The .xz file format, also several streams after each other.
    Xz,
    /// RFC 8878, also several frames, some to be skipped.
    Zstd,
    /// bzip2, also several streams after each other.
    Bzip2,
    /// The LZ4 frame format, also several frames, some to be skipped.
    Lz4,
    /// lzop.
    Lzop,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Gzip => "gzip",
            Codec::Xz => "xz",
            Codec::Zstd => "zstd",
            Codec::Bzip2 => "bzip2",
            Codec::Lz4 => "lz4",
            Codec::Lzop => "lzop",
        })
    }
}

impl Codec {
    /// The command that decompresses such a file.
    pub(super) fn tool(self) -> &'static str {
        match self {
            Codec::Gzip => "gzip -dk FILE",
            Codec::Xz => "xz -dk FILE",
            Codec::Zstd => "zstd -d --long=31 FILE",
            Codec::Bzip2 => "bzip2 -dk FILE",
            Codec::Lz4 => "lz4 -d FILE",
            Codec::Lzop => "lzop -d FILE",
        }
    }

    /// What comes out of `input`.
    pub(super) fn decoder(self, input: Input) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Codec::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
            Codec::Zstd => zstd(input)?,
            Codec::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Codec::Lz4 => Box::new(Lz4Frames(lz4_flex::frame::FrameDecoder::new(input))),
            Codec::Lzop => Box::new(LzopDecoder::new(input)),
        })
    }
}

/// Whether a decoder needs more memory than it is given.
pub(super) fn wants_memory(error: &io::Error) -> bool {
    // libzstd's error 16 has no kind of its own.
    error.kind() == ErrorKind::OutOfMemory || error.to_string().contains("too much memory")
}

#[cfg(feature = "zstd")]
fn zstd(input: Input) -> io::Result<Box<dyn Read>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW)?;
    Ok(Box::new(decoder))
}

#[cfg(not(feature = "zstd"))]
fn zstd(input: Input) -> io::Result<Box<dyn Read>> {
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    decoder.set_max_window_size(1 << ZSTD_WINDOW);
    Ok(Box::new(ZstdFrames { input, decoder, within: false }))
}

/// Goes over what is to be skipped (0x184d2a50 to 5f, then a length) and says whether anything
/// follows. The LZ4 frame format and zstd share such frames.
fn skip_to_frame(input: &mut Input) -> bool {
    loop {
        let head = input.peek(input.position(), 8);
        match (u32_at(&head, 0), u32_at(&head, 4)) {
            (Some(0x184d_2a50..=0x184d_2a5f), Some(len)) => input.skip(8 + u64::from(len)),
            _ => return !head.is_empty(),
        }
    }
}

/// LZ4 frames after each other.
struct Lz4Frames(lz4_flex::frame::FrameDecoder<Input>);

impl Read for Lz4Frames {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let before = self.0.get_ref().position();
            if before == 0 {
                skip_to_frame(self.0.get_mut());
            }
            let len = self.0.read(buf)?;
            if len > 0 || buf.is_empty() {
                return Ok(len);
            }
            // The decoder takes an end of the data between two blocks for that of the frame.
            let at = self.0.get_ref().position();
            let last = self.0.get_ref().peek(at.saturating_sub(8), 8);
            let is_end_mark = |word: usize| u32_at(&last, word) == Some(0);
            if at == before || !(is_end_mark(4) || is_end_mark(0)) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if !skip_to_frame(self.0.get_mut()) {
                return Ok(0);
            }
        }
    }
}

/// zstd frames after each other.
#[cfg(not(feature = "zstd"))]
struct ZstdFrames {
    input: Input,
    decoder: ruzstd::decoding::FrameDecoder,
    within: bool,
}

#[cfg(not(feature = "zstd"))]
impl Read for ZstdFrames {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy::UptoBlocks;
        loop {
            if self.within {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(&mut self.input, UptoBlocks(1))
                        .map_err(io::Error::other)?;
                }
                let len = self.decoder.read(buf)?;
                if len > 0 || buf.is_empty() {
                    return Ok(len);
                }
            }
            if !skip_to_frame(&mut self.input) {
                return Ok(0);
            }
            self.decoder.reset(&mut self.input).map_err(io::Error::other)?;
            self.within = true;
        }
    }
}
