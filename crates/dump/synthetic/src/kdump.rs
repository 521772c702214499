//! kdump-compressed dumps, versions 3 to 6.

use crate::notes::pad;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

/// How a page is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Codec {
    Raw,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 5] = [Codec::Raw, Codec::Zlib, Codec::Lzo, Codec::Snappy, Codec::Zstd];

    /// The bit in a page descriptor's `flags` and in the header's `status`.
    pub fn flag(self) -> u32 {
        match self {
            Codec::Raw => 0,
            Codec::Zlib => 1,
            Codec::Lzo => 2,
            Codec::Snappy => 4,
            Codec::Zstd => 32,
        }
    }

    /// Compresses one page.
    ///
    /// # Panics
    /// When the codec fails, which would be a bug in it.
    pub fn compress(self, page: &[u8]) -> Vec<u8> {
        match self {
            Codec::Raw => page.to_vec(),
            Codec::Zlib => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(page).expect("writing to memory");
                encoder.finish().expect("writing to memory")
            }
            Codec::Lzo => lzokay::compress::compress(page).expect("LZO compresses"),
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(page).expect("Snappy works"),
            Codec::Zstd => zstd::bulk::compress(page, 1).expect("zstd compresses"),
        }
    }
}

/// What is written for a page of bitmap 2.
#[derive(Clone, Debug)]
pub enum Stored {
    /// The page, compressed if that makes it smaller.
    Page(Vec<u8>, Codec),
    /// The page of zeroes that all of them share.
    Zeroes,
    /// A descriptor without data, as incomplete dumps have.
    Lost,
    /// A descriptor and data as they are given: size, flags, bytes.
    Verbatim(u32, u32, Vec<u8>),
}

/// Where the parts of a written dump are, for tests that damage them.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Offsets {
    pub bitmap1: usize,
    pub bitmap2: usize,
    pub descriptors: usize,
    pub data: usize,
}

/// What a kdump-compressed dump is to contain.
#[derive(Clone, Debug)]
pub struct KdumpWriter {
    /// `header_version`.
    pub version: u32,
    /// Bytes of a page.
    pub block_size: usize,
    /// `status`.
    pub status: u32,
    /// `-d`.
    pub dump_level: u32,
    /// One more than the highest page.
    pub max_mapnr: u64,
    /// Bits of bitmap 1.
    pub existing: Vec<Range<u64>>,
    /// Bits of bitmap 2, and their pages.
    pub pages: BTreeMap<u64, Stored>,
    /// The notes except VMCOREINFO.
    pub notes: Vec<u8>,
    /// The text of VMCOREINFO.
    pub vmcoreinfo: String,
    /// Six strings of `utsname`.
    pub utsname: [&'static str; 6],
    /// `timestamp`, seconds and microseconds.
    pub timestamp: (i64, i64),
    /// `phys_base`.
    pub phys_base: u64,
    /// The rules by which data were erased, appended to the file.
    pub erase_info: String,
    /// `nr_cpus`.
    pub nr_cpus: u32,
    /// `--split`: the pages that this file has descriptors for.
    pub split: Option<Range<u64>>,
    /// Leaves bitmap 2 away; every page of bitmap 1 has to be in `pages`.
    pub only_bitmap1: bool,
}

impl Default for KdumpWriter {
    fn default() -> Self {
        Self {
            version: 6,
            block_size: 4096,
            status: 0,
            dump_level: 31,
            max_mapnr: 0,
            existing: Vec::new(),
            pages: BTreeMap::new(),
            notes: Vec::new(),
            vmcoreinfo: String::new(),
            utsname: ["Linux", "host", "6.12.0-synthetic", "#1 SMP", "x86_64", "(none)"],
            timestamp: (1_700_000_000, 42),
            phys_base: 0x1000_0000,
            erase_info: String::new(),
            nr_cpus: 2,
            split: None,
            only_bitmap1: false,
        }
    }
}

impl KdumpWriter {
    /// A dump of a small machine: two stretches of memory, of which every third page is excluded,
    /// some pages are zeroes, some do not compress, and one is lost.
    pub fn small(codec: Codec) -> Self {
        let mut writer = Self {
            status: codec.flag(),
            max_mapnr: 40_000,
            existing: vec![0..160, 256..700, 39_000..40_000],
            ..Self::default()
        };
        for pfn in writer.existing.iter().cloned().flatten().filter(|pfn| pfn % 3 != 0) {
            let stored = match pfn {
                400 => Stored::Lost,
                _ if pfn % 16 == 1 => Stored::Zeroes,
                _ if pfn % 16 == 5 => Stored::Page(crate::noise(pfn, 4096), codec),
                _ => Stored::Page(crate::page(pfn, 4096), codec),
            };
            writer.pages.insert(pfn, stored);
        }
        writer.notes = crate::prstatus(17, std::array::from_fn(|index| index as u64 + 100));
        writer.vmcoreinfo = "OSRELEASE=6.12.0-synthetic\nPAGESIZE=4096\nKERNELOFFSET=1c000000\n\
            SYMBOL(init_uts_ns)=ffffffff9e2219c0\nNUMBER(phys_base)=-12\n"
            .to_owned();
        writer
    }

    /// The file.
    pub fn write(&self) -> Vec<u8> {
        self.write_with_offsets().0
    }

    /// The files of a `--split` set: each goes up to one of `cuts`, the last to the end.
    pub fn write_split(&self, cuts: &[u64]) -> Vec<Vec<u8>> {
        let ends = cuts.iter().copied().chain([self.max_mapnr]);
        let mut start = 0;
        let ranges = ends.map(|end| std::mem::replace(&mut start, end)..end);
        ranges.map(|split| Self { split: Some(split), ..self.clone() }.write()).collect()
    }

