//! Sections of physical memory (CONFIG_SPARSEMEM, mm/sparse.c): the unit in which the kernel has
//! `struct page`s for its memory, or has not.
//!
//! With CONFIG_SPARSEMEM_EXTREME, which every x86_64 distribution uses, `mem_section` points to an
//! array of pointers ("roots"), each to a page full of `struct mem_section`. It was the array of
//! pointers itself until 83e3c48729d9 (4.15).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::memory_map::MemoryMap;
use mortis_debuginfo::types::TypeSource;
use mortis_memory::{Pfn, PhysicalMemory, VirtAddr, VirtualMemory};

layout! {
    /// A section: include/linux/mmzone.h.
    pub struct MemSectionStruct = "mem_section" {
        section_mem_map: "section_mem_map",
    }
}

/// `SECTION_SIZE_BITS` and `MAX_PHYSMEM_BITS` of arch/x86/include/asm/sparsemem.h.
const SECTION_SIZE_BITS: i64 = 27;
const MAX_PHYSMEM_BITS_4_LEVELS: i64 = 46;
const MAX_PHYSMEM_BITS_5_LEVELS: i64 = 52;

/// The flags are below these bits of `section_mem_map`, which `struct page`s are aligned to.
const FLAGS: u64 = 0x3f;

/// A section of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySection {
    /// Its number: its first frame is that many times [`MemorySections::frames_per_section`].
    pub number: u64,
    /// Its `struct mem_section`.
    pub address: VirtAddr,
    /// What `section_mem_map` holds besides the flags: where the `struct page` of frame 0 would be
    /// if the section's array went on down to it.
    pub coded_mem_map: VirtAddr,
    /// The `struct page` of its first frame.
    pub mem_map: VirtAddr,
    /// Its first frame.
    pub start: Pfn,
    /// It is there.
    pub present: bool,
    /// It has `struct page`s.
    pub has_mem_map: bool,
    /// Its memory is in use.
    pub online: bool,
    /// It was there at boot.
    pub early: bool,
    /// It holds memory of a device.
    pub zone_device: bool,
}

/// The sections that are present.
#[derive(Clone, Debug, Default)]
pub struct MemorySections {
    /// Ascending.
    pub sections: Vec<MemorySection>,
    /// Page frames of each.
    pub frames_per_section: u64,
    /// Why there may be more.
    pub damage: Option<KernelError>,
}

impl MemorySections {
    /// The section that `pfn` lies in.
    pub fn of(&self, pfn: Pfn) -> Option<&MemorySection> {
        let number = pfn.0.checked_div(self.frames_per_section)?;
        let index = self.sections.binary_search_by_key(&number, |section| section.number).ok()?;
        self.sections.get(index)
    }

    /// The `struct page` of `pfn`, where its section has any.
    pub fn page(&self, map: &MemoryMap, pfn: Pfn) -> Option<VirtAddr> {
        let section = self.of(pfn).filter(|section| section.has_mem_map)?;
        let index = pfn.0.checked_sub(section.start.0)?;
        Some(section.mem_map.offset(index.wrapping_mul(map.page_struct_size)))
    }

    /// The frame whose `struct page` lies at `page`.
    pub fn pfn(&self, map: &MemoryMap, page: VirtAddr) -> Option<Pfn> {
        let len = self.frames_per_section.wrapping_mul(map.page_struct_size);
        let section = self.sections.iter().find(|section| {
            page.0.checked_sub(section.mem_map.0).is_some_and(|offset| offset < len)
        })?;
        let offset = page.0 - section.mem_map.0;
        offset
            .is_multiple_of(map.page_struct_size)
            .then(|| Pfn(section.start.0 + offset / map.page_struct_size))
    }
}

/// The flags' bits in this kernel.
struct FlagBits {
    present: u64,
    has_mem_map: u64,
    online: u64,
    early: u64,
    zone_device: u64,
}

impl FlagBits {
    /// An enumeration numbers the bits since ed7802dd48f7 (6.1).
    fn of(kernel: &Kernel) -> Self {
        let bit = |name: &str, older: u32| {
            let bit = kernel.type_set().enumerator(name).map(|(_, bit)| bit);
            let bit = bit.and_then(|bit| u32::try_from(bit).ok()).unwrap_or(older);
            1u64.checked_shl(bit).unwrap_or(0)
        };
        Self {
            present: bit("SECTION_MARKED_PRESENT_BIT", 0),
            has_mem_map: bit("SECTION_HAS_MEM_MAP_BIT", 1),
            online: bit("SECTION_IS_ONLINE_BIT", 2),
            early: bit("SECTION_IS_EARLY_BIT", 3),
            zone_device: bit("SECTION_TAINT_ZONE_DEVICE_BIT", 4),
        }
    }
}

