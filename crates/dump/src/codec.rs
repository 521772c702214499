//! Page compression and decompression: one page of one of makedumpfile's four compressions.
//!
//! The state that zlib and zstd need is kept for each thread, because setting it up costs more
//! than a page.

use crate::{lzo, lzo_encoder};
use std::cell::RefCell;

/// How one page is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// zlib (RFC 1950).
    Zlib,
    /// LZO1X.
    Lzo,
    /// Snappy's raw format.
    Snappy,
    /// Zstandard (RFC 8878), one frame.
    Zstd,
}

/// The data is not a page in that codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

thread_local! {
    static ZLIB: RefCell<flate2::Decompress> = RefCell::new(flate2::Decompress::new(true));
    #[cfg(feature = "zstd")]
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        RefCell::new(zstd::bulk::Decompressor::new().ok());
    #[cfg(not(feature = "zstd"))]
    static ZSTD: RefCell<ruzstd::decoding::FrameDecoder> = RefCell::new({
        let mut decoder = ruzstd::decoding::FrameDecoder::new();
        decoder.set_max_window_size(MAX_ZSTD_WINDOW);
        decoder
    });
}

thread_local! {
    /// With the level that it is for.
    static ZLIB_ENCODER: RefCell<Option<(u8, flate2::Compress)>> = const { RefCell::new(None) };
    static LZO_ENCODER: RefCell<lzo_encoder::Encoder> = RefCell::new(lzo_encoder::Encoder::new());
    static SNAPPY_ENCODER: RefCell<snap::raw::Encoder> = RefCell::new(snap::raw::Encoder::new());
    /// With the level that it is for.
    #[cfg(feature = "zstd")]
    static ZSTD_ENCODER: RefCell<Option<(u8, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(None) };
}

/// No page needs a larger window, and a hostile frame may ask for gigabytes.
#[cfg(not(feature = "zstd"))]
const MAX_ZSTD_WINDOW: u64 = 8 << 20;

impl Codec {
    /// Decompresses `data` into `page`, which it must fill exactly.
    pub(crate) fn decompress(self, data: &[u8], page: &mut [u8]) -> Result<(), Damaged> {
        let len = match self {
            Codec::Zlib => zlib(data, page),
            Codec::Lzo => lzo::decompress(data, page),
            Codec::Snappy => snap::raw::Decoder::new().decompress(data, page).map_err(|_| Damaged),
            Codec::Zstd => zstd(data, page),
        }?;
        if len == page.len() { Ok(()) } else { Err(Damaged) }
    }

    /// Appends `page` compressed to `out`; nothing, or more than a page, if it does not shrink.
    /// `level` is for zlib and zstd.
    pub(crate) fn compress(self, level: u8, page: &[u8], out: &mut Vec<u8>) {
        match self {
            Codec::Zlib => compress_zlib(level, page, out),
            Codec::Lzo => {
                LZO_ENCODER.with_borrow_mut(|encoder| encoder.compress(page, out));
            }
            Codec::Snappy => compress_snappy(page, out),
            Codec::Zstd => compress_zstd(level, page, out),
        }
    }
}

fn compress_zlib(level: u8, page: &[u8], out: &mut Vec<u8>) {
    let level = level.min(9);
    ZLIB_ENCODER.with_borrow_mut(|kept| {
        let encoder = match kept {
            Some((of, encoder)) if *of == level => {
                encoder.reset();
                encoder
            }
            kept => {
                let encoder =
                    flate2::Compress::new(flate2::Compression::new(u32::from(level)), true);
                &mut kept.insert((level, encoder)).1
            }
        };
        let start = out.len();
        // What does not fit into a page is not wanted.
        out.resize(start + page.len(), 0);
        let done = encoder.compress(page, &mut out[start..], flate2::FlushCompress::Finish);
        let len = match done {
            Ok(flate2::Status::StreamEnd) => encoder.total_out() as usize,
            Ok(_) | Err(_) => 0,
        };
        out.truncate(start + len);
    });
}

fn compress_snappy(page: &[u8], out: &mut Vec<u8>) {
    SNAPPY_ENCODER.with_borrow_mut(|encoder| {
        let start = out.len();
        out.resize(start + snap::raw::max_compress_len(page.len()), 0);
        let len = encoder.compress(page, &mut out[start..]).unwrap_or(0);
        out.truncate(start + len);
    });
}

#[cfg(feature = "zstd")]
fn compress_zstd(level: u8, page: &[u8], out: &mut Vec<u8>) {
    ZSTD_ENCODER.with_borrow_mut(|kept| {
        let encoder = match kept {
            Some((of, encoder)) if *of == level => encoder,
            kept => match zstd::bulk::Compressor::new(i32::from(level)) {
                Ok(encoder) => &mut kept.insert((level, encoder)).1,
                Err(_) => return,
            },
        };
        let start = out.len();
        out.resize(start + page.len(), 0);
        let len = encoder.compress_to_buffer(page, &mut out[start..]).unwrap_or(0);
        out.truncate(start + len);
    });
}

/// The level is that of the only encoder there is.
#[cfg(not(feature = "zstd"))]
fn compress_zstd(_level: u8, page: &[u8], out: &mut Vec<u8>) {
    let fastest = ruzstd::encoding::CompressionLevel::Fastest;
    out.extend(ruzstd::encoding::compress_to_vec(page, fastest));
}

fn zlib(data: &[u8], page: &mut [u8]) -> Result<usize, Damaged> {
    ZLIB.with_borrow_mut(|decoder| {
        decoder.reset(true);
        match decoder.decompress(data, page, flate2::FlushDecompress::Finish) {
            Ok(flate2::Status::StreamEnd) => Ok(decoder.total_out() as usize),
            Ok(_) | Err(_) => Err(Damaged),
        }
    })
}

#[cfg(feature = "zstd")]
fn zstd(data: &[u8], page: &mut [u8]) -> Result<usize, Damaged> {
    ZSTD.with_borrow_mut(|decoder| {
        let decoder = decoder.as_mut().ok_or(Damaged)?;
        decoder.decompress_to_buffer(data, page).map_err(|_| Damaged)
    })
}

#[cfg(not(feature = "zstd"))]
fn zstd(data: &[u8], page: &mut [u8]) -> Result<usize, Damaged> {
    ZSTD.with_borrow_mut(|decoder| decoder.decode_all(data, page).map_err(|_| Damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_damage() {
        let noise: Vec<u8> =
            (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for codec in [Codec::Zlib, Codec::Lzo, Codec::Snappy, Codec::Zstd] {
            for len in [0, 1, 2, 3, 10, 100, 4096] {
                let mut page = vec![0; 4096];
                assert_eq!(codec.decompress(&noise[..len], &mut page), Err(Damaged), "{codec:?}");
            }
        }
    }
}
