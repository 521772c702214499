//! Loaded modules: where they lie, and their symbols.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_debuginfo::symbols::{ModuleSymbols, SymbolTable, decode_mod_kallsyms};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::ops::Range;
use std::sync::OnceLock;

layout! {
    /// A loaded module: include/linux/module.h.
    pub struct ModuleStruct = "module" {
        list: "list",
        name: "name",
        state: "state",
        /// An array of `struct module_memory` by use since ac3b43283923 (6.4).
        mem: "mem",
        /// Before that, two parts since 7523e4dc5057 (4.5).
        core_layout: "core_layout",
        init_layout: "init_layout",
        /// And before that, each part's members.
        module_core: "module_core",
        core_size: "core_size",
        module_init: "module_init",
        init_size: "init_size",
        /// The module's own symbols, which are in `kallsyms` since 8244062ef1e5 (4.5).
        symtab: "symtab",
        num_symtab: "num_symtab",
        strtab: "strtab",
        kallsyms: "kallsyms",
        args: "args",
        taints: "taints",
        version: "version",
        srcversion: "srcversion",
        refcnt: "refcnt",
        source_list: "source_list",
        sect_attrs: "sect_attrs",
        percpu: "percpu",
        percpu_size: "percpu_size",
        num_orcs: "arch.num_orcs",
        orc_unwind_ip: "arch.orc_unwind_ip",
        orc_unwind: "arch.orc_unwind",
        btf_data: "btf_data",
        btf_data_size: "btf_data_size",
    }
}

layout! {
    /// One stretch of a module's memory: include/linux/module.h.
    pub struct ModuleMemory = "module_memory" | "module_layout" {
        base: "base",
        size: "size",
        text_size: "text_size",
        ro_size: "ro_size",
    }
}

layout! {
    /// A module's own symbols: kernel/module/internal.h.
    pub struct ModKallsyms = "mod_kallsyms" {
        symtab: "symtab",
        num_symtab: "num_symtab",
        strtab: "strtab",
        /// Since 1c7651f43777 (5.2).
        typetab: "typetab",
    }
}

/// What a stretch of a module's memory is for: `enum mod_mem_type`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ModuleMemoryKind {
    Text,
    Data,
    Rodata,
    RoAfterInit,
    InitText,
    InitData,
    InitRodata,
    /// Text and data in one, as before 6.4.
    Core,
    /// The part that is freed after start-up, as before 6.4.
    Init,
}

impl ModuleMemoryKind {
    const BY_TYPE: [ModuleMemoryKind; 7] = [
        ModuleMemoryKind::Text,
        ModuleMemoryKind::Data,
        ModuleMemoryKind::Rodata,
        ModuleMemoryKind::RoAfterInit,
        ModuleMemoryKind::InitText,
        ModuleMemoryKind::InitData,
        ModuleMemoryKind::InitRodata,
    ];

    /// Whether it is there only while the module starts.
    pub const fn is_init(self) -> bool {
        matches!(
            self,
            ModuleMemoryKind::InitText
                | ModuleMemoryKind::InitData
                | ModuleMemoryKind::InitRodata
                | ModuleMemoryKind::Init
        )
    }
}

/// A stretch of a module's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRange {
    /// What it is for.
    pub kind: ModuleMemoryKind,
    /// Where it is.
    pub range: Range<VirtAddr>,
}

/// A module in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its `struct module`.
    pub address: VirtAddr,
    /// Its name.
    pub name: String,
    /// Its memory, in the order of [`ModuleMemoryKind`].
    pub ranges: Vec<ModuleRange>,
}

/// The symbols of each module of the list that somebody asked about; `None` where they cannot be
/// read.
pub(crate) type ModuleSymbolsByIndex = Vec<OnceLock<Option<ModuleSymbols>>>;

/// `MODULE_STATE_UNFORMED` of `enum module_state`: on the list, not yet filled in.
const MODULE_STATE_UNFORMED: u64 = 3;

