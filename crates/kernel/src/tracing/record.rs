//! Records taken apart: whose they are, and what they say.
//!
//! Kinds with small numbers are the tracer's own (`enum trace_type`, kernel/trace/trace_entries.h);
//! the others are by their [format](super::formats).

mod binary_arguments;
mod header;
mod syscall;

use super::formats::{Format, Formats};
use super::print_format::{self, symbol};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::{Field, Layout};
use binary_arguments::binary_arguments;
use mortis_debuginfo::types::TypeSource;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::sync::Arc;
use syscall::arguments;

pub use header::Header;

layout! {
    /// A function was called: kernel/trace/trace_entries.h.
    pub struct FunctionEntry = "ftrace_entry" {
        ip: "ip",
        parent_ip: "parent_ip",
    }
}

layout! {
    /// The graph tracer: a function began.
    pub struct GraphEntry = "ftrace_graph_ent_entry" {
        func: "graph_ent.func",
        depth: "graph_ent.depth",
    }
}

layout! {
    /// The graph tracer: a function ended. The times are outside of `ret` since 6.14.
    pub struct GraphReturn = "ftrace_graph_ret_entry" {
        func: "ret.func",
        depth: "ret.depth",
        calltime: "ret.calltime" | "calltime",
        rettime: "ret.rettime" | "rettime",
    }
}

layout! {
    /// `trace_printk()`, unformatted.
    pub struct BprintEntry = "bprint_entry" {
        ip: "ip",
        fmt: "fmt",
        buf: "buf",
    }
}

layout! {
    /// `trace_printk()` and the file `trace_marker`.
    pub struct PrintEntry = "print_entry" {
        ip: "ip",
        buf: "buf",
    }
}

layout! {
    /// `trace_puts()`.
    pub struct BputsEntry = "bputs_entry" {
        ip: "ip",
        str: "str",
    }
}

layout! {
    /// The file `trace_marker_raw`.
    pub struct RawDataEntry = "raw_data_entry" {
        id: "id",
        buf: "buf",
    }
}

layout! {
    /// A stack of the kernel's.
    pub struct StackEntry = "stack_entry" {
        size: "size",
        caller: "caller",
    }
}

layout! {
    /// A stack of user space's.
    pub struct UserStackEntry = "userstack_entry" {
        caller: "caller",
    }
}

layout! {
    /// A function was called again and again.
    pub struct RepeatsEntry = "func_repeats_entry" {
        ip: "ip",
        parent_ip: "parent_ip",
        count: "count",
    }
}

/// A string that is pointed to is not longer.
const MAX_STRING: usize = 4096;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A function began, `depth` calls deep.
    GraphEntry {
        /// The function.
        function: VirtAddr,
        /// How many calls deep.
        depth: i64,
    },
    /// A function ended.
    GraphReturn {
        /// The function.
        function: VirtAddr,
        /// How many calls deep.
        depth: i64,
        /// How long it took, by the clock of the instance.
        duration: u64,
    },
    /// Anything else, in the kernel's words.
    Text {
        /// The kind's name.
        name: String,
        /// What the kernel prints, without a newline at its end.
        text: String,
        /// Whether the kind's own line for printing was understood; else the text lists members.
        is_decoded: bool,
    },
}

/// Takes records apart.
pub struct Decoder<'k> {
    kernel: &'k Kernel,
    formats: &'k Formats,
    ids: Ids,
}

/// The numbers of the tracer's own kinds.
struct Ids {
    function: Option<u64>,
    stack: Option<u64>,
    print: Option<u64>,
    bprint: Option<u64>,
    graph_return: Option<u64>,
    graph_entry: Option<u64>,
    user_stack: Option<u64>,
    bputs: Option<u64>,
    raw_data: Option<u64>,
    repeats: Option<u64>,
}

impl<'k> Decoder<'k> {
    /// A decoder of records of the kinds `formats`.
    pub fn new(kernel: &'k Kernel, formats: &'k Formats) -> Self {
        let id = |name: &str| {
            kernel.type_set().enumerator(name).and_then(|(_, id)| u64::try_from(id).ok())
        };
        let ids = Ids {
            function: id("TRACE_FN"),
            stack: id("TRACE_STACK"),
            print: id("TRACE_PRINT"),
            bprint: id("TRACE_BPRINT"),
            graph_return: id("TRACE_GRAPH_RET"),
            graph_entry: id("TRACE_GRAPH_ENT"),
            user_stack: id("TRACE_USER_STACK"),
            bputs: id("TRACE_BPUTS"),
            raw_data: id("TRACE_RAW_DATA"),
            repeats: id("TRACE_FUNC_REPEATS"),
        };
        Self { kernel, formats, ids }
    }

