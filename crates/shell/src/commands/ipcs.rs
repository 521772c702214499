//! `ipcs`: System V shared memory, semaphores and message queues.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::number::number;
use crate::output::{Output, Render, Style, Text};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::sysv_ipc::{Content, Kind, Object, Permissions};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `ipcs`.
pub const COMMAND: Command = Command {
    name: "ipcs",
    aliases: &[],
    summary: "System V shared memory, semaphores, message queues",
    synopsis: "[-smMq] [-n pid|task] [id | addr]",
    options: &[
        flag('s', "semaphores"),
        flag('m', "shared memory"),
        flag('M', "shared memory with its pages and inode"),
        flag('q', "message queues"),
        value('n', "pid|task", "in the IPC namespace of this task"),
    ],
    help: "Without -s, -m, -M and -q, all three kinds. An id or the address of a structure shows \
           what has it.\n\n\
           Examples:\n  ipcs\n  ipcs -M\n  ipcs -q 0\n  ipcs -n 194\n  \
           ipcs ffff8f190e750c00",
    run,
};

/// `SHM_DEST` and `SHM_LOCKED` of include/linux/shm.h.
const DESTROYED: u64 = 0o1000;
const LOCKED: u64 = 0o2000;

/// An object.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    address: Hex,
    key: Known<Hex>,
    id: Known<i64>,
    uid: Known<u64>,
    gid: Known<u64>,
    /// The permissions alone.
    mode: Known<u64>,
    #[serde(flatten)]
    facts: Facts,
}

/// What each kind has.
#[derive(Serialize)]
#[serde(untagged)]
enum Facts {
    SharedMemory {
        bytes: Known<u64>,
        attached: Known<u64>,
        destroyed: Known<bool>,
        locked: Known<bool>,
        /// With `-M`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pages: Option<Pages>,
    },
    Semaphores {
        count: Known<u64>,
    },
    Messages {
        bytes: Known<u64>,
        messages: Known<u64>,
    },
}

/// Pages of shared memory.
#[derive(Serialize)]
struct Pages {
    allocated: Known<u64>,
    resident: Known<u64>,
    swapped: Known<u64>,
    inode: Known<Hex>,
}

impl Pages {
    fn read(kernel: &Kernel, object: &Object) -> Self {
        let content = Known::from(object.content.clone());
        let size = content.clone().map(|content| match content {
            Content::SharedMemory { size, .. } => size,
            _ => 0,
        });
        let pages = object.content.clone().and_then(|content| match content {
            Content::SharedMemory { file, .. } => kernel.segment_pages(file),
            _ => kernel.segment_pages(VirtAddr(0)),
        });
        let part = |pages: Result<u64, _>| Known::from(pages);
        match pages {
            Ok(pages) => Self {
                allocated: size.map(|size| size.div_ceil(4096)),
                resident: part(pages.resident),
                swapped: part(pages.swapped),
                inode: Known::Value(Hex(pages.inode.0)),
            },
            Err(error) => {
                let why = crate::known::why(&error);
                Self {
                    allocated: size.map(|size| size.div_ceil(4096)),
                    resident: Known::Unavailable(why),
                    swapped: Known::Unavailable(why),
                    inode: Known::Unavailable(why),
                }
            }
        }
    }
}

impl Row {
    fn new(kernel: &Kernel, kind: Kind, object: Object, with_pages: bool) -> Self {
        let permissions = Known::from(object.permissions.clone());
        let part = |read: fn(&Permissions) -> u64| permissions.clone().map(|p| read(&p));
        let content = Known::from(object.content.clone());
        let number = |read: fn(&Content) -> u64| content.clone().map(|content| read(&content));
        let facts = match kind {
            Kind::SharedMemory => Facts::SharedMemory {
                bytes: number(|content| match content {
                    Content::SharedMemory { size, .. } => *size,
                    _ => 0,
                }),
                attached: number(|content| match content {
                    Content::SharedMemory { attached, .. } => *attached,
                    _ => 0,
                }),
                destroyed: part(|p| p.mode & DESTROYED).map(|bit| bit != 0),
                locked: part(|p| p.mode & LOCKED).map(|bit| bit != 0),
                pages: with_pages.then(|| Pages::read(kernel, &object)),
            },
            Kind::Semaphores => Facts::Semaphores {
                count: number(|content| match content {
                    Content::Semaphores(count) => *count,
                    _ => 0,
                }),
            },
            Kind::Messages => Facts::Messages {
                bytes: number(|content| match content {
                    Content::Messages { bytes, .. } => *bytes,
                    _ => 0,
                }),
                messages: number(|content| match content {
                    Content::Messages { count, .. } => *count,
                    _ => 0,
                }),
            },
        };
        Self {
            kind: match kind {
                Kind::SharedMemory => "shared_memory",
                Kind::Semaphores => "semaphores",
                Kind::Messages => "messages",
            },
            address: Hex(object.address.0),
            key: part(|p| p.key).map(Hex),
            id: permissions.clone().map(|p| p.id),
            uid: part(|p| p.uid),
            gid: part(|p| p.gid),
            mode: part(|p| p.mode & 0o777),
            facts,
        }
    }

    fn has(&self, wanted: u64) -> bool {
        self.address.0 == wanted
            || self.id.value().is_some_and(|id| i64::try_from(wanted) == Ok(*id))
    }
}

