//! `help -k` and its like: where crash shows its own tables, what is known of the dump and its
//! kernel here.

use crate::arguments::Arguments;
use crate::command::{CommandError, Opt, flag, value};
use crate::context::Context;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_debuginfo::types::{Namespace, TypeSource, find_member, size_of};
use mortis_kernel::Kernel;
use mortis_memory::X86_64Registers;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The options, in the order of crash's `help -z`.
pub const OPTIONS: &[Opt] = &[
    flag('a', "alias data"),
    flag('b', "shared buffer data"),
    flag('B', "build data"),
    flag('c', "numargs cache"),
    flag('d', "device table"),
    flag('D', "dumpfile contents/statistics"),
    flag('e', "extension table data"),
    flag('f', "filesys table"),
    flag('g', "gdb data"),
    flag('h', "hash_table data"),
    flag('H', "hash_table data (verbose)"),
    flag('k', "kernel_table"),
    flag('K', "kernel_table (verbose)"),
    flag('L', "LKCD page cache environment"),
    value('M', "num", "machine specific"),
    flag('m', "machdep_table"),
    flag('N', "net_table"),
    flag('n', "dumpfile contents/statistics"),
    flag('o', "offset_table and size_table"),
    flag('O', "the same"),
    flag('p', "program_context"),
    flag('r', "dump registers from dumpfile header"),
    flag('s', "symbol table data"),
    flag('t', "task_table"),
    flag('T', "task_table plus context_array"),
    flag('v', "vm_table"),
    flag('V', "vm_table (verbose)"),
    flag('z', "help options"),
];

/// The lines of `help -z`.
pub fn list() -> String {
    let shown = OPTIONS.iter().filter(|option| option.letter != 'O');
    let line = |option: &Opt| match option.value {
        Some(value) => format!(" -{} <{value}> {}\n", option.letter, option.help),
        None => format!(" -{} - {}\n", option.letter, option.help),
    };
    std::iter::once("help options:\n".to_owned()).chain(shown.map(line)).collect()
}

/// Answers the first of the options that was given; says whether there was one.
///
/// # Errors
/// When the dump does not tell.
pub fn show(
    session: &Session,
    arguments: &Arguments,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let Some(option) = OPTIONS.iter().find(|option| arguments.has(option.letter)) else {
        return Ok(false);
    };
    match option.letter {
        'D' | 'n' => out.emit(&dump(session))?,
        'k' | 'K' => out.emit(&kernel(session))?,
        'm' | 'M' => out.emit(&machine(session))?,
        'v' | 'V' => out.emit(&memory(session))?,
        's' => out.emit(&symbols(session)?)?,
        'p' => out.emit(&program(session))?,
        't' => out.emit(&tasks(session))?,
        'T' => {
            out.emit(&tasks(session))?;
            for &task in &session.kernel.tasks().tasks {
                out.layout("\n")?;
                out.emit(&Context::read(session, task))?;
            }
        }
        'o' | 'O' => offsets(session, arguments, out)?,
        'r' => registers(session, out)?,
        letter => {
            return Err(CommandError::Message(format!(
                "-{letter} shows a table of crash's own, which mortis does not have"
            )));
        }
    }
    Ok(true)
}

/// Names and values, one below the other.
struct Table(Vec<(&'static str, Value)>);

impl Serialize for Table {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        named.collect::<Map<String, Value>>().serialize(serializer)
    }
}

impl Render for Table {
    fn render(&self, out: &mut String, _: Style) {
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "(unknown)".to_owned(),
            other => other.to_string(),
        };
        for (name, value) in &self.0 {
            let text = match value {
                Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(" "),
                // The note of VMCOREINFO is text of many lines.
                Value::String(text) if text.contains('\n') => {
                    format!("\n{}", text.trim_end())
                }
                other => plain(other),
            };
            out.push_str(&format!("{name:>20}: {text}\n"));
        }
    }
}

