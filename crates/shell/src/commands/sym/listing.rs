//! `sym -l`, `-M`, `-m`, `-q` and `-Q`: many symbols at once.

use super::SymbolLine;
use crate::command::CommandError;
use crate::output::{Output, Render, Stop, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_debuginfo::symbols::ModuleSymbols;
use mortis_kernel::Kernel;
use mortis_kernel::modules::{Module, ModuleMemoryKind};
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::ops::Range;

/// Where a stretch of a module's memory starts or ends, among its symbols.
#[derive(Serialize)]
struct Mark {
    address: Hex,
    /// `MODULE TEXT START`.
    mark: String,
    module: String,
}

impl Render for Mark {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:x} {}: {}\n", self.address.0, self.mark, self.module));
    }
}

/// What crash calls a stretch of a module's memory.
fn mark_of(kind: ModuleMemoryKind) -> &'static str {
    match kind {
        ModuleMemoryKind::Text => "MODULE TEXT",
        ModuleMemoryKind::Data => "MODULE DATA",
        ModuleMemoryKind::Rodata => "MODULE RODATA",
        ModuleMemoryKind::RoAfterInit => "MODULE RO_AFTER_INIT",
        ModuleMemoryKind::InitText => "MODULE INIT_TEXT",
        ModuleMemoryKind::InitData => "MODULE INIT_DATA",
        ModuleMemoryKind::InitRodata => "MODULE INIT_RODATA",
        ModuleMemoryKind::Core => "MODULE",
        ModuleMemoryKind::Init => "MODULE INIT",
    }
}

/// Every symbol of the kernel itself, in the order of addresses: of the vmlinux, which has more,
/// or of kallsyms.
fn each_of_kernel(
    kernel: &Kernel,
    mut visit: impl FnMut(&str, VirtAddr, char) -> Result<(), Stop>,
) -> Result<(), CommandError> {
    let symbols = kernel.symbols()?;
    let per_cpu_end = kernel.symbol("__per_cpu_end").map_or(0, |end| end.0);
    let mut result = Ok(());
    let mut visit = |name: &str, address: VirtAddr, letter: char| {
        if result.is_ok() {
            // kallsyms calls per-CPU variables absolute, which their offsets are.
            let per_cpu = letter == 'A' && address.0 <= per_cpu_end;
            result = visit(name, address, if per_cpu { 'D' } else { letter });
        }
    };
    match (kernel.elf_symbols(), symbols.kallsyms()) {
        (Some(elf), _) => elf.for_each(&mut visit),
        (None, Some(kallsyms)) => kallsyms.for_each(&mut visit),
        (None, None) => {}
    }
    Ok(result?)
}

/// Lists every symbol: the kernel's, then the modules'.
pub(super) fn all(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    each_of_kernel(&session.kernel, |name, address, letter| {
        out.emit(&SymbolLine::listed(name, address, letter, None))
    })?;
    modules(session, None, out)
}

/// Lists the symbols of every module, or of the one called `wanted`, between marks of where its
/// memory starts and ends.
pub(super) fn modules(
    session: &Session,
    wanted: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let symbols = kernel.all_symbols()?;
    let mut modules: Vec<&Module> = kernel.modules().0.iter().collect();
    modules.retain(|module| wanted.is_none_or(|name| module.name == name));
    if let (Some(name), true) = (wanted, modules.is_empty()) {
        return Err(CommandError::Message(format!("no module called {name}")));
    }
    modules.sort_by_key(|module| module.base());
    for module in modules {
        let named = |known: &&ModuleSymbols| **known.name() == *module.name;
        let known = symbols.modules().iter().find(named);
        if let Some(per_cpu) = module.per_cpu_range(kernel) {
            between_marks(module, known, "MODULE PERCPU", per_cpu.clone(), per_cpu.end, out)?;
        }
        for part in &module.ranges {
            // Memory of the start is something else's by now, unless the module was starting.
            let end = part.range.end.back(1);
            between_marks(module, known, mark_of(part.kind), part.range.clone(), end, out)?;
        }
    }
    Ok(())
}

fn between_marks(
    module: &Module,
    symbols: Option<&ModuleSymbols>,
    mark: &str,
    range: Range<VirtAddr>,
    end: VirtAddr,
    out: &mut Output,
) -> Result<(), CommandError> {
    let at = |address: VirtAddr, edge: &str| Mark {
        address: Hex(address.0),
        mark: format!("{mark} {edge}"),
        module: module.name.clone(),
    };
    out.emit(&at(range.start, "START"))?;
    let mut result = Ok(());
    if let Some(symbols) = symbols {
        symbols.symbols().for_each(|name, address, letter| {
            if result.is_ok() && range.contains(&address) {
                let line = SymbolLine::listed(name, address, letter, Some(&module.name));
                result = out.emit(&SymbolLine { without_module: true, ..line });
            }
        });
    }
    result?;
    Ok(out.emit(&at(end, "END"))?)
}

/// How many symbols hold a text in their names, and the last of them.
#[derive(Serialize)]
struct Count {
    found: u64,
    last: Option<String>,
}

impl Render for Count {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{} found ", self.found));
        if let Some(last) = &self.last {
            out.push_str(&format!("({last})"));
        }
        out.push('\n');
    }
}

/// Says how many symbols have names that hold `part`.
pub(super) fn count(session: &Session, part: &str, out: &mut Output) -> Result<(), CommandError> {
    let mut count = Count { found: 0, last: None };
    each_holding(session, part, |line| {
        count.found += 1;
        count.last = Some(line.name);
        Ok(())
    })?;
    Ok(out.emit(&count)?)
}

/// Shows the symbols whose names hold `part`, each behind `indent`; says whether there are any.
pub(super) fn holding(
    session: &Session,
    part: &str,
    indent: &'static str,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let mut found = false;
    each_holding(session, part, |line| {
        found = true;
        out.emit(&SymbolLine { indent, ..line })
    })?;
    if !found {
        out.layout(&format!("{indent}(none found)\n"))?;
    }
    Ok(found)
}

fn each_holding(
    session: &Session,
    part: &str,
    mut visit: impl FnMut(SymbolLine) -> Result<(), Stop>,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    each_of_kernel(kernel, |name, address, letter| match name.contains(part) {
        true => visit(SymbolLine::listed(name, address, letter, None)),
        false => session.interrupt.check(),
    })?;
    let symbols = kernel.all_symbols()?;
    let mut modules: Vec<&Module> = kernel.modules().0.iter().collect();
    modules.sort_by_key(|module| module.base());
    let mut result = Ok(());
    for module in modules {
        for known in symbols.modules().iter().filter(|known| **known.name() == *module.name) {
            known.symbols().for_each(|name, address, letter| {
                if result.is_ok() && name.contains(part) {
                    let line = SymbolLine::listed(name, address, letter, Some(&module.name));
                    result = visit(line);
                }
            });
        }
    }
    Ok(result?)
}

/// How crash says that there is no symbol called `name`: with those whose names hold it.
pub(super) fn not_found(session: &Session, name: &str) -> String {
    let mut text = format!("symbol not found: {name}\npossible alternatives:");
    let told = text.len();
    let visited = each_holding(session, name, |line| {
        text.push('\n');
        SymbolLine { indent: "  ", ..line }.render(&mut text, Style::default());
        text.pop();
        Ok(())
    });
    if visited.is_err() || text.len() == told {
        text.push_str("\n  (none found)");
    }
    text
}
