//! `bt -v`: whether a task grew out of its stack.

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_memory::VirtualMemory;
use serde::Serialize;

/// `STACK_END_MAGIC` (include/uapi/linux/magic.h), which fork puts at the lowest word of every
/// task's stack.
const STACK_END_MAGIC: u64 = 0x57ac_6e9d;

/// A stack whose end was written over.
#[derive(Serialize)]
struct Overflow {
    #[serde(flatten)]
    task: TaskHeader,
    /// What stands where the mark should.
    stack_end: Hex,
}

impl Render for Overflow {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        out.push_str(&format!(
            "possible stack overflow: {:x} != STACK_END_MAGIC\n",
            self.stack_end.0
        ));
    }
}

pub(super) fn run(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let (mut overflows, mut unreadable) = (0u64, 0u64);
    for &task in &kernel.tasks().tasks {
        out.check()?;
        let end = match kernel.task_stack(task) {
            Ok(None) => continue,
            Ok(Some(stack)) => kernel.read_u64(stack.low).ok(),
            Err(_) => None,
        };
        match end {
            Some(STACK_END_MAGIC) => {}
            Some(other) => {
                overflows += 1;
                let task = TaskHeader::read(kernel, task);
                out.emit(&Overflow { task, stack_end: Hex(other) })?;
            }
            None => unreadable += 1,
        }
    }
    if unreadable > 0 {
        out.warn(format!("the ends of {unreadable} stacks are not in the dump"));
    }
    if overflows == 0 {
        out.layout("No stack overflows detected\n")?;
    }
    Ok(())
}
