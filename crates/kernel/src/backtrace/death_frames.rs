//! The frames below a CPU's saved registers.
//!
//! The registers that kexec saves are not where a CPU came to its end. They are those of the oops,
//! or of `__crash_kexec()` when nothing but a panic called it, and `machine_kexec()` comes later;
//! the other CPUs are stopped by an NMI, save what it interrupted, and stay in
//! `crash_nmi_callback()` for good. Both functions are entered once in the life of a kernel, so a
//! return address into them is no left-over, and the walk that begins there proves itself: by
//! rules alone it must come past the registers that were saved.
//!
//! Where no registers are at hand, in plain memory of a machine that stopped without kexec, the same
//! holds for `panic()` and `stop_this_cpu()`: nobody returns from them. The walk begins at the call
//! that they made last, and must come to the stack's proper end. It does not where the function
//! aligns its stack, as `panic()` does in 6.12: only rbp says where its frame is.

use super::walker::Walker;
use mortis_debuginfo::symbols::Symbol;
use mortis_memory::{VirtAddr, X86_64Registers};
use mortis_unwind::{Frame, Options, Stack, StackKind, Start, Stop, Trace, Trust, follows_call};

/// Where a CPU stays until the capture kernel runs, or leaves for it.
const LAST_FUNCTIONS: [&str; 2] = ["machine_kexec", "crash_nmi_callback"];

/// Where a CPU ends without kexec; `vpanic()` is most of `panic()` since 6.17.
const DEAD_ENDS: [&str; 4] = ["vpanic", "panic", "nmi_panic_self_stop", "stop_this_cpu"];

/// Frames from the last function to the registers that were saved.
const MOST_FRAMES: usize = 256;

/// Where the walk of `cpu` really begins; none when nothing below `registers` is certain.
pub(super) fn start(
    walker: &Walker<'_>,
    cpu: u32,
    registers: Option<&X86_64Registers>,
) -> Option<Start> {
    let dead_ends = DEAD_ENDS.iter().filter(|_| registers.is_none());
    let functions: Vec<Symbol> = LAST_FUNCTIONS
        .iter()
        .chain(dead_ends)
        .filter_map(|name| walker.kernel.symbols().ok()?.symbol(name))
        .collect();
    stacks(walker, cpu).iter().find_map(|stack| {
        walker.stack_words(stack).iter().enumerate().find_map(|(index, &word)| {
            let ip = VirtAddr(word);
            let is_inside = |function: &Symbol| {
                let size = function.size.unwrap_or(0);
                ip > function.address && ip.0.wrapping_sub(function.address.0) <= size
            };
            if !functions.iter().any(is_inside) || !follows_call(walker.kernel, ip) {
                return None;
            }
            let slot = stack.low.offset(index as u64 * 8);
            let mut start = Start::at(ip, slot.offset(8), false);
            start.ip_slot = Some(slot);
            start.how = Trust::Instructions;
            proves_itself(walker, &start, registers).then_some(start)
        })
    })
}

/// The stacks that the CPU may have ended on, the likeliest first.
fn stacks(walker: &Walker<'_>, cpu: u32) -> Vec<Stack> {
    let own = walker.stacks.cpus.iter().filter(|stack| stack.cpu == Some(cpu));
    let mut stacks: Vec<Stack> =
        own.filter(|stack| stack.kind != StackKind::EntryTrampoline).copied().collect();
    stacks.sort_by_key(|stack| match stack.kind {
        StackKind::Nmi => 0,
        StackKind::Irq | StackKind::SoftIrq => 1,
        _ => 2,
    });
    walker.stacks.task.into_iter().chain(stacks).collect()
}

/// Whether a walk by rules comes past `registers`, or where there are none, to its proper end.
fn proves_itself(walker: &Walker<'_>, start: &Start, registers: Option<&X86_64Registers>) -> bool {
    let options =
        Options { max_frames: MOST_FRAMES, scan: false, callee_saved: false, ..Options::default() };
    let trace = walker.trace(start.clone(), options);
    let Some(registers) = registers else { return trace.stop.is_complete() };
    comes_past(walker, &trace, registers)
}

fn comes_past(walker: &Walker<'_>, trace: &Trace, registers: &X86_64Registers) -> bool {
    let (ip, sp) = (VirtAddr(registers.rip), VirtAddr(registers.rsp));
    if let Stop::UserMode(regs) = trace.stop
        && registers.in_user_mode()
    {
        let user = regs.read(walker.kernel);
        return user.is_ok_and(|user| user.rip == registers.rip && user.rsp == registers.rsp);
    }
    let saved_by_exception = |frame: &Frame| frame.pt_regs.is_some() && frame.ip == ip;
    // A function that saved its own registers called on from there, at the same depth of the stack.
    let saved_by_itself = |frame: &Frame| {
        frame.pt_regs.is_none()
            && walker.function_start(frame.lookup_ip()) == walker.function_start(ip)
    };
    trace
        .frames
        .iter()
        .any(|frame| frame.sp == sp && (saved_by_exception(frame) || saved_by_itself(frame)))
}
