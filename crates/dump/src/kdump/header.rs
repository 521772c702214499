//! The header and sub header of a kdump-compressed dump, in the layout of 64-bit little-endian
//! machines.

use crate::field::{c_string_at, u32_at, u64_at};
use crate::format::{Compression, Timestamp, Utsname};
use crate::source::{Source, read_up_to};

pub(crate) const SIGNATURE: &[u8] = b"KDUMP   ";

/// `struct disk_dump_header` up to its `tasks`.
const HEADER_SIZE: u64 = 464;
/// `struct kdump_sub_header` of version 6.
const SUB_HEADER_SIZE: u64 = 104;
/// Page sizes of the architectures that have kdump.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4096..=65536;
/// The newest version that makedumpfile writes.
const MAX_VERSION: u32 = 6;
/// A note a possible CPU: the largest machines have a few megabytes.
const MAX_NOTES: u64 = 16 << 20;

const STATUS_ZLIB: u32 = 0x1;
const STATUS_LZO: u32 = 0x2;
const STATUS_SNAPPY: u32 = 0x4;
pub(crate) const STATUS_INCOMPLETE: u32 = 0x8;
pub(crate) const STATUS_EXCLUDED_VMEMMAP: u32 = 0x10;
const STATUS_ZSTD: u32 = 0x20;

/// Why a kdump header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file ends within the header.
    #[error("the kdump header is cut off")]
    CutOff,
    /// The header is of a big-endian machine.
    #[error("a kdump-compressed dump of a big-endian machine is not supported yet")]
    BigEndian,
    /// The header has the layout of a 32-bit machine.
    #[error("a kdump-compressed dump of a 32-bit machine is not supported yet")]
    Bits32,
    /// An unknown `header_version`.
    #[error("kdump header version {0} is unknown (1 to 6 are known)")]
    Version(u32),
    /// `block_size` is no page size.
    #[error("the kdump header's block size {0} is no page size")]
    BlockSize(u32),
    /// The bitmaps or the page descriptors are said to be where no file reaches.
    #[error("the kdump header's sizes are out of range")]
    Layout,
}

/// What the headers say.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) utsname: Utsname,
    pub(crate) timestamp: Timestamp,
    pub(crate) compression: Compression,
    pub(crate) incomplete: bool,
    pub(crate) vmemmap_excluded: bool,
    pub(crate) block_size: u32,
    pub(crate) nr_cpus: u32,
    pub(crate) max_mapnr: u64,
    pub(crate) phys_base: u64,
    pub(crate) dump_level: u32,
    /// The pages `[start, end)` that this file of a `--split` set holds.
    pub(crate) split: Option<(u64, u64)>,
    pub(crate) vmcoreinfo: Vec<u8>,
    pub(crate) notes: Vec<u8>,
    /// The rules by which data were erased.
    pub(crate) erase_info: Option<String>,
    /// Offset and bytes of bitmap 1.
    pub(crate) bitmap1: (u64, u64),
    /// Offset and bytes of bitmap 2; that of bitmap 1 where there is only one.
    pub(crate) bitmap2: (u64, u64),
    /// Where the page descriptors start.
    pub(crate) descriptors: u64,
}

