//! An open dump: its memory, and what its headers and notes say.

use crate::elf::{ElfCore, ElfMemory};
use crate::format::{Format, Machine, Timestamp, Utsname};
use crate::kdump::{Header, HeaderError, KdumpMemory};
use crate::notes::{self, Notes, QemuCpu};
use crate::sniff::{FileKind, Foreign, sniff_source};
use crate::source::{FileSource, Source};
use crate::vmcoreinfo::Vmcoreinfo;
use mortis_memory::{CpuRegisters, PhysAddr, PhysicalMemory, PhysicalRange, ReadError};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What can be chosen when a dump is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Bytes that pages, bitmaps and descriptors may take in memory once they were read.
    pub cache_bytes: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20 }
    }
}

/// Why a file could not be opened as a dump.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system does not open or read the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{}: this is {kind}", path.display())]
    NotADump {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// A kdump header that cannot be used.
    #[error("{}: {source}", path.display())]
    Kdump {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
    /// An ELF core whose headers cannot be read.
    #[error("{}: the ELF headers are damaged or cut off", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
    },
    /// An ELF core without one segment of physical memory.
    #[error("{}: the ELF core has no physical memory in it", path.display())]
    NoMemory {
        /// The file.
        path: PathBuf,
    },
}

/// Pages that a dump speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCounts {
    /// Pages that the machine had.
    pub total: u64,
    /// Those of them that the file should hold.
    pub present: u64,
}

/// An open dump.
pub struct Dump {
    files: Vec<PathBuf>,
    size: u64,
    format: Format,
    memory: Memory,
    /// Stands in front of `memory` where there is one.
    view: Option<Arc<dyn PhysicalMemory>>,
    machine: Machine,
    notes: Vec<u8>,
    cpu_registers: Vec<CpuRegisters>,
    vmcoreinfo: Option<Vmcoreinfo>,
    incomplete: bool,
    elf_truncated: bool,
    kdump: Option<KdumpFacts>,
}

/// What only a kdump header says.
struct KdumpFacts {
    utsname: Utsname,
    timestamp: Timestamp,
    dump_level: u32,
    nr_cpus: u32,
    max_mapnr: u64,
    phys_base: u64,
    vmemmap_excluded: bool,
    split: Option<(u64, u64)>,
}

enum Memory {
    Elf(Arc<ElfMemory>),
    Kdump(Arc<KdumpMemory>),
}

