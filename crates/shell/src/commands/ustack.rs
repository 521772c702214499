//! `ustack`: what tasks were doing in user mode.

use super::bt::registers::Registers;
use super::task::named_tasks;
use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::tasks::Task;
use mortis_kernel::user_stack::UserFrame;
use serde::Serialize;

/// `ustack`.
pub const COMMAND: Command = Command {
    name: "ustack",
    aliases: &[],
    summary: "what tasks were doing in user mode",
    synopsis: "[pid | task]...",
    options: &[],
    help: "The registers with which the task last left user mode, and the calls on its user stack, \
           each with the mapped file and the offset in it (as addr2line and objdump take it for \
           code that is not relocated), and the function where the file's symbols are in the page \
           cache. User memory is in a dump only where its collector kept user data.\n\
           Callers are found by the .eh_frame sections of the mapped files, as far as they are in \
           memory; a ? marks one that was guessed from what is on the stack.\n\n\
           Examples:\n  ustack\n  ustack 178",
    run,
};

/// The calls on a task's user stack.
#[derive(Serialize)]
struct UserStack {
    #[serde(flatten)]
    task: TaskHeader,
    registers: Option<Registers>,
    frames: Vec<Frame>,
    /// Why there are no more.
    end: Option<String>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Frame {
    level: usize,
    stack_pointer: Hex,
    address: Hex,
    /// The function, and how far in: of a file whose symbols are in memory.
    function: Option<String>,
    function_offset: Option<u64>,
    /// The path of the file that the code is in.
    file: Option<String>,
    /// Bytes from the file's start.
    offset: Option<Hex>,
    found_by: &'static str,
    guessed: bool,
}

impl Frame {
    fn new(level: usize, frame: &UserFrame) -> Self {
        Self {
            level,
            stack_pointer: Hex(frame.sp.0),
            address: Hex(frame.ip.0),
            function: frame.function.as_ref().map(|(name, _)| name.clone()),
            function_offset: frame.function.as_ref().map(|(_, offset)| *offset),
            file: frame.place.as_ref().map(|place| place.path.clone()),
            offset: frame.place.as_ref().map(|place| Hex(place.offset)),
            found_by: frame.how.code(),
            guessed: frame.how.is_guess(),
        }
    }
}

impl Render for Frame {
    fn render(&self, out: &mut String, style: Style) {
        let place = match (&self.file, &self.offset) {
            (Some(file), Some(offset)) => format!("{file}+{:#x}", offset.0),
            _ => "(no file)".to_owned(),
        };
        let mark = if self.guessed { " ?" } else { "" };
        let function = match (&self.function, self.function_offset) {
            (Some(name), Some(offset)) => format!("{}+{offset} at ", style.name(name)),
            _ => "at ".to_owned(),
        };
        out.push_str(&format!(
            "{:>3} [{:x}] {:x} {function}{place}{mark}\n",
            format!("#{}", self.level),
            self.stack_pointer.0,
            self.address.0,
        ));
    }
}

impl UserStack {
    fn read(kernel: &Kernel, task: Task) -> Self {
        let header = TaskHeader::read(kernel, task);
        match kernel.user_stack(task) {
            Ok(stack) => Self {
                task: header,
                registers: Some(Registers::at(None, false, &stack.registers)),
                frames: stack
                    .frames
                    .iter()
                    .enumerate()
                    .map(|(level, frame)| Frame::new(level, frame))
                    .collect(),
                end: (!stack.end.is_complete()).then(|| stack.end.to_string()),
                error: None,
            },
            Err(error) => Self {
                task: header,
                registers: None,
                frames: Vec::new(),
                end: None,
                error: Some(error.to_string()),
            },
        }
    }
}

impl Render for UserStack {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        for frame in &self.frames {
            frame.render(out, style);
        }
        if let Some(registers) = &self.registers {
            registers.render(out);
        }
        if let Some(end) = &self.end {
            out.push_str(&format!("ustack: {end}\n"));
        }
        if let Some(error) = &self.error {
            out.push_str(&format!("ustack: {error}\n"));
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let (tasks, invalid) = named_tasks(session, &arguments.words)?;
    for (index, &task) in tasks.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        out.emit(&UserStack::read(&session.kernel, task))?;
    }
    invalid.map_or(Ok(()), Err)
}
