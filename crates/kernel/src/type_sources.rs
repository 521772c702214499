//! Where the kernel's types come from: its own BTF, its modules' BTF, or DWARF.
//!
//! The kernel carries its BTF between `__start_BTF` and `__stop_BTF`; each module's lies in the
//! `struct btf` on the list `btf_modules` and goes on where the kernel's ends. A module's is read
//! only when a type is asked for that the kernel's does not have.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_debuginfo::btf::Btf;
use mortis_debuginfo::dwarf::DwarfTypes;
use mortis_debuginfo::types::{Namespace, TypeId, TypeSet, TypeSource};
use mortis_memory::VirtualMemory;
use std::sync::{Arc, OnceLock};

layout! {
    /// A module's entry on `btf_modules`: kernel/bpf/btf.c.
    pub struct BtfModule = "btf_module" {
        list: "list",
        btf: "btf",
        module: "module",
    }
}

layout! {
    /// BTF as the kernel holds it: kernel/bpf/btf.c.
    pub struct BtfStruct = "btf" {
        data: "data",
        data_size: "data_size",
        name: "name",
    }
}

/// The kernel's types and, once asked for, its modules'.
pub struct TypeSources {
    set: TypeSet,
    btf: Option<Arc<Btf>>,
    modules: OnceLock<Vec<KernelError>>,
}

impl TypeSources {
    pub(crate) fn open(kernel: &Kernel) -> Result<Self> {
        let no_btf = if kernel.options().without_btf {
            "BTF is switched off".to_owned()
        } else {
            match read_btf(kernel) {
                Ok(btf) => {
                    let btf = Arc::new(btf);
                    let set = TypeSet::with(Arc::clone(&btf) as Arc<dyn TypeSource>);
                    return Ok(Self { set, btf: Some(btf), modules: OnceLock::new() });
                }
                Err(KernelError::NoTypes(why)) => why,
                Err(error) => error.to_string(),
            }
        };
        match kernel.vmlinux() {
            Some(vmlinux) => {
                let types = vmlinux
                    .types()
                    .map_err(|error| KernelError::NoTypes(format!("{no_btf}; {error}")))?;
                Ok(Self { set: TypeSet::with(types), btf: None, modules: OnceLock::new() })
            }
            None => Err(KernelError::NoTypes(format!("{no_btf}, and no vmlinux was given"))),
        }
    }

    /// All of them as one source.
    pub fn set(&self) -> &TypeSet {
        &self.set
    }

    /// Adds the types of a file's DWARF, unless they were added before.
    pub(crate) fn add_dwarf(&self, types: &Arc<DwarfTypes>) {
        if !self.set.origins().iter().any(|origin| origin == types.origin()) {
            self.set.add(Arc::clone(types) as Arc<dyn TypeSource>);
        }
    }

    /// Adds the modules' types, once; returns what was in the way.
    pub fn add_modules(&self, kernel: &Kernel) -> &[KernelError] {
        self.modules.get_or_init(|| {
            let Some(base) = &self.btf else { return Vec::new() };
            let mut problems = Vec::new();
            if let Err(error) = self.read_modules(kernel, base, &mut problems) {
                problems.push(error);
            }
            problems
        })
    }

    fn read_modules(
        &self,
        kernel: &Kernel,
        base: &Arc<Btf>,
        problems: &mut Vec<KernelError>,
    ) -> Result<()> {
        let entry_layout = kernel.layout::<BtfModule>()?;
        let btf_layout = kernel.layout::<BtfStruct>()?;
        let head = kernel.symbol("btf_modules")?;
        for link in ListHead::new(kernel, "list of modules' BTF", head) {
            let entry = entry_layout.list.container(link?)?;
            let btf = entry_layout.btf.pointer(kernel, entry)?;
            let name = btf_layout.name.text(kernel, btf).unwrap_or_default();
            let bytes = btf_layout.data.pointer(kernel, btf).and_then(|data| {
                let size = btf_layout.data_size.u64(kernel, btf)?;
                Ok(kernel.read_bytes(data, size)?)
            });
            let split = bytes.and_then(|bytes| {
                Btf::split(format!("BTF of {name}"), Arc::new(bytes), Arc::clone(base))
                    .map_err(|error| KernelError::NoTypes(format!("BTF of {name}: {error}")))
            });
            match split {
                Ok(split) => self.set.add_split(Arc::new(split), u64::from(base.end_id())),
                Err(error) => problems.push(error),
            }
        }
        Ok(())
    }
}

fn read_btf(kernel: &Kernel) -> Result<Btf> {
    // A vmlinux of the same build holds the same bytes, and plainly: mapped, not decompressed.
    let mapped = kernel.vmlinux().and_then(|vmlinux| {
        let section = vmlinux.elf().shared_section_data(".BTF").ok()??;
        Btf::new("BTF in the vmlinux", Arc::new(section)).ok()
    });
    if let Some(btf) = mapped {
        return Ok(btf);
    }
    let start = kernel.symbol("__start_BTF")?;
    let stop = kernel.symbol("__stop_BTF")?;
    Btf::read("BTF in the dump", kernel, start..stop)
        .map_err(|error| KernelError::NoTypes(error.to_string()))
}

impl Kernel {
    /// Looks a type up by name, in the kernel's types and then in its modules'.
    ///
    /// # Errors
    /// When there are no types at all.
    pub fn find_type(&self, namespace: Namespace, name: &str) -> Result<Option<TypeId>> {
        let sources = self.type_sources()?;
        if let Some(found) = sources.set().lookup(namespace, name) {
            return Ok(Some(found));
        }
        sources.add_modules(self);
        if let Some(found) = sources.set().lookup(namespace, name) {
            return Ok(Some(found));
        }
        for file in self.module_files() {
            if let Some(types) = file.types() {
                sources.add_dwarf(types);
            }
        }
        Ok(sources.set().lookup(namespace, name))
    }
}