/// More bytes than a module's symbol table or names take.
const MAX_TABLE: u64 = 64 << 20;

impl Module {
    fn read(kernel: &Kernel, address: VirtAddr) -> Result<Self> {
        let layout = kernel.layout::<ModuleStruct>()?;
        let name = layout.name.text(kernel, address)?;
        let mut module = Self { address, name, ranges: Vec::new() };
        if layout.module_core.exists() {
            let parts = [
                (ModuleMemoryKind::Core, &layout.module_core, &layout.core_size),
                (ModuleMemoryKind::Init, &layout.module_init, &layout.init_size),
            ];
            for (kind, base, size) in parts {
                let base = base.pointer(kernel, address)?;
                let size = size.u64(kernel, address)?;
                if !base.is_null() && size != 0 {
                    module.ranges.push(ModuleRange { kind, range: base..base.offset(size) });
                }
            }
            return Ok(module);
        }
        let memory = kernel.layout::<ModuleMemory>()?;
        if layout.mem.exists() {
            let first = layout.mem.address(address)?;
            for (index, kind) in ModuleMemoryKind::BY_TYPE.into_iter().enumerate() {
                module.add_range(
                    kernel,
                    &memory,
                    kind,
                    first.offset(index as u64 * memory.size_of),
                )?;
            }
        } else {
            let core = layout.core_layout.address(address)?;
            module.add_range(kernel, &memory, ModuleMemoryKind::Core, core)?;
            let init = layout.init_layout.address(address)?;
            module.add_range(kernel, &memory, ModuleMemoryKind::Init, init)?;
        }
        Ok(module)
    }

    fn add_range(
        &mut self,
        kernel: &Kernel,
        layout: &ModuleMemory,
        kind: ModuleMemoryKind,
        at: VirtAddr,
    ) -> Result<()> {
        let base = layout.base.pointer(kernel, at)?;
        let size = layout.size.u64(kernel, at)?;
        if !base.is_null() && size != 0 {
            self.ranges.push(ModuleRange { kind, range: base..base.offset(size) });
        }
        Ok(())
    }

    /// Where its text starts, or its first memory where it has no text.
    pub fn base(&self) -> VirtAddr {
        self.ranges.first().map_or(VirtAddr(0), |range| range.range.start)
    }

    /// Bytes of all its memory that stays after start-up.
    pub fn size(&self) -> u64 {
        let stays = self.ranges.iter().filter(|range| !range.kind.is_init());
        stays.map(|range| range.range.end.0.wrapping_sub(range.range.start.0)).sum()
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: VirtAddr) -> bool {
        self.ranges.iter().any(|range| range.range.contains(&address))
    }

    /// Where its per-CPU variables lie, as offsets into each CPU's area; `None` where it has none.
    pub fn per_cpu_range(&self, kernel: &Kernel) -> Option<Range<VirtAddr>> {
        let layout = kernel.layout::<ModuleStruct>().ok()?;
        let start = layout.percpu.pointer(kernel, self.address).ok()?;
        let size = layout.percpu_size.u64(kernel, self.address).ok()?;
        (size != 0).then(|| start..start.offset(size))
    }