    /// Whether it says that a function began.
    pub fn is_graph_entry(&self, header: &Header) -> bool {
        Some(header.id) == self.ids.graph_entry
    }

    /// Whether it says that a function ended.
    pub fn is_graph_return(&self, header: &Header) -> bool {
        Some(header.id) == self.ids.graph_return
    }

    /// What the record says.
    pub fn decode(&self, header: &Header, record: &[u8]) -> Content {
        let own = self.own_kind(header.id, record);
        if let Some(Ok(content)) = own {
            return content;
        }
        match self.formats.get(header.id) {
            Some(format) => self.by_format(format, record),
            None => {
                let bytes = record.get(8..).unwrap_or_default().iter();
                let bytes: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
                Content::Text {
                    name: format!("type {}", header.id),
                    text: format!("Unknown type {}: {}", header.id, bytes.join(" ")),
                    is_decoded: false,
                }
            }
        }
    }

    /// One of the tracer's own kinds.
    fn own_kind(&self, id: u64, record: &[u8]) -> Option<Result<Content>> {
        let id = Some(id);
        let ids = &self.ids;
        Some(if id == ids.function {
            self.function(record)
        } else if id == ids.graph_entry {
            self.graph_entry(record)
        } else if id == ids.graph_return {
            self.graph_return(record)
        } else if id == ids.print {
            self.print(record)
        } else if id == ids.bprint {
            self.bprint(record)
        } else if id == ids.bputs {
            self.bputs(record)
        } else if id == ids.raw_data {
            self.raw_data(record)
        } else if id == ids.stack {
            self.stack(record)
        } else if id == ids.user_stack {
            self.user_stack(record)
        } else if id == ids.repeats {
            self.repeats(record)
        } else {
            return None;
        })
    }

    fn layout<L: Layout>(&self) -> Result<Arc<L>> {
        self.kernel.layout()
    }

    fn symbol(&self, address: u64) -> String {
        symbol(self.kernel, VirtAddr(address), false)
    }

    fn function(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<FunctionEntry>()?;
        let (ip, parent) = (layout.ip.u64_in(record)?, layout.parent_ip.u64_in(record)?);
        Ok(text("function", format!("{} <-{}", self.symbol(ip), self.symbol(parent))))
    }

    fn graph_entry(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<GraphEntry>()?;
        Ok(Content::GraphEntry {
            function: VirtAddr(layout.func.u64_in(record)?),
            depth: signed(&layout.depth, record)?,
        })
    }

    fn graph_return(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<GraphReturn>()?;
        let (from, to) = (layout.calltime.u64_in(record)?, layout.rettime.u64_in(record)?);
        Ok(Content::GraphReturn {
            function: VirtAddr(layout.func.u64_in(record)?),
            depth: signed(&layout.depth, record)?,
            duration: to.wrapping_sub(from),
        })
    }

    fn print(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<PrintEntry>()?;
        let ip = layout.ip.u64_in(record)?;
        let buffer = tail(&layout.buf, record)?;
        Ok(text("print", format!("{}: {}", self.symbol(ip), c_string(buffer))))
    }

    fn bputs(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<BputsEntry>()?;
        let ip = layout.ip.u64_in(record)?;
        let string = VirtAddr(layout.str.u64_in(record)?);
        let string = self.kernel.read_c_string(string, MAX_STRING)?;
        Ok(text("bputs", format!("{}: {}", self.symbol(ip), c_string(&string))))
    }

    fn bprint(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<BprintEntry>()?;
        let ip = layout.ip.u64_in(record)?;
        let format = VirtAddr(layout.fmt.u64_in(record)?);
        let format = c_string(&self.kernel.read_c_string(format, MAX_STRING)?);
        let buffer = tail(&layout.buf, record)?;
        let printed = binary_arguments(&format, buffer)
            .and_then(|arguments| print_format::printf_numbers(self.kernel, &format, &arguments));
        let is_decoded = printed.is_some();
        let printed = printed.unwrap_or(format);
        let text = format!("{}: {}", self.symbol(ip), printed.trim_end_matches('\n'));
        Ok(Content::Text { name: "bprint".to_owned(), text, is_decoded })
    }

