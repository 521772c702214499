//! `mod`: the loaded modules.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::module_search::ModuleFiles;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::module_file::ModuleFile;
use mortis_kernel::modules::{Module, ModuleMemoryKind};
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// `mod`.
pub const COMMAND: Command = Command {
    name: "mod",
    aliases: &[],
    summary: "the loaded modules, and the files that tell more of them",
    synopsis: "-s module [objfile] | -d module | -S [directory] [-D|-t|-r|-R|-o|-g]",
    options: &[
        value('s', "module", "use the module's file: objfile, or the one that is found"),
        flag('S', "use the files of all modules, found below a directory or in the usual places"),
        value('d', "module", "use the module's file no longer"),
        flag('D', "use no module's file any longer"),
        flag('t', "only the modules that taint the kernel, and how"),
        flag('R', "the same as -D, with a list behind it"),
        flag('r', "accepted, as in crash; nothing has to be read at once here"),
        flag('g', "accepted, as in crash"),
        flag('o', "accepted, as in crash"),
    ],
    help: "Symbols and types of modules come from the dump; nothing has to be loaded for them. The\n\
           file of a module (.ko or .ko.debug) adds source lines, and the types of its variables.\n\
           It is looked for below /usr/lib/debug/lib/modules/RELEASE, beside and below the vmlinux,\n\
           and below /lib/modules/RELEASE. A file of another build is refused.\n\n\
           Examples:\n  mod\n  mod -t\n  mod -S\n  mod -s virtio_net /tmp/virtio_net.ko.debug",
    run,
};

/// A module.
#[derive(Serialize)]
struct ModuleRow {
    module: Hex,
    name: String,
    text_base: Hex,
    size: u64,
    /// The file that is used for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    object_file: Option<String>,
    #[serde(skip)]
    widths: Widths,
}

/// How wide the columns of names and sizes are.
#[derive(Clone, Copy)]
struct Widths {
    name: usize,
    size: usize,
}

