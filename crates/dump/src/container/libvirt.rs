//! libvirt's save image: `virsh save`, `virsh managedsave` (libvirt src/qemu/qemu_saveimage.h).
//!
//! A header in the byte order of the host, the domain's XML, and what QEMU wrote: its migration
//! stream, or that stream as a compressing program left it, which says so by itself. A file whose
//! header was never completed (`LibvirtQemudPart`) is one that libvirt was still writing, or could
//! not finish; what is there is read, and a stream that lacks its end says so.

use crate::field::u32_at;
use crate::open::{OpenError, Opening};
use crate::qemu;
use crate::source::{PartSource, Source, read_up_to};
use std::sync::Arc;

const MAGIC_SIZE: usize = 16;
const UNFINISHED: &[u8] = b"LibvirtQemudPart";
/// Magic, five numbers, fourteen unused ones.
const HEADER: u64 = 16 + 5 * 4 + 14 * 4;
/// The versions that there were.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// `VIR_QEMU_SAVE_FORMAT_*`.
const RAW: u32 = 0;
const SPARSE: u32 = 6;
/// What the XML is padded to, if it is.
const ALIGNMENTS: [u64; 3] = [4096, 64 << 10, 1 << 20];

/// What follows the header and the XML.
pub(super) fn open(
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let header = read_up_to(&*source, 0, HEADER);
    let unfinished = header.starts_with(UNFINISHED);
    let field = |index: usize| {
        let value = u32_at(&header, MAGIC_SIZE + index * 4)?;
        let swapped = u32_at(&header, MAGIC_SIZE).is_some_and(|version| version > 0xffff);
        Some(if swapped { value.swap_bytes() } else { value })
    };
    let damaged = |what: &str| {
        opening.damaged(match unfinished {
            true => format!("libvirt did not finish writing this save image: {what}"),
            false => format!("libvirt save image: {what}"),
        })
    };
    let (Some(version), Some(len), Some(format)) = (field(0), field(1), field(3)) else {
        return Err(damaged("the file ends within its header"));
    };
    if !VERSIONS.contains(&version) {
        return Err(damaged(&format!("version {version} is not known; 1 and 2 are")));
    }
    if format > SPARSE {
        return Err(damaged(&format!("format {format} is not known; 0 to {SPARSE} are")));
    }
    let behind = HEADER + u64::from(len);
    if behind >= source.len() {
        return Err(damaged("the file ends before the machine's state starts"));
    }
    let is_stream = |at: &u64| read_up_to(&*source, *at, 4) == qemu::MAGIC;
    let aligned = ALIGNMENTS.into_iter().filter_map(|to| behind.checked_next_multiple_of(to));
    let start = match format {
        RAW | SPARSE => std::iter::once(behind).chain(aligned).find(is_stream),
        _ => Some(behind),
    };
    let start = start.ok_or_else(|| {
        damaged(&format!("at {behind:#x}, behind the XML, no migration stream starts"))
    })?;
    let len = source.len() - start;
    Ok(Arc::new(PartSource::new(source, start, len)))
}