    /// Reads its symbols.
    ///
    /// # Errors
    /// When its `struct mod_kallsyms` or a table of it is out of reach.
    pub fn symbols(&self, kernel: &Kernel) -> Result<ModuleSymbols> {
        let module = kernel.layout::<ModuleStruct>()?;
        let apart = module.kallsyms.exists().then(|| kernel.layout::<ModKallsyms>()).transpose()?;
        let (num_symtab, symtab, strtab, at) = match &apart {
            Some(layout) => {
                let at = module.kallsyms.pointer(kernel, self.address)?;
                (&layout.num_symtab, &layout.symtab, &layout.strtab, at)
            }
            None => (&module.num_symtab, &module.symtab, &module.strtab, self.address),
        };
        let count = num_symtab.u64(kernel, at)?.min(MAX_TABLE / 24);
        let symtab = kernel.read_bytes(symtab.pointer(kernel, at)?, count * 24)?;
        let typetab = match apart.as_ref().map(|layout| layout.typetab.pointer(kernel, at)) {
            Some(Ok(typetab)) => kernel.read_bytes(typetab, count)?,
            _ => Vec::new(),
        };
        // Nothing says how long the names are; the last one starts at the highest offset.
        let names_len = symtab
            .chunks_exact(24)
            .filter_map(|symbol| symbol.first_chunk::<4>())
            .map(|name| u64::from(u32::from_le_bytes(*name)))
            .max()
            .map_or(0, |last| (last + 512).min(MAX_TABLE));
        let strtab = self.read_names(kernel, strtab.pointer(kernel, at)?, names_len);
        let mut symbols = Vec::new();
        decode_mod_kallsyms(&symtab, &typetab, &strtab, |name, address, letter| {
            symbols.push((name.to_owned(), address, letter));
        });
        Ok(ModuleSymbols::new(
            &self.name,
            self.ranges.iter().map(|range| range.range.clone()),
            symbols.iter().map(|(name, address, letter)| (name.as_str(), *address, *letter)),
        ))
    }

    /// Reads up to `len` bytes, fewer where the memory behind the names is not mapped.
    fn read_names(&self, kernel: &Kernel, at: VirtAddr, len: u64) -> Vec<u8> {
        kernel.read_bytes(at, len).unwrap_or_else(|_| {
            let mut names = Vec::new();
            while (names.len() as u64) < len {
                let from = at.offset(names.len() as u64);
                let step = (4096 - from.0 % 4096).min(len - names.len() as u64);
                match kernel.read_bytes(from, step) {
                    Ok(bytes) => names.extend(bytes),
                    Err(_) => break,
                }
            }
            names
        })
    }
}

impl Kernel {
    /// The modules, newest first as the kernel lists them, and what ended the list before its
    /// time.
    pub fn modules(&self) -> (&[Module], Option<&KernelError>) {
        let (modules, problem) = self.modules.get_or_init(|| {
            let mut modules = Vec::new();
            let problem = self.read_modules(&mut modules).err();
            (modules, problem)
        });
        (modules, problem.as_ref())
    }

    fn read_modules(&self, modules: &mut Vec<Module>) -> Result<()> {
        let layout = self.layout::<ModuleStruct>()?;
        let head = self.symbol("modules")?;
        let mut problem = None;
        for link in ListHead::new(self, "list of modules", head) {
            let address = layout.list.container(link?)?;
            if layout.state.u64(self, address)? == MODULE_STATE_UNFORMED {
                continue;
            }
            // One that is damaged does not hide those behind it.
            match Module::read(self, address) {
                Ok(module) => modules.push(module),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// The module that `address` lies in.
    pub fn module_at(&self, address: VirtAddr) -> Option<&Module> {
        self.modules().0.iter().find(|module| module.contains(address))
    }

    /// The symbols of the module that `address` lies in, read when they are first asked for.
    pub(crate) fn symbols_of_module_at(&self, address: VirtAddr) -> Option<&ModuleSymbols> {
        let (modules, _) = self.modules();
        let index = modules.iter().position(|module| module.contains(address))?;
        let symbols = self
            .module_symbols
            .get_or_init(|| modules.iter().map(|_| OnceLock::new()).collect())
            .get(index)?;
        symbols.get_or_init(|| modules.get(index)?.symbols(self).ok()).as_ref()
    }

    pub(crate) fn ensure_module_symbols(&self, symbols: &SymbolTable) {
        if symbols.modules().is_empty() {
            let (modules, _) = self.modules();
            symbols.set_modules(
                modules.iter().filter_map(|module| module.symbols(self).ok()).collect(),
            );
        }
    }
}
