//! Finding the entry for an address, in memory or in bytes.

use super::{OrcEntry, OrcFormat, OrcProbe};
use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};

/// Entries of one table at most. The largest kernels have about half a million; a count from a
/// dump may be anything.
const MAX_ENTRIES: u64 = 1 << 24;

/// Addresses that are read in one go once a search is as narrow as this.
const CHUNK: usize = 64;

/// Entries that a guess about the format looks at.
const SAMPLE: u32 = 128;

/// Bytes of text that one element of `orc_lookup` covers (`LOOKUP_BLOCK_SIZE`,
/// arch/x86/include/asm/orc_lookup.h).
const LOOKUP_BLOCK: u64 = 256;

/// A table that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrcError {
    /// The two arrays do not belong together.
    #[error("{ips} bytes of ORC addresses do not fit {entries} bytes of ORC entries")]
    Size {
        /// Bytes of `.orc_unwind_ip`.
        ips: u64,
        /// Bytes of `.orc_unwind`.
        entries: u64,
    },
    /// No entry at all.
    #[error("the ORC table is empty")]
    Empty,
    /// Neither header nor content says which version of the format it is.
    #[error("the version of the ORC format cannot be told")]
    Format,
    /// The table is not in the dump.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
}

/// The kernel's index over its own table: one number for each 256 bytes of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrcLookup {
    /// `orc_lookup`.
    pub start: VirtAddr,
    /// `orc_lookup_end`.
    pub end: VirtAddr,
    /// `_stext`, where the first block begins.
    pub text: VirtAddr,
}

#[derive(Clone, Debug)]
enum Source {
    Memory { ips: VirtAddr, entries: VirtAddr, lookup: Option<OrcLookup> },
    Sorted(Vec<(u64, [u8; OrcEntry::SIZE])>),
}

/// An ORC table: of the kernel, or of one module.
#[derive(Clone, Debug)]
pub struct OrcTable {
    source: Source,
    count: u32,
    format: OrcFormat,
}

impl OrcTable {
    /// A table in memory: `ips` is `__start_orc_unwind_ip` or a module's `arch.orc_unwind_ip`,
    /// `entries` is `__start_orc_unwind` or `arch.orc_unwind`, and `count` the number of entries,
    /// `arch.num_orcs`. Reads nothing.
    ///
    /// # Errors
    /// [`OrcError::Empty`], and [`OrcError::Size`] for a count that no table has.
    pub fn in_memory(
        ips: VirtAddr,
        entries: VirtAddr,
        count: u64,
        format: OrcFormat,
    ) -> Result<Self, OrcError> {
        if count == 0 {
            return Err(OrcError::Empty);
        }
        if count > MAX_ENTRIES {
            return Err(OrcError::Size {
                ips: count.saturating_mul(4),
                entries: count.saturating_mul(OrcEntry::SIZE as u64),
            });
        }
        let source = Source::Memory { ips, entries, lookup: None };
        Ok(Self { source, count: count as u32, format })
    }

    /// The kernel's own table in memory, the format told by what the memory holds: the header's
    /// hash, else the kernel's own `orc_fp_entry`, else what most entries look like.
    ///
    /// # Errors
    /// [`OrcError`] of every kind.
    pub fn probe(
        memory: &dyn VirtualMemory,
        ips: std::ops::Range<VirtAddr>,
        entries: std::ops::Range<VirtAddr>,
        probe: &OrcProbe,
    ) -> Result<Self, OrcError> {
        let ip_bytes = ips.end.0.wrapping_sub(ips.start.0);
        let entry_bytes = entries.end.0.wrapping_sub(entries.start.0);
        let count = ip_bytes / 4;
        if !ip_bytes.is_multiple_of(4) || entry_bytes != count.saturating_mul(OrcEntry::SIZE as u64)
        {
            return Err(OrcError::Size { ips: ip_bytes, entries: entry_bytes });
        }
        let mut table = Self::in_memory(ips.start, entries.start, count, OrcFormat::Original)?;
        table.format = table.tell_format(memory, probe)?;
        Ok(table)
    }

