//! The stacks that x86_64 gives each CPU besides the tasks' own: for interrupts, for exceptions
//! that bring their own (the interrupt stack table), and for the way in from user mode.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{Stack, StackKind};

layout! {
    /// A CPU's hot variables, in one structure from 6.2 until 6.14, before and after that
    /// per-CPU variables each: arch/x86/include/asm/current.h.
    struct PcpuHot = "pcpu_hot" {
        hardirq_stack_ptr: "hardirq_stack_ptr",
    }
}

layout! {
    /// An interrupt stack: arch/x86/include/asm/processor.h.
    struct IrqStack = "irq_stack" {}
}

layout! {
    /// The exception stacks of a CPU with the guard pages between them:
    /// arch/x86/include/asm/cpu_entry_area.h.
    struct CeaExceptionStacks = "cea_exception_stacks" {
        double_fault: "DF_stack",
        nmi: "NMI_stack",
        debug: "DB_stack",
        machine_check: "MCE_stack",
        /// For encrypted guests, since 5.10.
        vmm: "VC_stack",
        vmm_fallback: "VC2_stack",
    }
}

layout! {
    /// What of a CPU stays mapped in user mode: arch/x86/include/asm/cpu_entry_area.h.
    struct CpuEntryArea = "cpu_entry_area" {
        entry_stack_page: "entry_stack_page",
        exception_stacks: "estacks",
    }
}

/// `IRQ_STACK_SIZE` where the types do not say (CONFIG_KASAN makes it larger).
const IRQ_STACK_SIZE: u64 = 16 << 10;
const PAGE_SIZE: u64 = 4096;
/// More than any stack of a CPU has.
const MAX_STACK_SIZE: u64 = 1 << 20;

/// The stacks of every CPU that was plugged in, in ascending order of their addresses. What
/// cannot be found is left out: walks then do without.
pub(crate) fn cpu_stacks(kernel: &Kernel) -> Vec<Stack> {
    let cpus = kernel.cpus().map(|cpus| cpus.present.clone()).unwrap_or_default();
    let mut stacks = Vec::new();
    for cpu in cpus {
        stacks.extend(irq_stack(kernel, cpu));
        if let Ok(found) = exception_stacks(kernel, cpu) {
            stacks.extend(found);
        }
    }
    stacks.sort_unstable_by_key(|stack| stack.low);
    stacks
}

fn irq_stack(kernel: &Kernel, cpu: u32) -> Result<Stack> {
    let top = hardirq_stack_pointer(kernel, cpu)?;
    if top.0 < super::KERNEL_SPACE_START {
        return Err(KernelError::Unsupported(format!("CPU {cpu} has no interrupt stack")));
    }
    let size = kernel.layout::<IrqStack>().map_or(IRQ_STACK_SIZE, |layout| layout.size_of);
    // The pointer is to the highest word (map_irq_stack()), in older kernels behind it.
    let high = top.offset(PAGE_SIZE - 1).align_down(PAGE_SIZE);
    let low = high.back(size.clamp(PAGE_SIZE, MAX_STACK_SIZE));
    Ok(Stack { kind: StackKind::Irq, cpu: Some(cpu), low, high })
}

fn hardirq_stack_pointer(kernel: &Kernel, cpu: u32) -> Result<VirtAddr> {
    if let Ok(hot) = kernel.per_cpu("pcpu_hot", cpu) {
        return kernel.layout::<PcpuHot>()?.hardirq_stack_ptr.pointer(kernel, hot);
    }
    // The second name is that of older kernels.
    let pointer = kernel
        .per_cpu("hardirq_stack_ptr", cpu)
        .or_else(|_| kernel.per_cpu("irq_stack_ptr", cpu))?;
    Ok(kernel.read_pointer(pointer)?)
}

fn exception_stacks(kernel: &Kernel, cpu: u32) -> Result<Vec<Stack>> {
    let base = kernel.read_pointer(kernel.per_cpu("cea_exception_stacks", cpu)?)?;
    if base.0 < super::KERNEL_SPACE_START {
        return Ok(Vec::new());
    }
    let layout = kernel.layout::<CeaExceptionStacks>()?;
    let members = [
        (StackKind::DoubleFault, &layout.double_fault),
        (StackKind::Nmi, &layout.nmi),
        (StackKind::Debug, &layout.debug),
        (StackKind::MachineCheck, &layout.machine_check),
        (StackKind::VmmCommunication, &layout.vmm),
        (StackKind::VmmCommunicationFallback, &layout.vmm_fallback),
    ];
    let mut stacks: Vec<Stack> = members
        .into_iter()
        .filter_map(|(kind, member)| stack_in(kind, cpu, base, member))
        .collect();
    if let Ok(area) = kernel.layout::<CpuEntryArea>()
        && let Ok(area_base) = area.exception_stacks.container(base)
    {
        let page = &area.entry_stack_page;
        stacks.extend(stack_in(StackKind::EntryTrampoline, cpu, area_base, page));
    }
    Ok(stacks)
}

/// The stack that is the member `member` of the structure at `base`.
fn stack_in(kind: StackKind, cpu: u32, base: VirtAddr, member: &Field) -> Option<Stack> {
    let low = member.address(base).ok()?;
    let size = member.size().ok().filter(|size| (1..=MAX_STACK_SIZE).contains(size))?;
    Some(Stack { kind, cpu: Some(cpu), low, high: low.offset(size) })
}

/// `THREAD_SIZE` where nothing says (arch/x86/include/asm/page_64_types.h).
const THREAD_SIZE: u64 = 16 << 10;

/// Bytes of a task's kernel stack: what the linker gave the first task's.
pub(crate) fn thread_size(kernel: &Kernel) -> u64 {
    // Named after the stack since 6.10, before after the task.
    let bounds =
        [("__start_init_stack", "__end_init_stack"), ("__start_init_task", "__end_init_task")];
    let size = |(start, end): (&str, &str)| {
        let size = kernel.symbol(end).ok()?.0.checked_sub(kernel.symbol(start).ok()?.0)?;
        (size.is_power_of_two() && (PAGE_SIZE..=MAX_STACK_SIZE).contains(&size)).then_some(size)
    };
    bounds.into_iter().find_map(size).unwrap_or(THREAD_SIZE)
}
