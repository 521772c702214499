//! Every symbol of a running kernel: its own, its modules', and a vmlinux's.

use super::{ModuleSymbols, Symbol, SymbolList};
use crate::kallsyms::Kallsyms;
use mortis_memory::VirtAddr;
use std::sync::{Arc, OnceLock};

/// Joins the kernel's kallsyms, the symbols of its modules and, where there is a vmlinux, its ELF
/// symbol table.
///
/// Modules and ELF symbols may be set once each, later and through `&self`: most commands ask for
/// neither. The kernel's names go before the modules', and kallsyms before ELF: kallsyms holds
/// what the kernel itself would print.
#[derive(Debug, Default)]
pub struct SymbolTable {
    kallsyms: Option<Arc<Kallsyms>>,
    elf: OnceLock<SymbolList>,
    modules: OnceLock<Vec<ModuleSymbols>>,
}

impl SymbolTable {
    /// A table over the kernel's own symbols, or over none (to be filled by
    /// [`SymbolTable::set_elf`]).
    pub fn new(kallsyms: Option<Arc<Kallsyms>>) -> Self {
        Self { kallsyms, ..Self::default() }
    }

    /// The kernel's own symbols.
    pub fn kallsyms(&self) -> Option<&Arc<Kallsyms>> {
        self.kallsyms.as_ref()
    }

    /// Adds the ELF symbol table of the kernel, at run-time addresses. Returns false, and changes
    /// nothing, where there is one already.
    pub fn set_elf(&self, symbols: SymbolList) -> bool {
        self.elf.set(symbols).is_ok()
    }

    /// Adds the modules. Returns false, and changes nothing, where there are some already.
    pub fn set_modules(&self, modules: Vec<ModuleSymbols>) -> bool {
        self.modules.set(modules).is_ok()
    }

    /// The modules, in the order given.
    pub fn modules(&self) -> &[ModuleSymbols] {
        self.modules.get().map_or(&[], Vec::as_slice)
    }

    /// The module whose memory `address` lies in.
    pub fn module_at(&self, address: VirtAddr) -> Option<&ModuleSymbols> {
        self.modules().iter().find(|module| module.contains(address))
    }

    /// Every symbol called `name`, the kernel's before the modules'. `name` may say its module:
    /// `[mod]name` is not C, `name [mod]` is how symbols print, and that is what is understood.
    pub fn lookup_name(&self, name: &str) -> Vec<Symbol> {
        if let Some((symbol, module)) = split_module(name) {
            let modules = self.modules().iter().filter(|known| **known.name() == *module);
            return modules.flat_map(|known| known.symbols().lookup_name(symbol)).collect();
        }
        let mut found: Vec<Symbol> = match &self.kallsyms {
            Some(kallsyms) => kallsyms.lookup_name(name).collect(),
            None => Vec::new(),
        };
        if found.is_empty()
            && let Some(elf) = self.elf.get()
        {
            found.extend(elf.lookup_name(name));
        }
        for module in self.modules() {
            found.extend(module.symbols().lookup_name(name));
        }
        found
    }

