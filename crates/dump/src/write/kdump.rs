//! kdump-compressed dumps, version 6 (makedumpfile's diskdump_mod.h).
//!
//! A header block, a sub header with the notes, both bitmaps, a descriptor for each page that is
//! there, the page of zeroes that all such pages share, and page data in order. How long the
//! descriptors are is known before the first page is read, so data and descriptors are written side
//! by side, in one pass.

use super::fields::Fields;
use super::notes::WrittenNotes;
use super::page_map::{PageMap, PageState};
use super::pipeline::{Pages, each_run};
use super::plain::is_zero;
use super::sink::Output;
use super::{PageCodec, Step, WriteError};
use crate::codec::Codec;
use crate::dump::Dump;
use crate::format::Utsname;
use crate::kdump::{MAX_BITMAP_BYTES, STATUS_EXCLUDED_VMEMMAP, STATUS_INCOMPLETE};
use crate::vmcoreinfo::Vmcoreinfo;

const VERSION: u32 = 6;
const SUB_HEADER_SIZE: usize = 104;
const DESCRIPTOR_SIZE: u64 = 24;
/// Bitmaps and descriptors are written in pieces of this many bytes.
const PIECE: usize = 1 << 16;

/// The bit of a page's `flags` and of the header's `status`.
fn flag(codec: Option<Codec>) -> u32 {
    match codec {
        None => 0,
        Some(Codec::Zlib) => 0x1,
        Some(Codec::Lzo) => 0x2,
        Some(Codec::Snappy) => 0x4,
        Some(Codec::Zstd) => 0x20,
    }
}

/// Where the parts are.
struct Layout {
    block: u64,
    sub_header_blocks: u64,
    /// Of one bitmap.
    bitmap_bytes: u64,
    max_mapnr: u64,
}

impl Layout {
    fn bitmaps(&self) -> u64 {
        (1 + self.sub_header_blocks) * self.block
    }

    fn descriptors(&self) -> u64 {
        self.bitmaps() + 2 * self.bitmap_bytes
    }
}

/// Bitmaps are written for every page up to the last, and no reader looks farther: a header that
/// speaks of one at the end of the address space would ask for a terabyte.
const MAX_MAPNR: u64 = MAX_BITMAP_BYTES * 8;

/// Writes `dump` and says how long the file is and which pages could not be read.
pub(super) fn write(
    dump: &Dump,
    map: &PageMap,
    notes: &WrittenNotes,
    output: &mut dyn Output,
    step: &Step<'_>,
    (codec, level): (PageCodec, u8),
) -> Result<(u64, Vec<u64>), WriteError> {
    let block = map.page_size;
    let max_mapnr = dump.max_mapnr().unwrap_or(0).max(map.end());
    if max_mapnr > MAX_MAPNR {
        return Err(WriteError::TooMuchMemory);
    }
    let layout = Layout {
        block,
        sub_header_blocks: (SUB_HEADER_SIZE + notes.bytes.len() + erase_info(dump).len())
            .div_ceil(block as usize) as u64,
        bitmap_bytes: max_mapnr.div_ceil(8).next_multiple_of(block),
        max_mapnr,
    };
    let codec = codec.codec();
    let incomplete = dump.is_incomplete() || map.lost > 0;
    output.write_at(0, &header(dump, notes, &layout, flag(codec), incomplete))?;
    output.write_at(block, &sub_header(dump, notes, &layout))?;
    bitmap(map, output, layout.bitmaps(), layout.bitmap_bytes, |_| true)?;
    let second = layout.bitmaps() + layout.bitmap_bytes;
    bitmap(map, output, second, layout.bitmap_bytes, |state| {
        matches!(state, PageState::Present | PageState::Lost)
    })?;

    let zero_page = layout.descriptors() + (map.present + map.lost) * DESCRIPTOR_SIZE;
    output.write_at(zero_page, &vec![0; block as usize])?;
    let mut descriptors =
        Descriptors { at: layout.descriptors(), fields: Fields::default(), zero_page };
    let mut data = zero_page + block;
    let encode = |pages: &Pages<'_>| encode(pages, codec, level);
    let unreadable = each_run(&*dump.memory(), map, true, step, encode, |encoded| {
        let mut at = data;
        for page in &encoded.pages {
            descriptors.add(page, block, &mut at);
            if descriptors.fields.as_bytes().len() >= PIECE {
                descriptors.write(output)?;
            }
        }
        output.write_at(data, &encoded.data)?;
        data = at;
        Ok(())
    })?;
    descriptors.write(output)?;
    if !unreadable.is_empty() && !incomplete {
        output.write_at(0, &header(dump, notes, &layout, flag(codec), true))?;
    }
    Ok((data, unreadable))
}

