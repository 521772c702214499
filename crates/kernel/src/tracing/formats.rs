//! Kinds of events: their numbers, names, members, and how they are printed.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_debuginfo::types::TypeSource;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashMap;

layout! {
    /// A kind of event: include/linux/trace_events.h.
    pub struct TraceEventCall = "trace_event_call" | "ftrace_event_call" {
        list: "list",
        class: "class",
        name: "name",
        tp: "tp",
        id: "event.type",
        print_fmt: "print_fmt",
        data: "data",
        flags: "flags",
    }
}

layout! {
    /// What kinds of events share: include/linux/trace_events.h.
    pub struct TraceEventClass = "trace_event_class" | "ftrace_event_class" {
        system: "system",
        get_fields: "get_fields",
        fields: "fields",
    }
}

layout! {
    /// A tracepoint: include/linux/tracepoint-defs.h.
    pub struct Tracepoint = "tracepoint" {
        name: "name",
    }
}

layout! {
    /// A member of a kind of event: kernel/trace/trace.h.
    pub struct TraceField = "ftrace_event_field" {
        link: "link",
        name: "name",
        ty: "type",
        offset: "offset",
        size: "size",
        is_signed: "is_signed",
    }
}

layout! {
    /// What is known of a system call: include/trace/syscall.h.
    pub struct SyscallMetadata = "syscall_metadata" {
        name: "name",
        nb_args: "nb_args",
        args: "args",
        enter_fields: "enter_fields",
        /// Arguments whose user memory is recorded, by bit, since 6.19.
        user_mask: "user_mask",
        user_arg_size: "user_arg_size",
        user_arg_is_str: "user_arg_is_str",
    }
}

/// More kinds of events, and more members of one, than any kernel has.
const MAX_EVENTS: usize = 1 << 16;
const MAX_FIELDS: usize = 512;

/// Names and types are not longer.
const MAX_NAME: usize = 256;

/// No line of C for printing is longer.
const MAX_PRINT_FMT: usize = 64 << 10;

/// A member of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type as in C, `char[16]` for an array, `__data_loc char[]` for what lies behind the
    /// members.
    pub ty: String,
    /// Where it is in the record.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Whether it is a signed number.
    pub is_signed: bool,
}

impl Field {
    /// Its declaration, as in `char comm[16]`.
    pub fn declaration(&self) -> String {
        match self.ty.split_once('[') {
            Some((ty, count))
                if !self.ty.starts_with("__data_loc") && !self.ty.starts_with("__rel_loc") =>
            {
                format!("{} {}[{count}", ty.trim_end(), self.name)
            }
            _ => format!("{} {}", self.ty, self.name),
        }
    }
}

/// What a system call's events need besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// The function: `sys_openat`.
    pub name: String,
    /// The arguments' names.
    pub arguments: Vec<String>,
    /// What is recorded of user memory; `None` before 6.19, where nothing is.
    pub user_memory: Option<UserMemory>,
}

/// What is recorded of the user memory that a system call's arguments point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserMemory {
    /// The arguments, by bit.
    pub mask: u64,
    /// The argument that says how much there is; `None` for a string.
    pub size_argument: Option<usize>,
}

/// A kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Its number, which records begin with.
    pub id: u64,
    /// What it belongs to: `sched`.
    pub system: String,
    /// Its name: `sched_switch`.
    pub name: String,
    /// Its members, in order, without those that all events have.
    pub fields: Vec<Field>,
    /// How it is printed: a format string and its arguments, in C.
    pub print_fmt: String,
    /// Of an event of a system call.
    pub syscall: Option<Syscall>,
}

impl Format {
    /// The member called `name`, its own or one that all events have.
    pub fn field(&self, name: &str) -> Option<Field> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .cloned()
            .or_else(|| common_fields().into_iter().find(|field| field.name == name))
    }

    /// The text of the kernel's own file `format`.
    pub fn text(&self) -> String {
        let mut text = format!("name: {}\nID: {}\nformat:\n", self.name, self.id);
        for (index, field) in common_fields().iter().chain(&self.fields).enumerate() {
            if index == common_fields().len() {
                text.push('\n');
            }
            text.push_str(&format!(
                "\tfield:{};\toffset:{};\tsize:{};\tsigned:{};\n",
                field.declaration(),
                field.offset,
                field.size,
                u8::from(field.is_signed)
            ));
        }
        text.push_str(&format!("\nprint fmt: {}\n", self.print_fmt));
        text
    }
}

/// What all events begin with: `struct trace_entry` of include/linux/trace_events.h.
pub fn common_fields() -> Vec<Field> {
    let field = |name: &str, ty: &str, offset, size, is_signed| Field {
        name: name.to_owned(),
        ty: ty.to_owned(),
        offset,
        size,
        is_signed,
    };
    vec![
        field("common_type", "unsigned short", 0, 2, false),
        field("common_flags", "unsigned char", 2, 1, false),
        field("common_preempt_count", "unsigned char", 3, 1, false),
        field("common_pid", "int", 4, 4, true),
    ]
}

/// All kinds of events, by number.
#[derive(Default)]
pub struct Formats {
    by_id: HashMap<u64, Format>,
    /// What kept others from being read.
    pub damage: Option<KernelError>,
}

impl Formats {
    /// The kind with that number.
    pub fn get(&self, id: u64) -> Option<&Format> {
        self.by_id.get(&id)
    }

