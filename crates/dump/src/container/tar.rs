//! tar archives, read in place: the dump is the member that is one.
//!
//! POSIX ustar and pax, and GNU's long names and sparse files (`tar -S`, which suits dumps).

use super::extents::{Extent, ExtentSource, Holes};
use crate::open::{OpenError, Opening};
use crate::sniff::{ContainerKind, FileKind, sniff_source};
use crate::source::{PartSource, Source, read_up_to};
use std::sync::Arc;

const BLOCK: u64 = 512;
/// The most bytes of a member that describes the next one.
const MAX_DESCRIPTION: u64 = 1 << 20;
/// The most bytes of the map in front of a sparse member.
const MAX_MAP: u64 = 16 << 20;
/// The most pieces of a sparse member.
const MAX_PIECES: usize = 1 << 20;
/// The most members that are named in a message.
const NAMED: usize = 20;
/// Members between two looks at how far it is.
const TOLD: usize = 64;

/// A member of the archive that holds data.
struct Member {
    name: String,
    source: Arc<dyn Source>,
    /// It should be longer than the archive.
    is_cut: bool,
}

/// Finds the dump in an archive. [`OpenOptions::snapshot`](crate::OpenOptions) chooses among
/// several, by name.
pub(super) fn open(
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let mut reader = Reader { source: &source, at: 0, members: 0 };
    let mut found = Found::default();
    let len = source.len();
    while let Some(next) = reader.next_member(opening)? {
        if reader.members.is_multiple_of(TOLD) {
            opening.progress("looking through the archive", reader.at.min(len), len)?;
        }
        found.take(next);
    }
    let member = found.choose(opening)?;
    if member.is_cut {
        opening.cut_short(format!("the tar archive is cut off within {}", member.name));
    }
    Ok(member.source)
}

/// What the members of an archive are.
#[derive(Default)]
struct Found {
    dumps: Vec<Member>,
    /// What may have a dump in it.
    containers: Vec<Member>,
    others: Vec<String>,
    other_count: usize,
}

impl Found {
    fn take(&mut self, member: Result<Member, String>) {
        let kind = member.as_ref().map(|member| sniff_source(&*member.source));
        let list = match kind {
            Ok(FileKind::Dump(_) | FileKind::Container(ContainerKind::Flattened)) => {
                &mut self.dumps
            }
            Ok(kind) if kind.is_dump() => &mut self.containers,
            _ => {
                self.other_count += 1;
                if self.others.len() < NAMED {
                    self.others.push(member.map_or_else(|name| name, |member| member.name));
                }
                return;
            }
        };
        // A hostile archive may have millions; the first few are enough to choose from.
        if let (Ok(member), true) = (member, list.len() < 1024) {
            list.push(member);
        }
    }

    fn choose(mut self, opening: &Opening<'_>) -> Result<Member, OpenError> {
        let wanting = |what: String, advice: &str| OpenError::Wanting {
            path: opening.path.to_owned(),
            what,
            advice: advice.to_owned(),
        };
        if let Some(wanted) = &opening.options.snapshot {
            let is_it = |member: &&mut Member| {
                member.name == *wanted || member.name.rsplit('/').next() == Some(wanted.as_str())
            };
            let mut all = self.dumps.iter_mut().chain(&mut self.containers);
            if let Some(member) = all.find(is_it) {
                return Ok(Member {
                    name: member.name.clone(),
                    source: Arc::clone(&member.source),
                    ..*member
                });
            }
        }
        let candidates = if self.dumps.is_empty() { &mut self.containers } else { &mut self.dumps };
        match (candidates.pop(), candidates.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                candidates.push(last);
                let names = candidates.iter().map(|member| member.name.clone()).collect::<Vec<_>>();
                Err(wanting(
                    format!("several dumps are in this archive: {}", listed(&names, names.len())),
                    "choose one with --snapshot NAME; the files of a split dump have to be \
                     unpacked, and named all",
                ))
            }
            (None, _) => Err(wanting(
                format!(
                    "no dump is in this archive, but {}",
                    listed(&self.others, self.other_count)
                ),
                "give the archive that the vmcore is in",
            )),
        }
    }
}

