//! Where the kernel's unwind tables are: its own, its modules', and text that has none.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::list::{ListHead, SinglyLinked};
use crate::modules::{Module, ModuleMemoryKind, ModuleStruct};
use mortis_debuginfo::elf::ElfFile;
use mortis_debuginfo::symbols::Symbol;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{CfiSection, CfiTable, OrcFormat, OrcLookup, OrcProbe, OrcTable, Tables};
use std::ops::Range;
use std::sync::Arc;

layout! {
    /// A BPF program's or trampoline's text: include/linux/bpf.h.
    struct BpfKsym = "bpf_ksym" {
        start: "start",
        end: "end",
        name: "name",
        lnode: "lnode",
    }
}

layout! {
    /// A user of the function tracer: include/linux/ftrace.h.
    struct FtraceOps = "ftrace_ops" {
        next: "next",
        flags: "flags",
        trampoline: "trampoline",
        trampoline_size: "trampoline_size",
    }
}

/// `FTRACE_OPS_FL_SAVE_REGS` (include/linux/ftrace.h): its trampoline is a copy of
/// `ftrace_regs_caller`, otherwise of `ftrace_caller` (arch/x86/kernel/ftrace.c).
const SAVE_REGS: u64 = 1 << 2;

/// More text than a BPF program or a trampoline has.
const MAX_GENERATED_TEXT: u64 = 16 << 20;

/// More users of the function tracer, or BPF programs, than there are.
const MAX_ENTRIES: usize = 1 << 16;

/// The tables of everything that is text, and the symbols of what was made at run time.
pub(super) fn build(kernel: &Kernel) -> (Tables, Vec<Symbol>) {
    let mut tables = Tables::new();
    let format = add_kernel(kernel, &mut tables);
    for module in kernel.modules().0 {
        add_module(kernel, &mut tables, module, format);
    }
    let mut symbols = Vec::new();
    // Damage in these two lists costs only what they list.
    let _ = add_bpf(kernel, &mut tables, &mut symbols);
    let _ = add_ftrace_trampolines(kernel, &mut tables, &mut symbols);
    symbols.sort_by_key(|symbol| symbol.address);
    (tables, symbols)
}

/// A symbol as the kernel's own kallsyms shows such text: `bpf_prog_6deef7357e7b4530 [bpf]`.
fn generated(name: &str, text: &Range<VirtAddr>, owner: &str) -> Symbol {
    Symbol {
        name: name.into(),
        address: text.start,
        size: Some(text.end.0.wrapping_sub(text.start.0)),
        letter: 't',
        module: Some(owner.into()),
    }
}

/// The range between two symbols.
fn between(kernel: &Kernel, start: &str, end: &str) -> Option<Range<VirtAddr>> {
    let range = kernel.symbol(start).ok()?..kernel.symbol(end).ok()?;
    (range.start < range.end).then_some(range)
}

/// The kernel's own text. Returns the format of its ORC table, in which its modules' are too.
fn add_kernel(kernel: &Kernel, tables: &mut Tables) -> Option<OrcFormat> {
    let texts: Vec<Range<VirtAddr>> = [("_stext", "_etext"), ("_sinittext", "_einittext")]
        .into_iter()
        .filter_map(|(start, end)| between(kernel, start, end))
        .collect();
    for text in &texts {
        tables.add_text(text.clone());
    }
    let orc = kernel_orc(kernel);
    let format = orc.as_ref().map(OrcTable::format);
    match orc {
        Some(orc) => tables.add_orc(texts, orc),
        None => {
            if let Some(cfi) = vmlinux_cfi(kernel) {
                tables.add_cfi(texts, cfi);
            }
        }
    }
    format
}

fn kernel_orc(kernel: &Kernel) -> Option<OrcTable> {
    let ips = between(kernel, "__start_orc_unwind_ip", "__stop_orc_unwind_ip")?;
    let entries = between(kernel, "__start_orc_unwind", "__stop_orc_unwind")?;
    let read = |name: &str| kernel.symbol(name).ok();
    let probe = OrcProbe {
        header: read("__start_orc_header").and_then(|at| bytes_at(kernel, at)),
        fp_entry: read("orc_fp_entry").and_then(|at| bytes_at(kernel, at)),
        entry_text: between(kernel, "__entry_text_start", "__entry_text_end"),
    };
    let table = OrcTable::probe(kernel, ips, entries, &probe).ok()?;
    let lookup = || {
        let blocks = between(kernel, "orc_lookup", "orc_lookup_end")?;
        let text = kernel.symbol("_stext").ok()?;
        Some(OrcLookup { start: blocks.start, end: blocks.end, text })
    };
    Some(match lookup() {
        Some(lookup) => table.with_lookup(lookup),
        None => table,
    })
}

