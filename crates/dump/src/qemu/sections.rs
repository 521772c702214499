//! The sections of a stream, in their order (QEMU migration/savevm.c).

use super::description::Description;
use super::ram::{PartEnd, Ram};
use super::stream::Stream;
use crate::open::{OpenError, Opening};
use crate::source::Source;

/// `QEMU_VM_*`.
const END_OF_STREAM: u8 = 0;
const START: u8 = 1;
const PART: u8 = 2;
const END: u8 = 3;
const FULL: u8 = 4;
const SUBSECTION: u8 = 5;
const DESCRIPTION: u8 = 6;
const CONFIGURATION: u8 = 7;
const COMMAND: u8 = 8;
const FOOTER: u8 = 0x7e;

/// The version of the stream since 2009.
const VERSION: u32 = 3;
const TARGET_PAGE_BITS: &str = "configuration/target-page-bits";
const CAPABILITIES: &str = "configuration/capabilities";
const UUID: &str = "configuration/uuid";
const DEFAULT_PAGE_BITS: u32 = 12;
/// The step's name for those who wait, and the bytes after which they hear of it.
const STEP: &str = "indexing";
const TICK: u64 = 16 << 20;
/// The most sections of devices that are kept: three a CPU, and some hundred devices.
const MAX_SECTIONS: usize = 1 << 18;
/// Sections that are of use where the way from one to the next is lost.
const WANTED: [&str; 2] = ["cpu", super::machine::CLOCK];

/// The state of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) instance: u32,
    pub(super) version: u32,
    /// Where its fields start.
    pub(super) start: u64,
}

/// What one pass over a stream found.
pub(super) struct Walk {
    /// The machine type, as in `pc-q35-9.2`.
    pub(super) machine_type: Option<String>,
    pub(super) ram: Ram,
    pub(super) devices: Vec<Section>,
    /// Whether the mark at the end of all sections was met.
    pub(super) ended: bool,
    /// Why the pass went no further.
    pub(super) damage: Option<String>,
}

/// A section whose parts come one by one, by the number that the stream gives it.
struct Live {
    id: u32,
    is_ram: bool,
    version: u32,
}

impl Walk {
    /// Goes through all of a stream.
    pub(super) fn over(source: &dyn Source, opening: &Opening<'_>) -> Result<Self, OpenError> {
        let mut told = 0;
        let mut tick = |at: u64| {
            if at < told {
                return Ok(());
            }
            told = at + TICK;
            opening.progress(STEP, at, source.len())
        };
        let mut walk = Self {
            machine_type: None,
            ram: Ram::new(1 << DEFAULT_PAGE_BITS),
            devices: Vec::new(),
            ended: false,
            damage: None,
        };
        let mut stream = Stream::new(source);
        let magic = stream.be32();
        let version = stream.be32();
        match (magic, version) {
            (Some(_), Some(VERSION)) => {}
            (Some(_), Some(other)) => {
                let what = format!(
                    "migration stream version {other}; only {VERSION}, which QEMU writes since \
                     2009, is read"
                );
                return Err(opening.damaged(what));
            }
            _ => return Err(opening.damaged("the stream ends within its first bytes")),
        }
        let mut sections = Sections { stream, description: None, footers: None, live: Vec::new() };
        sections.walk(&mut walk, &mut tick)?;
        Ok(walk)
    }
}

type Tick<'a> = &'a mut dyn FnMut(u64) -> Result<(), OpenError>;

struct Sections<'a> {
    stream: Stream<'a>,
    /// Read when the first device is met; the outer `None` before.
    description: Option<Option<Description>>,
    /// Whether sections end with a mark, once that is known.
    footers: Option<bool>,
    live: Vec<Live>,
}

/// Another section follows.
struct Next;