impl Render for ModuleRow {
    fn render(&self, out: &mut String, _: Style) {
        let (name_width, size_width) = (self.widths.name, self.widths.size);
        let file = match &self.object_file {
            Some(path) => format!("{path} "),
            None => "(not loaded)  [CONFIG_KALLSYMS]".to_owned(),
        };
        out.push_str(&format!(
            "{:>16x}  {:<name_width$}  {:>16x}  {:>size_width$}  {file}\n",
            self.module.0, self.name, self.text_base.0, self.size,
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
    let kernel = session.kernel.clone();
    let (modules, problem) = kernel.modules();
    if let Some(problem) = problem {
        if modules.is_empty() {
            return Err(problem.clone().into());
        }
        out.warn(format!("some modules may be missing: {problem}"));
    }
    let mut modules: Vec<&Module> = modules.iter().collect();
    modules.sort_by_key(|module| module.base());
    if modules.is_empty() {
        return Ok(out.layout("no modules installed\n")?);
    }
    let usage = || CommandError::Usage(format!("Usage: mod {}", COMMAND.synopsis));
    let main = ['s', 'S', 'd', 'D', 't', 'R'].map(|letter| arguments.count(letter));
    if main.iter().sum::<usize>() > 1 {
        return Err(usage());
    }
    let list = List::new(session, &modules);
    let one = |word: &str| {
        let by_name = modules.iter().find(|module| module.name == word);
        let address = u64::from_str_radix(word, 16).ok().filter(|_| word.len() == 16).map(VirtAddr);
        let at = |module: &&&Module| {
            Some(module.address) == address || address.is_some_and(|it| module.contains(it))
        };
        by_name.or_else(|| modules.iter().find(at)).copied().ok_or_else(usage)
    };
    if let Some(word) = arguments.value('s') {
        let module = one(word)?;
        load(session, module, arguments.first(), out)?;
        list.heading(out)?;
        return list.row(module, out);
    }
    if arguments.has('S') {
        return load_all(session, &list, arguments.first(), out);
    }
    if let Some(word) = arguments.value('d') {
        kernel.forget_module_file(&one(word)?.name);
        return Ok(());
    }
    if arguments.has('D') || arguments.has('R') {
        for module in &modules {
            kernel.forget_module_file(&module.name);
        }
    }
    match (arguments.has('t'), arguments.has('D') || arguments.has('o')) {
        (true, _) => taints(session, &modules, out),
        (false, true) => Ok(()),
        (false, false) => list.whole(out),
    }
}

/// What `mod -s` does.
fn load(
    session: &Session,
    module: &Module,
    objfile: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let name = &module.name;
    let missing =
        || CommandError::Message(format!("cannot find or load object file for {name} module"));
    let given = objfile.map(Path::new).filter(|path| path.exists());
    let file = match given {
        Some(path) => Some(
            ModuleFile::open(&session.kernel, module, path)
                .map_err(|error| CommandError::Message(error.to_string()))?,
        ),
        None => ModuleFiles::find(session, None, out.interrupt())?
            .open(session, module)
            .map_err(|error| CommandError::Message(error.to_string()))?,
    };
    session.kernel.set_module_file(name, Arc::new(file.ok_or_else(missing)?));
    Ok(())
}

/// What `mod -S` does.
fn load_all(
    session: &Session,
    list: &List,
    directory: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let directory = directory.map(Path::new);
    if let Some(path) = directory.filter(|path| !path.is_dir()) {
        let what = format!("{} is not a directory", path.display());
        return Err(CommandError::Usage(format!("{what}\nUsage: mod {}", COMMAND.synopsis)));
    }
    let files = ModuleFiles::find(session, directory, out.interrupt())?;
    let mut missing = Vec::new();
    let mut shown = false;
    for &module in list.modules {
        match files.open(session, module) {
            Ok(Some(file)) => session.kernel.set_module_file(&module.name, Arc::new(file)),
            Ok(None) if session.kernel.module_file(&module.name).is_some() => {}
            Ok(None) => {
                missing.push(format!(
                    "mod: cannot find or load object file for {} module\n",
                    module.name
                ));
                continue;
            }
            Err(error) => {
                missing.push(format!("mod: {error}\n"));
                continue;
            }
        }
        if !std::mem::replace(&mut shown, true) {
            list.heading(out)?;
        }
        list.row(module, out)?;
    }
    match missing.is_empty() {
        true => Ok(()),
        false => {
            out.layout(&missing.concat())?;
            Err(CommandError::Shown(missing.concat()))
        }
    }
}

/// The modules as a table.
struct List<'a> {
    session: &'a Session,
    modules: &'a [&'a Module],
    widths: Widths,
    /// What the column of addresses is called.
    base: &'static str,
}

impl<'a> List<'a> {
    fn new(session: &'a Session, modules: &'a [&'a Module]) -> Self {
        let widest = |width: &dyn Fn(&Module) -> usize| {
            modules.iter().map(|module| width(module)).max().unwrap_or(0)
        };
        // Text and data have separate bases since 6.4.
        let is_text = |module: &&Module| {
            module.ranges.iter().any(|range| range.kind == ModuleMemoryKind::Text)
        };
        Self {
            session,
            modules,
            widths: Widths {
                name: widest(&|module| module.name.len()),
                size: widest(&|module| module.size().to_string().len()),
            },
            base: if modules.iter().any(is_text) { "TEXT_BASE" } else { "BASE" },
        }
    }

    fn whole(&self, out: &mut Output) -> Result<(), CommandError> {
        self.heading(out)?;
        self.modules.iter().try_for_each(|module| self.row(module, out))
    }

    fn heading(&self, out: &mut Output) -> Result<(), CommandError> {
        Ok(out.layout(&format!(
            "{:^16}  {:<name_width$}  {:^16}  {:>size_width$}  OBJECT FILE\n",
            "MODULE",
            "NAME",
            self.base,
            "SIZE",
            name_width = self.widths.name,
            size_width = self.widths.size,
        ))?)
    }

    fn row(&self, module: &Module, out: &mut Output) -> Result<(), CommandError> {
        let file = self.session.kernel.module_file(&module.name);
        Ok(out.emit(&ModuleRow {
            module: Hex(module.address.0),
            name: module.name.clone(),
            text_base: Hex(module.base().0),
            size: module.size(),
            object_file: file.map(|file| file.path().display().to_string()),
            widths: self.widths,
        })?)
    }
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
