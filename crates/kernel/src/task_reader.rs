//! Reading many tasks: each `struct task_struct` is copied once, as far as its members are wanted.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout::Field;
use crate::tasks::{Task, TaskState, TaskStruct};
use mortis_memory::{ReadError, VirtAddr, VirtualMemory};
use std::sync::Arc;

/// Copies tasks; see the [module](self).
pub struct TaskReader<'k> {
    kernel: &'k Kernel,
    layout: Arc<TaskStruct>,
    /// Bytes from the start of a task to behind the last member that listings show.
    len: usize,
}

/// The front of one task's `struct task_struct`.
pub struct TaskCopy<'r> {
    reader: &'r TaskReader<'r>,
    /// The task.
    pub task: Task,
    /// Empty where a page of it is missing: then each member is read by itself.
    bytes: Vec<u8>,
}

/// More than any kernel's `struct task_struct` in front of its registers.
const MAX_COPY: u64 = 16 << 10;

impl<'k> TaskReader<'k> {
    /// A reader of `kernel`'s tasks.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        let layout = kernel.task_struct()?;
        let wanted = [
            &layout.state,
            &layout.exit_state,
            &layout.flags,
            &layout.pid,
            &layout.tgid,
            &layout.comm,
            &layout.cpu,
            &layout.mm,
            &layout.parent,
            &layout.last_arrival,
            &layout.utime,
            &layout.stime,
            &layout.start_time,
            &layout.policy,
            &layout.prio,
            &layout.signal,
            &layout.directories,
            &layout.open_files,
        ];
        let end = |field: &Field| Some(field.offset().ok()? + field.size().ok()?);
        let len = wanted.into_iter().filter_map(end).max().unwrap_or(0).min(MAX_COPY) as usize;
        Ok(Self { kernel, layout, len })
    }

    /// The kernel.
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// Copies one task.
    pub fn read<'r>(&'r self, task: Task) -> TaskCopy<'r>
    where
        'k: 'r,
    {
        let mut bytes = vec![0; self.len];
        if self.kernel.read(task.address, &mut bytes).is_err() {
            bytes.clear();
        }
        TaskCopy { reader: self, task, bytes }
    }
}

/// Reads inside the copied bytes are answered from them.
impl VirtualMemory for TaskCopy<'_> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let start = address.0.wrapping_sub(self.task.address.0);
        let copied = usize::try_from(start)
            .ok()
            .and_then(|start| self.bytes.get(start..start.checked_add(buf.len())?));
        match copied {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => self.reader.kernel.read(address, buf),
        }
    }
}

impl TaskCopy<'_> {
    /// The layout of the task.
    pub fn layout(&self) -> &TaskStruct {
        &self.reader.layout
    }

    /// A member as an unsigned number.
    ///
    /// # Errors
    /// What could not be read.
    pub fn number(&self, member: impl Fn(&TaskStruct) -> &Field) -> Result<u64> {
        member(self.layout()).u64(self, self.task.address)
    }

    /// `__state | exit_state`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn state_bits(&self) -> Result<u64> {
        Ok(self.number(|task| &task.state)? | self.number(|task| &task.exit_state)?)
    }

    /// What it was doing.
    ///
    /// # Errors
    /// What could not be read.
    pub fn state(&self) -> Result<TaskState> {
        Ok(TaskState::decode(
            self.number(|task| &task.state)?,
            self.number(|task| &task.exit_state)?,
        ))
    }

    /// The command name.
    ///
    /// # Errors
    /// What could not be read.
    pub fn comm(&self) -> Result<String> {
        self.layout().comm.text(self, self.task.address)
    }

    /// The CPU it runs on or last ran on.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cpu(&self) -> Result<u32> {
        if !self.layout().cpu.exists() {
            return self.task.cpu(self.reader.kernel);
        }
        Ok(self.number(|task| &task.cpu)? as u32)
    }

    /// The thread group's id.
    ///
    /// # Errors
    /// What could not be read.
    pub fn tgid(&self) -> Result<u32> {
        Ok(self.number(|task| &task.tgid)? as u32)
    }

    /// Whether it is a kernel thread.
    ///
    /// # Errors
    /// What could not be read.
    pub fn is_kernel_thread(&self) -> Result<bool> {
        Ok(self.number(|task| &task.flags)? & crate::tasks::PF_KTHREAD != 0)
    }

    /// Its user memory (`mm_struct`); null for a kernel thread and for what has exited.
    ///
    /// # Errors
    /// What could not be read.
    pub fn mm(&self) -> Result<VirtAddr> {
        Ok(VirtAddr(self.number(|task| &task.mm)?))
    }

    /// Its directories (`struct fs_struct`), which threads share; null for what has exited.
    ///
    /// # Errors
    /// What could not be read.
    pub fn directories(&self) -> Result<VirtAddr> {
        Ok(VirtAddr(self.number(|task| &task.directories)?))
    }

    /// Its open files (`struct files_struct`), which threads share; null for what has exited.
    ///
    /// # Errors
    /// What could not be read.
    pub fn open_files(&self) -> Result<VirtAddr> {
        Ok(VirtAddr(self.number(|task| &task.open_files)?))
    }

    /// The address of the task it reports to.
    ///
    /// # Errors
    /// What could not be read.
    pub fn parent(&self) -> Result<VirtAddr> {
        Ok(VirtAddr(self.number(|task| &task.parent)?))
    }
}
