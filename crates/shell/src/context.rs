//! The task in focus, as `set` and the opening summary show it.

use crate::known::Known;
use crate::output::{Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::task_reader::TaskReader;
use mortis_kernel::tasks::{Task, state_names};
use serde::Serialize;

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct Context {
    pid: u32,
    command: Known<String>,
    task: Hex,
    /// How many tasks have that pid.
    #[serde(skip)]
    tasks_of_pid: usize,
    thread_info: Known<Hex>,
    cpu: Known<u32>,
    state: Known<String>,
    /// Whether it was running on a CPU.
    active: bool,
    /// Whether it is the one that died.
    panic: bool,
    /// Blanks before each line.
    #[serde(skip)]
    indent: usize,
}

impl Context {
    /// Reads what there is to show of `task`.
    pub fn read(session: &Session, task: Task) -> Self {
        let kernel = &*session.kernel;
        let reader = TaskReader::new(kernel);
        let copy = reader.as_ref().map(|reader| reader.read(task)).map_err(Clone::clone);
        let panic = kernel.panic_task().is_some_and(|died| died.address == task.address);
        let running = session.running_tasks();
        let state = copy.as_ref().map_err(Clone::clone).and_then(|copy| copy.state_bits());
        Self {
            pid: task.pid,
            command: task.comm(kernel).into(),
            task: Hex(task.address.0),
            tasks_of_pid: kernel.tasks().count_of_pid(task.pid),
            thread_info: task.thread_info(kernel).map(|address| Hex(address.0)).into(),
            cpu: task.cpu(kernel).into(),
            state: state.map(state_names).into(),
            active: panic || running.iter().any(|(_, running)| running.address == task.address),
            panic,
            indent: 0,
        }
    }

    /// The same, in line with the summary above it.
    pub fn opening(&self) -> Self {
        Self { indent: 5, ..self.clone() }
    }
}

impl Render for Context {
    fn render(&self, out: &mut String, style: Style) {
        let blanks = " ".repeat(self.indent);
        let of_many = match self.tasks_of_pid {
            0 | 1 => String::new(),
            count => format!("(1 of {count})  "),
        };
        let thread_info = match self.thread_info.value() {
            Some(address) => format!("{:x}", address.0),
            None => self.thread_info.clone().map(|_| "").to_string(),
        };
        let running = match (self.active, self.panic) {
            (true, true) => style.alarm("(PANIC)"),
            (true, false) => "(ACTIVE)".to_owned(),
            _ => String::new(),
        };
        out.push_str(&format!(
            "{blanks}    PID: {}\n{blanks}COMMAND: \"{}\"\n{blanks}   TASK: {:x}  \
             {of_many}[THREAD_INFO: {thread_info}]\n{blanks}    CPU: {}\n\
             {blanks}  STATE: {} {running}\n",
            self.pid, self.command, self.task.0, self.cpu, self.state
        ));
    }
}
