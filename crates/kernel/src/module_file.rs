//! A module's object file: the lines, types and variables that its DWARF adds to what the dump
//! says of the module.
//!
//! The file has no addresses. The kernel keeps where it loaded each section, for
//! `/sys/module/NAME/sections`; a kernel that does not is asked for the module's symbols, and each
//! one that the file has too places its section.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::modules::{Module, ModuleStruct};
use mortis_debuginfo::MappedFile;
use mortis_debuginfo::dwarf::{Dwarf, DwarfError, DwarfTypes, LineRow, SourceFrame, SourceLine};
use mortis_debuginfo::elf::{BuildId, ElfError, ElfFile, ModuleLayout};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

layout! {
    /// Where a module's sections were loaded: kernel/module/sysfs.c.
    struct SectionAttributes = "module_sect_attrs" {
        /// A null-terminated array of pointers.
        attributes: "grp.bin_attrs" | "grp.bin_attrs_new" | "grp.attrs",
    }
}

layout! {
    /// One section, where it has a structure of its own.
    struct SectionAttribute = "module_sect_attr" {
        attribute: "battr" | "mattr",
        address: "address",
    }
}

layout! {
    /// A file in sysfs: include/linux/sysfs.h.
    struct BinAttribute = "bin_attribute" {
        name: "attr.name",
        private: "private",
    }
}

layout! {
    /// A file in sysfs as modules had it: include/linux/sysfs.h.
    struct Attribute = "attribute" {
        name: "name",
    }
}

/// Why a file cannot serve for a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleFileError {
    /// The operating system does not open or map it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It cannot be read as an ELF file.
    #[error("{}: {source}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ElfError,
    },
    /// An ELF file, but no module.
    #[error("{}: an ELF file, but not a kernel module", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
    },
    /// A module of another build.
    #[error("{}: not the module in the dump: its build-id is {found}, the dump's is {wanted}", path.display())]
    OtherBuild {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What the dump needs.
        wanted: String,
    },
    /// The dump does not say where the module's sections are.
    #[error("{}: where the sections are loaded is not known: {why}", path.display())]
    Unplaced {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        why: String,
    },
}

/// The file of a module that is loaded in the dump.
pub struct ModuleFile {
    path: PathBuf,
    elf: Arc<ElfFile>,
    layout: ModuleLayout,
    dwarf: OnceLock<Result<Arc<Dwarf>, DwarfError>>,
    types: OnceLock<Option<Arc<DwarfTypes>>>,
}

/// The note that says which build a module is of.
const BUILD_ID: &str = ".note.gnu.build-id";

/// No module has as many sections, nor as long a name of one.
const MAX_SECTIONS: u64 = 1 << 12;
const MAX_NAME: usize = 256;

/// More bytes than a note with a build-id has.
const MAX_NOTE: u64 = 256;

