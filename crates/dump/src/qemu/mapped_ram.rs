//! `mapped-ram` (QEMU 9.0 and later): each page of a block has its place in the file, and a bitmap
//! says which places hold one (docs/devel/migration/mapped-ram). A place that does not is zeroes.

use super::stream::Stream;
use crate::big_endian::{be32_at, be64_at};

/// `struct MappedRamHeader`, packed.
const HEADER: usize = 4 + 3 * 8;
const VERSION: u32 = 1;
/// What else may stand behind a block's length: its page size and its address, for capabilities
/// (postcopy, x-ignore-shared) that a file has little use for.
const EXTRAS: [usize; 3] = [0, 8, 16];
/// A block's name, and the number behind it.
const NEXT: usize = 1 + 255;

/// Where a block's pages are. Offsets are those of the source, not of the file that QEMU wrote,
/// which may have something in front of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Whether the block was sent at all.
    pub(super) sent: bool,
    /// A bit a page, the lowest first.
    pub(super) bitmap: u64,
    pub(super) pages: u64,
}

impl Mapped {
    /// Takes what stands behind a block's length, and where there is a header goes behind the
    /// block's pages. The stream does not say which capabilities it was written with; what follows
    /// does.
    pub(super) fn take(stream: &mut Stream<'_>, len: u64, last: bool) -> Result<Option<Self>, ()> {
        for extra in EXTRAS {
            let at = stream.position().saturating_add((extra + HEADER) as u64);
            let header = stream.peek(extra + HEADER).and_then(|bytes| bytes.get(extra..));
            if let Some((mapped, next)) = header.and_then(|header| Self::parse(header, at, len)) {
                stream.seek(next);
                return Ok(Some(mapped));
            }
        }
        let rest = stream.len().saturating_sub(stream.position());
        let ahead = usize::try_from(rest).unwrap_or(usize::MAX).min(EXTRAS[2] + NEXT);
        let bytes = stream.peek(ahead).unwrap_or_default();
        let fits = |extra: &&usize| bytes.get(**extra..).is_some_and(|next| is_next(next, last));
        match EXTRAS.iter().find(fits) {
            Some(extra) => {
                stream.skip(*extra as u64);
                Ok(None)
            }
            // Cut off in the middle of the list.
            None if ahead < EXTRAS[2] + NEXT => Ok(None),
            None => Err(()),
        }
    }

    /// A header that ends at `at`, and where the stream goes on.
    fn parse(header: &[u8], at: u64, len: u64) -> Option<(Self, u64)> {
        let page_size = be64_at(header, 4)?;
        let (bitmap, pages) = (be64_at(header, 12)?, be64_at(header, 20)?);
        let sized = page_size.is_power_of_two() && (1024..=65536).contains(&page_size);
        if be32_at(header, 0)? != VERSION || !sized {
            return None;
        }
        if (bitmap, pages) == (0, 0) {
            return Some((Self { sent: false, bitmap: 0, pages: 0 }, at));
        }
        // The bitmap starts right here. What QEMU counted from is the start of its file.
        let in_front = bitmap.checked_sub(at)?;
        let room = (len / page_size).div_ceil(8);
        let pages = pages.checked_sub(in_front)?;
        let mapped = Self { sent: true, bitmap: at, pages };
        (pages >= at.checked_add(room)?).then_some((mapped, pages.checked_add(len)?))
    }
}

/// Whether another block's name can start here or, behind the last one, the section's first word.
fn is_next(bytes: &[u8], last: bool) -> bool {
    if last {
        // Flags, which no page size and no address has.
        return be64_at(bytes, 0).is_some_and(|word| word & 0x3ff != 0);
    }
    let Some((&len, rest)) = bytes.split_first() else { return false };
    let name = rest.get(..len.into()).unwrap_or(rest);
    len > 0 && name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}
