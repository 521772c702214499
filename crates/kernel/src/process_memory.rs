//! A process's memory as the process would see it: what its page table maps, and of mapped files
//! also what is in memory without being mapped yet.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::user_memory::UserMemory;
use crate::user_pages::PagePlace;
use crate::vfs::page_cache::CacheEntry;
use crate::vma::Area;
use mortis_memory::{
    MAX_ALLOCATION, PhysAddr, PhysicalMemory, ReadError, Unavailable, UserAddr, VirtAddr,
    VirtualMemory,
};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

layout! {
    /// What an open file's pages belong to.
    struct FileMapping = "file" {
        mapping: "f_mapping",
    }
}

const PAGE_SIZE: u64 = 4096;

/// Pages of one file that are kept in mind: 64 GiB.
const MAX_FILE_PAGES: usize = 1 << 24;

/// Where the pages of a file are, by their place in it.
type FilePages = Arc<BTreeMap<u64, PhysAddr>>;

/// The memory of one process.
pub struct ProcessMemory<'k> {
    kernel: &'k Kernel,
    memory: UserMemory<'k>,
    areas: Vec<Area>,
    /// By `struct file`.
    files: Mutex<FxHashMap<VirtAddr, FilePages>>,
}

impl<'k> ProcessMemory<'k> {
    /// The memory that the `struct mm_struct` at `mm` describes, with these areas, ascending.
    ///
    /// # Errors
    /// When its page table cannot be found.
    pub fn new(kernel: &'k Kernel, mm: VirtAddr, areas: Vec<Area>) -> Result<Self> {
        let memory = UserMemory::of_mm(kernel, mm)?;
        Ok(Self { kernel, memory, areas, files: Mutex::default() })
    }

    /// The areas.
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// What the page table maps.
    pub fn mapped(&self) -> &UserMemory<'k> {
        &self.memory
    }

    /// The area that `address` lies in.
    pub fn area_at(&self, address: UserAddr) -> Option<&Area> {
        let after = self.areas.partition_point(|area| area.start <= address);
        let area = self.areas.get(after.checked_sub(1)?)?;
        area.has(address).then_some(area)
    }

    fn file_pages(&self, file: VirtAddr) -> FilePages {
        let lock = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&file) {
            return Arc::clone(known);
        }
        let pages = Arc::new(self.read_file_pages(file).unwrap_or_default());
        lock().insert(file, Arc::clone(&pages));
        pages
    }

    /// What is wrong with a file's pages is no concern here: those that are found count.
    fn read_file_pages(&self, file: VirtAddr) -> Result<BTreeMap<u64, PhysAddr>> {
        let mapping = self.kernel.layout::<FileMapping>()?.mapping.pointer(self.kernel, file)?;
        let mut pages = BTreeMap::new();
        for entry in self.kernel.page_cache(mapping)?.map_while(Result::ok) {
            let CacheEntry::Pages(cached) = entry else { continue };
            for (index, frame) in cached.frames(PAGE_SIZE) {
                pages.extend(frame.map(|frame| (index, frame)));
            }
            if pages.len() > MAX_FILE_PAGES {
                break;
            }
        }
        Ok(pages)
    }

    /// The page of the mapped file that the process would find at `address`, if it is in memory.
    pub fn unmapped_page(&self, area: &Area, address: UserAddr) -> Option<PhysAddr> {
        let (first, at) = self.next_unmapped_page(area, address)?;
        (first.0 == address.0 & !(PAGE_SIZE - 1)).then_some(at)
    }

    /// The first page from `address` on, of those of the mapped file that are in memory.
    pub fn next_unmapped_page(
        &self,
        area: &Area,
        address: UserAddr,
    ) -> Option<(UserAddr, PhysAddr)> {
        let file = area.file.clone().ok().filter(|file| !file.is_null())?;
        let first = area.page_offset.clone().ok()?;
        let into = address.0.checked_sub(area.start.0)? / PAGE_SIZE;
        let pages = self.file_pages(file);
        let (index, at) = pages.range(first.checked_add(into)?..).next()?;
        let into = index.checked_sub(first)?.checked_mul(PAGE_SIZE)?;
        let address = UserAddr(area.start.0.checked_add(into)?);
        (address < area.end).then_some((address, *at))
    }

    /// Hands the pages between two addresses of an area that are in the dump to `visit`; it ends
    /// with the first error.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub fn each_page<E>(
        &self,
        start: UserAddr,
        end: UserAddr,
        mut visit: impl FnMut(UserAddr, PhysAddr) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(area) = self.area_at(start) else { return Ok(()) };
        let mut pages = self.memory.pages(start, end.min(area.end));
        while let Some((address, place)) = pages.next() {
            match place {
                PagePlace::Memory(at) => visit(address, at)?,
                PagePlace::Nowhere => match self.next_unmapped_page(area, address) {
                    Some((next, at)) if next == address => visit(address, at)?,
                    Some((next, _)) => {
                        pages.skip_hole(next);
                    }
                    None => {
                        pages.skip_hole(end);
                    }
                },
                PagePlace::Entry(_) | PagePlace::Unknown(_) => {}
            }
        }
        Ok(())
    }

    /// Reads `len` bytes from `offset` on of the file of the `struct file` at `file`, as far as its
    /// pages are in memory: none where one of them is not.
    pub fn read_file(&self, file: VirtAddr, offset: u64, len: u64) -> Option<Vec<u8>> {
        let end = offset.checked_add(len).filter(|_| len <= MAX_ALLOCATION)?;
        let pages = self.file_pages(file);
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end {
            let part = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
            let mut page = vec![0; part as usize];
            let frame = pages.get(&(at / PAGE_SIZE))?;
            self.kernel.memory().physical().read(frame.offset(at % PAGE_SIZE), &mut page).ok()?;
            bytes.extend(page);
            at += part;
        }
        Some(bytes)
    }

    fn read_page(&self, address: UserAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let error = match self.memory.read(address, buf) {
            Ok(()) => return Ok(()),
            Err(error) if error.why == Unavailable::Unmapped => error,
            Err(error) => return Err(error),
        };
        let page = self.area_at(address).and_then(|area| self.unmapped_page(area, address));
        let physical = self.kernel.memory().physical();
        match page {
            Some(page) => physical
                .read(page.offset(address.0 % PAGE_SIZE), buf)
                .map_err(|error| error.at(address)),
            None => Err(error),
        }
    }
}

/// Addresses are the user's.
impl VirtualMemory for ProcessMemory<'_> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = UserAddr(address.0.wrapping_add(done as u64));
            let len = ((PAGE_SIZE - at.0 % PAGE_SIZE) as usize).min(buf.len() - done);
            let Some(part) = buf.get_mut(done..done + len) else { break };
            self.read_page(at, part)?;
            done += len;
        }
        Ok(())
    }
}
