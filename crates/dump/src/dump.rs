//! An open dump: its memory, and what its headers and notes say.

use crate::contents::{Contents, PageCounts};
use crate::cpu_state::CpuState;
use crate::format::{Format, Machine, Timestamp, Utsname};
use crate::kdump;
use crate::notes::Notes;
use crate::open::{self, OpenError, OpenOptions, Opening, Remarks};
use crate::raw::{self, Layout};
use crate::sniff::ContainerKind;
use crate::source::{FileSource, Source};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::vmware;
use mortis_memory::{CpuRegisters, PhysAddr, PhysicalMemory, PhysicalRange, ReadError};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open dump.
pub struct Dump {
    files: Vec<PathBuf>,
    size: u64,
    containers: Vec<ContainerKind>,
    contents: Contents,
    remarks: Remarks,
    /// Stands in front of the memory where there is one.
    view: Option<Arc<dyn PhysicalMemory>>,
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
        Self::open_beside(path.as_ref(), None, &options)
    }

    fn open_beside(
        path: &Path,
        beside: Option<&Path>,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let source = FileSource::open(path)
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Self::from_opening(Arc::new(source), &Opening::of_file(path, options, beside))
    }

    /// Opens raw memory, of which `layout` says where it lies.
    ///
    /// # Errors
    /// As [`Dump::open`]; also when pieces overlap or are not in their file.
    pub fn open_layout(layout: &Layout, options: &OpenOptions) -> Result<Self, OpenError> {
        let (contents, files) = raw::open_layout(layout, options)?;
        let size = files.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len));
        let files = files.into_iter().map(|(file, _)| file).collect();
        let remarks = Remarks::default();
        Ok(Self { files, size, containers: Vec::new(), contents, remarks, view: None })
    }

    /// Opens the dump that several files are together, in any order: the files of a split dump, or
    /// a hypervisor's state beside its memory.
    ///
    /// # Errors
    /// As [`Dump::open`]; also when the files do not belong together.
    pub fn open_files(paths: &[PathBuf], options: &OpenOptions) -> Result<Self, OpenError> {
        let [first, rest @ ..] = paths else {
            return Err(OpenError::Wanting {
                path: PathBuf::new(),
                what: "no file was given".to_owned(),
                advice: "name a dump".to_owned(),
            });
        };
        match rest {
            [] => Self::open_with(first, options.clone()),
            [second] if vmware::is_pair(first, second) => {
                Self::open_beside(first, Some(second), options)
            }
            [second] if vmware::is_pair(second, first) => {
                Self::open_beside(second, Some(first), options)
            }
            _ => {
                let open = |path: &PathBuf| match FileSource::open(path) {
                    Ok(source) => Ok((path.clone(), Arc::new(source) as Arc<dyn Source>)),
                    Err(source) => Err(OpenError::Io { path: path.clone(), source }),
                };
                Self::from_sources(paths.iter().map(open).collect::<Result<_, _>>()?, options)
            }
        }
    }

    /// Opens the dump that several sources are together, as [`Dump::open_files`]; names stand for
    /// them in messages.
    ///
    /// # Errors
    /// As [`Dump::open_files`].
    pub fn from_sources(
        sources: Vec<(PathBuf, Arc<dyn Source>)>,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let files = sources.iter().map(|(path, _)| path.clone()).collect();
        let set = kdump::set::open(sources, options)?;
        Ok(Self {
            files,
            size: set.size,
            containers: set.containers,
            contents: set.contents,
            remarks: set.remarks,
            view: None,
        })
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
        let opening = Opening::new(name.as_ref(), &options);
        Self::from_opening(source, &opening)
    }

    fn from_opening(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Self, OpenError> {
        let own_size = source.len();
        let (mut contents, containers) = open::open(source, opening)?;
        let beside = std::mem::take(&mut contents.beside);
        let len = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let size = beside.iter().map(len).fold(own_size, u64::saturating_add);
        let files = std::iter::once(opening.path.to_owned()).chain(beside).collect();
        let remarks = opening.take_remarks();
        Ok(Self { files, size, containers, contents, remarks, view: None })
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
        self.contents.format
    }

    /// What the dump is wrapped in, outermost first.
    pub fn containers(&self) -> &[ContainerKind] {
        &self.containers
    }

    /// The architecture.
    pub fn machine(&self) -> &Machine {
        &self.contents.machine
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
        match &self.view {
            Some(view) => Arc::clone(view),
            None => Arc::clone(&self.contents.memory) as Arc<dyn PhysicalMemory>,
        }
    }

    /// Whether memory is seen through something.
    pub(crate) fn has_view(&self) -> bool {
        self.view.is_some()
    }

    /// The file out of everything that it is wrapped in; `None` for a dump of several files.
    pub(crate) fn image(&self) -> Option<&Arc<dyn Source>> {
        self.contents.image.as_ref().filter(|_| self.files.len() == 1)
    }

    fn memory_ref(&self) -> &dyn PhysicalMemory {
        match &self.view {
            Some(view) => &**view,
            None => &*self.contents.memory,
        }
    }

    /// All ELF notes, in the order of the file.
    pub fn notes(&self) -> Notes<'_> {
        Notes::new(&self.contents.notes)
    }

    /// The CPUs' registers: by the notes of the kernel that crashed or, where there is none, as the
    /// hypervisor saved them.
    pub fn cpu_registers(&self) -> &[CpuRegisters] {
        &self.contents.cpu_registers
    }

    /// The CPUs as a hypervisor saved them, with control registers; empty for other dumps.
    pub fn cpu_states(&self) -> &[CpuState] {
        &self.contents.cpu_states
    }

    /// What the kernel wrote for readers of dumps, if the dump has it as a note.
    pub fn vmcoreinfo(&self) -> Option<&Vmcoreinfo> {
        self.contents.vmcoreinfo.as_ref()
    }

    /// `utsname` of the kdump header. Empty fields where the writer did not know them.
    pub fn utsname(&self) -> Option<&Utsname> {
        self.contents.kdump.as_ref().map(|kdump| &kdump.utsname)
    }

    /// When the dump was written, as its kdump header has it; QEMU leaves zero.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.contents.kdump.as_ref().map(|kdump| kdump.timestamp)
    }

    /// makedumpfile's `-d`: 1 zero pages, 2 and 4 page cache, 8 user data, 16 free pages.
    /// An ELF file does not tell.
    pub fn dump_level(&self) -> Option<u32> {
        self.contents.kdump.as_ref().map(|kdump| kdump.dump_level)
    }

    /// Whether makedumpfile also left out parts of the kernel's page array (`-e`).
    pub fn is_vmemmap_excluded(&self) -> bool {
        self.contents.kdump.as_ref().is_some_and(|kdump| kdump.vmemmap_excluded)
    }

    /// CPUs by the kdump header.
    pub fn nr_cpus(&self) -> Option<u32> {
        self.contents.kdump.as_ref().map(|kdump| kdump.nr_cpus)
    }

    /// One more than the highest page frame number, by the kdump header.
    pub fn max_mapnr(&self) -> Option<u64> {
        self.contents.kdump.as_ref().map(|kdump| kdump.max_mapnr)
    }

    /// `phys_base` by the kdump header: what relocation added to the kernel's physical address.
    pub fn phys_base(&self) -> Option<u64> {
        self.contents.kdump.as_ref().map(|kdump| kdump.phys_base)
    }

    /// Page frame numbers that this file of a `makedumpfile --split` set holds.
    pub fn split(&self) -> Option<(u64, u64)> {
        self.contents.kdump.as_ref().and_then(|kdump| kdump.split)
    }

    /// The rules by which makedumpfile erased data (`--config`, `--eppic`); what they name reads as
    /// `X` (0x58).
    pub fn erase_info(&self) -> Option<&str> {
        self.contents.erase_info.as_deref()
    }

    /// Whether the collector marked the dump as incomplete: it ran out of space or was stopped.
    pub fn is_incomplete(&self) -> bool {
        self.contents.incomplete
    }

    /// What was noticed on the way into the dump and may explain what is missing: parts of a set
    /// that were not given, a compressed file that ends early.
    pub fn warnings(&self) -> &[String] {
        &self.remarks.warnings
    }

    /// Whether the file is shorter than its headers say. Counts the kdump bitmap on first use.
    pub fn is_truncated(&self) -> bool {
        self.remarks.cut_short || self.contents.memory.is_truncated()
    }

    /// How many pages there are. Counts both kdump bitmaps on first use.
    pub fn page_counts(&self) -> PageCounts {
        self.contents.memory.page_counts()
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump")
            .field("files", &self.files)
            .field("format", &self.contents.format)
            .field("machine", &self.contents.machine)
            .finish_non_exhaustive()
    }
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
