//! Where the kernel's image lies: in virtual memory (KASLR) and in physical memory (`phys_base`).
//!
//! VMCOREINFO says both since 4.10 (401721ecd1dc). Before, it names symbols only; in the dump of a
//! kernel without kexec there may be nothing but a vmlinux that fits. Then the page table says the
//! rest, because it proves itself: the kernel's image is mapped as one piece, `swapper_pg_dir` is
//! a part of it, and the table at its place must lead from `_stext` to where `_stext` then is. A
//! relocated image keeps its place within 2 MiB (`CONFIG_PHYSICAL_ALIGN`), so there are not many
//! places to try.

use crate::arch::x86_64::paging::{PRESENT, PageTable};
use crate::arch::x86_64::{KERNEL_IMAGE_SIZE, START_KERNEL_MAP};
use crate::kernel::OpenKernelError;
use crate::vmlinux::Vmlinux;
use mortis_dump::Vmcoreinfo;
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};

/// What the image may be moved by: the least `CONFIG_PHYSICAL_ALIGN`.
const ALIGNMENT: u64 = 2 << 20;
/// The places that are tried: 2 TB of memory.
const MAX_PLACES: usize = 1 << 20;
/// `swapper_pg_dir` is a macro for one of the others.
const ROOTS: [&str; 3] = ["swapper_pg_dir", "init_top_pgt", "init_level4_pgt"];

/// Where the image is, and the page table in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageLocation {
    pub(crate) page_table: PageTable,
    pub(crate) phys_base: u64,
    /// What KASLR added to the linker's addresses.
    pub(crate) kaslr_offset: u64,
}

/// Where `address`, in the kernel's image, lies in physical memory.
pub(crate) fn image_to_physical(address: u64, phys_base: u64) -> PhysAddr {
    PhysAddr(address.wrapping_sub(START_KERNEL_MAP).wrapping_add(phys_base))
}

/// Finds the image of the kernel that `vmcoreinfo` speaks of, or else of `vmlinux`.
/// `header_phys_base` is what the dump's header says, which need not be true.
///
/// # Errors
/// When neither says where the page table is, or when no table in memory is the kernel's.
pub(crate) fn locate(
    memory: &dyn PhysicalMemory,
    header_phys_base: Option<u64>,
    vmcoreinfo: &Vmcoreinfo,
    vmlinux: Option<&Vmlinux>,
) -> Result<ImageLocation, OpenKernelError> {
    let linked = |names: &[&str]| vmlinux.and_then(|vmlinux| vmlinux.link_address(names));
    let told = ROOTS.into_iter().find_map(|name| vmcoreinfo.symbol(name));
    let root = match told {
        Some(root) => root,
        None => linked(&ROOTS).ok_or(OpenKernelError::NoKey("swapper_pg_dir"))?,
    };
    let image = Image {
        root,
        text: vmcoreinfo.symbol("_stext").or_else(|| linked(&["_stext", "_text"])),
        five_levels: vmcoreinfo.number("pgtable_l5_enabled") == Some(1),
        encryption_mask: vmcoreinfo.number("sme_mask").map_or(0, i64::cast_unsigned),
    };
    if told.is_some() {
        let kaslr_offset = match vmcoreinfo.kerneloffset() {
            Some(offset) => offset,
            None => linked(&ROOTS).map_or(0, |link| root.wrapping_sub(link)),
        };
        let phys_base = vmcoreinfo
            .number("phys_base")
            .map(i64::cast_unsigned)
            .or_else(|| image.find_phys_base(memory, header_phys_base))
            .or(header_phys_base)
            .ok_or(OpenKernelError::NoKey("phys_base"))?;
        return Ok(image.at(phys_base, kaslr_offset));
    }
    if vmlinux.is_none() {
        return Err(OpenKernelError::NoKey("swapper_pg_dir"));
    }
    image.find_moved(memory, header_phys_base).ok_or(OpenKernelError::NoPageTable)
}

/// What is known of the image before its place is.
struct Image {
    root: u64,
    text: Option<u64>,
    five_levels: bool,
    encryption_mask: u64,
}

impl Image {
    fn at(&self, phys_base: u64, kaslr_offset: u64) -> ImageLocation {
        let page_table = PageTable {
            root: image_to_physical(self.root, phys_base),
            five_levels: self.five_levels,
            encryption_mask: self.encryption_mask,
        };
        ImageLocation { page_table, phys_base, kaslr_offset }
    }

    /// Whether the page table of an image at `phys_base` leads to that image.
    fn is_proved(&self, memory: &dyn PhysicalMemory, phys_base: u64) -> bool {
        let table = self.at(phys_base, 0).page_table;
        self.text.is_some_and(|text| {
            table
                .translate(memory, VirtAddr(text))
                .is_ok_and(|found| found.address == image_to_physical(text, phys_base))
        })
    }

    /// The `phys_base` by which the page table proves itself: the header's, that of a kernel where
    /// it was linked to be, or any.
    fn find_phys_base(&self, memory: &dyn PhysicalMemory, header: Option<u64>) -> Option<u64> {
        let mut candidates = header.into_iter().chain([0]).chain(self.places(memory));
        candidates.find(|phys_base| self.is_proved(memory, *phys_base))
    }

    /// Every `phys_base` that puts the root of a page table into memory.
    fn places<'a>(&'a self, memory: &'a dyn PhysicalMemory) -> impl Iterator<Item = u64> + 'a {
        let unmoved = image_to_physical(self.root, 0).0;
        memory
            .ranges()
            .into_iter()
            .flat_map(move |range| {
                let first = range.start.0.saturating_sub(unmoved % ALIGNMENT);
                let first = first.next_multiple_of(ALIGNMENT).saturating_add(unmoved % ALIGNMENT);
                (first..range.end.0).step_by(ALIGNMENT as usize)
            })
            .take(MAX_PLACES)
            .filter(|root| is_kernel_root(memory, PhysAddr(*root)))
            .map(move |root| root.wrapping_sub(unmoved))
    }

    /// The place of an image of which only the linker's addresses are known.
    fn find_moved(
        &self,
        memory: &dyn PhysicalMemory,
        header_phys_base: Option<u64>,
    ) -> Option<ImageLocation> {
        if let Some(phys_base) = self.find_phys_base(memory, header_phys_base) {
            return Some(self.at(phys_base, 0));
        }
        let places: Vec<u64> = self.places(memory).collect();
        (ALIGNMENT..KERNEL_IMAGE_SIZE).step_by(ALIGNMENT as usize).find_map(|offset| {
            [false, true].into_iter().find_map(|five_levels| {
                let moved = Image {
                    root: self.root.wrapping_add(offset),
                    text: self.text.map(|text| text.wrapping_add(offset)),
                    five_levels,
                    encryption_mask: self.encryption_mask,
                };
                // The root is where it is, and the image that much below.
                let mut places = places.iter().map(|place| place.wrapping_sub(offset));
                let phys_base = places.find(|place| moved.is_proved(memory, *place))?;
                Some(moved.at(phys_base, offset))
            })
        })
    }
}

/// Whether the page at `root` maps the top of the address space, where the kernel is.
fn is_kernel_root(memory: &dyn PhysicalMemory, root: PhysAddr) -> bool {
    let mut entry = [0; 8];
    memory.read(root.offset(511 * 8), &mut entry).is_ok()
        && u64::from_le_bytes(entry) & PRESENT != 0
}
