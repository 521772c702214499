//! Files with code that a process maps: what their ELF headers, in memory or in the page cache,
//! lead to.

use crate::process_memory::ProcessMemory;
use crate::vma::{Area, area_flags};
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{CfiSection, CfiTable};
use std::ops::Range;
use std::sync::Arc;

/// More files than a program with many plug-ins maps.
const MAX_MODULES: usize = 1024;
/// A longer section is not read: a browser's `.eh_frame` has 20 MiB, its symbols some more.
const MAX_SECTION: u64 = 64 << 20;
const MAX_HEADERS: u64 = 256;
const PAGE_SIZE: u64 = 4096;

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;

/// Code that is mapped, and the file it is of.
pub(super) struct Module {
    /// Where the code is.
    pub text: Range<VirtAddr>,
    /// The `struct file`; null for what the kernel maps by itself (the vDSO).
    file: VirtAddr,
    /// What to add to the file's addresses to have those at run time.
    bias: u64,
    segments: Vec<Segment>,
    /// Where the section headers are in the file, and which of them names the others.
    sections: Option<(u64, u64, usize)>,
}

/// A program header, as far as it matters here.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// A section header.
struct Section {
    name: usize,
    kind: u32,
    address: u64,
    offset: u64,
    size: u64,
    link: usize,
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn quarter(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

impl Module {
    /// All code that the process maps.
    pub fn all(memory: &ProcessMemory<'_>) -> Vec<Self> {
        let is_code =
            |area: &&Area| area.flags.as_ref().is_ok_and(|flags| flags & area_flags::EXEC != 0);
        let code = memory.areas().iter().filter(is_code).take(MAX_MODULES);
        code.map(|area| Self::read(memory, area)).collect()
    }

    fn read(memory: &ProcessMemory<'_>, code: &Area) -> Self {
        let mut module = Self {
            text: VirtAddr(code.start.0)..VirtAddr(code.end.0),
            file: code.file.clone().unwrap_or(VirtAddr(0)),
            bias: 0,
            segments: Vec::new(),
            sections: None,
        };
        // What is no ELF file is code all the same.
        let _ = module.read_headers(memory, first_page(memory, code));
        module
    }

    fn read_headers(&mut self, memory: &ProcessMemory<'_>, base: VirtAddr) -> Option<()> {
        let header = memory.read_bytes(base, 64).ok()?;
        // 64 bits, little-endian.
        if header.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let count = u64::from(quarter(&header, 56)?).min(MAX_HEADERS);
        let start = base.offset(word(&header, 32)?);
        let bytes = memory.read_bytes(start, count * 56).ok()?;
        let headers = bytes.chunks_exact(56).filter_map(|header| {
            Some(Segment {
                kind: half(header, 0)?,
                offset: word(header, 8)?,
                address: word(header, 16)?,
                size: word(header, 32)?,
            })
        });
        self.segments = headers.collect();
        let first = self.segments.iter().find(|segment| segment.kind == PT_LOAD)?;
        self.bias = base.0.wrapping_sub(first.address.wrapping_sub(first.offset));
        let names = usize::from(quarter(&header, 62)?);
        self.sections = Some((word(&header, 40)?, u64::from(quarter(&header, 60)?), names));
        Some(())
    }

    /// The section headers and the section of their names, where those parts of the file are in
    /// memory.
    fn sections(&self, memory: &ProcessMemory<'_>) -> Option<(Vec<Section>, Vec<u8>)> {
        let (offset, count, names) = self.sections.filter(|(offset, ..)| *offset != 0)?;
        let bytes = memory.read_file(self.file, offset, count.min(MAX_HEADERS) * 64)?;
        let headers = bytes.chunks_exact(64).map_while(|header| {
            Some(Section {
                name: half(header, 0)? as usize,
                kind: half(header, 4)?,
                address: word(header, 16)?,
                offset: word(header, 24)?,
                size: word(header, 32)?,
                link: half(header, 40)? as usize,
            })
        });
        let headers: Vec<Section> = headers.collect();
        let names = self.content(memory, headers.get(names)?)?;
        Some((headers, names))
    }

    fn content(&self, memory: &ProcessMemory<'_>, section: &Section) -> Option<Vec<u8>> {
        let is_sane = section.size <= MAX_SECTION;
        is_sane.then(|| memory.read_file(self.file, section.offset, section.size))?
    }

    /// The file's `.eh_frame`.
    pub fn call_frame_information(&self, memory: &ProcessMemory<'_>) -> Option<CfiTable> {
        let (address, bytes) = self
            .table_by_section(memory)
            .or_else(|| self.table_by_segment(memory))
            .or_else(|| self.table_by_content(memory))?;
        Some(CfiTable::new(Arc::new(bytes), CfiSection::EhFrame, address, self.bias))
    }

    /// By its section header, which static programs have only.
    fn table_by_section(&self, memory: &ProcessMemory<'_>) -> Option<(u64, Vec<u8>)> {
        let (sections, names) = self.sections(memory)?;
        let is_table = |section: &&Section| {
            names.get(section.name..).is_some_and(|name| name.starts_with(b".eh_frame\0"))
        };
        let section = sections.iter().find(is_table)?;
        Some((section.address, self.content(memory, section)?))
    }

    /// By the index of it that is mapped with the program.
    fn table_by_segment(&self, memory: &ProcessMemory<'_>) -> Option<(u64, Vec<u8>)> {
        let index = self.segments.iter().find(|segment| segment.kind == PT_GNU_EH_FRAME)?;
        // `.eh_frame_hdr`: version 1, and how the pointer behind these four bytes is encoded: as
        // all linkers do it, relative to itself (DW_EH_PE_pcrel | DW_EH_PE_sdata4).
        let start = VirtAddr(self.bias.wrapping_add(index.address));
        let header = memory.read_bytes(start, 8).ok()?;
        if header.first() != Some(&1) || header.get(1) != Some(&0x1b) {
            return None;
        }
        let relative = i64::from(half(&header, 4)?.cast_signed());
        let address = index.address.wrapping_add(4).wrapping_add_signed(relative);
        // The section's length stands nowhere in memory; it ends with zeros, in its segment.
        let holds = |segment: &&Segment| {
            let end = segment.address.checked_add(segment.size);
            segment.kind == PT_LOAD
                && end.is_some_and(|end| (segment.address..end).contains(&address))
        };
        let segment = self.segments.iter().find(holds)?;
        let left = segment.size.saturating_sub(address.wrapping_sub(segment.address));
        let start = VirtAddr(self.bias.wrapping_add(address));
        Some((address, read_table(memory, start..start.offset(left.min(MAX_SECTION)))))
    }
}

/// The front of a common information entry as compilers write it for x86_64: version 1, "zR",
/// instructions in bytes, the stack in words downwards, and rip for the return address.
const CIE_FRONT: [u8; 7] = [1, b'z', b'R', 0, 1, 0x78, 0x10];

impl Module {
    /// By what it looks like, where the file's section headers are not in memory: static programs
    /// have no index that is mapped.
    fn table_by_content(&self, memory: &ProcessMemory<'_>) -> Option<(u64, Vec<u8>)> {
        let loads = self.segments.iter().filter(|segment| segment.kind == PT_LOAD);
        loads.filter(|segment| segment.size <= MAX_SECTION).find_map(|segment| {
            let start = VirtAddr(self.bias.wrapping_add(segment.address));
            let bytes = read_with_gaps(memory, start..start.offset(segment.size));
            // In front of it, its length and the mark of a common entry.
            let at = bytes.windows(15).step_by(4).position(|window| {
                window.get(8..) == Some(&CIE_FRONT[..])
                    && half(window, 4) == Some(0)
                    && half(window, 0).is_some_and(|len| (12..256).contains(&len))
            })?;
            let into = 4 * at as u64;
            let end = start.offset(segment.size);
            Some((segment.address.wrapping_add(into), read_table(memory, start.offset(into)..end)))
        })
    }
}

/// Memory with zeros for the pages that are not there.
fn read_with_gaps(memory: &ProcessMemory<'_>, range: Range<VirtAddr>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let len = (PAGE_SIZE - at.0 % PAGE_SIZE).min(range.end.0.saturating_sub(at.0));
        match memory.read_bytes(at, len) {
            Ok(page) => bytes.extend(page),
            Err(_) => bytes.resize(bytes.len() + len as usize, 0),
        }
        at = at.offset(len);
    }
    bytes
}

/// Where a file's first page is mapped: what its program headers are relative to.
fn first_page(memory: &ProcessMemory<'_>, code: &Area) -> VirtAddr {
    let file = code.file.as_ref().ok().filter(|file| !file.is_null());
    let first = file.and_then(|file| {
        // A library may be mapped more than once: the nearest before its code counts.
        let before = memory.areas().iter().rev().filter(|area| area.start <= code.start);
        before
            .filter(|area| area.file.as_ref().ok() == Some(file))
            .find(|area| area.page_offset == Ok(0))
    });
    VirtAddr(first.unwrap_or(code).start.0)
}

/// What is in memory of a table, up to the first page that is not: entries behind a gap cannot be
/// told from its middle.
fn read_table(memory: &ProcessMemory<'_>, range: Range<VirtAddr>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let len = (PAGE_SIZE - at.0 % PAGE_SIZE).min(range.end.0.saturating_sub(at.0));
        match memory.read_bytes(at, len) {
            Ok(page) => bytes.extend(page),
            Err(_) => break,
        }
        at = at.offset(len);
    }
    // The end of the entries that are there.
    bytes.extend([0; 4]);
    bytes
}

