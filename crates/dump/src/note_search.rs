//! VMCOREINFO in memory, for dumps that have no such note.
//!
//! A hypervisor that is asked for a guest's memory knows nothing of notes. But the kernel keeps
//! the whole note, header included, in its own memory from boot on, for the kexec that may come
//! (kernel/vmcore_info.c: `update_vmcoreinfo_note`; a static array before 4.13, pages since
//! 203e9e41219b). Memory of an earlier boot may hold another one.

use crate::notes::Notes;
use crate::vmcoreinfo::Vmcoreinfo;
use memchr::memmem::Finder;
use mortis_memory::{PhysAddr, PhysicalMemory};

/// The note's name with its NUL, 12 bytes behind the note's start.
const NAME: &[u8] = b"VMCOREINFO\0";
const NAME_OFFSET: u64 = 12;
/// The first line that every kernel since 2.6.24 writes.
const FIRST_LINE: &[u8] = b"OSRELEASE=";
/// What one read takes.
const STRETCH: u64 = 1 << 20;
/// The most notes that are looked at in one stretch: the kernel has one.
const MAX_FOUND: usize = 16;

impl Vmcoreinfo {
    /// Looks through `memory` for the first note that is `wanted`. Reads what the dump holds, in
    /// the order of addresses, as long as `go_on` with the address reached says so.
    pub fn find_in_memory(
        memory: &dyn PhysicalMemory,
        mut go_on: impl FnMut(PhysAddr) -> bool,
        mut wanted: impl FnMut(&Vmcoreinfo) -> bool,
    ) -> Option<Self> {
        let mut bytes = vec![0; STRETCH as usize];
        for range in memory.ranges() {
            let mut at = range.start.0;
            while at < range.end.0 {
                if !go_on(PhysAddr(at)) {
                    return None;
                }
                let len = STRETCH.min(range.end.0 - at) as usize;
                for (start, bytes) in readable(memory, at, &mut bytes[..len]) {
                    let mut found = Self::find_in(memory, PhysAddr(start), bytes).into_iter();
                    if let Some((_, vmcoreinfo)) = found.find(|(_, found)| wanted(found)) {
                        return Some(vmcoreinfo);
                    }
                }
                at += len as u64;
            }
        }
        None
    }

    /// The notes in `bytes`, which are those of `memory` at `start`, and where each starts. The
    /// first may begin before them, the last go on behind.
    pub fn find_in(
        memory: &dyn PhysicalMemory,
        start: PhysAddr,
        bytes: &[u8],
    ) -> Vec<(PhysAddr, Self)> {
        let finder = Finder::new(NAME);
        let hits = finder.find_iter(bytes).filter_map(|hit| {
            let at = PhysAddr(start.0.checked_add(hit as u64)?.checked_sub(NAME_OFFSET)?);
            Some((at, Self::note_at(memory, at)?))
        });
        hits.take(MAX_FOUND).collect()
    }

    /// The note that starts at `at`, if one does.
    pub fn note_at(memory: &dyn PhysicalMemory, at: PhysAddr) -> Option<Self> {
        let mut header = [0; 12];
        memory.read(at, &mut header).ok()?;
        let number = |index: usize| crate::field::u32_at(&header, index);
        let (name_len, desc_len, kind) = (number(0)?, number(4)?, number(8)?);
        if name_len as usize != NAME.len() || kind != 0 || desc_len as usize > Vmcoreinfo::MAX_SIZE
        {
            return None;
        }
        let len = header.len() + NAME.len().next_multiple_of(4) + desc_len as usize;
        let mut note = vec![0; len];
        memory.read(at, &mut note).ok()?;
        let note = Notes::new(&note).next().filter(|note| note.name == b"VMCOREINFO")?;
        note.desc.starts_with(FIRST_LINE).then(|| Self::parse(note.desc))
    }
}

/// The parts of `len` bytes at `start` that can be read: all at once or else page by page.
fn readable<'a>(
    memory: &dyn PhysicalMemory,
    start: u64,
    bytes: &'a mut [u8],
) -> Vec<(u64, &'a [u8])> {
    if memory.read_once(PhysAddr(start), bytes).is_ok() {
        return vec![(start, bytes)];
    }
    let page_size = memory.page_size() as usize;
    let mut parts = Vec::new();
    for (index, page) in bytes.chunks_mut(page_size).enumerate() {
        let at = start + (index * page_size) as u64;
        if memory.read_once(PhysAddr(at), page).is_ok() {
            parts.push((at, &*page));
        }
    }
    parts
}