impl Dump {
    /// Opens the dump at `path`, whatever its format.
    ///
    /// # Errors
    /// [`OpenError`], each naming the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// As [`Dump::open`], with options.
    ///
    /// # Errors
    /// As [`Dump::open`].
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let source = FileSource::open(path)
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Self::from_source(Arc::new(source), path, options)
    }

    /// Opens a dump that is not a file; `name` stands for it in messages.
    ///
    /// # Errors
    /// As [`Dump::open`].
    pub fn from_source(
        source: Arc<dyn Source>,
        name: impl AsRef<Path>,
        options: OpenOptions,
    ) -> Result<Self, OpenError> {
        let path = name.as_ref();
        match sniff_source(&*source) {
            FileKind::ElfCore => Self::open_elf(source, path, options),
            FileKind::Kdump => Self::open_kdump(source, path, options),
            kind => Err(OpenError::NotADump { path: path.to_owned(), kind }),
        }
    }

    fn open_elf(
        source: Arc<dyn Source>,
        path: &Path,
        options: OpenOptions,
    ) -> Result<Self, OpenError> {
        const PAGE_SIZE: u64 = 4096;
        let mut core =
            ElfCore::parse(&*source).ok_or_else(|| OpenError::Elf { path: path.to_owned() })?;
        if notes::are_of_a_process(Notes::new(&core.notes)) {
            let kind = FileKind::Foreign(Foreign::UserCore);
            return Err(OpenError::NotADump { path: path.to_owned(), kind });
        }
        if !core.has_memory() {
            return Err(OpenError::NoMemory { path: path.to_owned() });
        }
        let notes = std::mem::take(&mut core.notes);
        let vmcoreinfo = notes::vmcoreinfo_text(Notes::new(&notes)).map(Vmcoreinfo::parse);
        let page_size = vmcoreinfo
            .as_ref()
            .and_then(Vmcoreinfo::page_size)
            .filter(|size| size.is_power_of_two() && (PAGE_SIZE..=65536).contains(size))
            .unwrap_or(PAGE_SIZE);
        Ok(Self {
            files: vec![path.to_owned()],
            size: source.len(),
            format: Format::ElfCore { filtered: core.is_filtered() },
            machine: core.machine.clone(),
            cpu_registers: registers(&core.machine, &notes),
            notes,
            vmcoreinfo,
            incomplete: core.incomplete,
            elf_truncated: core.is_truncated(source.len()),
            kdump: None,
            view: None,
            memory: Memory::Elf(Arc::new(core.into_memory(source, page_size, options.cache_bytes))),
        })
    }

    fn open_kdump(
        source: Arc<dyn Source>,
        path: &Path,
        options: OpenOptions,
    ) -> Result<Self, OpenError> {
        let mut header = Header::parse(&*source)
            .map_err(|source| OpenError::Kdump { path: path.to_owned(), source })?;
        let notes = std::mem::take(&mut header.notes);
        // Version 3 has no notes but VMCOREINFO; from 4 on the header points into the notes.
        let vmcoreinfo = Some(&*header.vmcoreinfo)
            .filter(|text| !text.is_empty())
            .or_else(|| notes::vmcoreinfo_text(Notes::new(&notes)))
            .map(Vmcoreinfo::parse);
        let machine = Machine::from_utsname(&header.utsname.machine);
        Ok(Self {
            files: vec![path.to_owned()],
            size: source.len(),
            format: Format::Kdump { version: header.version, compression: header.compression },
            cpu_registers: registers(&machine, &notes),
            machine,
            notes,
            vmcoreinfo,
            incomplete: header.incomplete,
            elf_truncated: false,
            view: None,
            memory: Memory::Kdump(Arc::new(KdumpMemory::new(source, &header, options.cache_bytes))),
            kdump: Some(KdumpFacts {
                utsname: header.utsname,
                timestamp: header.timestamp,
                dump_level: header.dump_level,
                nr_cpus: header.nr_cpus,
                max_mapnr: header.max_mapnr,
                phys_base: header.phys_base,
                vmemmap_excluded: header.vmemmap_excluded,
                split: header.split,
            }),
        })
    }

    /// The files that the dump is made of.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The format; its `Display` is for people.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The architecture.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The same dump with its memory seen through `view`, which is given the memory below: memory
    /// that is decrypted on the way, say, or in which a test loses pages. Headers, notes and page
    /// counts stay those of the file.
    #[must_use]
    pub fn with_view(
        mut self,
        view: impl FnOnce(Arc<dyn PhysicalMemory>) -> Arc<dyn PhysicalMemory>,
    ) -> Self {
        self.view = Some(view(self.memory()));
        self
    }

    /// The machine's physical memory, to be shared.
    pub fn memory(&self) -> Arc<dyn PhysicalMemory> {
        if let Some(view) = &self.view {
            return Arc::clone(view);
        }
        match &self.memory {
            Memory::Elf(memory) => Arc::clone(memory) as Arc<dyn PhysicalMemory>,
            Memory::Kdump(memory) => Arc::clone(memory) as Arc<dyn PhysicalMemory>,
        }
    }

    fn memory_ref(&self) -> &dyn PhysicalMemory {
        match (&self.view, &self.memory) {
            (Some(view), _) => &**view,
            (None, Memory::Elf(memory)) => &**memory,
            (None, Memory::Kdump(memory)) => &**memory,
        }
    }

    /// All ELF notes, in the order of the file.
    pub fn notes(&self) -> Notes<'_> {
        Notes::new(&self.notes)
    }

    /// The CPUs' registers: by their `NT_PRSTATUS` notes or, where there is none, by QEMU's.
    pub fn cpu_registers(&self) -> &[CpuRegisters] {
        &self.cpu_registers
    }

    /// The CPUs by QEMU's notes, with control registers; empty for other dumps.
    pub fn qemu_cpus(&self) -> Vec<QemuCpu> {
        match self.machine {
            Machine::X86_64 => notes::qemu_cpus(self.notes()),
            _ => Vec::new(),
        }
    }

    /// What the kernel wrote for readers of dumps, if the dump has it as a note.
    pub fn vmcoreinfo(&self) -> Option<&Vmcoreinfo> {
        self.vmcoreinfo.as_ref()
    }

    /// `utsname` of the kdump header. Empty fields where the writer did not know them.
    pub fn utsname(&self) -> Option<&Utsname> {
        self.kdump.as_ref().map(|kdump| &kdump.utsname)
    }

    /// When the dump was written, as its kdump header has it; QEMU leaves zero.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.kdump.as_ref().map(|kdump| kdump.timestamp)
    }

    /// makedumpfile's `-d`: 1 zero pages, 2 and 4 page cache, 8 user data, 16 free pages.
    /// An ELF file does not tell.
    pub fn dump_level(&self) -> Option<u32> {
        self.kdump.as_ref().map(|kdump| kdump.dump_level)
    }

    /// Whether makedumpfile also left out parts of the kernel's page array (`-e`).
    pub fn is_vmemmap_excluded(&self) -> bool {
        self.kdump.as_ref().is_some_and(|kdump| kdump.vmemmap_excluded)
    }

    /// CPUs by the kdump header.
    pub fn nr_cpus(&self) -> Option<u32> {
        self.kdump.as_ref().map(|kdump| kdump.nr_cpus)
    }

    /// One more than the highest page frame number, by the kdump header.
    pub fn max_mapnr(&self) -> Option<u64> {
        self.kdump.as_ref().map(|kdump| kdump.max_mapnr)
    }

    /// `phys_base` by the kdump header: what relocation added to the kernel's physical address.
    pub fn phys_base(&self) -> Option<u64> {
        self.kdump.as_ref().map(|kdump| kdump.phys_base)
    }

    /// Page frame numbers that this file of a `makedumpfile --split` set holds.
    pub fn split(&self) -> Option<(u64, u64)> {
        self.kdump.as_ref().and_then(|kdump| kdump.split)
    }

    /// Whether the collector marked the dump as incomplete: it ran out of space or was stopped.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Whether the file is shorter than its headers say. Counts the kdump bitmap on first use.
    pub fn is_truncated(&self) -> bool {
        match &self.memory {
            Memory::Elf(_) => self.elf_truncated,
            Memory::Kdump(memory) => memory.is_truncated(),
        }
    }

    /// How many pages there are. Counts both kdump bitmaps on first use.
    pub fn page_counts(&self) -> PageCounts {
        match &self.memory {
            Memory::Elf(memory) => {
                let (total, present) = memory.bytes();
                let pages = |bytes: u64| bytes.div_ceil(memory.page_size());
                PageCounts { total: pages(total), present: pages(present) }
            }
            Memory::Kdump(memory) => {
                let (total, present) = memory.page_counts();
                PageCounts { total, present }
            }
        }
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump")
            .field("files", &self.files)
            .field("format", &self.format)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

fn registers(machine: &Machine, notes: &[u8]) -> Vec<CpuRegisters> {
    if *machine != Machine::X86_64 {
        return Vec::new();
    }
    let registers = notes::prstatus_registers(Notes::new(notes));
    if !registers.is_empty() {
        return registers;
    }
    let cpus = notes::qemu_cpus(Notes::new(notes)).into_iter().enumerate();
    cpus.map(|(note_index, cpu)| CpuRegisters { note_index, pid: 0, registers: cpu.registers })
        .collect()
}

impl PhysicalMemory for Dump {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.memory_ref().read(address, buf)
    }

    fn read_once(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.memory_ref().read_once(address, buf)
    }

    fn page_size(&self) -> u64 {
        self.memory_ref().page_size()
    }

    fn probe(&self, address: PhysAddr) -> Result<(), ReadError> {
        self.memory_ref().probe(address)
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        self.memory_ref().ranges()
    }
}
