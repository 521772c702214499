//! The registers that a task had when it last left user mode.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::tasks::Task;
use mortis_memory::{VirtualMemory, X86_64Registers};

layout! {
    /// What x86 keeps of a task that is not running: `struct thread_struct`.
    struct ThreadStruct = "task_struct" {
        fs_base: "thread.fsbase" | "thread.fs",
        gs_base: "thread.gsbase" | "thread.gs",
        fs: "thread.fsindex",
        gs: "thread.gsindex",
        ds: "thread.ds",
        es: "thread.es",
    }
}

/// What the kernel leaves free above the registers at the top of a stack
/// (`TOP_OF_KERNEL_STACK_PADDING`): nothing, or with CONFIG_X86_FRED (6.9) two words.
const PADDINGS: [u64; 2] = [0, 16];

impl Kernel {
    /// The registers that `task` had when it last left user mode: entry code saves them at the top
    /// of its kernel stack (`task_pt_regs()`). Those that entry code does not touch come from
    /// `thread_struct`, where they are as old as the last task switch.
    ///
    /// # Errors
    /// When it is a task without user mode, or the top of its stack is not in the dump.
    pub fn user_registers(&self, task: Task) -> Result<X86_64Registers> {
        let none = || KernelError::Unsupported(format!("task {} has no user registers", task.pid));
        let stack = self.task_stack(task)?.ok_or_else(none)?;
        let mut bytes = [0; X86_64Registers::PT_REGS_SIZE];
        for padding in PADDINGS {
            let at = stack.high.back(padding + X86_64Registers::PT_REGS_SIZE as u64);
            self.read(at, &mut bytes)?;
            let mut registers = X86_64Registers::from_user_regs(&bytes);
            if !self.is_user_frame(&registers) {
                continue;
            }
            // FRED keeps event data above the 16 bits of a selector.
            registers.cs &= 0xffff;
            registers.ss &= 0xffff;
            let thread = self.layout::<ThreadStruct>()?;
            let member = |field: &Field| field.u64(self, task.address).unwrap_or(0);
            registers.fs_base = member(&thread.fs_base);
            registers.gs_base = member(&thread.gs_base);
            registers.fs = member(&thread.fs);
            registers.gs = member(&thread.gs);
            registers.ds = member(&thread.ds);
            registers.es = member(&thread.es);
            return Ok(registers);
        }
        Err(none())
    }
}
