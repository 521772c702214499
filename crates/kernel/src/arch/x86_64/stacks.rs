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

layout! {
    /// The tops of a CPU's exception stacks, by their number less one, in kernels before 5.2
    /// (8f34c5b5afce): arch/x86/include/asm/processor.h.
    struct OrigIst = "orig_ist" {
        ist: "ist",
    }
}

/// `EXCEPTION_STKSZ` of those kernels, but for that of debug exceptions, which is larger.
const EXCEPTION_STACK_SIZE: u64 = 4096;

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
        match exception_stacks(kernel, cpu) {
            Ok(found) => stacks.extend(found),
            Err(_) => stacks.extend(old_exception_stacks(kernel, cpu).unwrap_or_default()),
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

/// The exception stacks of kernels before 5.2, which lie one behind the other, each ending where
/// `orig_ist` says. There was one more, for stack faults, until 3.18 (6f442be2fb22).
fn old_exception_stacks(kernel: &Kernel, cpu: u32) -> Result<Vec<Stack>> {
    use StackKind::{Debug, DoubleFault, MachineCheck, Nmi, StackFault};
    let layout = kernel.layout::<OrigIst>()?;
    let at = layout.ist.address(kernel.per_cpu("orig_ist", cpu)?)?;
    let bytes = kernel.read_bytes(at, layout.ist.size()?.min(64))?;
    let (words, _) = bytes.as_chunks::<8>();
    let tops: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let tops: Vec<u64> = tops.into_iter().take_while(|top| *top != 0).collect();
    let kinds: &[StackKind] = match tops.len() {
        4 => &[DoubleFault, Nmi, Debug, MachineCheck],
        5 => &[StackFault, DoubleFault, Nmi, Debug, MachineCheck],
        _ => return Ok(Vec::new()),
    };
    let mut low = tops.first().map_or(0, |top| top.wrapping_sub(EXCEPTION_STACK_SIZE));
    let mut stacks = Vec::new();
    for (&kind, &top) in kinds.iter().zip(&tops) {
        // Each has a place of its own in `cpu_entry_area` from 4.15 to 5.1.
        if !(1..=MAX_STACK_SIZE).contains(&top.wrapping_sub(low)) {
            low = top.wrapping_sub(EXCEPTION_STACK_SIZE);
        }
        stacks.push(Stack { kind, cpu: Some(cpu), low: VirtAddr(low), high: VirtAddr(top) });
        low = top;
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

layout! {
    /// A task's stack, as large as it is: include/linux/sched.h.
    struct ThreadUnion = "thread_union" {}
}

/// Bytes of a task's kernel stack: what the linker gave the first task's.
pub(crate) fn thread_size(kernel: &Kernel) -> u64 {
    // Named after the stack since 6.10, before after the task.
    let bounds =
        [("__start_init_stack", "__end_init_stack"), ("__start_init_task", "__end_init_task")];
    let size = |(start, end): (&str, &str)| {
        let size = kernel.symbol(end).ok()?.0.checked_sub(kernel.symbol(start).ok()?.0)?;
        (size.is_power_of_two() && (PAGE_SIZE..=MAX_STACK_SIZE).contains(&size)).then_some(size)
    };
    let of_type = || {
        let size = kernel.layout::<ThreadUnion>().ok()?.size_of;
        (size.is_power_of_two() && (PAGE_SIZE..=MAX_STACK_SIZE).contains(&size)).then_some(size)
    };
    bounds.into_iter().find_map(size).or_else(of_type).unwrap_or(THREAD_SIZE)
}