fn hex(number: impl Into<u64>) -> Value {
    json!(format!("{:x}", number.into()))
}

fn address(kernel: &Kernel, symbol: &str) -> Value {
    kernel.symbol(symbol).map_or(Value::Null, |address| hex(address.0))
}

fn known<T: Serialize>(known: Result<T, mortis_kernel::KernelError>) -> Value {
    serde_json::to_value(Known::from(known)).unwrap_or_default()
}

fn dump(session: &Session) -> Table {
    let dump = session.kernel.dump();
    let pages = dump.page_counts();
    let notes = dump.notes().map(|note| {
        let owner = String::from_utf8_lossy(note.name).into_owned();
        json!(format!("{owner}:{:x}", note.kind))
    });
    let notes: Vec<Value> = notes.collect();
    Table(vec![
        ("filename", json!(session.files.dump.display().to_string())),
        ("format", json!(dump.format().to_string())),
        ("machine_type", json!(dump.machine().to_string())),
        ("size", json!(dump.size())),
        ("timestamp", json!(dump.timestamp().map(|stamp| stamp.seconds))),
        ("nr_cpus", json!(dump.nr_cpus())),
        ("max_mapnr", json!(dump.max_mapnr())),
        ("pages", json!(pages.total)),
        ("pages_present", json!(pages.present)),
        ("dump_level", json!(dump.dump_level())),
        ("phys_base", dump.phys_base().map_or(Value::Null, hex)),
        ("split", json!(dump.split())),
        ("incomplete", json!(dump.is_incomplete())),
        ("truncated", json!(dump.is_truncated())),
        ("vmemmap_excluded", json!(dump.is_vmemmap_excluded())),
        ("cpu_registers", json!(dump.cpu_registers().len())),
        ("notes", json!(notes)),
        ("vmcoreinfo", json!(session.kernel.vmcoreinfo().text())),
    ])
}

fn kernel(session: &Session) -> Table {
    let kernel = &*session.kernel;
    let name = kernel.name();
    let field = |get: fn(&mortis_kernel::system::KernelName) -> &String| {
        name.as_ref().map_or(Value::Null, |name| json!(get(name)))
    };
    let cpus = kernel.cpus();
    let offsets = cpus.as_ref().map_or(Vec::new(), |cpus| {
        let zero = mortis_memory::VirtAddr(0);
        cpus.possible.iter().filter_map(|&cpu| Some(hex(cpus.address(zero, cpu).ok()?.0))).collect()
    });
    let count = |list: fn(&mortis_kernel::percpu::Cpus) -> usize| {
        cpus.as_ref().map_or(Value::Null, |cpus| json!(list(cpus)))
    };
    Table(vec![
        ("stext", address(kernel, "_stext")),
        ("etext", address(kernel, "_etext")),
        ("stext_init", address(kernel, "_sinittext")),
        ("etext_init", address(kernel, "_einittext")),
        ("init_begin", address(kernel, "__init_begin")),
        ("init_end", address(kernel, "__init_end")),
        ("end", address(kernel, "_end")),
        ("cpus_possible", count(|cpus| cpus.possible.len())),
        ("cpus_present", count(|cpus| cpus.present.len())),
        ("cpus_online", count(|cpus| cpus.online.len())),
        ("mods_installed", json!(kernel.modules().0.len())),
        ("sysname", field(|name| &name.sysname)),
        ("nodename", field(|name| &name.nodename)),
        ("release", field(|name| &name.release)),
        ("version", field(|name| &name.version)),
        ("machine", field(|name| &name.machine)),
        ("build_id", json!(kernel.vmcoreinfo().build_id())),
        ("kaslr_offset", hex(kernel.kaslr_offset())),
        ("ikconfig", json!(if kernel.config().is_ok() { "available" } else { "unavailable" })),
        ("per_cpu_offset", json!(offsets)),
    ])
}

