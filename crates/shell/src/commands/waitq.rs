//! `waitq`: the tasks that wait in a wait queue.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::commands::list::kernel_address_of;
use crate::commands::struct_::beside::member_offset;
use crate::number;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::wait_queue::Waiter;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `waitq`.
pub const COMMAND: Command = Command {
    name: "waitq",
    aliases: &[],
    summary: "the tasks in a wait queue",
    // crash has two blanks there.
    synopsis: " [ symbol ] | [ struct.member struct_addr ] | [ address ]",
    options: &[],
    help: "The queue is a symbol, the address or an expression of a wait_queue_head_t, or a member of\n\
           the structure at an address. What waits and is no task, such as an epoll instance, is shown\n\
           by its entry and the function that wakes it.\n\n\
           Examples:\n  waitq kauditd_wait",
    run,
};

/// Somebody in the queue.
#[derive(Serialize)]
struct Row {
    entry: Hex,
    function: Option<String>,
    private: Hex,
    /// The task; null for what is none.
    #[serde(flatten)]
    task: Option<TaskHeader>,
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        match &self.task {
            Some(task) => task.render(out, style),
            None => {
                let function = self.function.as_deref().unwrap_or("?");
                let (entry, private) = (self.entry.0, self.private.0);
                out.push_str(&format!(
                    "(no task)  ENTRY: {entry:x}  FUNC: {function}  PRIVATE: {private:x}\n"
                ));
            }
        }
    }
}

impl Row {
    fn read(kernel: &Kernel, waiter: &Waiter) -> Self {
        let task = kernel.waiting_task(waiter).and_then(|task| kernel.task_by_address(task));
        let function = kernel.symbol_at(waiter.function).map(|(symbol, _)| symbol.name.to_string());
        Self {
            entry: Hex(waiter.entry.0),
            function,
            private: Hex(waiter.private.0),
            task: task.map(|task| TaskHeader::read(kernel, task)),
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let (queue, name) = queue(session, &arguments.words)?;
    let (mut any, mut problem) = (false, None);
    for waiter in kernel.waiters(queue)? {
        match waiter {
            Ok(waiter) => {
                any = true;
                out.emit(&Row::read(&kernel, &waiter))?;
            }
            Err(error) => problem = Some(error),
        }
    }
    match problem {
        Some(problem) if any => out.warn(problem),
        Some(problem) => return Err(problem.into()),
        None if any => {}
        None => {
            let name = name.map_or(String::new(), |name| format!("\"{name}\" "));
            let address =
                if name.is_empty() { format!("{:x}", queue.0) } else { format!("({:x})", queue.0) };
            out.layout(&format!("wait queue {name}{address} is empty\n"))?;
        }
    }
    Ok(())
}

/// The queue that is meant, and the symbol that it was named by.
fn queue<'a>(
    session: &Session,
    words: &'a [String],
) -> Result<(VirtAddr, Option<&'a str>), CommandError> {
    let message = |message: String| Err(CommandError::Message(message));
    let usage = || CommandError::Usage(format!("Usage: waitq{}", COMMAND.synopsis));
    let (word, base) = match words {
        [word] => (word.as_str(), None),
        [word, base] => (word.as_str(), Some(base)),
        _ => return Err(usage()),
    };
    let symbol = session.kernel.all_symbols().ok().and_then(|symbols| symbols.address(word));
    if let (Some(queue), None) = (symbol, base) {
        return Ok((queue, Some(word)));
    }
    let Some(base) = base else {
        if number::number(word).is_some()
            && let Some(address) = number::address(word)
        {
            return match kernel_address_of(session, word) {
                Some(queue) => Ok((queue, None)),
                None => message(format!("invalid kernel virtual address: {address:x}")),
            };
        }
        if member_offset(&session.kernel, word).is_some() {
            let name = word.split('.').next().unwrap_or(word);
            return message(format!("must supply an address for {name}"));
        }
        return match kernel_address_of(session, word) {
            Some(queue) => Ok((queue, None)),
            None => message(format!("cannot resolve \"{word}\"")),
        };
    };
    let Some((name, member)) = word.split_once('.') else { return Err(usage()) };
    let Some(offset) = member_offset(&session.kernel, word) else {
        return message(format!("{member} is not a member of {name}"));
    };
    match kernel_address_of(session, base) {
        Some(base) => Ok((base.offset(offset), None)),
        None => message(format!("invalid input: \"{base}\"")),
    }
}