fn listed(names: &[String], count: usize) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown = names.len().min(NAMED);
    let text = names[..shown].join(", ");
    match count - shown {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// What members say of the member behind them.
#[derive(Default)]
struct Description {
    name: Option<String>,
    size: Option<u64>,
    /// GNU's sparse files, version 1.0: the map stands in front of the data.
    sparse: bool,
    /// Another form of sparse files.
    unknown_sparse: bool,
    real_size: Option<u64>,
}

/// Goes from header to header.
struct Reader<'a> {
    source: &'a Arc<dyn Source>,
    at: u64,
    members: usize,
}

impl Reader<'_> {
    /// The next member with data; those that cannot be read only by name.
    fn next_member(
        &mut self,
        opening: &Opening<'_>,
    ) -> Result<Option<Result<Member, String>>, OpenError> {
        let mut described = Description::default();
        loop {
            let at = self.at;
            let header = read_up_to(&**self.source, at, BLOCK);
            if (header.len() as u64) < BLOCK || header.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            if !checksum_fits(&header) {
                return match self.members {
                    0 => Err(opening.damaged("the first header of the tar archive is damaged")),
                    _ => {
                        opening.warn(format!("the tar archive is damaged at byte {at}"));
                        Ok(None)
                    }
                };
            }
            self.members += 1;
            let kind = header.get(156).copied().unwrap_or(0);
            let data = at + BLOCK;
            // A link has its target's size and no data.
            let stored = match kind {
                b'1' => 0,
                _ => described.size.or_else(|| number(header.get(124..136)?)).unwrap_or(0),
            };
            let skip = stored.checked_next_multiple_of(BLOCK);
            self.at = skip.and_then(|skip| data.checked_add(skip)).unwrap_or(u64::MAX);
            match kind {
                b'L' => described.name = Some(text(&self.description(data, stored))),
                b'x' => described.read_pax(&self.description(data, stored)),
                b'0' | 0 | b'7' | b'S' => {
                    return Ok(Some(self.member(kind, &header, data, stored, described)));
                }
                // What was said was of this one.
                b'K' | b'g' => {}
                _ => described = Description::default(),
            }
        }
    }

    fn description(&self, at: u64, len: u64) -> Vec<u8> {
        read_up_to(&**self.source, at, len.min(MAX_DESCRIPTION))
    }

    fn member(
        &mut self,
        kind: u8,
        header: &[u8],
        data: u64,
        stored: u64,
        described: Description,
    ) -> Result<Member, String> {
        let name = described.name.unwrap_or_else(|| name_in(header));
        let unknown = || format!("{name} (a sparse file that cannot be read)");
        if described.unknown_sparse {
            return Err(unknown());
        }
        let end = data.saturating_add(stored);
        let is_cut = end > self.source.len();
        let part = |from: u64| -> Arc<dyn Source> {
            Arc::new(PartSource::new(Arc::clone(self.source), from, end.saturating_sub(from)))
        };
        if kind != b'S' && !described.sparse {
            return Ok(Member { name, source: part(data), is_cut });
        }
        let (pieces, from, size) = match kind {
            b'S' => {
                let (pieces, from) = self.gnu_pieces(header, data).ok_or_else(unknown)?;
                self.at = self.at.saturating_add(from - data);
                (pieces, from, number(&header[483..495]).ok_or_else(unknown)?)
            }
            _ => {
                let (pieces, from) = self.pax_pieces(data, stored).ok_or_else(unknown)?;
                (pieces, from, described.real_size.ok_or_else(unknown)?)
            }
        };
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = 0u64;
        for (start, len) in pieces {
            let next = at.checked_add(len).ok_or_else(unknown)?;
            let end = start.checked_add(len).filter(|&end| end <= size);
            let before = extents.last().map_or(0, Extent::end);
            if end.is_none() || start < before {
                return Err(unknown());
            }
            if len > 0 {
                extents.push(Extent { start, len, at });
            }
            at = next;
        }
        // The map of GNU's own form lies between the header and what its size counts.
        let end = if kind == b'S' { from.saturating_add(stored) } else { end };
        let data = PartSource::new(Arc::clone(self.source), from, end.saturating_sub(from));
        let is_cut = end > self.source.len();
        let source = ExtentSource::new(Arc::new(data), extents, Holes::Zeroes, size, "sparse");
        Ok(Member { name, source: Arc::new(source), is_cut })
    }

    /// The pieces of GNU's own sparse format: four in the header, 21 in each block behind it, and
    /// where the data start.
    fn gnu_pieces(&self, header: &[u8], data: u64) -> Option<(Vec<(u64, u64)>, u64)> {
        let mut pieces = Vec::new();
        let take = |pieces: &mut Vec<(u64, u64)>, entries: &[u8]| {
            for entry in entries.chunks_exact(24).filter(|entry| entry[0] != 0) {
                pieces.push((number(&entry[..12])?, number(&entry[12..])?));
            }
            Some(())
        };
        take(&mut pieces, header.get(386..482)?)?;
        let mut goes_on = *header.get(482)? != 0;
        let mut at = data;
        while goes_on {
            let block = read_up_to(&**self.source, at, BLOCK);
            take(&mut pieces, block.get(..504)?)?;
            goes_on = *block.get(504)? != 0;
            at += BLOCK;
            if pieces.len() > MAX_PIECES {
                return None;
            }
        }
        Some((pieces, at))
    }

    /// The pieces of sparse format 1.0: decimal numbers, one a line, their count first, and where
    /// the data start.
    fn pax_pieces(&self, data: u64, stored: u64) -> Option<(Vec<(u64, u64)>, u64)> {
        let map = read_up_to(&**self.source, data, stored.min(MAX_MAP));
        let mut len = 0;
        let mut lines = map.split_inclusive(|&byte| byte == b'\n').map(|line| {
            len += line.len() as u64;
            std::str::from_utf8(line).ok()?.strip_suffix('\n')?.parse::<u64>().ok()
        });
        let count = usize::try_from(lines.next()??).ok().filter(|&count| count <= MAX_PIECES)?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((lines.next()??, lines.next()??));
        }
        drop(lines);
        Some((pieces, data.checked_add(len.next_multiple_of(BLOCK))?))
    }
}

