//! ELF files with debug information: a vmlinux or a module's `.ko.debug`.
//!
//! [`ElfFile::open`] reads the header and the section headers and nothing else. A section's bytes
//! are a slice of the [`Image`] where the file holds them plainly; compressed sections
//! (`SHF_COMPRESSED`, `.zdebug_*`) and the debug sections of a relocatable file are made on first
//! use and kept.
//!
//! A relocatable file (`.ko`) has no addresses. [`ElfFile::open`] gives every section that takes
//! memory a place of its own, so that a [`LinkAddr`] says which section is meant;
//! [`ModuleLayout`] maps those to where the kernel loaded them.

mod abi;
mod compression;
mod layout;
mod module_layout;
mod notes;
mod relocation;
mod symbols;
#[cfg(test)]
pub(crate) mod test_writer;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use mortis_memory::LinkAddr;

use crate::Image;

pub use module_layout::ModuleLayout;
pub use notes::BuildId;
pub use symbols::{ElfSymbol, ElfSymbolKind, ElfSymbols};

/// Why an ELF file, or a part of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The magic number is missing.
    #[error("not an ELF file")]
    NotElf,
    /// ELF, but not of a kind that is read here.
    #[error("unsupported ELF file: {0}")]
    Unsupported(&'static str),
    /// A structure lies outside the file, or only in part inside.
    #[error("ELF {what} at file offset {offset:#x} lies outside the file")]
    OutOfFile {
        /// The structure.
        what: &'static str,
        /// Where in the file it should be.
        offset: u64,
    },
    /// The content of a section cannot be had.
    #[error("ELF section {section}: {what}")]
    Section {
        /// Its name.
        section: Arc<str>,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Whether the file is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfKind {
    /// `ET_EXEC` or `ET_DYN`: a vmlinux. Addresses are final but for KASLR.
    Linked,
    /// `ET_REL`: a module. Addresses are those that [`ElfFile::open`] gave the sections.
    Relocatable,
}

/// One section header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfSection {
    /// Its name.
    pub name: Arc<str>,
    /// Where it lies. Zero for sections that take no memory.
    pub address: LinkAddr,
    /// Bytes in memory.
    pub size: u64,
    /// Whether it takes memory at run time (`SHF_ALLOC`).
    pub allocated: bool,
    /// Whether it holds instructions (`SHF_EXECINSTR`).
    pub executable: bool,
    sh_type: u32,
    sh_flags: u64,
    sh_offset: u64,
    sh_link: u32,
    sh_info: u32,
    sh_addralign: u64,
}

impl ElfSection {
    /// Whether `address` lies in the section.
    pub fn contains(&self, address: LinkAddr) -> bool {
        self.allocated && address.0.wrapping_sub(self.address.0) < self.size
    }

    /// Whether it may be written at run time (`SHF_WRITE`).
    pub fn is_writable(&self) -> bool {
        self.sh_flags & abi::SHF_WRITE != 0
    }

    /// Whether the file holds bytes for it: not `.bss`, and not a section whose content was left
    /// to another file (`objcopy --only-keep-debug`).
    pub fn has_content(&self) -> bool {
        self.sh_type != abi::SHT_NOBITS && self.sh_type != abi::SHT_NULL
    }
}

/// The bytes of one section, with the file they are in.
#[derive(Clone)]
pub struct SectionBytes {
    file: Arc<ElfFile>,
    index: usize,
}

impl AsRef<[u8]> for SectionBytes {
    fn as_ref(&self) -> &[u8] {
        // Whoever holds this got it from `shared_section_data`, which has seen the bytes.
        self.file.section_data_by_index(self.index).ok().flatten().unwrap_or_default()
    }
}

/// An open ELF file.
pub struct ElfFile {
    image: Arc<dyn Image>,
    kind: ElfKind,
    machine: u16,
    entry: u64,
    sections: Vec<ElfSection>,
    /// What had to be made of a section's bytes: decompressed, relocated.
    made: Vec<OnceLock<Result<Vec<u8>, ElfError>>>,
}

impl ElfFile {
    /// Reads the headers of `image`.
    ///
    /// # Errors
    /// [`ElfError`] when it is no 64-bit little-endian ELF file or its headers are damaged.
    pub fn open(image: Arc<dyn Image>) -> Result<Self, ElfError> {
        let layout::Headers { kind, machine, entry, sections } =
            layout::read_headers(image.bytes())?;
        let made = sections.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { image, kind, machine, entry, sections, made })
    }

    /// Linked or relocatable.
    pub fn kind(&self) -> ElfKind {
        self.kind
    }

    /// `e_machine`: `EM_X86_64` is 62.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// `e_entry`. For an x86_64 vmlinux it is a physical address
    /// (arch/x86/kernel/vmlinux.lds.S: `phys_startup_64`).
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// All sections, in the order of the file.
    pub fn sections(&self) -> &[ElfSection] {
        &self.sections
    }

    /// The first section with that name.
    pub fn section(&self, name: &str) -> Option<&ElfSection> {
        self.sections.iter().find(|section| &*section.name == name)
    }

    /// The section that `address` lies in.
    pub fn section_at(&self, address: LinkAddr) -> Option<&ElfSection> {
        self.sections.iter().find(|section| section.contains(address))
    }

    /// Whether this is a whole kernel. A kernel brings the tables its own start-up code walks;
    /// which ones depends on the configuration, so two of them are enough.
    pub fn is_kernel(&self) -> bool {
        const TABLES: [&str; 6] =
            ["__ksymtab", "__param", "__ex_table", "__bug_table", ".init.text", ".data..percpu"];
        self.kind == ElfKind::Linked
            && TABLES.iter().filter(|name| self.section(name).is_some()).count() >= 2
    }

    /// Whether this is a kernel module: modpost adds the section that becomes `THIS_MODULE`.
    pub fn is_module(&self) -> bool {
        self.kind == ElfKind::Relocatable && self.section(".gnu.linkonce.this_module").is_some()
    }

    /// The bytes of the section `name`, decompressed and relocated where that is needed. `None`
    /// where there is no such section, or the file holds no bytes for it. A `.debug_*` section
    /// is also found under its old compressed name `.zdebug_*`.
    ///
    /// # Errors
    /// [`ElfError`] when it is cut off or cannot be decompressed.
    pub fn section_data(&self, name: &str) -> Result<Option<&[u8]>, ElfError> {
        match self.content_index(name) {
            Some(index) => self.section_data_by_index(index),
            None => Ok(None),
        }
    }

    /// As [`ElfFile::section_data`], for who outlives the borrow: `.BTF`, `.debug_frame`.
    ///
    /// # Errors
    /// As [`ElfFile::section_data`].
    pub fn shared_section_data(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Option<SectionBytes>, ElfError> {
        let Some(index) = self.content_index(name) else { return Ok(None) };
        let found = self.section_data_by_index(index)?;
        Ok(found.map(|_| SectionBytes { file: self.clone(), index }))
    }

    fn content_index(&self, name: &str) -> Option<usize> {
        let named = |name: &str| self.sections.iter().position(|section| *section.name == *name);
        named(name)
            .or_else(|| named(&format!(".z{}", name.strip_prefix(".debug_").map(|_| &name[1..])?)))
    }

    fn section_data_by_index(&self, index: usize) -> Result<Option<&[u8]>, ElfError> {
        let Some((section, made)) = self.sections.get(index).zip(self.made.get(index)) else {
            return Ok(None);
        };
        if !section.has_content() {
            return Ok(None);
        }
        let raw = self.raw_section_data(section)?;
        let relocations = self.debug_relocations(index);
        if !compression::is_compressed(section, raw) && relocations.is_none() {
            return Ok(Some(raw));
        }
        made.get_or_init(|| {
            let mut bytes = compression::decompress(section, raw)?;
            if let Some(relocations) = relocations {
                self.relocate(section, relocations, &mut bytes)?;
            }
            Ok(bytes)
        })
        .as_ref()
        .map(|bytes| Some(bytes.as_slice()))
        .map_err(Clone::clone)
    }

    /// The bytes as the file holds them.
    fn raw_section_data(&self, section: &ElfSection) -> Result<&[u8], ElfError> {
        layout::slice(self.image.bytes(), section.sh_offset, section.size).ok_or_else(|| {
            ElfError::Section { section: section.name.clone(), what: "lies outside the file" }
        })
    }

    /// The bytes at `address`, as the file holds them.
    pub fn read(&self, address: LinkAddr, len: u64) -> Option<&[u8]> {
        let section = self.section_at(address).filter(|section| section.has_content())?;
        let offset = address.0.wrapping_sub(section.address.0);
        layout::slice(self.raw_section_data(section).ok()?, offset, len)
    }

    /// The kernel's `linux_banner` without its line feed: `Linux version 6.12.117 (…) …`. Found
    /// by looking through `.rodata`, not by its symbol.
    pub fn linux_banner(&self) -> Option<&[u8]> {
        const START: &[u8] = b"Linux version ";
        let rodata = self.section_data(".rodata").ok()??;
        memchr::memmem::find_iter(rodata, START).find_map(|at| {
            // `linux_proc_banner`, next to it, is a format: `%s version %s`.
            let banner = rodata.get(at..)?;
            let banner = banner.split(|&byte| byte == b'\n' || byte == 0).next()?;
            banner.get(START.len())?.is_ascii_digit().then_some(banner)
        })
    }

    /// The section's bytes are not needed for now: lets a mapping give their memory back.
    pub(crate) fn release(&self, data: &[u8]) {
        let image = self.image.bytes().as_ptr_range();
        let (start, end) = (data.as_ptr() as usize, data.as_ptr_range().end as usize);
        if start >= image.start as usize && end <= image.end as usize {
            let base = image.start as usize;
            self.image.release(start - base..end - base);
        }
    }
}