    /// The file, and where its parts are.
    pub fn write_with_offsets(&self) -> (Vec<u8>, Offsets) {
        let block = self.block_size;
        let vmcoreinfo_note = crate::note("VMCOREINFO", 0, self.vmcoreinfo.as_bytes());
        let mut notes = self.notes.clone();
        let text_in_notes =
            notes.len() + vmcoreinfo_note.len() - self.vmcoreinfo.len().next_multiple_of(4);
        notes.extend(vmcoreinfo_note);

        let sub_header_len = 104;
        let sub_blocks = (sub_header_len + notes.len()).div_ceil(block);
        let bitmap_len = (self.max_mapnr.div_ceil(8) as usize).next_multiple_of(block);
        let bitmaps = if self.only_bitmap1 { 1 } else { 2 };

        let mut file = Vec::new();
        file.extend(b"KDUMP   ");
        file.extend(self.version.to_le_bytes());
        for text in self.utsname {
            let mut field = text.as_bytes().to_vec();
            field.resize(65, 0);
            file.extend(field);
        }
        pad(&mut file, 8);
        file.extend(self.timestamp.0.to_le_bytes());
        file.extend(self.timestamp.1.to_le_bytes());
        file.extend(self.status.to_le_bytes());
        file.extend((block as u32).to_le_bytes());
        file.extend((sub_blocks as u32).to_le_bytes());
        file.extend(((bitmaps * bitmap_len / block) as u32).to_le_bytes());
        file.extend((self.max_mapnr as u32).to_le_bytes());
        for _ in ["total_ram_blocks", "device_blocks", "written_blocks", "current_cpu"] {
            file.extend(0u32.to_le_bytes());
        }
        file.extend(self.nr_cpus.to_le_bytes());
        pad(&mut file, block);

        let notes_at = (block + sub_header_len) as u64;
        let split = self.split.clone().unwrap_or(0..0);
        let mut sub = Vec::new();
        sub.extend(self.phys_base.to_le_bytes());
        sub.extend(self.dump_level.to_le_bytes());
        sub.extend(u32::from(self.split.is_some()).to_le_bytes());
        sub.extend(split.start.to_le_bytes());
        sub.extend(split.end.to_le_bytes());
        sub.extend((notes_at + text_in_notes as u64).to_le_bytes());
        sub.extend((self.vmcoreinfo.len() as u64).to_le_bytes());
        if self.version >= 4 {
            sub.extend(notes_at.to_le_bytes());
            sub.extend((notes.len() as u64).to_le_bytes());
        }
        let erase_info_at = file.len() + sub.len();
        if self.version >= 5 {
            sub.extend([0; 16]); // eraseinfo, once it is known where that is
        }
        if self.version >= 6 {
            sub.extend(split.start.to_le_bytes());
            sub.extend(split.end.to_le_bytes());
            sub.extend(self.max_mapnr.to_le_bytes());
        }
        sub.resize(sub_header_len, 0);
        file.extend(sub);
        file.extend(notes);
        pad(&mut file, block);

        let mut offsets = Offsets { bitmap1: file.len(), ..Offsets::default() };
        let mut bitmap = vec![0u8; bitmap_len];
        for pfn in self.existing.iter().cloned().flatten() {
            bitmap[pfn as usize / 8] |= 1 << (pfn % 8);
        }
        file.extend(&bitmap);
        offsets.bitmap2 = offsets.bitmap1;
        if !self.only_bitmap1 {
            offsets.bitmap2 = file.len();
            bitmap.fill(0);
            for pfn in self.pages.keys() {
                bitmap[*pfn as usize / 8] |= 1 << (pfn % 8);
            }
            file.extend(&bitmap);
        }

        offsets.descriptors = file.len();
        let written = |pfn: &u64| self.split.as_ref().is_none_or(|split| split.contains(pfn));
        let pages: Vec<_> = self.pages.iter().filter(|(pfn, _)| written(pfn)).collect();
        let zeroes_at = file.len() + 24 * pages.len();
        let mut data = vec![0; block];
        let mut descriptors = Vec::new();
        for (_, stored) in pages {
            let next = (zeroes_at + data.len()) as u64;
            let (offset, size, flags) = match stored {
                Stored::Zeroes => (zeroes_at as u64, block as u32, 0),
                Stored::Lost => (0, 0, 0),
                Stored::Verbatim(size, flags, bytes) => {
                    data.extend(bytes);
                    (next, *size, *flags)
                }
                Stored::Page(page, codec) => {
                    let compressed = codec.compress(page);
                    if compressed.len() < block {
                        data.extend(&compressed);
                        (next, compressed.len() as u32, codec.flag())
                    } else {
                        data.extend(page);
                        (next, block as u32, 0)
                    }
                }
            };
            descriptors.extend(offset.to_le_bytes());
            descriptors.extend(size.to_le_bytes());
            descriptors.extend(flags.to_le_bytes());
            descriptors.extend(0u64.to_le_bytes()); // page_flags
        }
        file.extend(descriptors);
        offsets.data = file.len();
        file.extend(data);
        if !self.erase_info.is_empty() {
            let at = (file.len() as u64).to_le_bytes();
            file[erase_info_at..erase_info_at + 8].copy_from_slice(&at);
            let len = (self.erase_info.len() as u64).to_le_bytes();
            file[erase_info_at + 8..erase_info_at + 16].copy_from_slice(&len);
            file.extend(self.erase_info.as_bytes());
        }
        (file, offsets)
    }
}