    /// Takes the kernel's index along: a look-up then reads two numbers of it in place of a search
    /// through the whole table. An index that does not fit is not believed.
    #[must_use]
    pub fn with_lookup(mut self, index: OrcLookup) -> Self {
        if let Source::Memory { lookup, .. } = &mut self.source {
            *lookup = Some(index);
        }
        self
    }

    /// A table from the two sections of an ELF file, relocated; `ip_base` is the run-time address
    /// of `.orc_unwind_ip`. The entries of a module's file are not sorted yet; the kernel does it
    /// when it loads one.
    ///
    /// # Errors
    /// [`OrcError::Empty`] and [`OrcError::Size`].
    pub fn from_sections(
        ips: &[u8],
        ip_base: VirtAddr,
        entries: &[u8],
        format: OrcFormat,
    ) -> Result<Self, OrcError> {
        let (offsets, ip_rest) = ips.as_chunks::<4>();
        let (entries_in, entry_rest) = entries.as_chunks::<{ OrcEntry::SIZE }>();
        let fits = ip_rest.is_empty() && entry_rest.is_empty() && offsets.len() == entries_in.len();
        if !fits || offsets.len() as u64 > MAX_ENTRIES {
            return Err(OrcError::Size { ips: ips.len() as u64, entries: entries.len() as u64 });
        }
        if offsets.is_empty() {
            return Err(OrcError::Empty);
        }
        let mut sorted: Vec<(u64, [u8; OrcEntry::SIZE])> = offsets
            .iter()
            .zip(entries_in)
            .enumerate()
            .map(|(index, (&offset, &entry))| {
                (place_relative(ip_base, index as u32, offset), entry)
            })
            .collect();
        // Where two entries claim an address, one of them ends the section before and knows
        // nothing: a real one wins by standing last (orc_sort_cmp).
        sorted.sort_by_key(|&(ip, entry)| {
            let kind = OrcEntry::decode(entry, format).kind;
            (ip, kind != super::OrcKind::Undefined)
        });
        Ok(Self { count: sorted.len() as u32, source: Source::Sorted(sorted), format })
    }

    /// How many entries there are.
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Never: a table without entries is not made.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The version of the format.
    pub const fn format(&self) -> OrcFormat {
        self.format
    }

    /// The entry that holds at `ip`; none when `ip` is below the first.
    ///
    /// # Errors
    /// [`ReadError`] when the part of the table that is needed is not in the dump.
    pub fn find(
        &self,
        memory: &dyn VirtualMemory,
        ip: VirtAddr,
    ) -> Result<Option<OrcEntry>, ReadError> {
        match &self.source {
            Source::Sorted(sorted) => {
                let after = sorted.partition_point(|&(start, _)| start <= ip.0);
                let found = after.checked_sub(1).and_then(|index| sorted.get(index));
                Ok(found.map(|&(_, entry)| OrcEntry::decode(entry, self.format)))
            }
            Source::Memory { ips, lookup, .. } => {
                let narrow = lookup.and_then(|index| self.narrow(memory, index, ip));
                let found = match narrow {
                    Some((first, last)) => {
                        // One more than the kernel looks at: where that one holds too, the index
                        // does not belong to this table.
                        let beyond = last.saturating_add(1).min(self.count);
                        rightmost(memory, *ips, first, beyond, ip)?.filter(|&found| found < last)
                    }
                    None => None,
                };
                let found = match found {
                    Some(index) => Some(index),
                    None => rightmost(memory, *ips, 0, self.count, ip)?,
                };
                match found {
                    Some(index) => {
                        Ok(Some(OrcEntry::decode(self.raw_entry(memory, index)?, self.format)))
                    }
                    None => Ok(None),
                }
            }
        }
    }

    /// The entries that the kernel's index names for the block of `ip`, as first and one past the
    /// last; none where the index says nothing sensible.
    fn narrow(
        &self,
        memory: &dyn VirtualMemory,
        index: OrcLookup,
        ip: VirtAddr,
    ) -> Option<(u32, u32)> {
        let block = ip.0.checked_sub(index.text.0)? / LOOKUP_BLOCK;
        let blocks = index.end.0.checked_sub(index.start.0)? / 4;
        if block.checked_add(1)? >= blocks {
            return None;
        }
        let mut bytes = [0; 8];
        memory.read(index.start.offset(block * 4), &mut bytes).ok()?;
        let [a, b, c, d, e, f, g, h] = bytes;
        let first = u32::from_le_bytes([a, b, c, d]);
        let last = u32::from_le_bytes([e, f, g, h]).checked_add(1)?;
        (first < last && last <= self.count).then_some((first, last))
    }