/// The functions of a file, from its `.symtab`, or else `.dynsym`.
pub(super) struct Symbols {
    /// Start, end and the name's place, ascending.
    functions: Vec<(u64, u64, usize)>,
    names: Vec<u8>,
    bias: u64,
}

impl Symbols {
    /// The functions of `module`, where its symbols are in memory.
    pub fn read(memory: &ProcessMemory<'_>, module: &Module) -> Option<Self> {
        let (sections, _) = module.sections(memory)?;
        let of_kind = |kind| sections.iter().find(|section| section.kind == kind);
        let section = of_kind(SHT_SYMTAB).or_else(|| of_kind(SHT_DYNSYM))?;
        let names = module.content(memory, sections.get(section.link)?)?;
        let bytes = module.content(memory, section)?;
        let functions = bytes.chunks_exact(24).filter_map(|symbol| {
            let is_function = matches!(symbol.get(4)? & 0xf, STT_FUNC | STT_GNU_IFUNC);
            let start = word(symbol, 8).filter(|start| is_function && *start != 0)?;
            Some((start, start.saturating_add(word(symbol, 16)?), half(symbol, 0)? as usize))
        });
        let mut functions: Vec<_> = functions.collect();
        functions.sort_unstable();
        Some(Self { functions, names, bias: module.bias })
    }

    /// The function that `ip` lies in, and where it begins.
    pub fn function_at(&self, ip: VirtAddr) -> Option<(String, VirtAddr)> {
        let address = ip.0.wrapping_sub(self.bias);
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, end, name) = *self.functions.get(after.checked_sub(1)?)?;
        if address >= end {
            return None;
        }
        let name = self.names.get(name..)?.split(|byte| *byte == 0).next()?;
        Some((String::from_utf8_lossy(name).into_owned(), VirtAddr(start.wrapping_add(self.bias))))
    }
}