    fn raw_data(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<RawDataEntry>()?;
        let id = layout.id.u64_in(record)?;
        let bytes: String =
            tail(&layout.buf, record)?.iter().map(|byte| format!(" {byte:02x}")).collect();
        Ok(text("raw_data", format!("# {id:x} buf:{bytes}")))
    }

    fn stack(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<StackEntry>()?;
        let count = layout.size.u64_in(record)? as usize;
        let callers = words(tail(&layout.caller, record)?).take(count);
        let lines = callers.take_while(|&caller| caller != u64::MAX);
        let lines: String = lines.map(|caller| format!("\n => {}", self.symbol(caller))).collect();
        Ok(text("kernel_stack", format!("<stack trace>{lines}")))
    }

    fn user_stack(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<UserStackEntry>()?;
        let callers = words(tail(&layout.caller, record)?);
        let lines = callers.take_while(|&caller| caller != 0 && caller != u64::MAX);
        let lines: String = lines.map(|caller| format!("\n =>  <{caller:016x}>")).collect();
        Ok(text("user_stack", format!("<user stack trace>{lines}")))
    }

    fn repeats(&self, record: &[u8]) -> Result<Content> {
        let layout = self.layout::<RepeatsEntry>()?;
        let (ip, parent) = (layout.ip.u64_in(record)?, layout.parent_ip.u64_in(record)?);
        let count = layout.count.u64_in(record)?;
        let (ip, parent) = (self.symbol(ip), self.symbol(parent));
        Ok(text("func_repeats", format!("{ip} <-{parent} (repeats: {count})")))
    }

    fn by_format(&self, format: &Format, record: &[u8]) -> Content {
        if let Some(printed) = self.syscall(format, record) {
            return Content::Text { name: format.name.clone(), text: printed, is_decoded: true };
        }
        let printed = print_format::print(self.kernel, format, record);
        let is_decoded = printed.is_some();
        let printed = printed.unwrap_or_else(|| {
            let members = format.fields.iter().map(|field| {
                format!("{}={}", field.name, print_format::plain_field(field, record))
            });
            members.collect::<Vec<_>>().join(" ")
        });
        let printed = printed.trim_end_matches('\n');
        Content::Text {
            name: format.name.clone(),
            text: format!("{}: {printed}", format.name),
            is_decoded,
        }
    }

    /// An event of a system call, which the kernel prints by code of its own
    /// (`print_syscall_enter()`, `print_syscall_exit()`).
    fn syscall(&self, format: &Format, record: &[u8]) -> Option<String> {
        let syscall = format.syscall.as_ref()?;
        let word = |name: &str| {
            let field = format.field(name)?;
            let bytes = record.get(field.offset..field.offset.checked_add(8)?)?;
            Some(u64::from_le_bytes(*bytes.first_chunk()?))
        };
        if format.name.starts_with("sys_exit_") {
            return Some(format!("{} -> {:#x}", syscall.name, word("ret")?));
        }
        // The arguments stand behind the number of the call, a word each.
        let first = format.fields.iter().find(|field| field.offset >= 16)?.offset;
        let values = (0..syscall.arguments.len()).map(|index| {
            let at = first + index * 8;
            Some(u64::from_le_bytes(*record.get(at..at + 8)?.first_chunk()?))
        });
        let values: Option<Vec<u64>> = values.collect();
        Some(format!("{}({})", syscall.name, arguments(format, syscall, &values?, record)))
    }
}

fn text(name: &str, text: String) -> Content {
    let text = text.trim_end_matches('\n').to_owned();
    Content::Text { name: name.to_owned(), text, is_decoded: true }
}

fn signed(field: &Field, record: &[u8]) -> Result<i64> {
    let bits = 64 - 8 * field.size()?.clamp(1, 8) as u32;
    Ok((field.u64_in(record)? << bits).cast_signed() >> bits)
}

/// What stands at the end of a record, from `field` on.
fn tail<'r>(field: &Field, record: &'r [u8]) -> Result<&'r [u8]> {
    Ok(record.get(field.offset()? as usize..).unwrap_or_default())
}

fn c_string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
}
