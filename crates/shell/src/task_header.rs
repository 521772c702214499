//! The line that stands over everything shown of one task.

use crate::known::Known;
use crate::output::{Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::task_reader::TaskCopy;
use mortis_kernel::tasks::Task;
use serde::{Serialize, Serializer};

/// An address, `0x…` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// `PID: 1        TASK: ffff8d4ac1234200  CPU: 0    COMMAND: "init"`.
#[derive(Clone, Debug, Serialize)]
pub struct TaskHeader {
    /// The process id.
    pub pid: u32,
    /// Where its `struct task_struct` is.
    pub task: Hex,
    /// The CPU it runs on or last ran on.
    pub cpu: Known<u32>,
    /// The command name.
    pub command: Known<String>,
}

impl TaskHeader {
    /// Reads what the line says of `task`.
    pub fn read(kernel: &Kernel, task: Task) -> Self {
        Self {
            pid: task.pid,
            task: Hex(task.address.0),
            cpu: task.cpu(kernel).into(),
            command: task.comm(kernel).into(),
        }
    }

    /// The same from a copy of the task.
    pub fn of(copy: &TaskCopy<'_>) -> Self {
        Self {
            pid: copy.task.pid,
            task: Hex(copy.task.address.0),
            cpu: copy.cpu().into(),
            command: copy.comm().into(),
        }
    }
}

impl Render for TaskHeader {
    fn render(&self, out: &mut String, style: Style) {
        let command = style.name(&self.command.to_string());
        out.push_str(&format!(
            "PID: {:<7}  TASK: {:<16x}  CPU: {:<3}  COMMAND: \"{command}\"\n",
            self.pid, self.task.0, self.cpu
        ));
    }
}