impl Render for Row {
    fn render(&self, out: &mut String, _: Style) {
        let Self { address, id, uid, .. } = self;
        let key = self.key.clone().map(|key| format!("{:08x}", key.0));
        let mode = self.mode.clone().map(|mode| format!("{mode:o}"));
        out.push_str(&format!("{:<16x} {key} {id:<10} {uid:<5} {mode:<5} ", address.0));
        match &self.facts {
            Facts::SharedMemory { bytes, attached, destroyed, locked, pages } => {
                let named = |bit: &Known<bool>, name| match bit.value() {
                    Some(true) => name,
                    _ => "",
                };
                let (dest, locked) = (named(destroyed, "dest"), named(locked, "locked"));
                out.push_str(&format!("{bytes:<10} {attached:<6} {dest} {locked}\n"));
                if let Some(Pages { allocated, resident, swapped, inode }) = pages {
                    let inode = inode.clone().map(|inode| format!("{:x}", inode.0));
                    out.push_str(&format!(
                        "PAGES ALLOCATED/RESIDENT/SWAPPED: {allocated}/{resident}/{swapped}\n\
                         INODE: {inode}\n"
                    ));
                }
            }
            Facts::Semaphores { count } => out.push_str(&format!("{count:<10}\n")),
            Facts::Messages { bytes, messages } => {
                out.push_str(&format!("{bytes:<12} {messages:<12}\n"));
            }
        }
    }
}

/// The heading of a kind's table.
fn heading(kind: Kind) -> String {
    let (structure, id) = match kind {
        Kind::SharedMemory => ("SHMID_KERNEL", "SHMID"),
        Kind::Semaphores => ("SEM_ARRAY", "SEMID"),
        Kind::Messages => ("MSG_QUEUE", "MSQID"),
    };
    let rest = match kind {
        Kind::SharedMemory => format!("{:<10} NATTCH STATUS", "BYTES"),
        Kind::Semaphores => format!("{:<10}", "NSEMS"),
        Kind::Messages => format!("{:<12} {:<12}", "USED-BYTES", "MESSAGES"),
    };
    format!("{structure:<16} {:<8} {id:<10} UID   PERMS {rest}\n", "KEY")
}

/// The objects of a kind, read.
struct Listed {
    kind: Kind,
    with_pages: bool,
    rows: Vec<Row>,
}

impl Listed {
    fn read(
        kernel: &Kernel,
        namespace: VirtAddr,
        kind: Kind,
        with_pages: bool,
        out: &mut Output,
    ) -> Result<Self, CommandError> {
        let (objects, damage) = kernel.ipc_objects(namespace, kind)?;
        if let Some(damage) = damage {
            out.warn(damage);
        }
        let rows = objects.into_iter().map(|object| Row::new(kernel, kind, object, with_pages));
        Ok(Self { kind, with_pages, rows: rows.collect() })
    }

    /// The whole table. With pages each segment is a table of its own.
    fn show(&self, out: &mut Output) -> Result<(), CommandError> {
        if !self.with_pages || self.rows.is_empty() {
            out.layout(&heading(self.kind))?;
        }
        for row in &self.rows {
            if self.with_pages {
                out.layout(&heading(self.kind))?;
            }
            out.emit(row)?;
            if self.with_pages {
                out.layout("\n")?;
            }
        }
        if self.rows.is_empty() {
            out.layout("(none allocated)\n\n")?;
        } else if !self.with_pages {
            out.layout("\n")?;
        }
        Ok(())
    }

    /// The object that a number names, if there is one.
    fn show_one(&self, wanted: u64, out: &mut Output) -> Result<bool, CommandError> {
        let Some(row) = self.rows.iter().find(|row| row.has(wanted)) else { return Ok(false) };
        out.layout(&heading(self.kind))?;
        out.emit(row)?;
        out.layout("\n")?;
        Ok(true)
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let task = match arguments.value('n') {
        Some(word) => Some(session.task(word)?),
        None => session.kernel.task_by_pid(0),
    };
    let mut wanted = Vec::new();
    for word in &arguments.words {
        let number = number(word)
            .ok_or_else(|| CommandError::Message(format!("not a valid number: {word}")))?;
        wanted.push((word, number));
    }
    let kernel = &*session.kernel;
    let namespace = match task.map(|task| kernel.ipc_namespace(task)) {
        Some(Ok(namespace)) => namespace,
        // The first task is in the first namespace, whatever became of its page.
        _ if !arguments.has('n') => kernel.symbol("init_ipc_ns")?,
        _ => return Err(CommandError::message("cannot determine ipc_namespace location!")),
    };
    let (shared, pages) = (arguments.has('m') || arguments.has('M'), arguments.has('M'));
    let all = !shared && !arguments.has('s') && !arguments.has('q');
    let mut tables = Vec::new();
    for (chosen, kind, with_pages) in [
        (shared, Kind::SharedMemory, pages),
        (arguments.has('s'), Kind::Semaphores, false),
        (arguments.has('q'), Kind::Messages, false),
    ] {
        if chosen || all {
            tables.push(Listed::read(kernel, namespace, kind, with_pages, out)?);
        }
    }
    if wanted.is_empty() {
        return tables.iter().try_for_each(|table| table.show(out));
    }
    // As crash does, first those that nothing has.
    let found = |number: u64| tables.iter().any(|table| table.rows.iter().any(|r| r.has(number)));
    for (word, number) in &wanted {
        if !found(*number) {
            out.emit(&Text { text: format!("invalid id or address: {word}\n\n") })?;
        }
    }
    for (_, number) in wanted {
        for table in &tables {
            table.show_one(number, out)?;
        }
    }
    Ok(())
}
