//! The stacks that a walk may touch: bounds that the caller knows and the walk believes.

use mortis_memory::VirtAddr;

/// What a stack is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackKind {
    /// A task's own kernel stack.
    Task,
    /// A CPU's hard interrupt stack.
    Irq,
    /// A CPU's soft interrupt stack, where it is not the hard one.
    SoftIrq,
    /// The stack of the double fault handler (IST).
    DoubleFault,
    /// The stack of non-maskable interrupts (IST).
    Nmi,
    /// The stack of debug exceptions (IST).
    Debug,
    /// The stack of machine checks (IST).
    MachineCheck,
    /// The stack of `#VC`, the exception of an encrypted guest (IST).
    VmmCommunication,
    /// The stack `#VC` falls back to.
    VmmCommunicationFallback,
    /// The stack fault's own stack, before 4.20 (IST).
    StackFault,
    /// The trampoline that every entry from user mode starts on (page table isolation).
    EntryTrampoline,
}

impl StackKind {
    /// The name that crash prints between frames, `--- <NMI exception stack> ---`
    /// (x86_64.c, `exception_stacks`), or the whole for the others.
    pub const fn name(self) -> &'static str {
        match self {
            StackKind::Task => "task",
            StackKind::Irq => "IRQ",
            StackKind::SoftIrq => "soft IRQ",
            StackKind::DoubleFault => "DOUBLEFAULT",
            StackKind::Nmi => "NMI",
            StackKind::Debug => "DEBUG",
            StackKind::MachineCheck => "MCE",
            StackKind::VmmCommunication => "VC",
            StackKind::VmmCommunicationFallback => "VC2",
            StackKind::StackFault => "STACKFAULT",
            StackKind::EntryTrampoline => "entry trampoline",
        }
    }

    /// Whether the CPU switches to it by itself on an exception (interrupt stack table).
    pub const fn is_exception(self) -> bool {
        !matches!(
            self,
            StackKind::Task | StackKind::Irq | StackKind::SoftIrq | StackKind::EntryTrampoline
        )
    }
}

/// One stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// What it is for.
    pub kind: StackKind,
    /// The CPU it belongs to; none for a task's.
    pub cpu: Option<u32>,
    /// The lowest byte.
    pub low: VirtAddr,
    /// One past the highest byte.
    pub high: VirtAddr,
}

impl Stack {
    /// Whether `len` bytes from `address` on lie in it.
    pub fn holds(&self, address: VirtAddr, len: u64) -> bool {
        address >= self.low
            && address < self.high
            && address.0.checked_add(len).is_some_and(|end| end <= self.high.0)
    }
}

/// Where stacks are.
pub trait Stacks: Sync {
    /// The stack that holds the byte at `address`.
    fn stack_at(&self, address: VirtAddr) -> Option<Stack>;
}

/// A plain list; meant for the few stacks that one walk can meet.
impl Stacks for [Stack] {
    fn stack_at(&self, address: VirtAddr) -> Option<Stack> {
        self.iter().find(|stack| stack.holds(address, 1)).copied()
    }
}

/// The CPUs' stacks, many and the same for every walk, with one task's own stack before them.
#[derive(Clone, Copy, Debug)]
pub struct TaskAndCpuStacks<'a> {
    /// The stack of the task that is walked.
    pub task: Option<Stack>,
    /// The stacks of all CPUs, in ascending order of [`Stack::low`].
    pub cpus: &'a [Stack],
}

impl Stacks for TaskAndCpuStacks<'_> {
    fn stack_at(&self, address: VirtAddr) -> Option<Stack> {
        if let Some(task) = self.task
            && task.holds(address, 1)
        {
            return Some(task);
        }
        let after = self.cpus.partition_point(|stack| stack.low <= address);
        let stack = *self.cpus.get(after.checked_sub(1)?)?;
        stack.holds(address, 1).then_some(stack)
    }
}

/// Nothing known: every walk is then held to one ascending run of addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnknownStacks;

impl Stacks for UnknownStacks {
    fn stack_at(&self, _address: VirtAddr) -> Option<Stack> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(kind: StackKind, low: u64, high: u64) -> Stack {
        Stack { kind, cpu: None, low: VirtAddr(low), high: VirtAddr(high) }
    }

    #[test]
    fn the_task_stack_goes_first_and_gaps_belong_to_none() {
        let cpus = [stack(StackKind::Nmi, 0x1000, 0x2000), stack(StackKind::Irq, 0x4000, 0x8000)];
        let stacks =
            TaskAndCpuStacks { task: Some(stack(StackKind::Task, 0x9000, 0xa000)), cpus: &cpus };
        let kind = |address| stacks.stack_at(VirtAddr(address)).map(|stack| stack.kind);
        assert_eq!(kind(0x0fff), None);
        assert_eq!(kind(0x1000), Some(StackKind::Nmi));
        assert_eq!(kind(0x2000), None);
        assert_eq!(kind(0x7fff), Some(StackKind::Irq));
        assert_eq!(kind(0x9000), Some(StackKind::Task));
        assert_eq!(kind(u64::MAX), None);
    }

    #[test]
    fn a_span_must_lie_in_the_stack_whole() {
        let stack = stack(StackKind::Task, 0x1000, 0x2000);
        assert!(stack.holds(VirtAddr(0x1ff8), 8));
        assert!(!stack.holds(VirtAddr(0x1ff9), 8));
        assert!(!stack.holds(VirtAddr(u64::MAX), 8));
        assert!(!stack.holds(VirtAddr(0x1800), u64::MAX));
    }
}
