//! Backtraces: what a task, or a CPU, was doing, frame by frame.
//!
//! [`mortis_unwind`] walks; here is what it needs to know of a kernel: where a walk begins
//! (`thread.sp` of a sleeping task, the registers a CPU saved, and the frames below them), where
//! the unwind tables are (`backtrace/tables.rs`), where stacks are, and what tracers replaced. The tables
//! and the CPUs' stacks are found once for a dump, so that walks over all tasks can run on all
//! cores.

mod death_frames;
mod entry_stubs;
mod sleeping;
mod tables;
mod trampolines;
mod walker;

use crate::arch::x86_64::stacks;
use crate::crash_state::RegistersFrom;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::tasks::Task;
use mortis_debuginfo::dwarf::{SourceFrame, SourceLine};
use mortis_debuginfo::symbols::Symbol;
use mortis_memory::{ReadError, VirtAddr, VirtualMemory, X86_64Registers};
use mortis_unwind::{EntryRule, Options, Stack, StackKind, Stacks, Start, Stop, Tables};
use trampolines::TrampolineAddresses;
use walker::Walker;
pub(crate) use walker::stack_bytes;

pub use mortis_unwind::{Frame, PtRegs, Trust};

/// What all walks over one dump share.
pub(crate) struct UnwindContext {
    tables: Tables,
    /// Of text that was made at run time, ascending.
    generated: Vec<Symbol>,
    cpu_stacks: Vec<Stack>,
    thread_size: u64,
    trampolines: TrampolineAddresses,
    /// How entry code keeps registers, where no table says.
    interrupts: Option<EntryRule>,
}

/// Where a walk begins if not where the task stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartAt {
    /// The instruction pointer.
    pub ip: Option<VirtAddr>,
    /// The stack pointer.
    pub sp: Option<VirtAddr>,
}

/// What a task was doing.
#[derive(Clone, Debug)]
pub struct Backtrace {
    /// The task; none for a CPU whose task cannot be found.
    pub task: Option<Task>,
    /// The CPU it was running on; none for one that slept.
    pub cpu: Option<u32>,
    /// The frames, innermost first.
    pub frames: Vec<BacktraceFrame>,
    /// The registers of user mode, where the kernel was entered from there.
    pub user_registers: Option<SavedRegisters>,
    /// Why there are no more frames.
    pub end: BacktraceEnd,
}

/// One frame.
#[derive(Clone, Debug)]
pub struct BacktraceFrame {
    /// How the walk found it.
    pub frame: Frame,
    /// The function, and how far in.
    pub symbol: Option<(Symbol, u64)>,
    /// The registers that an exception or interrupt saved, when the frame is the one that it
    /// interrupted; or those that the dump saved of the CPU, when the walk begins at them.
    pub registers: Option<SavedRegisters>,
    /// The stack that [`Frame::ip_slot`] is on, or else [`Frame::sp`].
    pub stack: Option<Stack>,
}

/// Registers that were saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRegisters {
    /// Where, when on a stack.
    pub address: Option<VirtAddr>,
    /// Whether only ip, cs, flags, sp and ss of them were.
    pub partial: bool,
    /// The registers.
    pub registers: X86_64Registers,
}

/// Why a backtrace ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BacktraceEnd {
    /// The walk ended.
    #[error(transparent)]
    Walk(Stop),
    /// The task has no stack any more.
    #[error("no stack")]
    NoStack,
    /// The task was running, and no registers of its CPU are in the dump.
    #[error("no registers of CPU {0} in the dump")]
    NoRegisters(
        /// The CPU.
        u32,
    ),
    /// Where the walk should begin cannot be read.
    #[error(transparent)]
    Kernel(KernelError),
}

impl BacktraceEnd {
    /// Whether all that there is was seen.
    pub const fn is_complete(&self) -> bool {
        match self {
            BacktraceEnd::Walk(stop) => stop.is_complete(),
            BacktraceEnd::NoStack => true,
            BacktraceEnd::NoRegisters(_) | BacktraceEnd::Kernel(_) => false,
        }
    }

    /// One spelling for JSON.
    pub const fn code(&self) -> &'static str {
        match self {
            BacktraceEnd::Walk(stop) => stop.code(),
            BacktraceEnd::NoStack => "no-stack",
            BacktraceEnd::NoRegisters(_) => "no-registers",
            BacktraceEnd::Kernel(_) => "unreadable",
        }
    }
}

impl From<KernelError> for BacktraceEnd {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Read(error) => BacktraceEnd::Walk(Stop::Unreadable(error)),
            error => BacktraceEnd::Kernel(error),
        }
    }
}

impl From<ReadError> for BacktraceEnd {
    fn from(error: ReadError) -> Self {
        BacktraceEnd::Walk(Stop::Unreadable(error))
    }
}