impl Header {
    pub(crate) fn parse(source: &dyn Source) -> Result<Self, HeaderError> {
        let block = read_up_to(source, 0, HEADER_SIZE);
        let u32_at = |offset| u32_at(&block, offset).ok_or(HeaderError::CutOff);
        let version = u32_at(8)?;
        if version.swap_bytes() <= MAX_VERSION && version > MAX_VERSION {
            return Err(HeaderError::BigEndian);
        }
        if version > MAX_VERSION {
            return Err(HeaderError::Version(version));
        }
        let block_size = u32_at(428)?;
        if !is_block_size(block_size) {
            // There `timestamp` is two 32-bit numbers at 404 and `block_size` stands at 416.
            let of_32_bits = is_block_size(u32_at(416)?);
            return Err(if of_32_bits {
                HeaderError::Bits32
            } else {
                HeaderError::BlockSize(block_size)
            });
        }
        let status = u32_at(424)?;
        let sub_header_blocks = u64::from(u32_at(432)?);
        let bitmap_blocks = u64::from(u32_at(436)?);
        let sub = SubHeader::parse(source, block_size, version);

        let max_mapnr = if version >= 6 { sub.max_mapnr } else { u64::from(u32_at(440)?) };
        let block_bytes = u64::from(block_size);
        let bitmap_offset = (1 + sub_header_blocks) * block_bytes;
        let bitmap_bytes = bitmap_blocks * block_bytes;
        // A dump of everything may come with bitmap 1 alone.
        let both = bitmap_blocks / 2 >= max_mapnr.div_ceil(8).div_ceil(block_bytes);
        let (bitmap1, bitmap2) = if both {
            let half = bitmap_bytes / 2;
            ((bitmap_offset, half), (bitmap_offset + half, half))
        } else {
            ((bitmap_offset, bitmap_bytes), (bitmap_offset, bitmap_bytes))
        };
        let text = |index: usize| c_string_at(&block, 12 + index * 65, 65).unwrap_or_default();
        Ok(Self {
            version,
            utsname: Utsname {
                sysname: text(0),
                nodename: text(1),
                release: text(2),
                version: text(3),
                machine: text(4),
                domainname: text(5),
            },
            timestamp: Timestamp {
                seconds: u64_at(&block, 408).ok_or(HeaderError::CutOff)?.cast_signed(),
                microseconds: u64_at(&block, 416).ok_or(HeaderError::CutOff)?.cast_signed(),
            },
            compression: Compression {
                zlib: status & STATUS_ZLIB != 0,
                lzo: status & STATUS_LZO != 0,
                snappy: status & STATUS_SNAPPY != 0,
                zstd: status & STATUS_ZSTD != 0,
            },
            incomplete: status & STATUS_INCOMPLETE != 0,
            vmemmap_excluded: status & STATUS_EXCLUDED_VMEMMAP != 0,
            block_size,
            nr_cpus: u32_at(460)?,
            max_mapnr,
            phys_base: sub.phys_base,
            dump_level: sub.dump_level,
            split: sub.split,
            vmcoreinfo: sub.vmcoreinfo,
            notes: sub.notes,
            erase_info: sub.erase_info,
            bitmap1,
            bitmap2,
            descriptors: bitmap_offset.checked_add(bitmap_bytes).ok_or(HeaderError::Layout)?,
        })
    }
}

fn is_block_size(size: u32) -> bool {
    size.is_power_of_two() && BLOCK_SIZES.contains(&size)
}

/// `struct kdump_sub_header`. Each version added fields at the end; what the version or the file
/// does not have is zero or empty, because the pages can be read without it.
#[derive(Default)]
struct SubHeader {
    phys_base: u64,
    dump_level: u32,
    split: Option<(u64, u64)>,
    vmcoreinfo: Vec<u8>,
    notes: Vec<u8>,
    erase_info: Option<String>,
    max_mapnr: u64,
}

impl SubHeader {
    fn parse(source: &dyn Source, block_size: u32, version: u32) -> Self {
        let bytes = read_up_to(source, u64::from(block_size), SUB_HEADER_SIZE);
        let since = |wanted, offset| if version >= wanted { u64_at(&bytes, offset) } else { None };
        let area = |wanted, offset| {
            let (at, len) = (since(wanted, offset)?, since(wanted, offset + 8)?);
            Some(read_up_to(source, at, len.min(MAX_NOTES)))
        };
        let dump_level = u32_at(&bytes, 8).filter(|_| version >= 1);
        let is_split = version >= 2 && u32_at(&bytes, 12).is_some_and(|split| split != 0);
        let (start, end) = if version >= 6 { (80, 88) } else { (16, 24) };
        let split = is_split.then(|| since(2, start).zip(since(2, end))).flatten();
        Self {
            phys_base: u64_at(&bytes, 0).unwrap_or(0),
            dump_level: dump_level.unwrap_or(0),
            split,
            vmcoreinfo: area(3, 32).unwrap_or_default(),
            notes: area(4, 48).unwrap_or_default(),
            erase_info: area(5, 64)
                .filter(|text| !text.is_empty())
                .map(|text| String::from_utf8_lossy(&text).into_owned()),
            max_mapnr: since(6, 96).unwrap_or(0),
        }
    }
}