fn machine(session: &Session) -> Table {
    let kernel = &*session.kernel;
    let table = kernel.memory().page_table();
    let base =
        |symbol: &str| known(kernel.read_symbol::<8>(symbol).map(|base| format!("{base:x}")));
    Table(vec![
        ("page_size", json!(kernel.vmcoreinfo().page_size())),
        ("page_table", hex(table.root.0)),
        ("page_table_levels", json!(if table.five_levels { 5 } else { 4 })),
        ("encryption_mask", hex(table.encryption_mask)),
        ("page_offset", base("page_offset_base")),
        ("vmalloc_start", base("vmalloc_base")),
        ("vmemmap", base("vmemmap_base")),
        (
            "phys_base",
            kernel
                .vmcoreinfo()
                .number("phys_base")
                .map_or(Value::Null, |base| hex(base.cast_unsigned())),
        ),
        ("mhz", known(kernel.cpu_mhz())),
    ])
}

fn memory(session: &Session) -> Table {
    let kernel = &*session.kernel;
    let ranges = kernel.memory().physical().ranges();
    let ranges: Vec<Value> = ranges
        .iter()
        .map(|range| json!(format!("{:x}-{:x}", range.start.0, range.end.0)))
        .collect();
    let types = kernel.type_sources().map(|sources| sources.set().origins());
    Table(vec![
        ("kernel_pgd", address(kernel, "swapper_pg_dir")),
        ("present_pages", known(kernel.present_pages())),
        ("max_pfn", known(kernel.max_pfn())),
        ("physical_ranges", json!(ranges)),
        ("types", known(types)),
    ])
}

fn symbols(session: &Session) -> Result<Table, CommandError> {
    let kernel = &*session.kernel;
    let table = kernel.all_symbols()?;
    let mut count = 0u64;
    if let Some(kallsyms) = table.kallsyms() {
        kallsyms.for_each(|_, _, _| count += 1);
    }
    let modules = table.modules().iter().map(|module| module.symbols().len()).sum::<usize>();
    let files = kernel.modules().0.iter().filter_map(|module| {
        let file = kernel.module_file(&module.name)?;
        Some(json!(file.path().display().to_string()))
    });
    Ok(Table(vec![
        ("kallsyms", json!(count)),
        ("vmlinux_symbols", json!(kernel.elf_symbols().map(|list| list.len()))),
        ("module_symbols", json!(modules)),
        ("per_cpu_start", address(kernel, "__per_cpu_start")),
        ("per_cpu_end", address(kernel, "__per_cpu_end")),
        ("module_files", json!(files.collect::<Vec<_>>())),
    ]))
}

fn program(session: &Session) -> Table {
    let vmlinux = session.files.vmlinux.as_ref().map(|path| path.display().to_string());
    Table(vec![
        ("program_name", json!("mortis")),
        ("program_version", json!(env!("CARGO_PKG_VERSION"))),
        ("namelist", json!(vmlinux)),
        ("dumpfile", json!(session.files.dump.display().to_string())),
        ("values_shown", json!(session.printed_values.len())),
    ])
}

fn tasks(session: &Session) -> Table {
    let kernel = &*session.kernel;
    let list = kernel.tasks();
    let running: Vec<Value> =
        session.running_tasks().iter().map(|(_, task)| hex(task.address.0)).collect();
    Table(vec![
        ("current", session.context().map_or(Value::Null, |task| hex(task.address.0))),
        ("running_tasks", json!(list.tasks.len())),
        ("active_set", json!(running)),
        ("panic_task", kernel.panic_task().map_or(Value::Null, |task| hex(task.address.0))),
        ("panic_processor", json!(kernel.panic_cpu())),
        ("init_pid_ns", address(kernel, "init_pid_ns")),
    ])
}

/// An offset or a size, by crash's name for it.
#[derive(Serialize)]
struct Offset {
    name: String,
    /// -1 where the kernel has no such member.
    value: i64,
}

