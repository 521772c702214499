//! A kernel in a dump: the one object that everything else asks.
//!
//! Opening reads a few pages: VMCOREINFO says where the page table is, and from then on memory can
//! be read. Symbols, types, CPUs, tasks and modules are each found when first asked for, and a
//! dump in which one of them is damaged still gives the others.

use crate::address_space::AddressSpace;
use crate::arch::x86_64;
use crate::backtrace::UnwindContext;
use crate::error::{KernelError, Result};
use crate::image_location::{self, ImageLocation};
use crate::layout::{Layout, Layouts};
use crate::module_file::ModuleFile;
use crate::modules::{Module, ModuleSymbolsByIndex};
use crate::percpu::Cpus;
use crate::task_list::TaskList;
use crate::type_sources::TypeSources;
use crate::vmcoreinfo_search;
use crate::vmlinux::Vmlinux;
use mortis_debuginfo::kallsyms::{Kallsyms, KallsymsTables};
use mortis_debuginfo::symbols::{Symbol, SymbolList, SymbolTable};
use mortis_debuginfo::types::{TypeSet, TypeSource};
use mortis_dump::{Dump, Vmcoreinfo};
use mortis_memory::{PhysAddr, ReadError, VirtAddr, VirtualMemory};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, RwLock};

/// The kernel in a dump.
pub struct Kernel {
    dump: Arc<Dump>,
    vmcoreinfo: Vmcoreinfo,
    memory: AddressSpace,
    kaslr_offset: u64,
    vmlinux: Option<Arc<Vmlinux>>,
    options: Options,
    symbols: OnceLock<Result<SymbolTable>>,
    elf_symbols: OnceLock<SymbolList>,
    pub(crate) types: OnceLock<Result<TypeSources>>,
    no_types: TypeSet,
    layouts: Layouts,
    cpus: OnceLock<Result<Cpus>>,
    pub(crate) task_list: OnceLock<TaskList>,
    pub(crate) modules: OnceLock<(Vec<Module>, Option<KernelError>)>,
    pub(crate) module_symbols: OnceLock<ModuleSymbolsByIndex>,
    pub(crate) module_files: RwLock<BTreeMap<String, Arc<ModuleFile>>>,
    pub(crate) unwind_context: OnceLock<UnwindContext>,
}

/// Choices about where knowledge comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Take types from DWARF even where the dump has BTF.
    pub without_btf: bool,
}

/// Why a dump cannot be opened as a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenKernelError {
    /// Without VMCOREINFO nothing says where the page table is.
    #[error("no VMCOREINFO in the dump's notes or memory, so its kernel cannot be found")]
    NoVmcoreinfo,
    /// A VMCOREINFO key that is needed.
    #[error("VMCOREINFO lacks {0}")]
    NoKey(&'static str),
    /// Without VMCOREINFO, a vmlinux whose page table is nowhere in the dump.
    #[error("no VMCOREINFO in the dump, and no page table in it is that of the vmlinux")]
    NoPageTable,
    /// A vmlinux of another build, by what the kernel says of itself.
    #[error("{vmlinux} is not the dump's: it is '{found}', and the dump's kernel is '{wanted}'")]
    OtherKernel {
        /// The file.
        vmlinux: String,
        /// Its `linux_banner`.
        found: String,
        /// The dump's.
        wanted: String,
    },
    /// A vmlinux that is not the dump's.
    #[error("{vmlinux} does not match the dump: its build-id is {found}, the dump's is {wanted}")]
    WrongVmlinux {
        /// The file.
        vmlinux: String,
        /// What it is.
        found: String,
        /// What the dump needs.
        wanted: String,
    },
    /// Another processor.
    #[error("the dump is of a {0} machine, which is not supported yet")]
    Machine(String),
}