impl Description {
    /// Reads a pax header: `LENGTH KEY=VALUE` lines, the length that of the line.
    fn read_pax(&mut self, mut rest: &[u8]) {
        while let Some(space) = rest.iter().position(|&byte| byte == b' ') {
            let len = std::str::from_utf8(&rest[..space]).ok().and_then(|len| len.parse().ok());
            let Some((line, behind)) = len.and_then(|len: usize| rest.split_at_checked(len)) else {
                return;
            };
            let Some(line) = line.get(space + 1..) else { return };
            rest = behind;
            let line = text(line);
            let Some((key, value)) = line.trim_end_matches('\n').split_once('=') else { continue };
            match key {
                "path" if !self.sparse => self.name = Some(value.to_owned()),
                "GNU.sparse.name" => self.name = Some(value.to_owned()),
                "size" => self.size = value.parse().ok(),
                "GNU.sparse.major" => self.sparse = value == "1",
                "GNU.sparse.map" | "GNU.sparse.numblocks" => self.unknown_sparse = true,
                "GNU.sparse.realsize" => self.real_size = value.parse().ok(),
                _ => {}
            }
        }
    }
}

/// The name in a header, with ustar's prefix where it has one.
fn name_in(header: &[u8]) -> String {
    let field =
        |start: usize, len: usize| header.get(start..start + len).map(text).unwrap_or_default();
    let name = field(0, 100);
    match header.get(257..263) {
        Some(b"ustar\0") if header.get(345).is_some_and(|&byte| byte != 0) => {
            format!("{}/{name}", field(345, 155))
        }
        _ => name,
    }
}

/// Text up to the first NUL, without what would upset a terminal.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let keep = |c: char| if c.is_control() && c != '\n' { '?' } else { c };
    String::from_utf8_lossy(bytes).chars().map(keep).collect()
}

/// A number in octal or, with the highest bit set, in binary.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (&first, rest) if first & 0x80 != 0 => {
            let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
            let fits = first == 0x80 && high.iter().all(|&byte| byte == 0);
            fits.then(|| u64::from_be_bytes(low.try_into().unwrap_or_default()))
        }
        _ => {
            let text = std::str::from_utf8(field).ok()?;
            let text = text.trim_matches(|c| c == ' ' || c == '\0');
            u64::from_str_radix(text, 8).ok()
        }
    }
}

/// Whether the header's bytes add up to what it says, its own eight counted as blanks.
fn checksum_fits(header: &[u8]) -> bool {
    let (Some(field), Some(said)) = (header.get(148..156), header.get(148..156).and_then(number))
    else {
        return false;
    };
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    sum(header) - sum(field) + 8 * u64::from(b' ') == said
}
