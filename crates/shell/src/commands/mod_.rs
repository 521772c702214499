//! `mod`: the loaded modules.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::modules::{Module, ModuleMemoryKind};
use serde::Serialize;

/// `mod`.
pub const COMMAND: Command = Command {
    name: "mod",
    aliases: &[],
    summary: "the loaded modules",
    synopsis: "[-t]",
    options: &[
        flag('t', "only the modules that taint the kernel, and how"),
        value('s', "module", "load symbols: not needed"),
        flag('S', "load the symbols of all modules: not needed"),
        value('d', "module", "unload symbols: not needed"),
        flag('D', "unload the symbols of all modules: not needed"),
    ],
    help: "Symbols and types of modules come from the dump; nothing has to be loaded.\n\n\
           Examples:\n  mod\n  mod -t",
    run,
};

/// A module.
#[derive(Serialize)]
struct ModuleRow {
    module: Hex,
    name: String,
    text_base: Hex,
    size: u64,
    #[serde(skip)]
    name_width: usize,
    #[serde(skip)]
    size_width: usize,
}

impl Render for ModuleRow {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!(
            "{:>16x}  {:<name_width$}  {:>16x}  {:>size_width$}  (not loaded)  [CONFIG_KALLSYMS]\n",
            self.module.0,
            self.name,
            self.text_base.0,
            self.size,
            name_width = self.name_width,
            size_width = self.size_width,
        ));
    }
}

/// A module that taints the kernel.
#[derive(Serialize)]
struct TaintRow {
    name: String,
    taints: Known<String>,
    #[serde(skip)]
    name_width: usize,
}

impl Render for TaintRow {
    fn render(&self, out: &mut String, _: Style) {
        let width = self.name_width;
        out.push_str(&format!("{:<width$}  {}\n", self.name, self.taints));
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if ['s', 'S', 'd', 'D'].iter().any(|&option| arguments.has(option)) {
        out.warn("symbols come from the dump: none are loaded from files");
    }
    let (modules, problem) = session.kernel.modules();
    if let Some(problem) = problem {
        if modules.is_empty() {
            return Err(problem.clone().into());
        }
        out.warn(format!("some modules may be missing: {problem}"));
    }
    let mut modules: Vec<&Module> = modules.iter().collect();
    modules.sort_by_key(|module| module.base());
    if let Some(wanted) = arguments.value('s').or(arguments.value('d')) {
        modules.retain(|module| module.name == wanted);
        if modules.is_empty() {
            return Err(CommandError::Message(format!("no module called {wanted}")));
        }
    }
    if arguments.has('t') { taints(session, &modules, out) } else { list(&modules, out) }
}

fn list(modules: &[&Module], out: &mut Output) -> Result<(), CommandError> {
    if modules.is_empty() {
        return Ok(out.layout("no modules installed\n")?);
    }
    let name_width = modules.iter().map(|module| module.name.len()).max().unwrap_or(0);
    let size_width =
        modules.iter().map(|module| module.size().to_string().len()).max().unwrap_or(0);
    // Text and data have separate bases since 6.4.
    let is_text =
        |module: &&Module| module.ranges.iter().any(|range| range.kind == ModuleMemoryKind::Text);
    let base = if modules.iter().any(is_text) { "TEXT_BASE" } else { "BASE" };
    out.layout(&format!(
        "{:^16}  {:<name_width$}  {base:^16}  {:>size_width$}  OBJECT FILE\n",
        "MODULE", "NAME", "SIZE"
    ))?;
    for module in modules {
        out.emit(&ModuleRow {
            module: Hex(module.address.0),
            name: module.name.clone(),
            text_base: Hex(module.base().0),
            size: module.size(),
            name_width,
            size_width,
        })?;
    }
    Ok(())
}

fn taints(session: &Session, modules: &[&Module], out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let kinds = kernel.taints()?;
    let letters = |mask: u64| -> String {
        let set = kinds.iter().filter(|taint| taint.of_module && mask >> taint.bit & 1 != 0);
        set.map(|taint| taint.set).collect()
    };
    let tainted: Vec<(&Module, Known<String>)> = modules
        .iter()
        .map(|&module| (module, Known::from(module.taint_mask(kernel))))
        .filter(|(_, mask)| mask.value() != Some(&0))
        .map(|(module, mask)| (module, mask.map(letters)))
        .collect();
    if tainted.is_empty() {
        return Ok(out.layout("no tainted modules\n")?);
    }
    let name_width = tainted.iter().map(|(module, _)| module.name.len()).max().unwrap_or(0);
    out.layout(&format!("{:<name_width$}  TAINTS\n", "NAME"))?;
    for (module, taints) in tainted {
        out.emit(&TaintRow { name: module.name.clone(), taints, name_width })?;
    }
    Ok(())
}