impl BacktraceFrame {
    /// The source line of the frame's instruction, or of its call. None without a vmlinux, and in
    /// a module without its file.
    pub fn line(&self, kernel: &Kernel) -> Option<SourceLine> {
        kernel.line_at(self.frame.lookup_ip())
    }

    /// The functions whose source the frame's address belongs to, inlined ones first, with their
    /// lines. Empty without a vmlinux, in a module without its file, and in assembly.
    pub fn source(&self, kernel: &Kernel) -> Vec<SourceFrame> {
        kernel.frames_at(self.frame.lookup_ip())
    }
}

impl SavedRegisters {
    fn read(kernel: &Kernel, regs: PtRegs) -> Option<Self> {
        let registers = regs.read(kernel).ok()?;
        Some(Self { address: Some(regs.address), partial: regs.partial, registers })
    }
}

impl Kernel {
    fn unwind_context(&self) -> &UnwindContext {
        self.unwind_context.get_or_init(|| {
            let (tables, generated) = tables::build(self);
            UnwindContext {
                tables,
                generated,
                cpu_stacks: stacks::cpu_stacks(self),
                thread_size: stacks::thread_size(self),
                trampolines: TrampolineAddresses::find(self),
                interrupts: entry_stubs::interrupts(self),
            }
        })
    }

    /// The text that is known, and its unwind tables.
    pub fn unwind_tables(&self) -> &Tables {
        &self.unwind_context().tables
    }

    /// The stacks of all CPUs, in ascending order of their addresses.
    pub fn cpu_stacks(&self) -> &[Stack] {
        &self.unwind_context().cpu_stacks
    }

    /// The kernel stack of `task`; none when it has been freed.
    ///
    /// # Errors
    /// When the task cannot be read.
    pub fn task_stack(&self, task: Task) -> Result<Option<Stack>> {
        let low = task.stack(self)?;
        let high = low.offset(self.unwind_context().thread_size);
        Ok((!low.is_null()).then_some(Stack { kind: StackKind::Task, cpu: None, low, high }))
    }

    /// The CPU that `task` was running on.
    pub fn cpu_of_running(&self, task: Task) -> Option<u32> {
        let cpu = task.cpu(self).ok()?;
        // An address of all zeros is the current task of a CPU that never came up.
        let running = self.current_task(cpu).ok()?;
        (running.address == task.address).then_some(cpu)
    }

    /// What `task` was doing.
    pub fn backtrace(&self, task: Task) -> Backtrace {
        self.backtrace_from(task, StartAt::default())
    }

    /// What `task` was doing, from some other place of its stack.
    pub fn backtrace_from(&self, task: Task, at: StartAt) -> Backtrace {
        let cpu = self.cpu_of_running(task);
        let stack = task.stack(self);
        let walker = Walker::new(
            self,
            self.unwind_context(),
            Some(task),
            stack.as_ref().ok().copied().filter(|stack| !stack.is_null()),
        );
        let start = match (stack, cpu) {
            (Err(error), None) => Err(error.into()),
            (Ok(stack), None) if stack.is_null() => Err(BacktraceEnd::NoStack),
            (_, Some(cpu)) => self.start_of_cpu(&walker, cpu),
            (Ok(_), None) => sleeping::start(&walker, task).map(Beginning::At),
        };
        let start = chosen_start(self, start, at);
        self.finish_backtrace(&walker, Some(task), cpu, start)
    }

    /// What `cpu` was doing.
    pub fn backtrace_cpu(&self, cpu: u32) -> Backtrace {
        let task = self.current_task(cpu).ok().filter(|task| !task.address.is_null());
        let stack = task.and_then(|task| task.stack(self).ok()).filter(|stack| !stack.is_null());
        let walker = Walker::new(self, self.unwind_context(), task, stack);
        let start = self.start_of_cpu(&walker, cpu);
        self.finish_backtrace(&walker, task, Some(cpu), start)
    }

    fn start_of_cpu(&self, walker: &Walker<'_>, cpu: u32) -> Result<Beginning, BacktraceEnd> {
        let registers = self
            .cpu_registers(cpu)
            .filter(|(registers, from)| self.may_be_registers_of(walker, cpu, registers, *from))
            .map(|(registers, _)| registers);
        if let Some(start) = death_frames::start(walker, cpu, registers.as_ref()) {
            return Ok(Beginning::At(start));
        }
        let registers = registers.ok_or(BacktraceEnd::NoRegisters(cpu))?;
        Ok(Beginning::Registers(SavedRegisters { address: None, partial: false, registers }))
    }

