//! `makedumpfile --split`: one dump in several files, each with the headers, the notes and both
//! bitmaps of all, and with the descriptors and data of its own stretch of pages. The files may be
//! named in any order; what is in a file that was not given is truncated.

use super::header::Header;
use super::memory::KdumpMemory;
use super::{contents_of, parse};
use crate::contents::{Contents, DumpMemory, PageCounts};
use crate::open::{self, OpenError, OpenOptions, Opening, Remarks, Unwrapped};
use crate::sniff::{ContainerKind, DumpKind};
use crate::source::{Source, read_up_to};
use mortis_memory::{PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the files of a set have in common, from their start on, the sub header left out.
const COMMON_HEADER: u64 = 464;
/// Of the bitmap of pages that are in the dump, so many bytes are compared.
const COMPARED: u64 = 1 << 16;

/// An open set.
pub(crate) struct Set {
    pub(crate) contents: Contents,
    pub(crate) containers: Vec<ContainerKind>,
    pub(crate) size: u64,
    pub(crate) remarks: Remarks,
}

/// One of the files, before it is known to belong to the others.
struct Part<'a> {
    path: &'a Path,
    source: Arc<dyn Source>,
    header: Header,
    containers: Vec<ContainerKind>,
    size: u64,
    /// The pages that it holds.
    pages: (u64, u64),
}

impl<'a> Part<'a> {
    fn open(
        path: &'a Path,
        file: Arc<dyn Source>,
        options: &OpenOptions,
        remarks: &mut Remarks,
    ) -> Result<Self, OpenError> {
        let wanting = |what: &str| OpenError::Wanting {
            path: path.to_owned(),
            what: what.to_owned(),
            advice: "give one dump, or all files of one split dump, and at most one vmlinux"
                .to_owned(),
        };
        let size = file.len();
        let opening = Opening::new(path, options);
        let Unwrapped { kind, source, containers } = open::unwrap(file, &opening)?;
        if kind != DumpKind::Kdump {
            return Err(wanting(&format!("this is {kind}, and several files were given")));
        }
        let header = parse(&*source, &opening)?;
        let Some(pages) = header.split.filter(|(start, end)| start <= end) else {
            return Err(wanting("this is a dump by itself, and several files were given"));
        };
        let own = opening.take_remarks();
        remarks
            .warnings
            .extend(own.warnings.into_iter().map(|text| format!("{}: {text}", path.display())));
        remarks.cut_short |= own.cut_short;
        Ok(Self { path, source, header, containers, size, pages })
    }

    /// What has to be the same in all files of a set.
    fn fingerprint(&self) -> (Vec<u8>, u64, Vec<u8>) {
        let (at, len) = self.header.bitmap2;
        let bitmap = read_up_to(&*self.source, at, len.min(COMPARED));
        (read_up_to(&*self.source, 0, COMMON_HEADER), self.header.max_mapnr, bitmap)
    }
}

/// Opens the files of a set, in any order.
pub(crate) fn open(
    files: Vec<(PathBuf, Arc<dyn Source>)>,
    options: &OpenOptions,
) -> Result<Set, OpenError> {
    let mut remarks = Remarks::default();
    let mut parts = Vec::new();
    for (path, file) in &files {
        parts.push(Part::open(path, Arc::clone(file), options, &mut remarks)?);
    }
    parts.sort_by_key(|part| part.pages);
    for pair in parts.windows(2) {
        let [one, next] = pair else { continue };
        if one.fingerprint() != next.fingerprint() {
            return Err(OpenError::Wanting {
                path: next.path.to_owned(),
                what: format!("this and {} are not of one split dump", one.path.display()),
                advice: "give the files of one dump only".to_owned(),
            });
        }
        if next.pages.0 < one.pages.1 {
            return Err(OpenError::Wanting {
                path: next.path.to_owned(),
                what: format!("it holds the same pages as {}", one.path.display()),
                advice: "give each file of the set once".to_owned(),
            });
        }
    }
    let Some(first) = parts.first() else {
        return Err(OpenError::NoMemory { path: PathBuf::new() });
    };
    let header = first.header.clone();
    let containers = first.containers.clone();
    let size = parts.iter().fold(0u64, |size, part| size.saturating_add(part.size));
    let cache_bytes = options.cache_bytes / parts.len();
    let memories: Vec<SetPart> = parts
        .into_iter()
        .map(|part| SetPart {
            start: part.pages.0,
            end: part.pages.1,
            memory: KdumpMemory::new(part.source, &part.header, cache_bytes),
        })
        .collect();
    let missing = missing(&memories, header.max_mapnr);
    for (start, end, pages) in &missing {
        remarks.warnings.push(format!(
            "a file of the split dump is missing: that with the {pages} pages between {:#x} and \
             {:#x}",
            start.saturating_mul(u64::from(header.block_size)),
            end.saturating_mul(u64::from(header.block_size)),
        ));
    }
    let split_files = memories.len();
    let memory = SetMemory { parts: memories, is_missing: !missing.is_empty() };
    let mut contents = contents_of(header, Arc::new(memory), split_files);
    remarks.warnings.extend(open::erase_warning(&contents));
    if let Some(kdump) = contents.kdump.as_mut().filter(|_| missing.is_empty()) {
        kdump.split = None;
    }
    Ok(Set { contents, containers, size, remarks })
}

