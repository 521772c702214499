//! What the `struct page` of a page frame says of it.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::memory_map::Page;
use mortis_debuginfo::types::{Namespace, Type, TypeSource, strip};
use mortis_memory::{Pfn, PhysAddr, PhysicalMemory, ReadError, VirtAddr, VirtualMemory};

layout! {
    /// Whose page it is: include/linux/mm_types.h.
    pub struct PageUse = "page" {
        mapping: "mapping",
        /// Named for what it is in 7.x: a folio's.
        index: "index" | "__folio_index",
    }
}

/// A page frame, by its `struct page`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRecord {
    /// Where the `struct page` is.
    pub page: VirtAddr,
    /// Where the frame begins.
    pub frame: PhysAddr,
    /// The `struct address_space`, or with low bits set an `anon_vma` or something else.
    pub mapping: Result<u64>,
    /// Its place in the mapping, in pages.
    pub index: Result<u64>,
    /// References to it.
    pub count: Result<i64>,
    /// `page->flags`.
    pub flags: Result<u64>,
}

impl Kernel {
    /// The record of the page frame that `address` lies in.
    ///
    /// # Errors
    /// When there is no map of memory, or no such frame.
    pub fn page_record(&self, address: PhysAddr) -> Result<PageRecord> {
        let map = self.memory_map()?;
        let pfn = Pfn(address.0 / self.memory().physical().page_size().max(1));
        let page = map.page(pfn);
        let layout = self.layout::<Page>()?;
        let page_use = self.layout::<PageUse>()?;
        Ok(PageRecord {
            page,
            frame: map.physical(pfn),
            mapping: page_use.mapping.u64(self, page),
            index: page_use.index.u64(self, page),
            count: layout.refcount.i64(self, page),
            flags: layout.flags.u64(self, page),
        })
    }

    /// The names of the flags set in a `page->flags`, as the kernel's own messages spell and order
    /// them. The upper bits, which hold the zone and the node, have none.
    pub fn page_flag_names(&self, flags: u64) -> Vec<String> {
        let names = PageFlagNames::read(self);
        names.of(flags).map(str::to_owned).collect()
    }

    /// The bits of `page->flags` by name, from the enumeration: one bit may have several names.
    ///
    /// # Errors
    /// When this kernel's types have no `enum pageflags`.
    pub fn page_flag_bits(&self) -> Result<Vec<(String, u32)>> {
        let types = self.type_set();
        let found = types.lookup(Namespace::Enum, "pageflags").and_then(|id| strip(types, id).ok());
        let Some(Type::Enum(kind)) = found.as_ref().map(|(_, ty)| &**ty) else {
            return Err(KernelError::Unsupported(
                "enum pageflags does not exist in this kernel".to_owned(),
            ));
        };
        let flag = |(name, bit): &(std::sync::Arc<str>, i64)| {
            let bit = u32::try_from(*bit).ok().filter(|bit| *bit < 64)?;
            name.starts_with("PG_").then(|| (name.to_string(), bit))
        };
        Ok(kind.variants.iter().filter_map(flag).collect())
    }

    /// Reads the records of `count` frames from `first` on into `bytes`, one `struct page` behind
    /// the other, and says of which of them there is none in the dump.
    pub fn page_structs(&self, first: VirtAddr, bytes: &mut [u8]) -> MissingPages {
        let mut missing = MissingPages(Vec::new());
        if VirtualMemory::read(self, first, bytes).is_ok() {
            return missing;
        }
        let page_size = self.memory().physical().page_size().max(1);
        let mut done = 0u64;
        while done < bytes.len() as u64 {
            let at = first.offset(done);
            let len = (page_size - at.0 % page_size).min(bytes.len() as u64 - done);
            let part = &mut bytes[done as usize..(done + len) as usize];
            if let Err(error) = VirtualMemory::read(self, at, part) {
                part.fill(0);
                missing.0.push((done, done + len, error));
            }
            done += len;
        }
        missing
    }
}

/// Parts of an array of `struct page` that are not in the dump.
#[derive(Clone, Debug, Default)]
pub struct MissingPages(Vec<(u64, u64, ReadError)>);

impl MissingPages {
    /// Why the `len` bytes at `offset` are not there, if they are not.
    pub fn at(&self, offset: u64, len: u64) -> Option<ReadError> {
        let hit = self.0.iter().find(|(start, end, _)| offset < *end && offset + len > *start);
        hit.map(|(_, _, error)| *error)
    }
}

layout! {
    /// A name of a flag: include/linux/trace_events.h.
    struct TracePrintFlags = "trace_print_flags" {
        mask: "mask",
        name: "name",
    }
}

/// The names that the kernel gives page flags in its messages: `pageflag_names` of mm/debug.c.
#[derive(Clone, Debug, Default)]
pub struct PageFlagNames(Vec<(u64, String)>);

/// More names than there are flags.
const MAX_FLAG_NAMES: u64 = 128;

impl PageFlagNames {
    /// Reads the kernel's table, or where that is not in the dump makes one of the enumeration.
    pub fn read(kernel: &Kernel) -> Self {
        match Self::table(kernel) {
            Ok(names) if !names.is_empty() => Self(names),
            _ => Self(Self::enumeration(kernel)),
        }
    }

    fn table(kernel: &Kernel) -> Result<Vec<(u64, String)>> {
        let layout = kernel.layout::<TracePrintFlags>()?;
        let table = kernel.symbol("pageflag_names")?;
        let mut names = Vec::new();
        for index in 0..MAX_FLAG_NAMES {
            let entry = table.offset(index * layout.size_of);
            let mask = layout.mask.u64(kernel, entry)?;
            let name = layout.name.string(kernel, entry, 64)?;
            // Ended by a mask of 0 since edf14cdbf9a0 (4.6), of all bits before.
            if name.is_empty() {
                break;
            }
            names.push((mask, name));
        }
        Ok(names)
    }

    fn enumeration(kernel: &Kernel) -> Vec<(u64, String)> {
        let end = kernel.type_set().enumerator("__NR_PAGEFLAGS").map_or(64, |(_, end)| end);
        let mut names: Vec<(u64, String)> = Vec::new();
        for (name, bit) in kernel.page_flag_bits().unwrap_or_default() {
            let mask = 1u64 << bit;
            // Of several names for a bit the first is the general one.
            if i64::from(bit) < end && !names.iter().any(|(known, _)| *known == mask) {
                let name = name.strip_prefix("PG_").unwrap_or(&name).to_ascii_lowercase();
                names.push((mask, name));
            }
        }
        names.sort_by_key(|(mask, _)| *mask);
        names
    }

    /// The names of the flags set in `flags`.
    pub fn of(&self, flags: u64) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(mask, _)| flags & mask != 0).map(|(_, name)| name.as_str())
    }
}