    /// Whether registers can be the CPU's, by the stack they point to. Notes taken in order may be
    /// another CPU's where not every CPU left one.
    fn may_be_registers_of(
        &self,
        walker: &Walker<'_>,
        cpu: u32,
        registers: &X86_64Registers,
        from: RegistersFrom,
    ) -> bool {
        if from != RegistersFrom::DumpNoteOrder || registers.in_user_mode() {
            return true;
        }
        match walker.stacks.stack_at(VirtAddr(registers.rsp)) {
            Some(stack) => stack.cpu.is_none_or(|owner| owner == cpu),
            None => {
                let present = self.cpus().map_or(0, |cpus| cpus.present.len());
                self.dump().cpu_registers().len() == present
            }
        }
    }

    fn finish_backtrace(
        &self,
        walker: &Walker<'_>,
        task: Option<Task>,
        cpu: Option<u32>,
        start: Result<Beginning, BacktraceEnd>,
    ) -> Backtrace {
        let ended =
            |user_registers, end| Backtrace { task, cpu, frames: Vec::new(), user_registers, end };
        let (start, first_registers) = match start {
            Ok(Beginning::At(start)) => (start, None),
            Ok(Beginning::Registers(saved)) if saved.registers.in_user_mode() => {
                let nowhere = PtRegs { address: VirtAddr(0), partial: false };
                return ended(Some(saved), BacktraceEnd::Walk(Stop::UserMode(nowhere)));
            }
            Ok(Beginning::Registers(saved)) => (Start::at_cpu(&saved.registers), Some(saved)),
            Err(end) => return ended(None, end),
        };
        let trace = walker.trace(start, Options::default());
        let user_registers = match trace.stop {
            Stop::UserMode(regs) => SavedRegisters::read(self, regs),
            _ => None,
        };
        let mut frames: Vec<BacktraceFrame> = trace
            .frames
            .into_iter()
            .map(|frame| BacktraceFrame {
                symbol: self.symbol_of_frame(&frame),
                registers: frame.pt_regs.and_then(|regs| SavedRegisters::read(self, regs)),
                stack: match frame.ip_slot {
                    Some(slot) => walker.stacks.stack_at(slot),
                    None => frame.stack,
                },
                frame,
            })
            .collect();
        if let Some(first) = frames.first_mut() {
            first.registers = first.registers.or(first_registers);
        }
        Backtrace { task, cpu, frames, user_registers, end: BacktraceEnd::Walk(trace.stop) }
    }

    /// The function of a frame and how far in its ip is. A call that never returns may be the last
    /// instruction of its function; the return address is then in the next one.
    fn symbol_of_frame(&self, frame: &Frame) -> Option<(Symbol, u64)> {
        let lookup = frame.lookup_ip();
        let symbol = match self.symbol_at(lookup) {
            // Where threads of kernels before 3.3 begin; crash names the function that made them.
            Some((symbol, _)) if &*symbol.name == "child_rip" => {
                Symbol { name: "kernel_thread".into(), ..symbol }
            }
            Some((symbol, _)) => symbol,
            None => self.generated_symbol_at(lookup)?.clone(),
        };
        let offset = frame.ip.0.wrapping_sub(symbol.address.0);
        Some((symbol, offset))
    }

    /// The symbol of text that was made at run time.
    fn generated_symbol_at(&self, ip: VirtAddr) -> Option<&Symbol> {
        let symbols = &self.unwind_context().generated;
        let after = symbols.partition_point(|symbol| symbol.address <= ip);
        let symbol = symbols.get(after.checked_sub(1)?)?;
        (ip.0 - symbol.address.0 < symbol.size?).then_some(symbol)
    }
}

/// Where a walk begins.
enum Beginning {
    /// In the kernel.
    At(Start),
    /// At what a CPU saved, which may have been in user mode.
    Registers(SavedRegisters),
}

/// The start that the user chose in place of the one found.
fn chosen_start(
    kernel: &Kernel,
    found: Result<Beginning, BacktraceEnd>,
    at: StartAt,
) -> Result<Beginning, BacktraceEnd> {
    let found_sp = match &found {
        Ok(Beginning::At(start)) => Some(start.registers.sp()),
        Ok(Beginning::Registers(saved)) => Some(VirtAddr(saved.registers.rsp)),
        Err(_) => None,
    };
    match (at.ip, at.sp) {
        (None, None) => found,
        (Some(ip), Some(sp)) => Ok(Beginning::At(Start::at(ip, sp, true))),
        (Some(ip), None) => match found_sp {
            Some(sp) => Ok(Beginning::At(Start::at(ip, sp, true))),
            None => found,
        },
        // A stack pointer alone points to a return address.
        (None, Some(sp)) => {
            let mut start = Start::at(kernel.read_pointer(sp)?, sp.offset(8), false);
            start.ip_slot = Some(sp);
            Ok(Beginning::At(start))
        }
    }
}
