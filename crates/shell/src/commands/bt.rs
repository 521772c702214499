//! `bt`: what tasks and CPUs were doing.

mod exceptions;
mod frames;
mod notes;
mod overflow;
mod reference;
pub(super) mod registers;
mod request;
mod stack_words;
mod trace;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::{Output, Text};
use crate::session::Session;
use mortis_kernel::tasks::Task;
use rayon::prelude::*;
use request::{Mode, Request};
use trace::TaskBacktrace;

/// `bt`.
pub const COMMAND: Command = Command {
    name: "bt",
    aliases: &[],
    summary: "what tasks and CPUs were doing: backtraces",
    synopsis: "[-a|-c cpu(s)|-g|-r|-t|-T|-l|-e|-E|-f|-F|-i|-o|-O|-v|-p] [-R ref] [-s [-x|d]]\n     \
               [-I ip] [-S sp] [-n idle] [pid | task]",
    options: &[
        flag('a', "the task that was running on each CPU"),
        value('c', "cpu(s)", "the tasks that were running on these CPUs: 0,2-3"),
        value('n', "idle", "with -a or -c: leave CPUs out that were idle"),
        flag('p', "the task that died"),
        flag('g', "all threads of the thread group"),
        flag('l', "file and line of each frame; needs a vmlinux"),
        flag('i', "calls that the compiler inlined, too; needs a vmlinux"),
        flag('s', "symbols with offsets"),
        flag('x', "offsets in hexadecimal"),
        flag('d', "offsets in decimal"),
        flag('f', "the stack's content, frame by frame"),
        flag('F', "-f with symbols and slab caches; -FF with the objects' addresses"),
        flag('t', "everything on the stack that is text, from the last frame up"),
        flag('T', "everything on the stack that is text"),
        flag('r', "the stack's content, raw"),
        flag('e', "search the stack for saved registers"),
        flag('E', "search the interrupt and exception stacks of the CPUs for saved registers"),
        flag('v', "check all stacks for overflow"),
        flag('o', "accepted for crash's sake; backtraces are exact without"),
        flag('O', "accepted for crash's sake: the same, from now on"),
        value('D', "what", "accepted for crash's sake: its table of frame sizes is not needed"),
        value('R', "ref", "only backtraces with this symbol or value"),
        value('I', "ip", "start at this address"),
        value('S', "sp", "start at this place of the stack"),
    ],
    help: "Without arguments the task in focus is meant. Each frame shows where on the stack its \
           return address\nlies, the function, and the address. Registers that an exception or \
           interrupt saved stand below the frame\nof its entry code; [exception RIP: ...] is the \
           instruction that it interrupted. Frames come from the\nkernel's own unwind tables. One \
           that had to be guessed has a ? behind its name.\n\n\
           Examples:\n  bt\n  bt -a\n  bt -l -s 1\n  bt -i\n  bt -FF 174\n  \
           foreach UN bt",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.has('O') {
        let text = "bt: there is one bt method here, and it is exact\n".to_owned();
        return Ok(out.emit(&Text { text })?);
    }
    if arguments.has('D') {
        let text = "bt: no table of frame sizes is kept: frames come from the unwind tables\n";
        return Ok(out.emit(&Text { text: text.to_owned() })?);
    }
    let request = Request::parse(session, arguments)?;
    match request.mode {
        Mode::Overflow => return overflow::run(session, out),
        Mode::CpuExceptions => return exceptions::run_on_cpus(session, &request, out),
        _ => {}
    }
    if let Err(error) = session.kernel.cpus() {
        // Nothing of the kernel can be found. The registers are in the dump's own notes.
        notes::run(session, out)?;
        return Err(error.into());
    }
    match request.cpus(session)? {
        Some(cpus) => run_on_cpus(session, &request, &cpus, out),
        None => {
            let tasks = request.tasks(session, arguments)?;
            run_on_tasks(session, &request, &tasks, out)
        }
    }
}

/// For `foreach`: `bt` with these options for each of `tasks`.
///
/// # Errors
/// When it was called wrongly. What is wrong with one task stands in its answer.
pub fn run_for(
    session: &Session,
    tasks: &[Task],
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    let request = Request::parse(session, arguments)?;
    run_on_tasks(session, &request, tasks, out)
}

/// Tasks that are walked at once on all cores, before their answers are given in order.
const BATCH: usize = 512;

fn run_on_tasks(
    session: &Session,
    request: &Request,
    tasks: &[Task],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let mut separator = Separator::default();
    for batch in tasks.chunks(BATCH) {
        out.check()?;
        match request.mode {
            Mode::Frames => {
                let walk = |task: &Task| {
                    let backtrace = kernel.backtrace_from(*task, request.start);
                    TaskBacktrace::new(kernel, request, &backtrace)
                };
                let traces: Vec<Option<TaskBacktrace>> = match batch {
                    [task] => vec![walk(task)],
                    tasks => tasks.par_iter().map(walk).collect(),
                };
                for trace in traces.into_iter().flatten() {
                    separator.before_next(out)?;
                    out.emit(&trace)?;
                }
            }
            _ => {
                for &task in batch {
                    separator.before_next(out)?;
                    request.show_stack(kernel, task, out)?;
                }
            }
        }
    }
    // crash ends what it picked out by -R with a blank line.
    if request.reference.is_some() && separator.begun {
        out.layout("\n")?;
    }
    Ok(())
}

fn run_on_cpus(
    session: &Session,
    request: &Request,
    cpus: &[u32],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let mut separator = Separator::default();
    for &cpu in cpus {
        out.check()?;
        match (request.mode, kernel.current_task(cpu)) {
            (Mode::Frames, _) => {
                let backtrace = kernel.backtrace_cpu(cpu);
                if let Some(trace) = TaskBacktrace::new(kernel, request, &backtrace) {
                    separator.before_next(out)?;
                    out.emit(&trace)?;
                }
            }
            (_, Ok(task)) => {
                separator.before_next(out)?;
                request.show_stack(kernel, task, out)?;
            }
            (_, Err(error)) => out.warn(format!("CPU {cpu}: {error}")),
        }
    }
    Ok(())
}

/// Puts an empty line between answers.
#[derive(Default)]
struct Separator {
    begun: bool,
}

impl Separator {
    fn before_next(&mut self, out: &mut Output) -> Result<(), CommandError> {
        if self.begun {
            out.layout("\n")?;
        }
        self.begun = true;
        Ok(())
    }
}
