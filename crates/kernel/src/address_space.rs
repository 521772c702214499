//! The kernel's virtual memory over a dump's physical memory.
//!
//! Two large parts of the kernel's address space are linear: its own image and the map of all
//! physical memory. Those are translated by arithmetic, which also works where the page tables
//! themselves are lost. Everything else walks the page table behind a small lock-free cache.

use crate::arch::x86_64::paging::{PageTable, Translation, Walk};
use mortis_memory::{
    Address, PhysAddr, PhysicalMemory, ReadError, Unavailable, VirtAddr, VirtualMemory,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A linear part of the address space.
#[derive(Debug, Default)]
struct LinearMap {
    start: AtomicU64,
    /// Bytes; 0 while the map is not known.
    len: AtomicU64,
    physical: AtomicU64,
}

impl LinearMap {
    fn translate(&self, address: VirtAddr) -> Option<PhysAddr> {
        let offset = address.0.wrapping_sub(self.start.load(Relaxed));
        (offset < self.len.load(Relaxed))
            .then(|| PhysAddr(self.physical.load(Relaxed).wrapping_add(offset)))
    }

    fn set(&self, start: u64, len: u64, physical: u64) {
        self.start.store(start, Relaxed);
        self.physical.store(physical, Relaxed);
        self.len.store(len, Relaxed);
    }
}

/// A page's translation, remembered without a lock: the tag is stored xor-ed with the frame, so a
/// pair torn by another thread does not match any page.
#[derive(Default)]
struct CachedTranslation {
    tag: AtomicU64,
    frame: AtomicU64,
}

const CACHED_TRANSLATIONS: usize = 4096;

/// The kernel's virtual memory.
pub struct AddressSpace {
    physical: Arc<dyn PhysicalMemory>,
    page_table: PageTable,
    image: LinearMap,
    direct: LinearMap,
    cached: Box<[CachedTranslation]>,
}

const PAGE_SHIFT: u32 = 12;
const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

impl AddressSpace {
    /// The address space of `page_table` over `physical`, with the kernel's image of `image_len`
    /// bytes mapped at `image_start` to the physical address `image_physical`.
    pub fn new(
        physical: Arc<dyn PhysicalMemory>,
        page_table: PageTable,
        image_start: VirtAddr,
        image_len: u64,
        image_physical: PhysAddr,
    ) -> Self {
        let image = LinearMap::default();
        image.set(image_start.0, image_len, image_physical.0);
        let cached = (0..CACHED_TRANSLATIONS).map(|_| CachedTranslation::default()).collect();
        Self { physical, page_table, image, direct: LinearMap::default(), cached }
    }

    /// Makes the linear map of all physical memory known: `len` bytes from `page_offset` on.
    pub fn set_direct_map(&self, page_offset: VirtAddr, len: u64) {
        self.direct.set(page_offset.0, len, 0);
    }

    /// The address of `physical` in the linear map of all physical memory, once that is known.
    pub fn direct_address(&self, physical: PhysAddr) -> Option<VirtAddr> {
        let len = self.direct.len.load(Relaxed);
        (physical.0 < len).then(|| VirtAddr(self.direct.start.load(Relaxed) + physical.0))
    }

    /// The kernel's own page table.
    pub fn page_table(&self) -> PageTable {
        self.page_table
    }

    /// The physical memory below.
    pub fn physical(&self) -> &Arc<dyn PhysicalMemory> {
        &self.physical
    }

    /// Translates one kernel address.
    ///
    /// # Errors
    /// Unmapped, or a page of the table that is not in the dump.
    pub fn translate(&self, address: VirtAddr) -> Result<PhysAddr, ReadError> {
        if let Some(physical) = self.direct.translate(address) {
            return Ok(physical);
        }
        if let Some(physical) = self.image.translate(address) {
            return Ok(physical);
        }
        let page = address.0 >> PAGE_SHIFT;
        let offset = address.0 & (PAGE_SIZE - 1);
        let cached = &self.cached[page as usize % CACHED_TRANSLATIONS];
        let frame = cached.frame.load(Relaxed);
        // An all-zero slot would match page 0, which no kernel maps.
        if cached.tag.load(Relaxed) ^ frame == page && page != 0 {
            return Ok(PhysAddr(frame << PAGE_SHIFT | offset));
        }
        let Translation { address: physical, .. } =
            self.page_table.translate(&*self.physical, address)?;
        let frame = physical.0 >> PAGE_SHIFT;
        cached.frame.store(frame, Relaxed);
        cached.tag.store(page ^ frame, Relaxed);
        Ok(physical)
    }

    /// Walks the kernel's page table for `address`, keeping the entries.
    pub fn walk(&self, address: VirtAddr) -> Walk {
        self.page_table.walk(&*self.physical, address)
    }
}

/// Reads virtual memory through `translate`. Pages that are neighbours in physical memory too are
/// one read, which a dump serves faster than many.
pub(crate) fn read_paged(
    physical: &dyn PhysicalMemory,
    address: u64,
    buf: &mut [u8],
    translate: impl Fn(u64) -> Result<PhysAddr, ReadError>,
    named: impl Fn(u64, ReadError) -> ReadError,
) -> Result<(), ReadError> {
    let mut done = 0;
    while done < buf.len() {
        let at = address.wrapping_add(done as u64);
        let left = (buf.len() - done) as u64;
        let from = translate(at)?;
        let mut len = (PAGE_SIZE - at % PAGE_SIZE).min(left);
        while len < left && translate(at.wrapping_add(len)).is_ok_and(|to| to == from.offset(len)) {
            len = (len + PAGE_SIZE).min(left);
        }
        physical.read(from, &mut buf[done..done + len as usize]).map_err(|error| {
            let into = match error.address {
                Address::Physical(first) => first.0.saturating_sub(from.0),
                _ => 0,
            };
            named(at.wrapping_add(into), error)
        })?;
        done += len as usize;
    }
    Ok(())
}

impl VirtualMemory for AddressSpace {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        if buf.is_empty() {
            return Ok(());
        }
        // Wrapping around the top of the address space is never meant.
        if address.0.checked_add(buf.len() as u64 - 1).is_none() {
            return Err(ReadError::new(address, Unavailable::Unmapped));
        }
        read_paged(
            &*self.physical,
            address.0,
            buf,
            |at| self.translate(VirtAddr(at)),
            |at, error| error.at(VirtAddr(at)),
        )
    }
}
