//! `task`: the `struct task_struct` of tasks, or members of it.

use super::struct_::{MemberValue, StructType};
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::number::is_number;
use crate::output::{Output, Render, Rendered, Style};
use crate::session::Session;
use crate::structure::Structure;
use crate::task_header::TaskHeader;
use crate::typed_value::ValueStyle;
use mortis_debuginfo::types::{CompoundKind, find_member};
use mortis_kernel::Kernel;
use mortis_kernel::expression::{Evaluator, Place, Value};
use mortis_kernel::scan;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `task`.
pub const COMMAND: Command = Command {
    name: "task",
    aliases: &[],
    summary: "the task_struct of tasks, or members of it",
    synopsis: "[-R member[,member]] [-dx] [pid | taskp] ...",
    options: &[
        value('R', "member[,member]", "only these members of task_struct or thread_info"),
        flag('x', "numbers in hexadecimal"),
        flag('h', "the same as -x"),
        flag('d', "numbers in decimal"),
    ],
    help: "Without an argument, the task in focus. Members may also stand among the arguments, and \
           may be nested (se.sum_exec_runtime) and have indices.\n\n\
           Examples:\n  task\n  task -R pid,comm,se.sum_exec_runtime 1\n  task flags 1\n  \
           foreach RU task -R comm,on_cpu",
    run,
};

/// The tasks that words name, in order, the one in focus where there are none; and the first
/// word's error that names none.
///
/// # Errors
/// When there is no task at all.
pub(super) fn named_tasks(
    session: &Session,
    words: &[String],
) -> Result<(Vec<Task>, Option<CommandError>), CommandError> {
    if words.is_empty() {
        return Ok((vec![session.context()?], None));
    }
    let (mut tasks, mut invalid) = (Vec::new(), None);
    for word in words {
        match session.task(word) {
            // Every CPU's idle task has process id 0.
            Ok(Task { pid: 0, address }) if !word.ends_with(&format!("{:x}", address.0)) => {
                let all = &session.kernel.tasks().tasks;
                tasks.extend(all.iter().copied().filter(|task| task.pid == 0));
            }
            Ok(task) => tasks.push(task),
            Err(error) => {
                invalid.get_or_insert(error);
            }
        }
    }
    Ok((tasks, invalid))
}

/// A task's structures.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    task: TaskHeader,
    task_struct: Option<Structure>,
    thread_info: Option<Structure>,
}

impl Render for Whole {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        if let Some(task_struct) = &self.task_struct {
            task_struct.render(out, style);
        }
        if let Some(thread_info) = &self.thread_info {
            out.push('\n');
            thread_info.render(out, style);
        }
        out.push('\n');
    }
}