/// How a page is stored.
enum Stored {
    Zeroes,
    Missing,
    /// Bytes as they are, or compressed to so many.
    Data(u32, u32),
}

/// Neighbouring pages, and their data one after the other.
struct Encoded {
    pages: Vec<Stored>,
    data: Vec<u8>,
}

fn encode(pages: &Pages<'_>, codec: Option<Codec>, level: u8) -> Encoded {
    let mut encoded = Encoded { pages: Vec::new(), data: Vec::new() };
    for page in pages.each() {
        let stored = match page {
            None => Stored::Missing,
            Some(page) if is_zero(page) => Stored::Zeroes,
            Some(page) => {
                let start = encoded.data.len();
                let smaller = codec.filter(|codec| {
                    codec.compress(level, page, &mut encoded.data);
                    let len = encoded.data.len() - start;
                    (1..page.len()).contains(&len)
                });
                if smaller.is_none() {
                    encoded.data.truncate(start);
                    encoded.data.extend_from_slice(page);
                }
                Stored::Data((encoded.data.len() - start) as u32, flag(smaller))
            }
        };
        encoded.pages.push(stored);
    }
    encoded
}

/// The array of `struct page_desc`, as far as it is not written.
struct Descriptors {
    at: u64,
    fields: Fields,
    zero_page: u64,
}

impl Descriptors {
    /// Adds a page whose data, if it has any, is at `data`, and moves that on.
    fn add(&mut self, page: &Stored, block: u64, data: &mut u64) {
        let (offset, size, flags) = match *page {
            Stored::Missing => (0, 0, 0),
            Stored::Zeroes => (self.zero_page, block as u32, 0),
            Stored::Data(size, flags) => (*data, size, flags),
        };
        self.fields.u64(offset).u32(size).u32(flags).u64(0);
        if let Stored::Data(size, _) = page {
            *data += u64::from(*size);
        }
    }

    fn write(&mut self, output: &mut dyn Output) -> Result<(), WriteError> {
        let fields = std::mem::take(&mut self.fields);
        output.write_at(self.at, fields.as_bytes())?;
        self.at += fields.as_bytes().len() as u64;
        Ok(())
    }
}

/// Writes a bitmap of the pages whose state is `wanted`.
fn bitmap(
    map: &PageMap,
    output: &mut dyn Output,
    at: u64,
    len: u64,
    wanted: impl Fn(PageState) -> bool,
) -> Result<(), WriteError> {
    let mut runs = map.runs().filter(|run| wanted(run.state)).peekable();
    let mut bytes = vec![0u8; PIECE];
    for start in (0..len).step_by(PIECE) {
        let piece = &mut bytes[..(len - start).min(PIECE as u64) as usize];
        piece.fill(0);
        let (first, end) = (start * 8, (start + piece.len() as u64) * 8);
        while let Some(run) = runs.peek().copied() {
            for pfn in run.pfn.max(first)..run.end().min(end) {
                if let Some(byte) = piece.get_mut(((pfn - first) / 8) as usize) {
                    *byte |= 1 << (pfn % 8);
                }
            }
            if run.end() > end {
                break;
            }
            runs.next();
        }
        output.write_at(at + start, piece)?;
    }
    Ok(())
}

