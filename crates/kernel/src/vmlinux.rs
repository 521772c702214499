//! The kernel's file with debug information: what it adds to what the dump says of itself.

use crate::kernel::OpenKernelError;
use mortis_debuginfo::dwarf::{Dwarf, DwarfError, DwarfTypes, SourceFrame, SourceLine};
use mortis_debuginfo::elf::{ElfError, ElfFile, ElfSymbolKind};
use mortis_debuginfo::symbols::SymbolList;
use mortis_debuginfo::types::TypeSource;
use mortis_debuginfo::{Image, MappedFile};
use mortis_memory::{LinkAddr, VirtAddr, VirtualMemory};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Why a file cannot serve as the vmlinux.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmlinuxError {
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
    /// An ELF file, but no kernel.
    #[error("{}: an ELF file, but not a kernel", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
    },
}

/// An open vmlinux.
pub struct Vmlinux {
    path: PathBuf,
    elf: Arc<ElfFile>,
    dwarf: OnceLock<Result<Arc<Dwarf>, DwarfError>>,
}

impl Vmlinux {
    /// Opens and maps a vmlinux. Reads its headers only.
    ///
    /// # Errors
    /// [`VmlinuxError`].
    pub fn open(path: &Path) -> Result<Self, VmlinuxError> {
        let io = |source| VmlinuxError::Io { path: path.to_owned(), source };
        let map = File::open(path).and_then(|file| MappedFile::map(&file)).map_err(io)?;
        Self::from_image(path.to_owned(), Arc::new(map))
    }

