//! What one walk needs, put together.

use super::trampolines::TaskTrampolines;
use super::{UnwindContext, entry_stubs};
use crate::kernel::Kernel;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{
    EntryRule, Options, Stack, StackKind, Start, Tables, TaskAndCpuStacks, Trace, Unwinder,
};

/// More bytes than any stack has.
const MAX_STACK: u64 = 1 << 20;
const PAGE_SIZE: u64 = 4096;

/// Walks over the stack of one task, and the CPUs' stacks it may have left it for.
pub(super) struct Walker<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) tables: &'k Tables,
    pub(super) stacks: TaskAndCpuStacks<'k>,
    trampolines: TaskTrampolines<'k>,
    interrupts: Option<EntryRule>,
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
            interrupts: context.interrupts,
        }
    }

    /// A whole walk.
    pub(super) fn trace(&self, start: Start, options: Options) -> Trace {
        let functions = |ip: VirtAddr| self.function_start(ip);
        let entries = |ip: VirtAddr| entry_stubs::rule(self.kernel, self.interrupts?, ip);
        Unwinder::new(self.kernel, self.tables)
            .with_entries(&entries)
            .with_functions(&functions)
            .with_trampolines(&self.trampolines)
            .with_options(options)
            .trace(&self.stacks, start)
    }

    /// The first instruction of the function that `ip` is in.
    pub(super) fn function_start(&self, ip: VirtAddr) -> Option<VirtAddr> {
        self.kernel.symbol_at(ip).map(|(symbol, _)| symbol.address)
    }

    /// All words of a stack, lowest first; those that are not in the dump as zeros.
    pub(super) fn stack_words(&self, stack: &Stack) -> Vec<u64> {
        let (bytes, _) = stack_bytes(self.kernel, stack, stack.low);
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

/// The content of a stack from `from` up, with zeros for pages that are not in the dump, and
/// whether all were: a collector leaves pages out that hold nothing but zeros.
pub(crate) fn stack_bytes(kernel: &Kernel, stack: &Stack, from: VirtAddr) -> (Vec<u8>, bool) {
    let size = stack.high.0.saturating_sub(from.0).min(MAX_STACK);
    let mut bytes = vec![0; size as usize];
    let mut complete = true;
    let mut done = 0;
    while done < bytes.len() {
        let at = from.offset(done as u64);
        let len = ((PAGE_SIZE - at.0 % PAGE_SIZE) as usize).min(bytes.len() - done);
        let Some(page) = bytes.get_mut(done..done + len) else { break };
        if kernel.read(at, page).is_err() {
            page.fill(0);
            complete = false;
        }
        done += len;
    }
    (bytes, complete)
}
