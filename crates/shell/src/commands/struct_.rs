//! `struct`, `union` and `*`: layouts of structures, and structures in memory.

pub(super) mod beside;
pub(super) mod declared;
mod member;
mod memory;
mod pointers;
mod request;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, Opt, flag, value};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::typed_value::{TypedValue, ValueStyle};
pub(super) use member::MemberValue;
use memory::ChosenMemory;
use mortis_debuginfo::types::CompoundKind;
use mortis_kernel::expression::{Evaluator, Place, Value};
use mortis_memory::VirtAddr;
use request::Request;
pub(super) use request::StructType;
use serde::Serialize;

const SYNOPSIS: &str = "struct_name[.member[,member]][-o][-l offset][-rfuxdp]\n         \
    [address | symbol][:cpuspec] [count | -c count]";

const OPTIONS: &[Opt] = &[
    flag('o', "offsets of the members, or their addresses where an address is given"),
    value(
        'l',
        "offset",
        "the address is that of a member, such as a list_head: bytes or struct.member",
    ),
    flag('r', "the bytes as they are"),
    flag('f', "the address is an offset in the dump file"),
    flag('u', "the address is a user address of the task in focus"),
    flag('x', "numbers in hexadecimal"),
    flag('h', "the same as -x"),
    flag('v', "accepted, as in crash"),
    flag('d', "numbers in decimal"),
    flag('p', "also what members point to"),
    value('c', "count", "how many in a row; -count ends at the address"),
];

const HELP: &str = "Without an address, the layout: members, or with -o their offsets. With an address, or a\n\
    symbol, what is in memory there. Members may be nested (se.load) and have indices\n\
    (pid_links[1].next).\n\n\
    Examples:\n  struct list_head\n  struct task_struct.pid,comm init_task\n  \
    struct -o task_struct.tasks\n  struct task_struct.comm -l task_struct.tasks ffff8f190123a9b0\n  \
    struct rq.nr_running runqueues:a\n  *page.flags fffffc3500000040";

const fn command(
    name: &'static str,
    summary: &'static str,
    run: fn(&mut Session, &Arguments, &mut Output) -> Result<(), CommandError>,
) -> Command {
    Command { name, aliases: &[], summary, synopsis: SYNOPSIS, options: OPTIONS, help: HELP, run }
}

/// `struct`.
pub const STRUCT: Command = command("struct", "a struct's layout, or one in memory", |s, a, o| {
    run(s, a, o, Some(CompoundKind::Struct))
});

/// `union`.
pub const UNION: Command = command("union", "a union's layout, or one in memory", |s, a, o| {
    run(s, a, o, Some(CompoundKind::Union))
});

/// `*`: whichever of the two the name is.
pub const POINTER: Command =
    command("*", "a struct or union, layout or in memory", |s, a, o| run(s, a, o, None));

/// One structure in memory.
#[derive(Serialize)]
struct Object {
    #[serde(rename = "type")]
    ty: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<u32>,
    /// The whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<TypedValue>,
    /// The members that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberValue>,
    #[serde(skip)]
    style: ValueStyle,
}

impl Render for Object {
    fn render(&self, out: &mut String, _: Style) {
        if let Some(value) = &self.value {
            out.push_str(&format!("{} {}\n", self.ty, value.0.text(&self.style.text(0))));
        }
        for member in &self.members {
            member.render(out, self.style);
        }
    }
}

fn run(
    session: &mut Session,
    arguments: &Arguments,
    out: &mut Output,
    kind: Option<CompoundKind>,
) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let memory = ChosenMemory::new(session, &kernel, arguments)?;
    let evaluator = Evaluator::over(&kernel, memory.as_dyn());
    let request = Request::parse(session, &evaluator, arguments, kind)?;
    if let Some(warning) = &request.warning {
        out.warn(warning);
    }
    let Some(target) = &request.target else {
        return declared::show(&evaluator, &request, None, out);
    };
    let mut first = true;
    for &(cpu, address) in &target.places {
        if let Some(cpu) = cpu {
            out.layout(&format!("[{cpu}]: "))?;
            if !kernel.cpus()?.is_online(cpu) {
                out.layout("[OFFLINE]\n")?;
                continue;
            }
            out.layout(&format!("{:x}\n", address.0))?;
            first = true;
        }
        for index in 0..target.count {
            out.check()?;
            if !std::mem::take(&mut first) {
                out.layout("\n")?;
            }
            let address = address.offset(request.ty.size.wrapping_mul(index));
            show_one(&evaluator, &request, cpu, address, out)?;
        }
    }
    Ok(())
}

fn show_one(
    evaluator: &Evaluator,
    request: &Request,
    cpu: Option<u32>,
    address: VirtAddr,
    out: &mut Output,
) -> Result<(), CommandError> {
    if request.offsets {
        return declared::show(evaluator, request, Some(address), out);
    }
    if request.raw {
        return memory::raw(evaluator, request, address, out);
    }
    let base = Value { ty: request.ty.id, place: Place::at(address) };
    if request.pointers {
        return pointers::show(evaluator, request, &base, out);
    }
    let mut object = Object {
        ty: request.ty.shown(),
        address: format!("{:#x}", address.0),
        cpu,
        value: None,
        members: Vec::new(),
        style: request.style,
    };
    if request.members.is_empty() {
        object.value = Some(TypedValue(evaluator.decode(&base, &request.style.limits())?));
    }
    for path in &request.members {
        object.members.push(MemberValue::read(evaluator, &request.ty, &base, path, request.style)?);
    }
    Ok(out.emit(&object)?)
}

/// What crash says of a name that is none, or has no such member.
fn invalid_reference(name: &str) -> CommandError {
    CommandError::Message(format!("invalid data structure reference: {name}"))
}

impl StructType {
    /// What stands in front of the brace: `struct task_struct`.
    fn shown(&self) -> String {
        format!("{} {}", self.keyword(), self.name)
    }
}