/// Stretches of pages in the dump that no part holds, and how many there are in each.
fn missing(parts: &[SetPart], max_mapnr: u64) -> Vec<(u64, u64, u64)> {
    let Some(first) = parts.first() else { return Vec::new() };
    let ends = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    let starts = parts.iter().map(|part| part.start).chain([max_mapnr]);
    ends.zip(starts)
        .filter(|(end, start)| end < start)
        .map(|(end, start)| (end, start, first.memory.pages_between(end, start)))
        .filter(|(.., pages)| *pages > 0)
        .collect()
}

struct SetPart {
    start: u64,
    end: u64,
    memory: KdumpMemory,
}

/// The memory of all files of a set that were given.
struct SetMemory {
    /// At least one, by their pages.
    parts: Vec<SetPart>,
    is_missing: bool,
}

impl SetMemory {
    /// The part that knows of a page, because it holds it or as well as any other, and the page
    /// from which on another one does.
    fn part(&self, pfn: u64) -> Option<(&KdumpMemory, u64)> {
        let after = self.parts.partition_point(|part| part.start <= pfn);
        let next = self.parts.get(after).map_or(u64::MAX, |part| part.start);
        let part = after.checked_sub(1).and_then(|index| self.parts.get(index));
        match part.filter(|part| pfn < part.end) {
            Some(part) => Some((&part.memory, part.end.min(next))),
            None => self.parts.first().map(|part| (&part.memory, next)),
        }
    }

    fn read_by(
        &self,
        address: PhysAddr,
        buf: &mut [u8],
        read: impl Fn(&KdumpMemory, PhysAddr, &mut [u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let page_size = self.page_size();
        let mut at = address.0;
        let mut rest = buf;
        while !rest.is_empty() {
            let unmapped = || ReadError::new(PhysAddr(at), Unavailable::Unmapped);
            let (memory, next) = self.part(at / page_size).ok_or_else(unmapped)?;
            let room = next.saturating_mul(page_size).saturating_sub(at);
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (piece, behind) = rest.split_at_mut(len.max(1));
            read(memory, PhysAddr(at), piece)?;
            let len = piece.len() as u64;
            rest = behind;
            at = match at.checked_add(len) {
                Some(at) => at,
                None if rest.is_empty() => return Ok(()),
                None => return Err(unmapped()),
            };
        }
        Ok(())
    }
}

impl PhysicalMemory for SetMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_by(address, buf, |memory, at, piece| memory.read(at, piece))
    }

    fn read_once(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_by(address, buf, |memory, at, piece| memory.read_once(at, piece))
    }

    fn page_size(&self) -> u64 {
        self.parts.first().map_or(4096, |part| part.memory.page_size())
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        match self.part(address.0 / self.page_size()) {
            Some((memory, _)) => memory.probe(address),
            None => Err(ReadError::new(address, Unavailable::Unmapped)),
        }
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        self.parts.first().map(|part| part.memory.ranges()).unwrap_or_default()
    }
}

impl DumpMemory for SetMemory {
    fn page_counts(&self) -> PageCounts {
        match self.parts.first() {
            Some(part) => part.memory.page_counts(),
            None => PageCounts { total: 0, present: 0 },
        }
    }

    fn is_truncated(&self) -> bool {
        self.is_missing || self.parts.iter().any(|part| part.memory.is_truncated())
    }
}