impl Sections<'_> {
    fn walk(&mut self, walk: &mut Walk, tick: Tick<'_>) -> Result<(), OpenError> {
        loop {
            let at = self.stream.position();
            tick(at)?;
            let Some(kind) = self.stream.u8() else { return Ok(()) };
            let next = match kind {
                END_OF_STREAM => {
                    walk.ended = true;
                    None
                }
                CONFIGURATION => self.configuration(walk),
                COMMAND => self.command(),
                START | FULL => self.section(walk, kind, tick)?,
                PART | END => self.part(walk, kind, tick)?,
                FOOTER => self.stream.be32().map(|_| Next),
                _ => {
                    self.lost(walk, at, tick)?;
                    None
                }
            };
            if next.is_none() {
                return Ok(());
            }
        }
    }

    fn configuration(&mut self, walk: &mut Walk) -> Option<Next> {
        let stream = &mut self.stream;
        let len = stream.be32()?;
        walk.machine_type = Some(stream.text(usize::try_from(len).ok()?)?);
        while stream.peek(2).is_some_and(|bytes| bytes.first() == Some(&SUBSECTION)) {
            stream.u8()?;
            let name = stream.short_text()?;
            let _version = stream.be32()?;
            match name.as_str() {
                TARGET_PAGE_BITS => {
                    let bits = stream.be32()?;
                    if (10..=16).contains(&bits) {
                        walk.ram.page_size = 1 << bits;
                    }
                }
                CAPABILITIES => {
                    for _ in 0..stream.be32()? {
                        stream.short_text()?;
                    }
                }
                UUID => stream.skip(16).then_some(())?,
                _ => {
                    walk.damage = Some(format!(
                        "at {:#x}: {name:?} is no known part of the configuration",
                        stream.position()
                    ));
                    return None;
                }
            }
        }
        Some(Next)
    }

    fn command(&mut self) -> Option<Next> {
        let _command = self.stream.be16()?;
        let len = self.stream.be16()?;
        self.stream.skip(len.into()).then_some(Next)
    }

    /// The start of a section that comes in parts, or all of one.
    fn section(
        &mut self,
        walk: &mut Walk,
        kind: u8,
        tick: Tick<'_>,
    ) -> Result<Option<Next>, OpenError> {
        let Some((id, section)) = self.header() else { return Ok(None) };
        let is_ram = section.name == "ram";
        let version = section.version;
        if kind == START {
            self.live.retain(|live| live.id != id);
            self.live.push(Live { id, is_ram, version });
        }
        if is_ram {
            return self.ram_part(walk, id, version, kind == FULL, tick);
        }
        let size = match kind {
            FULL => self.size_of(&section),
            _ => None,
        };
        let start = section.start;
        if walk.devices.len() < MAX_SECTIONS {
            walk.devices.push(section);
        }
        if let Some(size) = size {
            self.stream.seek(start.saturating_add(size));
            if self.ends_here(id) {
                return Ok(Some(Next));
            }
            self.stream.seek(start);
        }
        self.find_end(walk, id, tick)
    }

    fn part(
        &mut self,
        walk: &mut Walk,
        kind: u8,
        tick: Tick<'_>,
    ) -> Result<Option<Next>, OpenError> {
        let at = self.stream.position();
        let Some(id) = self.stream.be32() else { return Ok(None) };
        match self.live.iter().find(|live| live.id == id) {
            Some(live) if live.is_ram => {
                let version = live.version;
                self.ram_part(walk, id, version, kind == END, tick)
            }
            Some(_) => self.find_end(walk, id, tick),
            None => {
                self.lost(walk, at, tick)?;
                Ok(None)
            }
        }
    }

    fn ram_part(
        &mut self,
        walk: &mut Walk,
        id: u32,
        version: u32,
        last: bool,
        tick: Tick<'_>,
    ) -> Result<Option<Next>, OpenError> {
        if !matches!(version, 3 | 4) {
            walk.damage = Some(format!("ram section version {version}; 3 and 4 are known"));
            return Ok(None);
        }
        match walk.ram.part(&mut self.stream, version, tick)? {
            PartEnd::Eos => {}
            PartEnd::Cut => return Ok(None),
            PartEnd::Damaged(what) => {
                walk.damage = Some(what);
                return Ok(None);
            }
        }
        walk.ram.complete |= last;
        let marked = self.stream.peek(1) == Some(&[FOOTER]);
        let footers = *self.footers.get_or_insert(marked);
        if footers && !self.ends_here(id) {
            walk.damage = Some(format!(
                "at {:#x}: the mark at the end of a ram section is missing",
                self.stream.position()
            ));
            return Ok(None);
        }
        Ok(Some(Next))
    }

    fn header(&mut self) -> Option<(u32, Section)> {
        let id = self.stream.be32()?;
        let name = self.stream.short_text()?;
        let instance = self.stream.be32()?;
        let version = self.stream.be32()?;
        Some((id, Section { name, instance, version, start: self.stream.position() }))
    }

    /// The size of a device's state, by the stream's own description.
    fn size_of(&mut self, section: &Section) -> Option<u64> {
        let source = self.stream.source();
        let description = self.description.get_or_insert_with(|| Description::find(source));
        description.as_ref()?.size_of(&section.name, section.instance)
    }

    /// Takes the mark at the end of a section, where the stream has such marks. Whether the section
    /// can end here.
    fn ends_here(&mut self, id: u32) -> bool {
        if self.footers == Some(false) {
            return self.stream.peek(1).is_some_and(starts_section);
        }
        let ends = self.stream.peek(5).is_some_and(|bytes| bytes == footer(id));
        if ends {
            self.stream.skip(5);
        }
        ends
    }

    /// Goes behind the section whose end is somewhere ahead.
    fn find_end(
        &mut self,
        walk: &mut Walk,
        id: u32,
        tick: Tick<'_>,
    ) -> Result<Option<Next>, OpenError> {
        let at = self.stream.position();
        if self.footers == Some(false) {
            self.lost(walk, at, tick)?;
            return Ok(None);
        }
        let follows = |next: &[u8]| next.is_empty() || starts_section(next);
        if self.stream.find(&footer(id), 1, follows, &mut *tick)? {
            self.stream.skip(5);
            return Ok(Some(Next));
        }
        if walk.ram.complete {
            self.lost(walk, at, tick)?;
        }
        Ok(None)
    }

    /// The way from section to section is lost: what is of use is looked for by its name.
    fn lost(&mut self, walk: &mut Walk, at: u64, tick: Tick<'_>) -> Result<(), OpenError> {
        if !walk.ram.complete {
            walk.damage = Some(format!("at {at:#x}: no section starts here"));
            return Ok(());
        }
        for name in WANTED {
            let mut pattern = vec![name.len() as u8];
            pattern.extend(name.as_bytes());
            self.stream.seek(at);
            // Instance and version: small numbers both.
            let plausible = |next: &[u8]| {
                matches!(next, [0, 0, instance, _, 0, 0, 0, version, ..]
                    if *instance < 0x10 && (1..64).contains(version))
            };
            while walk.devices.len() < MAX_SECTIONS
                && self.stream.find(&pattern, 8, plausible, &mut *tick)?
            {
                let hit = self.stream.position();
                self.stream.seek(hit.saturating_sub(5));
                if self.stream.u8() == Some(FULL)
                    && let Some((_, section)) = self.header()
                {
                    walk.devices.push(section);
                }
                self.stream.seek(hit + 1);
            }
        }
        Ok(())
    }
}

fn footer(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [FOOTER, a, b, c, d]
}

fn starts_section(bytes: &[u8]) -> bool {
    matches!(
        bytes.first(),
        Some(&(END_OF_STREAM | START | PART | END | FULL | DESCRIPTION | COMMAND))
    )
}
