//! `bt -e` and `-E`: registers that were saved on stacks, found by what they look like.

use super::registers::{Registers, place};
use super::request::Request;
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::session::{Radix, Session};
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::exception_frame::ExceptionFrame;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use mortis_unwind::{Stack, StackKind};
use serde::Serialize;

/// What was found on one stack.
#[derive(Serialize)]
struct StackExceptions {
    #[serde(flatten)]
    task: Option<TaskHeader>,
    /// The CPU whose stack it is; null for a task's.
    cpu: Option<u32>,
    stack: &'static str,
    frames: Vec<Found>,
}

/// Saved registers.
#[derive(Serialize)]
struct Found {
    address: Hex,
    mode: &'static str,
    /// The function that was interrupted.
    symbol: Option<String>,
    offset: Option<u64>,
    registers: Registers,
    #[serde(skip)]
    radix: Radix,
}

impl Found {
    fn new(kernel: &Kernel, request: &Request, frame: &ExceptionFrame) -> Self {
        let user = frame.registers.in_user_mode();
        let symbol = match user {
            true => None,
            false => kernel.symbol_at(VirtAddr(frame.registers.rip)),
        };
        let symbol = symbol.as_ref().map(place);
        Self {
            address: Hex(frame.address.0),
            mode: if user { "user" } else { "kernel" },
            symbol: symbol.map(|(name, _)| name.to_owned()),
            offset: symbol.map(|(_, offset)| offset),
            registers: Registers::at(Some(Hex(frame.address.0)), false, &frame.registers),
            radix: request.session_radix,
        }
    }
}

impl Render for StackExceptions {
    fn render(&self, out: &mut String, style: Style) {
        match (&self.task, self.cpu) {
            (Some(task), _) => task.render(out, style),
            (None, Some(cpu)) => out.push_str(&format!("CPU {cpu} {}:\n", self.stack)),
            (None, None) => {}
        }
        for frame in &self.frames {
            out.push_str(&format!(
                "\n  {}-MODE EXCEPTION FRAME AT: {:x}\n",
                frame.mode.to_uppercase(),
                frame.address.0
            ));
            if frame.mode == "kernel" {
                let symbol = frame.symbol.as_deref().zip(frame.offset);
                Registers::render_rip(out, symbol, frame.radix);
            }
            frame.registers.render(out);
        }
        if self.task.is_none() {
            out.push_str(if self.frames.is_empty() { "(none found)\n\n" } else { "\n" });
        }
    }
}

pub(super) fn run_on_task(
    kernel: &Kernel,
    request: &Request,
    task: Task,
    out: &mut Output,
) -> Result<(), CommandError> {
    let header = TaskHeader::read(kernel, task);
    let (frames, complete) = match kernel.task_stack(task)? {
        Some(stack) => kernel.exception_frames(&stack, request.start.sp.unwrap_or(stack.low)),
        None => (Vec::new(), true),
    };
    out.emit(&StackExceptions {
        task: Some(header),
        cpu: None,
        stack: "task",
        frames: frames.iter().map(|frame| Found::new(kernel, request, frame)).collect(),
    })?;
    if !complete {
        out.warn(format!("pages of the stack of task {:x} are not in the dump", task.address));
    }
    Ok(())
}

pub(super) fn run_on_cpus(
    session: &Session,
    request: &Request,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let wanted = request.cpus(session)?;
    let mut stacks: Vec<&Stack> = kernel
        .cpu_stacks()
        .iter()
        .filter(|stack| stack.kind != StackKind::EntryTrampoline)
        .filter(|stack| match (&wanted, stack.cpu) {
            (Some(wanted), Some(cpu)) => wanted.contains(&cpu),
            _ => true,
        })
        .collect();
    // The interrupt stacks of all CPUs first, then each CPU's exception stacks.
    stacks.sort_by_key(|stack| (stack.kind.is_exception(), stack.cpu, stack.low));
    let mut missing = 0u64;
    for stack in stacks {
        out.check()?;
        let (frames, complete) = kernel.exception_frames(stack, stack.low);
        // Only encrypted guests use these two.
        let rare =
            matches!(stack.kind, StackKind::VmmCommunication | StackKind::VmmCommunicationFallback);
        if rare && frames.is_empty() {
            continue;
        }
        missing += u64::from(!complete);
        out.emit(&StackExceptions {
            task: None,
            cpu: stack.cpu,
            stack: stack_title(stack.kind),
            frames: frames.iter().map(|frame| Found::new(kernel, request, frame)).collect(),
        })?;
    }
    if missing > 0 {
        out.warn(format!("pages of {missing} stacks are not in the dump and were taken for empty"));
    }
    Ok(())
}

const fn stack_title(kind: StackKind) -> &'static str {
    match kind {
        StackKind::Task => "TASK STACK",
        StackKind::Irq => "IRQ STACK",
        StackKind::SoftIrq => "SOFT IRQ STACK",
        StackKind::DoubleFault => "DOUBLEFAULT EXCEPTION STACK",
        StackKind::Nmi => "NMI EXCEPTION STACK",
        StackKind::Debug => "DEBUG EXCEPTION STACK",
        StackKind::MachineCheck => "MCE EXCEPTION STACK",
        StackKind::VmmCommunication => "VC EXCEPTION STACK",
        StackKind::VmmCommunicationFallback => "VC2 EXCEPTION STACK",
        StackKind::StackFault => "STACKFAULT EXCEPTION STACK",
        StackKind::EntryTrampoline => "ENTRY TRAMPOLINE STACK",
    }
}