impl Kernel {
    /// The sections of physical memory that are present.
    ///
    /// # Errors
    /// When the types or the array of sections are out of reach.
    pub fn memory_sections(&self) -> Result<MemorySections> {
        let layout = self.layout::<MemSectionStruct>()?;
        let map = self.memory_map()?;
        let page_size = self.memory().physical().page_size().max(1);
        let vmcoreinfo = self.vmcoreinfo();
        let size_bits = vmcoreinfo.number("SECTION_SIZE_BITS").unwrap_or(SECTION_SIZE_BITS);
        let memory_bits = vmcoreinfo.number("MAX_PHYSMEM_BITS").unwrap_or_else(|| {
            match self.memory().page_table().five_levels {
                true => MAX_PHYSMEM_BITS_5_LEVELS,
                false => MAX_PHYSMEM_BITS_4_LEVELS,
            }
        });
        let size_bits = size_bits.clamp(16, 40).cast_unsigned();
        let memory_bits = memory_bits.clamp(32, 52).cast_unsigned();
        let frames_per_section = ((1u64 << size_bits) / page_size).max(1);
        let per_root = (page_size / layout.size_of.max(1)).max(1);
        // LENGTH(mem_section) is there since a0b1280368d1 (4.16).
        let computed = (1u64 << memory_bits.saturating_sub(size_bits)).div_ceil(per_root);
        let roots = vmcoreinfo.length("mem_section").map_or(computed, |len| len.min(computed));
        let flags = FlagBits::of(self);
        let mut found = MemorySections { sections: Vec::new(), frames_per_section, damage: None };
        let array = self.section_roots()?;
        for first in (0..roots).step_by(512) {
            let count = 512.min(roots - first);
            let pointers = match self.read_bytes(array.offset(first * 8), count * 8) {
                Ok(pointers) => pointers,
                Err(error) if first == 0 => return Err(error.into()),
                Err(error) => {
                    found.damage.get_or_insert(error.into());
                    continue;
                }
            };
            for (root, pointer) in pointers.chunks_exact(8).enumerate() {
                let pointer = VirtAddr(pointer.try_into().map_or(0, u64::from_le_bytes));
                if pointer.is_null() {
                    continue;
                }
                let bytes = match self.read_bytes(pointer, per_root * layout.size_of) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        found.damage.get_or_insert(error.into());
                        continue;
                    }
                };
                let sections = bytes.chunks_exact(layout.size_of.max(1) as usize).enumerate();
                for (index, section) in sections {
                    let word = layout.section_mem_map.u64_in(section)?;
                    if word & flags.present == 0 {
                        continue;
                    }
                    let number = (first + root as u64) * per_root + index as u64;
                    let start = Pfn(number.wrapping_mul(frames_per_section));
                    let coded = VirtAddr(word & !FLAGS);
                    found.sections.push(MemorySection {
                        number,
                        address: pointer.offset(index as u64 * layout.size_of),
                        coded_mem_map: coded,
                        mem_map: coded.offset(start.0.wrapping_mul(map.page_struct_size)),
                        start,
                        present: true,
                        has_mem_map: word & flags.has_mem_map != 0,
                        online: word & flags.online != 0,
                        early: word & flags.early != 0,
                        zone_device: word & flags.zone_device != 0,
                    });
                }
            }
        }
        Ok(found)
    }

    /// The array of pointers to roots.
    fn section_roots(&self) -> Result<VirtAddr> {
        // VMCOREINFO gives the array's address where it gives one; the symbol is the variable's.
        match self.symbols().ok().and_then(|symbols| symbols.address("mem_section")) {
            Some(variable) => {
                let pointer = self.read_pointer(variable)?;
                let is_pointer = self.vmcoreinfo().symbol("mem_section") != Some(variable.0);
                Ok(if is_pointer { pointer } else { variable })
            }
            None => self.symbol("mem_section"),
        }
    }
}