    /// Opens a vmlinux whose bytes are at hand.
    ///
    /// # Errors
    /// [`VmlinuxError`].
    pub fn from_image(path: PathBuf, image: Arc<dyn Image>) -> Result<Self, VmlinuxError> {
        let elf = match ElfFile::open(image) {
            Ok(elf) => elf,
            Err(source) => return Err(VmlinuxError::Elf { path, source }),
        };
        if !elf.is_kernel() {
            return Err(VmlinuxError::NotAKernel { path });
        }
        Ok(Self { path, elf: Arc::new(elf), dwarf: OnceLock::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ELF file.
    pub fn elf(&self) -> &Arc<ElfFile> {
        &self.elf
    }

    /// Its DWARF.
    ///
    /// # Errors
    /// When it was stripped, or is damaged.
    pub fn dwarf(&self) -> Result<&Arc<Dwarf>, DwarfError> {
        self.dwarf
            .get_or_init(|| Dwarf::new(Arc::clone(&self.elf)).map(Arc::new))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Its types, from DWARF.
    ///
    /// # Errors
    /// When it has no DWARF.
    pub(crate) fn types(&self) -> Result<Arc<dyn TypeSource>, DwarfError> {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str()).display();
        let dwarf = Arc::clone(self.dwarf()?);
        Ok(Arc::new(DwarfTypes::new(dwarf, format!("DWARF in {name}"))))
    }

    /// Whether it is the vmlinux of the kernel with the build-id `wanted`, in hexadecimal digits.
    /// A vmlinux without a build-id is believed.
    ///
    /// # Errors
    /// [`OpenKernelError::WrongVmlinux`].
    pub(crate) fn check_build_id(&self, wanted: &str) -> Result<(), OpenKernelError> {
        match self.elf.build_id() {
            Ok(Some(found)) if !found.to_string().eq_ignore_ascii_case(wanted) => {
                Err(OpenKernelError::WrongVmlinux {
                    vmlinux: self.path.display().to_string(),
                    found: found.to_string(),
                    wanted: wanted.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether it is the vmlinux of the kernel in `memory`, by the line that kernels introduce
    /// themselves with. VMCOREINFO has no build-id before 5.9.
    ///
    /// # Errors
    /// [`OpenKernelError::OtherKernel`].
    pub(crate) fn check_banner(
        &self,
        memory: &dyn VirtualMemory,
        kaslr_offset: u64,
    ) -> Result<(), OpenKernelError> {
        /// More than any banner has.
        const MAX_BANNER: usize = 1024;
        let (Some(found), Some(link)) =
            (self.elf.linux_banner(), self.link_address(&["linux_banner"]))
        else {
            return Ok(());
        };
        let text = |bytes: &[u8]| {
            let line = bytes.split(|byte| matches!(byte, 0 | b'\n')).next().unwrap_or_default();
            String::from_utf8_lossy(line).into_owned()
        };
        let found = text(found);
        let address = LinkAddr(link).relocate(kaslr_offset);
        match memory.read_c_string(address, MAX_BANNER).map(|bytes| text(&bytes)) {
            Ok(wanted) if wanted != found => Err(OpenKernelError::OtherKernel {
                vmlinux: self.path.display().to_string(),
                found,
                wanted,
            }),
            _ => Ok(()),
        }
    }

    /// Where the linker put the first of `names` that is a symbol.
    pub(crate) fn link_address(&self, names: &[&str]) -> Option<u64> {
        let mut found = vec![None; names.len()];
        for symbol in self.elf.symbols().ok()? {
            if let Some(at) = names.iter().position(|name| name.as_bytes() == symbol.name) {
                found[at].get_or_insert(symbol.address.0);
            }
        }
        found.into_iter().flatten().next()
    }

    /// Whether it has symbols.
    pub(crate) fn has_symbols(&self) -> bool {
        self.elf.symbols().is_ok_and(|mut symbols| symbols.next().is_some())
    }

    /// Its symbols, `kaslr_offset` bytes from where the linker put them; none where it was
    /// stripped. Absolute symbols and per-CPU ones that are offsets stay as they are.
    pub(crate) fn symbols(&self, kaslr_offset: u64) -> SymbolList {
        let Ok(symbols) = self.elf.symbols() else { return SymbolList::default() };
        let sections = self.elf.sections();
        let symbols = symbols.filter_map(|symbol| {
            let name = std::str::from_utf8(symbol.name).ok()?;
            // A label in the middle of `schedule()`, until 2.6.38; crash leaves it out, too.
            if name == "thread_return" {
                return None;
            }
            let section = symbol.section.and_then(|index| sections.get(index));
            let letter = match (symbol.kind, section) {
                // Constants for assembly code, but for those that are kernel addresses.
                (_, None) if symbol.address.0 >> 63 == 0 => return None,
                (_, None) => 'a',
                (ElfSymbolKind::Function, _) if symbol.weak => 'w',
                (ElfSymbolKind::Object, _) if symbol.weak => 'v',
                (_, Some(section)) if section.executable => 't',
                (ElfSymbolKind::Function, _) => 't',
                (ElfSymbolKind::Object, Some(section)) if !section.has_content() => 'b',
                (ElfSymbolKind::Object, Some(section)) if !section.is_writable() => 'r',
                (ElfSymbolKind::Object, _) => 'd',
            };
            let letter = if symbol.global { letter.to_ascii_uppercase() } else { letter };
            let moves = section.is_some_and(|section| section.address.0 != 0);
            let address = symbol.address.relocate(if moves { kaslr_offset } else { 0 });
            Some((name, address, Some(symbol.size).filter(|&size| size != 0), letter))
        });
        // Those of one address by name, as nm sorts them.
        let mut symbols: Vec<_> = symbols.collect();
        symbols.sort_unstable_by_key(|(name, ..)| *name);
        SymbolList::new(None, symbols.into_iter())
    }

    /// The source line of the run-time address `address`.
    pub fn line_at(&self, address: VirtAddr, kaslr_offset: u64) -> Option<SourceLine> {
        self.dwarf().ok()?.line_at(address.unrelocate(kaslr_offset)).ok()?
    }

    /// The functions that the run-time address `address` is in, inlined ones first.
    pub fn frames_at(&self, address: VirtAddr, kaslr_offset: u64) -> Vec<SourceFrame> {
        let dwarf = self.dwarf().ok();
        dwarf
            .and_then(|dwarf| dwarf.frames_at(address.unrelocate(kaslr_offset)).ok())
            .unwrap_or_default()
    }
}