fn bytes_at<const N: usize>(kernel: &Kernel, at: VirtAddr) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    kernel.read(at, &mut bytes).ok()?;
    Some(bytes)
}

/// A section of a vmlinux, read where it is.
struct VmlinuxSection {
    elf: Arc<ElfFile>,
    name: &'static str,
}

impl AsRef<[u8]> for VmlinuxSection {
    fn as_ref(&self) -> &[u8] {
        self.elf.section_data(self.name).ok().flatten().unwrap_or_default()
    }
}

/// Call frame information out of a vmlinux, for a kernel without ORC.
fn vmlinux_cfi(kernel: &Kernel) -> Option<CfiTable> {
    let elf = kernel.vmlinux()?.elf();
    let sections = [(".debug_frame", CfiSection::DebugFrame), (".eh_frame", CfiSection::EhFrame)];
    sections.into_iter().find_map(|(name, kind)| {
        let address = elf.section(name).filter(|section| section.has_content())?.address;
        let data = Arc::new(VmlinuxSection { elf: Arc::clone(elf), name });
        Some(CfiTable::new(data, kind, address.0, kernel.kaslr_offset()))
    })
}

fn add_module(kernel: &Kernel, tables: &mut Tables, module: &Module, format: Option<OrcFormat>) {
    let texts: Vec<Range<VirtAddr>> = module
        .ranges
        .iter()
        .filter(|range| {
            use ModuleMemoryKind::{Core, Init, InitText, Text};
            matches!(range.kind, Text | InitText | Core | Init)
        })
        .map(|range| range.range.clone())
        .collect();
    for text in &texts {
        tables.add_text(text.clone());
    }
    if let Some(format) = format
        && let Ok(Some(orc)) = module_orc(kernel, module, format)
    {
        tables.add_orc(texts, orc);
    }
}

fn module_orc(kernel: &Kernel, module: &Module, format: OrcFormat) -> Result<Option<OrcTable>> {
    let layout = kernel.layout::<ModuleStruct>()?;
    let count = layout.num_orcs.u64(kernel, module.address)?;
    let ips = layout.orc_unwind_ip.pointer(kernel, module.address)?;
    let entries = layout.orc_unwind.pointer(kernel, module.address)?;
    Ok(OrcTable::in_memory(ips, entries, count, format).ok())
}

/// Text made at run time by the BPF compiler, which keeps frame pointers.
fn add_bpf(kernel: &Kernel, tables: &mut Tables, symbols: &mut Vec<Symbol>) -> Result<()> {
    let head = kernel.symbol("bpf_kallsyms")?;
    let layout = kernel.layout::<BpfKsym>()?;
    for link in ListHead::new(kernel, "list of BPF programs", head).take(MAX_ENTRIES) {
        let entry = layout.lnode.container(link?)?;
        let start = layout.start.u64(kernel, entry)?;
        let end = layout.end.u64(kernel, entry)?;
        if end.checked_sub(start).is_some_and(|size| size <= MAX_GENERATED_TEXT) {
            let text = VirtAddr(start)..VirtAddr(end);
            if let Ok(name) = layout.name.text(kernel, entry) {
                symbols.push(generated(&name, &text, "bpf"));
            }
            tables.add_text(text);
        }
    }
    Ok(())
}

/// Copies of `ftrace_caller`, one for each user of the function tracer that has its own.
fn add_ftrace_trampolines(
    kernel: &Kernel,
    tables: &mut Tables,
    symbols: &mut Vec<Symbol>,
) -> Result<()> {
    let end = kernel.symbol("ftrace_list_end")?;
    let first = VirtAddr(kernel.read_symbol::<8>("ftrace_ops_list")?);
    if first == end {
        return Ok(());
    }
    let layout = kernel.layout::<FtraceOps>()?;
    let next = layout.next.offset()?;
    for ops in SinglyLinked::new(kernel, "list of ftrace users", first, next).take(MAX_ENTRIES) {
        let ops = ops?;
        if ops == end {
            break;
        }
        let start = layout.trampoline.pointer(kernel, ops)?;
        let size = layout.trampoline_size.u64(kernel, ops)?;
        let saves_registers = layout.flags.u64(kernel, ops)? & SAVE_REGS != 0;
        let original = if saves_registers { "ftrace_regs_caller" } else { "ftrace_caller" };
        if !start.is_null() && size <= MAX_GENERATED_TEXT {
            let text = start..start.offset(size);
            symbols.push(generated("ftrace_trampoline", &text, "__builtin__ftrace"));
            tables.add_copied_text(text, kernel.symbol(original)?);
        }
    }
    Ok(())
}
