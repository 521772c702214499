//! What one walk needs, put together.

use super::UnwindContext;
use super::trampolines::TaskTrampolines;
use crate::kernel::Kernel;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{Options, Stack, StackKind, Start, Tables, TaskAndCpuStacks, Trace, Unwinder};

/// More bytes than any stack has.
const MAX_STACK: u64 = 1 << 20;

/// Walks over the stack of one task, and the CPUs' stacks it may have left it for.
pub(super) struct Walker<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) tables: &'k Tables,
    pub(super) stacks: TaskAndCpuStacks<'k>,
    trampolines: TaskTrampolines<'k>,
}

impl<'k> Walker<'k> {
    /// For `task`, whose stack is at `stack` if it has any.
    pub(super) fn new(
        kernel: &'k Kernel,
        context: &'k UnwindContext,
        task: Option<Task>,
        stack: Option<VirtAddr>,
    ) -> Self {
        let stack = stack.map(|low| Stack {
            kind: StackKind::Task,
            cpu: None,
            low,
            high: low.offset(context.thread_size),
        });
        Self {
            kernel,
            tables: &context.tables,
            stacks: TaskAndCpuStacks { task: stack, cpus: &context.cpu_stacks },
            trampolines: TaskTrampolines { kernel, addresses: &context.trampolines, task },
        }
    }

    /// A whole walk.
    pub(super) fn trace(&self, start: Start, options: Options) -> Trace {
        let functions = |ip: VirtAddr| self.function_start(ip);
        Unwinder::new(self.kernel, self.tables)
            .with_functions(&functions)
            .with_trampolines(&self.trampolines)
            .with_options(options)
            .trace(&self.stacks, start)
    }

    /// The first instruction of the function that `ip` is in.
    pub(super) fn function_start(&self, ip: VirtAddr) -> Option<VirtAddr> {
        self.kernel.symbol_at(ip).map(|(symbol, _)| symbol.address)
    }

    /// All words of a stack, lowest first.
    pub(super) fn stack_words(&self, stack: &Stack) -> Option<Vec<u64>> {
        let size = stack.high.0.checked_sub(stack.low.0)?.min(MAX_STACK);
        let bytes = self.kernel.read_bytes(stack.low, size).ok()?;
        Some(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}