impl Kernel {
    /// Opens the kernel in `dump`, with its `vmlinux` where there is one.
    ///
    /// # Errors
    /// [`OpenKernelError`] when the dump does not say where its page table is, or the vmlinux is
    /// of another kernel.
    pub fn open(
        dump: Arc<Dump>,
        vmlinux: Option<Arc<Vmlinux>>,
        options: Options,
    ) -> Result<Self, OpenKernelError> {
        let vmcoreinfo = match dump.vmcoreinfo() {
            Some(vmcoreinfo) => vmcoreinfo.clone(),
            None => match (vmcoreinfo_search::find(&dump), &vmlinux) {
                (Some(vmcoreinfo), _) => vmcoreinfo,
                (None, Some(_)) => Vmcoreinfo::default(),
                (None, None) => return Err(OpenKernelError::NoVmcoreinfo),
            },
        };
        let image_size = vmcoreinfo
            .number("KERNEL_IMAGE_SIZE")
            .map_or(x86_64::KERNEL_IMAGE_SIZE, i64::cast_unsigned);
        if let (Some(vmlinux), Some(wanted)) = (&vmlinux, vmcoreinfo.build_id()) {
            vmlinux.check_build_id(wanted)?;
        }
        let location = image_location::locate(
            &*dump.memory(),
            dump.phys_base(),
            &vmcoreinfo,
            vmlinux.as_deref(),
        )?;
        let ImageLocation { page_table, phys_base, kaslr_offset } = location;
        let memory = AddressSpace::new(
            dump.memory(),
            page_table,
            VirtAddr(x86_64::START_KERNEL_MAP),
            image_size,
            PhysAddr(phys_base),
        );
        if let (Some(vmlinux), None) = (&vmlinux, vmcoreinfo.build_id()) {
            vmlinux.check_banner(&memory, kaslr_offset)?;
        }
        Ok(Self {
            dump,
            vmcoreinfo,
            memory,
            kaslr_offset,
            vmlinux,
            options,
            symbols: OnceLock::new(),
            elf_symbols: OnceLock::new(),
            types: OnceLock::new(),
            no_types: TypeSet::new(),
            layouts: Layouts::default(),
            cpus: OnceLock::new(),
            task_list: OnceLock::new(),
            modules: OnceLock::new(),
            module_symbols: OnceLock::new(),
            module_files: RwLock::default(),
            unwind_context: OnceLock::new(),
        })
    }

    /// The dump.
    pub fn dump(&self) -> &Dump {
        &self.dump
    }

    /// What the kernel says of itself.
    pub fn vmcoreinfo(&self) -> &Vmcoreinfo {
        &self.vmcoreinfo
    }

    /// The kernel's address space.
    pub fn memory(&self) -> &AddressSpace {
        &self.memory
    }

    /// The vmlinux, where one was given.
    pub fn vmlinux(&self) -> Option<&Arc<Vmlinux>> {
        self.vmlinux.as_ref()
    }

    /// The choices it was opened with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// What KASLR added to the linker's addresses.
    pub fn kaslr_offset(&self) -> u64 {
        self.kaslr_offset
    }

    /// The kernel's own symbols, without its modules'; see [`Kernel::all_symbols`].
    ///
    /// # Errors
    /// When neither kallsyms nor a vmlinux gives any.
    pub fn symbols(&self) -> Result<&SymbolTable> {
        self.symbols.get_or_init(|| self.read_symbols()).as_ref().map_err(Clone::clone)
    }

    fn read_symbols(&self) -> Result<SymbolTable> {
        let symbol = |name: &str| self.vmcoreinfo.symbol(name).map(VirtAddr);
        let anchors: Vec<(&str, VirtAddr)> = ["_stext", "swapper_pg_dir", "init_uts_ns"]
            .into_iter()
            .filter_map(|name| Some((name, symbol(name)?)))
            .collect();
        let read = |tables| Kallsyms::read(&self.memory, &tables, &anchors);
        let kallsyms = KallsymsTables::from_vmcoreinfo(symbol).and_then(read);
        let kallsyms = match kallsyms {
            Ok(kallsyms) => Some(kallsyms),
            Err(_) if self.vmlinux.as_ref().is_some_and(|vmlinux| vmlinux.has_symbols()) => None,
            Err(told) => {
                let found = self.search_kallsyms().ok_or_else(|| {
                    KernelError::NoSymbols(format!(
                        "{told}, and kallsyms was not found in the kernel's image; a vmlinux has \
                         symbols too"
                    ))
                })?;
                Some(read(found).map_err(|error| KernelError::NoSymbols(error.to_string()))?)
            }
        };
        let table = SymbolTable::new(kallsyms.map(Arc::new));
        if let (None, Some(vmlinux)) = (table.kallsyms(), &self.vmlinux) {
            table.set_elf(vmlinux.symbols(self.kaslr_offset()));
        }
        self.learn_direct_map(&table);
        Ok(table)
    }

    /// Kernels before 6.0 do not tell where kallsyms is.
    fn search_kallsyms(&self) -> Option<KallsymsTables> {
        /// Text, and the read-only data behind it: more than any kernel has.
        const SEARCHED: u64 = 128 << 20;
        let start = self.vmcoreinfo.symbol("_stext").map(VirtAddr)?;
        KallsymsTables::search(&self.memory, start..start.offset(SEARCHED))
    }

