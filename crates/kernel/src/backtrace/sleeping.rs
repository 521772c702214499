//! Where the walk of a task begins that gave up its CPU.

use super::BacktraceEnd;
use super::walker::Walker;
use crate::error::Result;
use crate::layout;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{KnownRegisters, Options, Register, Start, Trust};

layout! {
    /// What a task that gives up its CPU leaves on its stack: arch/x86/include/asm/switch_to.h.
    struct InactiveTaskFrame = "inactive_task_frame" {
        r15: "r15",
        r14: "r14",
        r13: "r13",
        r12: "r12",
        bx: "bx",
        bp: "bp",
        ret_addr: "ret_addr",
    }
}

/// Bytes that `switch_to()` pushed before 4.9 (0100301bfdf5): BP, and the flags above it.
const OLD_FRAME: u64 = 16;
/// More than the function that switches tasks has.
const MAX_SWITCH: u64 = 8 << 10;

/// Where the walk of `task` begins: at the registers that `thread.sp` points to, or where that is
/// not in the dump, at what looks like them.
pub(super) fn start(walker: &Walker<'_>, task: Task) -> Result<Start, BacktraceEnd> {
    let kernel = walker.kernel;
    let thread_sp = kernel.task_struct()?.thread_sp.pointer(kernel, task.address);
    let is_old = kernel.layout::<InactiveTaskFrame>().is_err();
    if is_old && let Some(resumed) = walker.switch_return() {
        return thread_sp
            .and_then(|frame| at_old_frame(walker, frame, resumed))
            .map_err(Into::into);
    }
    match thread_sp.and_then(|frame| at_frame(walker, frame)) {
        Ok(start) => Ok(start),
        Err(error) => search(walker).ok_or_else(|| error.into()),
    }
}

/// At the `struct inactive_task_frame` at `frame`.
fn at_frame(walker: &Walker<'_>, frame: VirtAddr) -> Result<Start> {
    let kernel = walker.kernel;
    let layout = kernel.layout::<InactiveTaskFrame>()?;
    let bytes = kernel.read_bytes(frame, layout.size_of)?;
    let slot = layout.ret_addr.address(frame)?;
    let ip = layout.ret_addr.u64_in(&bytes)?;
    let mut registers = KnownRegisters::at(VirtAddr(ip), slot.offset(8));
    let saved = [
        (Register::R15, &layout.r15),
        (Register::R14, &layout.r14),
        (Register::R13, &layout.r13),
        (Register::R12, &layout.r12),
        (Register::Rbx, &layout.bx),
        (Register::Rbp, &layout.bp),
    ];
    for (register, member) in saved {
        registers.put(register, member.u64_in(&bytes).ok());
    }
    Ok(Start::at_sleeping_task(registers, slot))
}

/// At what `switch_to()` of a kernel before 4.9 pushed at `frame`: every task goes on at the same
/// instruction `resumed`, behind the call of `__switch_to()`.
fn at_old_frame(walker: &Walker<'_>, frame: VirtAddr, resumed: VirtAddr) -> Result<Start> {
    let mut registers = KnownRegisters::at(resumed, frame.offset(OLD_FRAME));
    registers.put(Register::Rbp, walker.kernel.read_u64(frame).ok());
    Ok(Start::at_sleeping_task(registers, frame))
}

/// At the return address that `__schedule()`'s call of `__switch_to_asm()` left on the stack. An
/// earlier sleep, from deeper down, may have left its own below: the highest from which a walk
/// comes to the stack's end by rules is the likeliest, and a guess.
fn search(walker: &Walker<'_>) -> Option<Start> {
    let stack = walker.stacks.task?;
    let switch = walker.kernel.symbol("__switch_to_asm").ok()?;
    let ret_addr = walker.kernel.layout::<InactiveTaskFrame>().ok()?.ret_addr.offset().ok()?;
    let words = walker.stack_words(&stack);
    let options = Options { scan: false, ..Options::default() };
    words.iter().enumerate().rev().find_map(|(index, &word)| {
        let ip = VirtAddr(word);
        if !walker.tables.is_text(ip) || walker.call_target(ip) != Some(switch) {
            return None;
        }
        let slot = stack.low.offset(index as u64 * 8);
        let mut start = at_frame(walker, slot.back(ret_addr)).ok()?;
        start.how = Trust::Scan;
        walker.trace(start.clone(), options).stop.is_complete().then_some(start)
    })
}

impl Walker<'_> {
    /// Where a task goes on that `switch_to()` of a kernel before 4.9 gave the CPU: behind the
    /// call of `__switch_to()` that is a part of the scheduler.
    fn switch_return(&self) -> Option<VirtAddr> {
        let kernel = self.kernel;
        let target = kernel.symbol("__switch_to").ok()?;
        ["__schedule", "schedule"].into_iter().find_map(|name| {
            let start = kernel.symbol(name).ok()?;
            let text = kernel.read_bytes(start, MAX_SWITCH).ok()?;
            (5..=text.len() as u64)
                .map(|end| start.offset(end))
                .find(|end| self.call_target_in(&text, start, *end) == Some(target))
        })
    }

    /// What a direct call that ends at `end` calls, in `text` from `start` on.
    fn call_target_in(&self, text: &[u8], start: VirtAddr, end: VirtAddr) -> Option<VirtAddr> {
        let at = usize::try_from(end.0.checked_sub(start.0)?).ok()?;
        let [0xe8, relative @ ..] = text.get(at.checked_sub(5)?..at)? else { return None };
        let relative = i32::from_le_bytes(relative.try_into().ok()?);
        Some(VirtAddr(end.0.wrapping_add_signed(relative.into())))
    }

    /// What the direct call before the return address `ip` calls.
    fn call_target(&self, ip: VirtAddr) -> Option<VirtAddr> {
        /// `call rel32`
        const OPCODE: u8 = 0xe8;
        let mut bytes = [0; 5];
        self.kernel.read(ip.back(5), &mut bytes).ok()?;
        let [OPCODE, relative @ ..] = bytes else { return None };
        Some(VirtAddr(ip.0.wrapping_add_signed(i32::from_le_bytes(relative).into())))
    }
}