    /// The symbol that `name` means: the first global one of the kernel, else its first, else a
    /// module's.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let found = self.lookup_name(name);
        let chosen = found
            .iter()
            .position(|symbol| symbol.module.is_none() && symbol.is_global())
            .unwrap_or(0);
        found.into_iter().nth(chosen)
    }

    /// The address that `name` means; see [`SymbolTable::symbol`].
    pub fn address(&self, name: &str) -> Option<VirtAddr> {
        self.symbol(name).map(|symbol| symbol.address)
    }

    /// The symbol that `address` lies in, and how far in.
    pub fn lookup_address(&self, address: VirtAddr) -> Option<(Symbol, u64)> {
        if let Some(module) = self.module_at(address) {
            return module.lookup_address(address);
        }
        if let Some(found) = self.kallsyms.as_ref().and_then(|table| table.lookup_address(address))
        {
            return Some(found);
        }
        self.elf.get().and_then(|elf| elf.lookup_address(address))
    }

    /// `symbol+offset`, `symbol` at its very start, with the module's name behind it in brackets.
    /// The offset is in decimal, as crash shows it.
    pub fn symbolize(&self, address: VirtAddr) -> Option<String> {
        let (symbol, offset) = self.lookup_address(address)?;
        Some(symbol.with_offset(offset))
    }

    /// Every symbol: the kernel's in the order of addresses, then each module's.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Symbol> + '_> {
        let modules = self.modules().iter().flat_map(|module| module.symbols().iter());
        match (&self.kallsyms, self.elf.get()) {
            (Some(kallsyms), _) => Box::new(kallsyms.iter().chain(modules)),
            (None, Some(elf)) => Box::new(elf.iter().chain(modules)),
            (None, None) => Box::new(modules),
        }
    }

    /// Calls `visit` with name, address, letter and module of every symbol, without building a
    /// [`Symbol`] of each.
    pub fn for_each(&self, mut visit: impl FnMut(&str, VirtAddr, char, Option<&str>)) {
        match (&self.kallsyms, self.elf.get()) {
            (Some(kallsyms), _) => {
                kallsyms.for_each(|name, address, letter| visit(name, address, letter, None));
            }
            (None, Some(elf)) => {
                elf.for_each(|name, address, letter| visit(name, address, letter, None));
            }
            (None, None) => {}
        }
        for module in self.modules() {
            module.symbols().for_each(|name, address, letter| {
                visit(name, address, letter, Some(module.name()));
            });
        }
    }

    /// At most `limit` different names that start with `prefix`, sorted: for completion.
    pub fn with_prefix(&self, prefix: &str, limit: usize) -> Vec<String> {
        let mut names = std::collections::BTreeSet::new();
        self.for_each(|name, _, _, _| {
            let full = names.len() >= limit;
            if !name.starts_with(prefix)
                || full && names.last().is_none_or(|last: &String| **last <= *name)
            {
                return;
            }
            if names.insert(name.to_owned()) && full {
                names.pop_last();
            }
        });
        names.into_iter().collect()
    }
}

/// Splits `name [module]`.
fn split_module(name: &str) -> Option<(&str, &str)> {
    let (symbol, module) = name.strip_suffix(']')?.split_once('[')?;
    Some((symbol.trim_end(), module))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> SymbolTable {
        let table = SymbolTable::new(None);
        table.set_elf(SymbolList::new(
            None,
            [
                ("local", VirtAddr(0x10), None, 't'),
                ("shared", VirtAddr(0x20), None, 't'),
                ("shared", VirtAddr(0x30), None, 'T'),
                ("_end", VirtAddr(0x40), None, 'B'),
            ]
            .into_iter(),
        ));
        table.set_modules(vec![ModuleSymbols::new(
            "ext4",
            [VirtAddr(0x1000)..VirtAddr(0x2000)],
            [("shared", VirtAddr(0x1000), 'T')].into_iter(),
        )]);
        table
    }

    #[test]
    fn a_name_means_the_kernels_global_symbol_first() {
        let table = table();
        assert_eq!(table.lookup_name("shared").len(), 3);
        assert_eq!(table.address("shared"), Some(VirtAddr(0x30)));
        assert_eq!(table.address("shared [ext4]"), Some(VirtAddr(0x1000)));
        assert_eq!(table.address("shared [xfs]"), None);
    }

    #[test]
    fn addresses_are_told_with_their_module() {
        let table = table();
        assert_eq!(table.symbolize(VirtAddr(0x1010)), Some("shared+16 [ext4]".into()));
        assert_eq!(table.symbolize(VirtAddr(0x10)), Some("local".into()));
        assert_eq!(table.symbolize(VirtAddr(0x41)), None);
    }

    #[test]
    fn completion_is_sorted_and_bounded() {
        let table = table();
        assert_eq!(table.with_prefix("", 2), ["_end", "local"]);
        assert_eq!(table.with_prefix("sh", 9), ["shared"]);
    }
}