    /// With KASLR the map of all physical memory starts where `page_offset_base` says.
    fn learn_direct_map(&self, symbols: &SymbolTable) {
        let Some(end) = self.memory.physical().ranges().last().map(|range| range.end) else {
            return;
        };
        let base = symbols
            .address("page_offset_base")
            .and_then(|address| self.memory.read_u64(address).ok())
            .filter(|&base| base >= x86_64::KERNEL_SPACE_START && base % (1 << 21) == 0);
        if let Some(base) = base {
            self.memory.set_direct_map(VirtAddr(base), end.0);
        }
    }

    /// The symbols of the kernel and of its modules.
    ///
    /// # Errors
    /// As [`Kernel::symbols`]. Modules that cannot be read are left out.
    pub fn all_symbols(&self) -> Result<&SymbolTable> {
        let symbols = self.symbols()?;
        self.ensure_module_symbols(symbols);
        Ok(symbols)
    }

    /// The symbols of the vmlinux: those of kallsyms, and what kallsyms leaves out (checksums of
    /// exported symbols, labels). `None` without a vmlinux, or where it was stripped.
    pub fn elf_symbols(&self) -> Option<&SymbolList> {
        let read = || Some(self.vmlinux()?.symbols(self.kaslr_offset()));
        let symbols = self.elf_symbols.get_or_init(|| read().unwrap_or_default());
        Some(symbols).filter(|list| !list.is_empty())
    }

    /// The address of the kernel's symbol `name`.
    ///
    /// # Errors
    /// When there is none, or no symbols at all.
    pub fn symbol(&self, name: &str) -> Result<VirtAddr> {
        if let Some(address) = self.vmcoreinfo.symbol(name) {
            return Ok(VirtAddr(address));
        }
        self.symbols()?.address(name).ok_or_else(|| KernelError::NoSymbol(name.to_owned()))
    }

    /// The symbol that `address` lies in, the kernel's or a module's, and how far in.
    ///
    /// Of modules only the one that `address` lies in is read.
    pub fn symbol_at(&self, address: VirtAddr) -> Option<(Symbol, u64)> {
        let symbols = self.symbols().ok()?;
        if !self.is_module_address(address) {
            return symbols.lookup_address(address);
        }
        match self.symbols_of_module_at(address) {
            Some(module) => module.lookup_address(address),
            None => symbols.lookup_address(address),
        }
    }

    /// `symbol+offset`, with the module's name behind it in brackets.
    pub fn symbolize(&self, address: VirtAddr) -> Option<String> {
        let (symbol, offset) = self.symbol_at(address)?;
        Some(symbol.with_offset(offset))
    }

    /// Whether `address` is outside the kernel's own image, where modules may be.
    fn is_module_address(&self, address: VirtAddr) -> bool {
        self.symbols()
            .ok()
            .and_then(SymbolTable::kallsyms)
            .is_none_or(|kallsyms| kallsyms.lookup_address(address).is_none())
    }

    /// The types: BTF from the dump, or else DWARF.
    ///
    /// # Errors
    /// When the dump has no BTF and there is no vmlinux.
    pub fn types(&self) -> Result<&dyn TypeSource> {
        Ok(self.type_sources()?.set())
    }

    /// The types as a set that more can be made in; an empty one where there are none.
    pub fn type_set(&self) -> &TypeSet {
        self.type_sources().map_or(&self.no_types, TypeSources::set)
    }

    /// Where the kernel's types come from.
    ///
    /// # Errors
    /// As [`Kernel::types`].
    pub fn type_sources(&self) -> Result<&TypeSources> {
        self.types.get_or_init(|| TypeSources::open(self)).as_ref().map_err(Clone::clone)
    }

    /// The layout `L`, resolved against this kernel's types.
    ///
    /// # Errors
    /// When there are no types, or no such structure.
    pub fn layout<L: Layout>(&self) -> Result<Arc<L>> {
        self.layouts.get(self.types()?)
    }

    /// The CPUs.
    ///
    /// # Errors
    /// When the per-CPU offsets or masks cannot be read.
    pub fn cpus(&self) -> Result<&Cpus> {
        self.cpus.get_or_init(|| Cpus::read(self)).as_ref().map_err(Clone::clone)
    }

    /// Reads the number behind the kernel's symbol `name`, `N` bytes wide.
    ///
    /// # Errors
    /// When there is no such symbol or its page is not in the dump.
    pub fn read_symbol<const N: usize>(&self, name: &str) -> Result<u64> {
        let mut bytes = [0; 8];
        let address = self.symbol(name)?;
        self.read(address, &mut bytes[..N.min(8)])?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl VirtualMemory for Kernel {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.memory.read(address, buf)
    }
}