    /// All kinds, by number.
    pub fn all(&self) -> Vec<&Format> {
        let mut all: Vec<&Format> = self.by_id.values().collect();
        all.sort_by_key(|format| format.id);
        all
    }
}

impl Kernel {
    /// The kinds of events that the kernel and its modules can record.
    ///
    /// # Errors
    /// When the kernel has no tracer.
    pub fn trace_formats(&self) -> Result<Formats> {
        let layout = self.layout::<TraceEventCall>()?;
        let reader = FormatReader {
            kernel: self,
            class: self.layout()?,
            field: self.layout()?,
            from_tracepoint: self
                .type_set()
                .enumerator("TRACE_EVENT_FL_TRACEPOINT")
                .map(|(_, flag)| flag.cast_unsigned()),
        };
        let mut formats = Formats::default();
        let head = self.symbol("ftrace_events")?;
        for link in ListHead::new(self, "ftrace_events", head) {
            let format = link.and_then(|link| reader.read(&layout, layout.list.container(link)?));
            match format {
                Ok(format) => {
                    formats.by_id.insert(format.id, format);
                }
                Err(error) => {
                    formats.damage.get_or_insert(error);
                }
            }
            if formats.by_id.len() >= MAX_EVENTS {
                break;
            }
        }
        Ok(formats)
    }
}

/// Reads kinds of events.
struct FormatReader<'k> {
    kernel: &'k Kernel,
    class: std::sync::Arc<TraceEventClass>,
    field: std::sync::Arc<TraceField>,
    /// The flag of those that have a tracepoint, and its name.
    from_tracepoint: Option<u64>,
}

impl FormatReader<'_> {
    fn read(&self, layout: &TraceEventCall, call: VirtAddr) -> Result<Format> {
        let kernel = self.kernel;
        let flags = layout.flags.u64(kernel, call)?;
        let name = match self.from_tracepoint {
            Some(flag) if flags & flag != 0 => {
                let tracepoint = layout.tp.pointer(kernel, call)?;
                kernel.layout::<Tracepoint>()?.name.string(kernel, tracepoint, MAX_NAME)?
            }
            _ => layout.name.string(kernel, call, MAX_NAME)?,
        };
        let class = layout.class.pointer(kernel, call)?;
        let system = self.class.system.string(kernel, class, MAX_NAME)?;
        let syscall = match system == "syscalls" {
            true => layout.data.pointer(kernel, call).ok(),
            false => None,
        };
        let is_enter = name.starts_with("sys_enter_");
        // Only the entries to system calls have fields by the call rather than by the class.
        let head = match syscall {
            Some(metadata) if is_enter => {
                kernel.layout::<SyscallMetadata>()?.enter_fields.address(metadata)?
            }
            _ => self.class.fields.address(class)?,
        };
        let print_fmt = layout.print_fmt.string(kernel, call, MAX_PRINT_FMT)?;
        Ok(Format {
            id: layout.id.u64(kernel, call)?,
            system,
            name,
            fields: self.fields(head)?,
            print_fmt,
            syscall: syscall.and_then(|metadata| self.syscall(metadata).ok()),
        })
    }

    /// The members listed at `head`, the last of which is the first.
    fn fields(&self, head: VirtAddr) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        for link in ListHead::new(self.kernel, "ftrace_event_field", head) {
            let at = self.field.link.container(link?)?;
            let bytes = self.kernel.read_bytes(at, self.field.size_of)?;
            let text = |pointer: u64| -> Result<String> {
                let bytes = self.kernel.read_c_string(VirtAddr(pointer), MAX_NAME)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            };
            fields.push(Field {
                name: text(self.field.name.u64_in(&bytes)?)?,
                ty: text(self.field.ty.u64_in(&bytes)?)?,
                offset: self.field.offset.u64_in(&bytes)? as u32 as usize,
                size: self.field.size.u64_in(&bytes)? as u32 as usize,
                is_signed: self.field.is_signed.u64_in(&bytes)? != 0,
            });
            if fields.len() > MAX_FIELDS {
                let (list, problem) = ("ftrace_event_field", "list does not end");
                return Err(KernelError::DamagedList { list, problem, at: head });
            }
        }
        fields.reverse();
        Ok(fields)
    }

    fn syscall(&self, metadata: VirtAddr) -> Result<Syscall> {
        let kernel = self.kernel;
        let layout = kernel.layout::<SyscallMetadata>()?;
        let count = layout.nb_args.u64(kernel, metadata)?.min(6);
        let names = layout.args.pointer(kernel, metadata)?;
        let argument = |index: u64| -> Result<String> {
            let name = kernel.read_pointer(names.offset(index * 8))?;
            Ok(String::from_utf8_lossy(&kernel.read_c_string(name, MAX_NAME)?).into_owned())
        };
        let user_memory = layout.user_mask.exists().then(|| {
            let size = layout.user_arg_size.i64(kernel, metadata).unwrap_or(-1);
            let is_string = layout.user_arg_is_str.u64(kernel, metadata).is_ok_and(|is| is != 0);
            UserMemory {
                mask: layout.user_mask.u64(kernel, metadata).unwrap_or(0),
                size_argument: usize::try_from(size).ok().filter(|_| !is_string),
            }
        });
        Ok(Syscall {
            name: layout.name.string(kernel, metadata, MAX_NAME)?,
            arguments: (0..count).map(argument).collect::<Result<_>>()?,
            user_memory,
        })
    }
}