impl Render for Offset {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:>30}: {}\n", self.name, self.value));
    }
}

/// `help -o task_struct_pid`: the offset of the member that the name is made of, or the size of
/// the structure.
fn offsets(session: &Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.words.is_empty() {
        return Err(CommandError::message(
            "offsets are looked up when they are needed; name one (help -o task_struct_pid), or \
             see struct -o",
        ));
    }
    out.layout(&format!("{:>31}\n", "offset_table:"))?;
    for word in &arguments.words {
        let value = offset_of(&session.kernel, word).map_or(-1, u64::cast_signed);
        out.emit(&Offset { name: word.clone(), value })?;
    }
    Ok(())
}

fn offset_of(kernel: &Kernel, name: &str) -> Option<u64> {
    let types = kernel.type_set();
    let find = |tag: &str| {
        let namespaces = [Namespace::Struct, Namespace::Union, Namespace::Typedef];
        namespaces.iter().find_map(|&namespace| kernel.find_type(namespace, tag).ok().flatten())
    };
    if let Some(ty) = find(name) {
        return size_of(types as &dyn TypeSource, ty).ok();
    }
    name.char_indices().rev().filter(|(_, c)| matches!(c, '_' | '.')).find_map(|(at, _)| {
        let ty = find(name.get(..at)?)?;
        let member = find_member(types, ty, name.get(at + 1..)?).ok()?;
        Some(member.bit_offset / 8)
    })
}

/// The registers of one CPU, as they came with the dump.
#[derive(Serialize)]
struct Registers {
    cpu: usize,
    registers: Vec<(&'static str, Hex)>,
    #[serde(skip)]
    values: X86_64Registers,
}

impl Render for Registers {
    fn render(&self, out: &mut String, _: Style) {
        let r = &self.values;
        out.push_str(&format!(
            "CPU {}:\n    RIP: {:016x}  RSP: {:016x}  RFLAGS: {:08x}\n    \
             RAX: {:016x}  RBX: {:016x}  RCX: {:016x}\n    \
             RDX: {:016x}  RSI: {:016x}  RDI: {:016x}\n    \
             RBP: {:016x}   R8: {:016x}   R9: {:016x}\n    \
             R10: {:016x}  R11: {:016x}  R12: {:016x}\n    \
             R13: {:016x}  R14: {:016x}  R15: {:016x}\n    CS: {:04x}  SS: {:04x}\n",
            self.cpu,
            r.rip,
            r.rsp,
            r.rflags,
            r.rax,
            r.rbx,
            r.rcx,
            r.rdx,
            r.rsi,
            r.rdi,
            r.rbp,
            r.r8,
            r.r9,
            r.r10,
            r.r11,
            r.r12,
            r.r13,
            r.r14,
            r.r15,
            r.cs,
            r.ss
        ));
    }
}

fn registers(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let all = session.kernel.dump().cpu_registers();
    if all.is_empty() {
        return Err(CommandError::message("no registers came with the dump"));
    }
    for (index, saved) in all.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        let r = saved.registers;
        let registers = [
            ("rip", r.rip),
            ("rsp", r.rsp),
            ("rflags", r.rflags),
            ("rax", r.rax),
            ("rbx", r.rbx),
            ("rcx", r.rcx),
            ("rdx", r.rdx),
            ("rsi", r.rsi),
            ("rdi", r.rdi),
            ("rbp", r.rbp),
            ("r8", r.r8),
            ("r9", r.r9),
            ("r10", r.r10),
            ("r11", r.r11),
            ("r12", r.r12),
            ("r13", r.r13),
            ("r14", r.r14),
            ("r15", r.r15),
            ("cs", r.cs),
            ("ss", r.ss),
        ];
        out.emit(&Registers {
            cpu: saved.note_index,
            registers: registers.map(|(name, value)| (name, Hex(value))).to_vec(),
            values: r,
        })?;
    }
    Ok(())
}
