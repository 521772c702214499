//! Page decompression: one page of one of makedumpfile's four compressions.
//!
//! The state that zlib and zstd need is kept for each thread, because setting it up costs more
//! than a page.

use crate::lzo;
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