/// Members of a task's structures.
#[derive(Serialize)]
struct Members {
    #[serde(flatten)]
    task: TaskHeader,
    members: Vec<Member>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Member {
    Value(Box<MemberValue>),
    Wrong { name: String, error: String },
}

impl Members {
    fn render(&self, out: &mut String, values: ValueStyle, style: Style) {
        self.task.render(out, style);
        for member in &self.members {
            match member {
                Member::Value(value) => value.render(out, values),
                Member::Wrong { error, .. } => out.push_str(&format!("task: {error}\n")),
            }
        }
        out.push('\n');
    }
}

/// What `task` was asked for.
struct Request {
    members: Vec<String>,
    style: ValueStyle,
}

impl Request {
    fn parse(
        session: &Session,
        arguments: &Arguments,
        more: Vec<String>,
    ) -> Result<Self, CommandError> {
        let hexadecimal = arguments.has('x') || arguments.has('h');
        if hexadecimal && arguments.has('d') {
            return Err(CommandError::message("-d and -x are mutually exclusive"));
        }
        let given = arguments.values('R').map(str::to_owned);
        let members = given
            .chain(more)
            .flat_map(|list| list.split([',', ' ']).map(str::to_owned).collect::<Vec<_>>());
        Ok(Self {
            members: members.filter(|member| !member.is_empty()).collect(),
            style: ValueStyle::new(session, hexadecimal, arguments.has('d')),
        })
    }
}

fn read_members(kernel: &Kernel, request: &Request, task: Task) -> Members {
    let evaluator = Evaluator::new(kernel);
    let mut members = Vec::new();
    for name in &request.members {
        let places = [("task_struct", Ok(task.address)), ("thread_info", task.thread_info(kernel))];
        let found = members.len();
        let nested = name.contains(['.', '[']);
        for (structure, address) in places {
            let member = address.map_err(CommandError::from).and_then(|address| {
                let ty = StructType::find(&evaluator, structure, Some(CompoundKind::Struct))?;
                if find_member(evaluator.types(), ty.id, name).is_err() {
                    return Ok(None);
                }
                let base = Value { ty: ty.id, place: Place::at(address) };
                MemberValue::read(&evaluator, &ty, &base, name, request.style).map(Some)
            });
            match member {
                Ok(Some(member)) => members.push(Member::Value(Box::new(member))),
                Ok(None) => {}
                Err(error) => {
                    members.push(Member::Wrong { name: name.clone(), error: error.to_string() });
                }
            }
            if nested && members.len() > found {
                break;
            }
        }
        if members.len() == found {
            let error = match nested {
                true => format!("invalid data structure member reference: {name}"),
                false => format!("{name}: not a task_struct or thread_info member"),
            };
            members.push(Member::Wrong { name: name.clone(), error });
        }
    }
    Members { task: TaskHeader::read(kernel, task), members }
}

fn read_whole(kernel: &Kernel, request: &Request, task: Task) -> Whole {
    let structure =
        |tag, address: VirtAddr| Structure::read(kernel, tag, address, request.style).ok();
    Whole {
        task: TaskHeader::read(kernel, task),
        task_struct: structure("task_struct", task.address),
        thread_info: task
            .thread_info(kernel)
            .ok()
            .and_then(|address| structure("thread_info", address)),
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let evaluator = Evaluator::new(&kernel);
    let task_struct = StructType::find(&evaluator, "task_struct", Some(CompoundKind::Struct))?;
    let is_member = |word: &str| find_member(evaluator.types(), task_struct.id, word).is_ok();
    let (mut named, mut members, mut invalid) = (Vec::new(), Vec::new(), None);
    for word in &arguments.words {
        if is_number(word) {
            named.push(word.clone());
        } else if word.contains([',', '.', '[']) || is_member(word) {
            members.push(word.clone());
        } else {
            invalid.get_or_insert_with(|| {
                CommandError::Message(format!("invalid task, pid, or task_struct member: {word}"))
            });
        }
    }
    let request = Request::parse(session, arguments, members)?;
    let (tasks, unknown) = named_tasks(session, &named)?;
    show(&kernel, &request, &tasks, false, out)?;
    invalid.or(unknown).map_or(Ok(()), Err)
}

/// For `foreach`: `task` with these options for each of `tasks`.
///
/// # Errors
/// When it was called wrongly. What is wrong with one task stands in its answer.
pub fn run_for(
    session: &Session,
    tasks: &[Task],
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    if arguments.has('x') && arguments.has('d') {
        return Err(CommandError::message("task: -x and -d options are mutually exclusive"));
    }
    let request = Request::parse(session, arguments, Vec::new())?;
    show(&session.kernel, &request, tasks, true, out)
}

fn show(
    kernel: &Kernel,
    request: &Request,
    tasks: &[Task],
    in_foreach: bool,
    out: &mut Output,
) -> Result<(), CommandError> {
    let progress = out.progress("task");
    progress.expect(tasks.len() as u64);
    let (face, style) = (out.face(), out.style());
    if !request.members.is_empty() {
        return scan::in_order(
            tasks.iter().copied(),
            |task| {
                progress.advance(1)?;
                let members = read_members(kernel, request, task);
                Ok(Rendered::of(members, face, |members, out| {
                    members.render(out, request.style, style);
                }))
            },
            |item: mortis_kernel::error::Result<_>| Ok(out.emit(&item?)?),
        );
    }
    let mut begun = false;
    scan::in_order(
        tasks.iter().copied(),
        |task| {
            progress.advance(1)?;
            Ok(Rendered::new(read_whole(kernel, request, task), face, style))
        },
        |item: mortis_kernel::error::Result<_>| {
            if std::mem::replace(&mut begun, true) && in_foreach {
                out.layout("\n")?;
            }
            Ok(out.emit(&item?)?)
        },
    )
}