impl ModuleFile {
    /// Opens the file of `module`, a `.ko` or a `.ko.debug`.
    ///
    /// # Errors
    /// [`ModuleFileError`], also where the file is of another build than the module in the dump.
    pub fn open(
        kernel: &Kernel,
        module: &Module,
        path: &Path,
    ) -> std::result::Result<Self, ModuleFileError> {
        let io = |source| ModuleFileError::Io { path: path.to_owned(), source };
        let map = File::open(path).and_then(|file| MappedFile::map(&file)).map_err(io)?;
        let elf = ElfFile::open(Arc::new(map))
            .map_err(|source| ModuleFileError::Elf { path: path.to_owned(), source })?;
        if !elf.is_module() {
            return Err(ModuleFileError::NotAModule { path: path.to_owned() });
        }
        let sections = match module.sections(kernel) {
            Ok(sections) if !sections.is_empty() => sections,
            recorded => sections_by_symbols(kernel, module, &elf).map_err(|error| {
                let why = recorded.err().unwrap_or(error).to_string();
                ModuleFileError::Unplaced { path: path.to_owned(), why }
            })?,
        };
        check_build(kernel, path, &elf, &sections)?;
        let loaded = sections.iter().map(|(name, address)| (name.as_str(), *address));
        let layout = ModuleLayout::new(&elf, loaded);
        Ok(Self {
            path: path.to_owned(),
            elf: Arc::new(elf),
            layout,
            dwarf: OnceLock::new(),
            types: OnceLock::new(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its DWARF.
    ///
    /// # Errors
    /// When it was stripped, or is damaged.
    pub fn dwarf(&self) -> Result<&Arc<Dwarf>, DwarfError> {
        let open = || Dwarf::new(Arc::clone(&self.elf)).map(Arc::new);
        self.dwarf.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Its types and variables, where it has DWARF.
    pub fn types(&self) -> Option<&Arc<DwarfTypes>> {
        let open = || {
            let name = self.path.file_name().unwrap_or(self.path.as_os_str()).display();
            let dwarf = Arc::clone(self.dwarf().ok()?);
            Some(Arc::new(DwarfTypes::new(dwarf, format!("DWARF in {name}"))))
        };
        self.types.get_or_init(open).as_ref()
    }

    /// The source line of the run-time address `address`.
    pub fn line_at(&self, address: VirtAddr) -> Option<SourceLine> {
        self.dwarf().ok()?.line_at(self.layout.to_link(address)?).ok()?
    }

    /// The functions that the run-time address `address` is in, inlined ones first.
    pub fn frames_at(&self, address: VirtAddr) -> Vec<SourceFrame> {
        let frames = || self.dwarf().ok()?.frames_at(self.layout.to_link(address)?).ok();
        frames().unwrap_or_default()
    }

    fn lines_in(&self, start: VirtAddr, end: VirtAddr) -> Vec<(VirtAddr, SourceLine)> {
        let rows = || {
            let (first, last) =
                (self.layout.to_link(start)?, self.layout.to_link(end.back(1))?.offset(1));
            self.dwarf().ok()?.lines_in(first, last).ok()
        };
        let placed = |row: LineRow| Some((self.layout.to_loaded(row.address)?, row.line));
        rows().unwrap_or_default().into_iter().filter_map(placed).collect()
    }

    /// The name of the section that the run-time address `address` lies in.
    pub fn section_at(&self, address: VirtAddr) -> Option<String> {
        let section = self.elf.section_at(self.layout.to_link(address)?)?;
        Some(section.name.to_string())
    }
}

impl Module {
    /// Its sections and where each was loaded. Those that are only there while a module starts
    /// are listed too; their memory may be something else's by now.
    ///
    /// # Errors
    /// When the kernel does not keep them, or they are out of reach.
    pub fn sections(&self, kernel: &Kernel) -> Result<Vec<(String, VirtAddr)>> {
        let layout = kernel.layout::<ModuleStruct>()?;
        let group = layout.sect_attrs.pointer(kernel, self.address)?;
        let list = kernel.layout::<SectionAttributes>()?.attributes.pointer(kernel, group)?;
        let mut sections = Vec::new();
        for index in 0..MAX_SECTIONS {
            let attribute = kernel.read_pointer(list.offset(index * 8))?;
            if attribute.is_null() {
                break;
            }
            sections.push(read_section(kernel, attribute)?);
        }
        Ok(sections)
    }
}

/// The section that a file in sysfs tells of.
fn read_section(kernel: &Kernel, attribute: VirtAddr) -> Result<(String, VirtAddr)> {
    let file = kernel.layout::<BinAttribute>()?;
    // Without a structure of their own, the file's own pointer is the address.
    let Ok(section) = kernel.layout::<SectionAttribute>() else {
        let name = file.name.string(kernel, attribute, MAX_NAME)?;
        return Ok((name, file.private.pointer(kernel, attribute)?));
    };
    let name = match section.attribute.name() {
        Some("mattr") => kernel.layout::<Attribute>()?.name.string(kernel, attribute, MAX_NAME)?,
        _ => file.name.string(kernel, attribute, MAX_NAME)?,
    };
    let base = section.attribute.container(attribute)?;
    Ok((name, section.address.pointer(kernel, base)?))
}

/// Where the sections are that the module's symbols and the file's place.
fn sections_by_symbols(
    kernel: &Kernel,
    module: &Module,
    elf: &ElfFile,
) -> Result<Vec<(String, VirtAddr)>> {
    let symbols = module.symbols(kernel)?;
    // A name that is used twice places nothing.
    let mut loaded: HashMap<String, Option<VirtAddr>> = HashMap::new();
    symbols.symbols().for_each(|name, address, _| {
        loaded.entry(name.to_owned()).and_modify(|known| *known = None).or_insert(Some(address));
    });
    let mut placed: HashMap<usize, VirtAddr> = HashMap::new();
    let in_file = elf.symbols().map_err(|error| KernelError::Unsupported(error.to_string()))?;
    for symbol in in_file {
        let Some(index) = symbol.section else { continue };
        let Ok(name) = std::str::from_utf8(symbol.name) else { continue };
        if let (Some(Some(address)), Some(section)) = (loaded.get(name), elf.sections().get(index))
        {
            let offset = symbol.address.0.wrapping_sub(section.address.0);
            placed.entry(index).or_insert(address.back(offset));
        }
    }
    let name = |index: usize| elf.sections().get(index).map(|section| section.name.to_string());
    Ok(placed.into_iter().filter_map(|(index, address)| Some((name(index)?, address))).collect())
}

/// Whether `elf` is the module that was loaded, by the build-id that was loaded with it. A file or
/// a dump without one is believed.
fn check_build(
    kernel: &Kernel,
    path: &Path,
    elf: &ElfFile,
    sections: &[(String, VirtAddr)],
) -> std::result::Result<(), ModuleFileError> {
    let Ok(Some(found)) = elf.build_id() else { return Ok(()) };
    let loaded = sections.iter().find(|(name, _)| name == BUILD_ID);
    let Some((_, note)) = loaded else { return Ok(()) };
    let size = elf.section(BUILD_ID).map_or(0, |section| section.size).min(MAX_NOTE);
    let Ok(bytes) = kernel.read_bytes(*note, size) else { return Ok(()) };
    let Some(wanted) = BuildId::find_in_notes(&bytes) else { return Ok(()) };
    let (found, wanted) = (found.to_string(), wanted.to_string());
    if wanted.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    Err(ModuleFileError::OtherBuild { path: path.to_owned(), found, wanted })
}

impl Kernel {
    /// Takes `file` for what is known of the module called `name`.
    pub fn set_module_file(&self, name: &str, file: Arc<ModuleFile>) {
        if let Ok(mut files) = self.module_files.write() {
            files.insert(name.to_owned(), file);
        }
    }

    /// Forgets the file of the module called `name`.
    pub fn forget_module_file(&self, name: &str) {
        if let Ok(mut files) = self.module_files.write() {
            files.remove(name);
        }
    }

    /// The file of the module called `name`, where one was set.
    pub fn module_file(&self, name: &str) -> Option<Arc<ModuleFile>> {
        self.module_files.read().ok()?.get(name).cloned()
    }

    /// All files of modules that were set.
    pub(crate) fn module_files(&self) -> Vec<Arc<ModuleFile>> {
        self.module_files.read().map(|files| files.values().cloned().collect()).unwrap_or_default()
    }

    fn module_file_at(&self, address: VirtAddr) -> Option<Arc<ModuleFile>> {
        if self.module_files.read().ok()?.is_empty() {
            return None;
        }
        self.module_file(&self.module_at(address)?.name)
    }

    /// Whether anything tells source lines of code.
    pub fn has_lines(&self) -> bool {
        self.vmlinux().is_some() || !self.module_files().is_empty()
    }

    /// The source line of the instruction at `address`, from the vmlinux or a module's file. For a
    /// return address, ask for the byte before it.
    pub fn line_at(&self, address: VirtAddr) -> Option<SourceLine> {
        if let Some(file) = self.module_file_at(address) {
            return file.line_at(address);
        }
        self.vmlinux()?.line_at(address, self.kaslr_offset())
    }

    /// Where the lines' instructions start in `start..end`, ascending.
    pub fn lines_in(&self, start: VirtAddr, end: VirtAddr) -> Vec<(VirtAddr, SourceLine)> {
        if let Some(file) = self.module_file_at(start) {
            return file.lines_in(start, end);
        }
        let offset = self.kaslr_offset();
        let dwarf = self.vmlinux().and_then(|vmlinux| vmlinux.dwarf().ok());
        let rows = dwarf.and_then(|dwarf| {
            dwarf.lines_in(start.unrelocate(offset), end.unrelocate(offset)).ok()
        });
        let placed = |row: LineRow| (row.address.relocate(offset), row.line);
        rows.unwrap_or_default().into_iter().map(placed).collect()
    }

    /// The functions whose source `address` belongs to, inlined ones first, with their lines.
    /// Empty where neither the vmlinux nor a module's file knows it.
    pub fn frames_at(&self, address: VirtAddr) -> Vec<SourceFrame> {
        if let Some(file) = self.module_file_at(address) {
            return file.frames_at(address);
        }
        self.vmlinux()
            .map(|vmlinux| vmlinux.frames_at(address, self.kaslr_offset()))
            .unwrap_or_default()
    }

    /// The name of the section that `address` lies in, from the vmlinux or a module's file.
    pub fn section_at(&self, address: VirtAddr) -> Option<String> {
        if let Some(file) = self.module_file_at(address) {
            return file.section_at(address);
        }
        let elf = self.vmlinux()?.elf();
        let section = elf
            .section_at(address.unrelocate(self.kaslr_offset()))
            .or_else(|| elf.section_at(address.unrelocate(0)))?;
        Some(section.name.to_string())
    }
}
