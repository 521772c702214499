//! The entry code of kernels before ORC, by the names of its stubs: arch/x86/kernel/entry_64.S,
//! arch/x86/entry/entry_64.S since 4.1.

use crate::kernel::Kernel;
use mortis_memory::VirtAddr;
use mortis_unwind::EntryRule;

/// Stubs that call their C function with `struct pt_regs` on top of the stack.
const EXCEPTIONS: &[&str] = &[
    "alignment_check",
    "async_page_fault",
    "bounds",
    "coprocessor_error",
    "coprocessor_segment_overrun",
    "debug",
    "device_not_available",
    "divide_error",
    "double_fault",
    "general_protection",
    "int3",
    "invalid_TSS",
    "invalid_op",
    "machine_check",
    "nmi",
    "overflow",
    "page_fault",
    "segment_not_present",
    "simd_coprocessor_error",
    "spurious_interrupt_bug",
    "stack_segment",
    "xen_debug",
    "xen_int3",
    "xen_stack_segment",
];

/// Stubs of interrupts; others end in `_interrupt`.
const INTERRUPTS: &[&str] = &["x86_platform_ipi", "uv_bau_message_intr1", "irq_move_cleanup"];

/// Stubs and labels in them that call system calls.
const SYSTEM_CALLS: &[&str] = &[
    "cstar_do_call",
    "cstar_dispatch",
    "ia32_do_call",
    "ia32_syscall",
    "ia32_tracesys",
    "int_ret_from_sys_call",
    "int_with_check",
    "int_very_careful",
    "int_signal",
    "ret_from_sys_call",
    "retint_signal",
    "retint_careful",
    "sysenter_dispatch",
    "sysenter_do_call",
    "sysret_audit",
    "sysret_careful",
    "sysret_check",
    "sysret_signal",
    "system_call",
    "system_call_after_swapgs",
    "system_call_fastpath",
    "tracesys",
    "tracesys_phase2",
];

/// What no function called.
const ENDS: &[&str] = &[
    "child_rip",
    "kernel_thread_helper",
    "ret_from_fork",
    "start_secondary",
    "x86_64_start_kernel",
];

/// The kind of stub that `ip` is in; `interrupts` is how this kernel's keep registers.
pub(super) fn rule(kernel: &Kernel, interrupts: EntryRule, ip: VirtAddr) -> Option<EntryRule> {
    let (symbol, _) = kernel.symbol_at(ip)?;
    if symbol.module.is_some() {
        return None;
    }
    let name = &*symbol.name;
    let is_in = |names: &[&str]| names.contains(&name);
    if is_in(EXCEPTIONS) {
        Some(EntryRule::Registers)
    } else if is_in(SYSTEM_CALLS) || name.starts_with("entry_SYSCALL_64") {
        Some(EntryRule::SystemCall)
    } else if is_in(ENDS) {
        Some(EntryRule::End)
    } else if is_in(INTERRUPTS) || name.ends_with("_interrupt") {
        Some(interrupts)
    } else {
        None
    }
}

/// How interrupts keep registers in this kernel; `None` where ORC or marked frame pointers tell
/// it: since 4.10 (946c191161ce), whose kernels have `inactive_task_frame` (4.9) as well.
pub(super) fn interrupts(kernel: &Kernel) -> Option<EntryRule> {
    if kernel.symbol("__start_orc_unwind_ip").is_ok() || kernel.symbol("__switch_to_asm").is_ok() {
        return None;
    }
    Some(match kernel.symbol("save_args") {
        Ok(_) => EntryRule::SavedArguments,
        Err(_) => EntryRule::SavedPointer,
    })
}