    fn raw_entry(
        &self,
        memory: &dyn VirtualMemory,
        index: u32,
    ) -> Result<[u8; OrcEntry::SIZE], ReadError> {
        let mut bytes = [0; OrcEntry::SIZE];
        match &self.source {
            Source::Memory { entries, .. } => {
                memory
                    .read(entries.offset(u64::from(index) * OrcEntry::SIZE as u64), &mut bytes)?;
            }
            Source::Sorted(sorted) => match sorted.get(index as usize) {
                Some(&(_, entry)) => bytes = entry,
                None => return Err(ReadError::new(VirtAddr(0), Unavailable::Unmapped)),
            },
        }
        Ok(bytes)
    }

    fn tell_format(
        &self,
        memory: &dyn VirtualMemory,
        probe: &OrcProbe,
    ) -> Result<OrcFormat, OrcError> {
        if let Some(format) = probe.header.as_ref().and_then(OrcFormat::from_header) {
            return Ok(format);
        }
        let told = match probe.fp_entry.as_ref().and_then(OrcFormat::from_fp_entry) {
            Some(format) => format,
            None => OrcFormat::from_call_frames(&self.sample(memory, 0, self.count)?)
                .ok_or(OrcError::Format)?,
        };
        if told != OrcFormat::Original {
            return Ok(told);
        }
        let (first, last) = match (&self.source, &probe.entry_text) {
            (Source::Memory { ips, .. }, Some(text)) => {
                let index = |ip| rightmost(memory, *ips, 0, self.count, ip);
                (index(text.start)?.unwrap_or(0), index(text.end)?.unwrap_or(self.count))
            }
            _ => (0, self.count),
        };
        Ok(OrcFormat::signal_or_original(&self.sample(memory, first, last)?))
    }

    /// Entries spread evenly over `first..last`. What the dump lacks is left out, unless it is all
    /// of them.
    fn sample(
        &self,
        memory: &dyn VirtualMemory,
        first: u32,
        last: u32,
    ) -> Result<Vec<[u8; OrcEntry::SIZE]>, ReadError> {
        let span = last.saturating_sub(first);
        let taken = span.min(SAMPLE);
        let mut sample = Vec::with_capacity(taken as usize);
        let mut failure = None;
        for step in 0..taken {
            let index = first + (u64::from(span) * u64::from(step) / u64::from(taken)) as u32;
            match self.raw_entry(memory, index) {
                Ok(entry) => sample.push(entry),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if sample.is_empty() => Err(error),
            _ => Ok(sample),
        }
    }
}

/// `orc_ip`: an offset is relative to where it stands.
fn place_relative(base: VirtAddr, index: u32, offset: [u8; 4]) -> u64 {
    base.offset(u64::from(index) * 4).0.wrapping_add_signed(i64::from(i32::from_le_bytes(offset)))
}

/// The last index in `first..last` whose address is not above `ip`.
fn rightmost(
    memory: &dyn VirtualMemory,
    base: VirtAddr,
    first: u32,
    last: u32,
    ip: VirtAddr,
) -> Result<Option<u32>, ReadError> {
    let (mut low, mut high) = (first, last);
    while (high - low) as usize > CHUNK {
        let middle = low + (high - low) / 2;
        let mut offset = [0; 4];
        memory.read(base.offset(u64::from(middle) * 4), &mut offset)?;
        if place_relative(base, middle, offset) <= ip.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut bytes = [0; CHUNK * 4];
    let Some(chunk) = bytes.get_mut(..(high - low) as usize * 4) else { return Ok(None) };
    memory.read(base.offset(u64::from(low) * 4), chunk)?;
    let (offsets, _) = chunk.as_chunks::<4>();
    let after = offsets
        .iter()
        .zip(low..)
        .take_while(|&(&offset, index)| place_relative(base, index, offset) <= ip.0)
        .count() as u32;
    Ok((low + after).checked_sub(1).filter(|_| after > 0))
}