/// `struct disk_dump_header`, filled up to a block.
fn header(
    dump: &Dump,
    notes: &WrittenNotes,
    layout: &Layout,
    codec_flag: u32,
    incomplete: bool,
) -> Vec<u8> {
    let utsname = utsname(dump, notes);
    let crash_time = || vmcoreinfo(notes).and_then(|info| info.crashtime());
    let (seconds, microseconds) = match dump.timestamp() {
        Some(time) => (time.seconds, time.microseconds),
        None => (crash_time().unwrap_or(0).cast_signed(), 0),
    };
    let mut status = codec_flag;
    if incomplete {
        status |= STATUS_INCOMPLETE;
    }
    if dump.is_vmemmap_excluded() {
        status |= STATUS_EXCLUDED_VMEMMAP;
    }
    let bitmap_blocks = 2 * layout.bitmap_bytes / layout.block;
    let mut header = Fields::default();
    header.bytes(crate::kdump::SIGNATURE).u32(VERSION);
    for text in [
        &utsname.sysname,
        &utsname.nodename,
        &utsname.release,
        &utsname.version,
        &utsname.machine,
        &utsname.domainname,
    ] {
        header.text(text, 65);
    }
    header.align(8).u64(seconds.cast_unsigned()).u64(microseconds.cast_unsigned());
    header.u32(status).u32(layout.block as u32).u32(layout.sub_header_blocks as u32);
    header.u32(bitmap_blocks as u32).u32(layout.max_mapnr.min(u64::from(u32::MAX)) as u32);
    header.u32(0).u32(0).u32(0).u32(0); // total_ram_blocks to current_cpu, as makedumpfile has them
    header.u32(dump.nr_cpus().filter(|count| *count > 0).unwrap_or(notes.cpus as u32));
    header.pad_to(layout.block as usize);
    header.into_bytes()
}

/// `struct kdump_sub_header` and the notes.
fn sub_header(dump: &Dump, notes: &WrittenNotes, layout: &Layout) -> Vec<u8> {
    let phys_base =
        || vmcoreinfo(notes).and_then(|info| info.number("phys_base")).map(i64::cast_unsigned);
    let notes_at = layout.block + SUB_HEADER_SIZE as u64;
    let (info_at, info_len) = notes.vmcoreinfo.unwrap_or((0, 0));
    let mut sub = Fields::default();
    sub.u64(dump.phys_base().or_else(phys_base).unwrap_or(0));
    sub.u32(dump.dump_level().unwrap_or(0)).u32(0); // split
    sub.u64(0).u64(0); // start_pfn, end_pfn
    sub.u64(if info_len > 0 { notes_at + info_at } else { 0 }).u64(info_len);
    sub.u64(if notes.bytes.is_empty() { 0 } else { notes_at }).u64(notes.bytes.len() as u64);
    let erase_info = erase_info(dump);
    let erase_at = notes_at + notes.bytes.len() as u64;
    sub.u64(if erase_info.is_empty() { 0 } else { erase_at }).u64(erase_info.len() as u64);
    sub.u64(0).u64(0).u64(layout.max_mapnr);
    sub.bytes(&notes.bytes).bytes(erase_info);
    sub.pad_to((layout.sub_header_blocks * layout.block) as usize);
    sub.into_bytes()
}

/// makedumpfile puts it behind all pages; a reader goes by its offset.
fn erase_info(dump: &Dump) -> &[u8] {
    dump.erase_info().unwrap_or_default().as_bytes()
}

fn vmcoreinfo(notes: &WrittenNotes) -> Option<Vmcoreinfo> {
    let (at, len) = notes.vmcoreinfo?;
    let text = notes.bytes.get(at as usize..(at + len) as usize)?;
    Some(Vmcoreinfo::parse(text))
}

/// The header's where it has one, else the kernel's own, else what is known for certain.
fn utsname(dump: &Dump, notes: &WrittenNotes) -> Utsname {
    if let Some(utsname) = dump.utsname().filter(|utsname| !utsname.release.is_empty()) {
        return utsname.clone();
    }
    let info = vmcoreinfo(notes);
    info.as_ref().and_then(|info| dump.utsname_in_memory(info)).unwrap_or_else(|| Utsname {
        sysname: "Linux".to_owned(),
        release: info.as_ref().and_then(Vmcoreinfo::osrelease).unwrap_or_default().to_owned(),
        machine: dump.machine().to_string(),
        ..Utsname::default()
    })
}
