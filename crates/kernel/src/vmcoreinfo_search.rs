//! VMCOREINFO of a dump that has no such note: the one that the kernel prepared at boot, in its
//! own memory.
//!
//! Where a hypervisor saved the CPUs' control registers, CR3 leads to the kernel's image, and some
//! variable in it (`vmcoreinfo_note`) points at the page with the note: tens of megabytes are
//! read, however large the machine is. Before 4.13 the note itself was in the image (203e9e41219b).
//! Without registers all memory is read, up to the first note that is the kernel's: one that was
//! booted before may have left its own behind, image and all.

use crate::arch::x86_64;
use crate::arch::x86_64::paging::PageTable;
use crate::image_location;
use mortis_dump::{CpuState, Dump, Vmcoreinfo};
use mortis_memory::{PhysAddr, PhysicalMemory, ReadError, VirtAddr};
use rustc_hash::FxHashSet;

/// What one read takes of the image.
const PIECE: u64 = 2 << 20;
const PAGE: u64 = 4096;
/// 1 GiB in small pages; a table that is damaged may lead on for ever.
const MAX_TABLES: u64 = 600;
/// More pages than an image's variables point to, unless somebody made it so.
const MAX_POINTERS: usize = 1 << 20;
/// Headers may speak of exabytes. No machine leaves this many megabytes in a row without a page at
/// their start that its dump keeps.
const MAX_BARREN: u32 = 1 << 16;

/// Finds the note of the kernel that was running.
pub fn find(dump: &Dump) -> Option<Vmcoreinfo> {
    let memory = dump.memory();
    let tables: Vec<PageTable> = dump.cpu_states().iter().flat_map(page_tables).collect();
    let by_registers = tables.iter().find_map(|table| find_in_image(&*memory, *table));
    by_registers.or_else(|| find_everywhere(&*memory, &tables))
}

/// What a CPU's CR3 may mean. With page table isolation the table of user mode follows the
/// kernel's own, and does not map the kernel (arch/x86/mm/pti.c).
fn page_tables(cpu: &CpuState) -> Vec<PageTable> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    const CR4_LA57: u64 = 1 << 12;
    const USER_TABLE: u64 = PAGE;
    let root = cpu.cr[3] & ADDRESS;
    let five_levels = cpu.cr[4] & CR4_LA57 != 0;
    let mut roots = vec![root & !USER_TABLE, root];
    roots.dedup();
    roots.retain(|root| *root != 0);
    let table = |root| PageTable { root: PhysAddr(root), five_levels, encryption_mask: 0 };
    roots.into_iter().map(table).collect()
}

/// Looks through the kernel's image for a pointer to the note, or for the note.
fn find_in_image(memory: &dyn PhysicalMemory, table: PageTable) -> Option<Vmcoreinfo> {
    let start = x86_64::START_KERNEL_MAP;
    let end = start + x86_64::KERNEL_IMAGE_SIZE;
    let mut seen = FxHashSet::default();
    let mut bytes = vec![0; PIECE as usize];
    for page in table.mapped_by_kernel(memory, VirtAddr(start), VirtAddr(end), MAX_TABLES) {
        for offset in (0..page.size).step_by(PIECE as usize) {
            let at = page.physical.offset(offset);
            let piece = &mut bytes[..PIECE.min(page.size - offset) as usize];
            if memory.read_once(at, piece).is_err() {
                continue;
            }
            let found = Vmcoreinfo::find_in(memory, at, piece)
                .into_iter()
                .map(|(_, vmcoreinfo)| vmcoreinfo)
                .chain(pointed_to(memory, table, piece, &mut seen))
                .find(|vmcoreinfo| is_of_running_kernel(memory, vmcoreinfo, &[table]));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// The notes at the start of pages that some word of `piece` points to.
fn pointed_to<'a>(
    memory: &'a dyn PhysicalMemory,
    table: PageTable,
    piece: &'a [u8],
    seen: &'a mut FxHashSet<u64>,
) -> impl Iterator<Item = Vmcoreinfo> + 'a {
    let (words, _) = piece.as_chunks::<8>();
    let pointers = words.iter().map(|word| u64::from_le_bytes(*word)).filter(|&word| {
        let in_kernel = (x86_64::KERNEL_SPACE_START..x86_64::START_KERNEL_MAP).contains(&word);
        in_kernel && word.is_multiple_of(PAGE)
    });
    pointers.filter_map(move |pointer| {
        if seen.len() >= MAX_POINTERS || !seen.insert(pointer) {
            return None;
        }
        let physical = table.translate(memory, VirtAddr(pointer)).ok()?.address;
        Vmcoreinfo::note_at(memory, physical)
    })
}

/// Looks through all memory.
fn find_everywhere(memory: &dyn PhysicalMemory, tables: &[PageTable]) -> Option<Vmcoreinfo> {
    let mut barren = 0;
    let go_on = |reached| {
        barren = if memory.probe(reached).is_ok() { 0 } else { barren + 1 };
        barren < MAX_BARREN
    };
    Vmcoreinfo::find_in_memory(memory, go_on, |vmcoreinfo| {
        is_of_running_kernel(memory, vmcoreinfo, tables)
    })
}

/// Whether the kernel that the note speaks of is the one that ran: its name is where the note says,
/// and the CPUs that have the kernel mapped have it there, too.
fn is_of_running_kernel(
    memory: &dyn PhysicalMemory,
    vmcoreinfo: &Vmcoreinfo,
    tables: &[PageTable],
) -> bool {
    let matches = || -> Option<bool> {
        let location = image_location::locate(memory, None, vmcoreinfo, None).ok()?;
        let init_uts_ns = vmcoreinfo.symbol("init_uts_ns")?;
        let physical = image_location::image_to_physical(init_uts_ns, location.phys_base);
        let mapped = tables.iter().find_map(|table| {
            table.translate(memory, VirtAddr(init_uts_ns)).ok().map(|mapped| mapped.address)
        });
        if mapped.is_some_and(|mapped| mapped != physical) {
            return Some(false);
        }
        let mut name = vec![0; NAMESPACE as usize];
        match memory.read(physical, &mut name) {
            Ok(()) => {
                let release = vmcoreinfo.osrelease()?.as_bytes();
                Some(memchr::memmem::find(&name, release).is_some())
            }
            // A filtered dump may lack the page; the page table's it then has to have.
            Err(ReadError { .. }) => Some(memory.probe(location.page_table.root).is_ok()),
        }
    };
    matches().unwrap_or(false)
}

/// Bytes of `struct uts_namespace` up to the end of its name; the name comes first, or behind a
/// reference count.
const NAMESPACE: u64 = 512;
