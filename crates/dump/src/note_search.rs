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
/// The most notes that are returned: the kernel has one.
const MAX_FOUND: usize = 16;

impl Vmcoreinfo {
    /// Looks through all of `memory` for notes, and says where each starts. Reads everything that
    /// the dump holds, in the order of addresses, as long as `go_on` with the address reached
    /// says so.
    pub fn find_in_memory(
        memory: &dyn PhysicalMemory,
        mut go_on: impl FnMut(PhysAddr) -> bool,
    ) -> Vec<(PhysAddr, Vmcoreinfo)> {
        let finder = Finder::new(NAME);
        let mut found = Vec::new();
        let mut bytes = vec![0; STRETCH as usize];
        for range in memory.ranges() {
            let mut at = range.start.0;
            while at < range.end.0 {
                if !go_on(PhysAddr(at)) || found.len() >= MAX_FOUND {
                    return found;
                }
                let len = STRETCH.min(range.end.0 - at) as usize;
                let next = at + len as u64;
                for (start, bytes) in readable(memory, at, &mut bytes[..len]) {
                    let hits = finder.find_iter(bytes).filter_map(|hit| {
                        note_at(memory, (start + hit as u64).checked_sub(NAME_OFFSET)?)
                    });
                    found.extend(hits);
                }
                at = next;
            }
        }
        found
    }
}

/// The parts of `len` bytes at `start` that can be read: all at once or else page by page.
fn readable<'a>(
    memory: &dyn PhysicalMemory,
    start: u64,
    bytes: &'a mut [u8],
) -> Vec<(u64, &'a [u8])> {
    if memory.read(PhysAddr(start), bytes).is_ok() {
        return vec![(start, bytes)];
    }
    let page_size = memory.page_size() as usize;
    let mut parts = Vec::new();
    for (index, page) in bytes.chunks_mut(page_size).enumerate() {
        let at = start + (index * page_size) as u64;
        if memory.read(PhysAddr(at), page).is_ok() {
            parts.push((at, &*page));
        }
    }
    parts
}

/// The note that starts at `at`, if one does.
fn note_at(memory: &dyn PhysicalMemory, at: u64) -> Option<(PhysAddr, Vmcoreinfo)> {
    let mut header = [0; 12];
    memory.read(PhysAddr(at), &mut header).ok()?;
    let number = |index: usize| crate::field::u32_at(&header, index);
    let (name_len, desc_len, kind) = (number(0)?, number(4)?, number(8)?);
    if name_len as usize != NAME.len() || kind != 0 || desc_len as usize > Vmcoreinfo::MAX_SIZE {
        return None;
    }
    let len = header.len() + NAME.len().next_multiple_of(4) + desc_len as usize;
    let mut note = vec![0; len];
    memory.read(PhysAddr(at), &mut note).ok()?;
    let desc = Notes::new(&note).next()?.desc;
    desc.starts_with(FIRST_LINE).then(|| (PhysAddr(at), Vmcoreinfo::parse(desc)))
}
