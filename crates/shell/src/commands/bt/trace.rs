//! A whole backtrace, as crash lays it out.

use super::frames::{FrameItem, content, stack_label};
use super::registers::Registers;
use super::request::{Content, Request};
use crate::output::{Render, Style};
use crate::task_header::TaskHeader;
use mortis_kernel::Kernel;
use mortis_kernel::backtrace::{Backtrace, BacktraceEnd, BacktraceFrame};
use mortis_unwind::StackKind;
use serde::Serialize;

/// What one task was doing.
#[derive(Debug, Serialize)]
pub(super) struct TaskBacktrace {
    /// Null for a CPU whose task cannot be told.
    #[serde(flatten)]
    header: Option<TaskHeader>,
    /// The CPU it was running on; null when it slept.
    running_on: Option<u32>,
    frames: Vec<FrameItem>,
    /// The registers of user mode, where the kernel was entered from there.
    user_registers: Option<Registers>,
    /// Why there are no more frames.
    end: End,
}

/// Why a backtrace ends.
#[derive(Debug, Serialize)]
struct End {
    code: &'static str,
    /// Whether the whole stack was seen.
    complete: bool,
    message: String,
}

impl TaskBacktrace {
    /// Makes the answer; none when it is not wanted (`-R`).
    pub(super) fn new(kernel: &Kernel, request: &Request, backtrace: &Backtrace) -> Option<Self> {
        if let Some(reference) = &request.reference
            && !reference.is_in(kernel, backtrace)
        {
            return None;
        }
        let mut frames = number(kernel, request, &backtrace.frames);
        if request.content > Content::None {
            add_content(kernel, request, &backtrace.frames, &mut frames);
        }
        Some(Self {
            header: backtrace.task.map(|task| TaskHeader::read(kernel, task)),
            running_on: backtrace.cpu,
            frames,
            user_registers: backtrace.user_registers.as_ref().map(Registers::new),
            end: End {
                code: backtrace.end.code(),
                complete: backtrace.end.is_complete(),
                message: match &backtrace.end {
                    BacktraceEnd::NoStack => "(no stack)".to_owned(),
                    end => end.to_string(),
                },
            },
        })
    }
}

/// Counts the frames as crash does, and finds where the walk went from one stack to another.
fn number(kernel: &Kernel, request: &Request, frames: &[BacktraceFrame]) -> Vec<FrameItem> {
    let mut level = 0;
    let mut stack = None;
    let mut items = Vec::with_capacity(frames.len());
    for frame in frames {
        let mut item = FrameItem::new(kernel, request, frame);
        if let (Some(before), Some(now)) = (stack, frame.stack) {
            let before: mortis_unwind::Stack = before;
            if before.low != now.low && before.kind != StackKind::Task {
                item.layout.left_before = Some(stack_label(before.kind));
            }
        }
        stack = frame.stack.or(stack);
        let numbered = match (&frame.registers, frame.stack) {
            (None, _) => true,
            (Some(_), Some(on)) if on.kind.is_exception() => {
                item.layout.left_after = Some((stack_label(on.kind), frame.frame.sp.0));
                stack = frame.frame.stack;
                true
            }
            (Some(_), _) => false,
        };
        if numbered {
            item.level = Some(level);
            level += 1;
        }
        items.push(item);
    }
    items
}

/// Adds the words between a frame's return address and the next one's on the same stack. Where
/// registers were saved in between, the words come after them.
fn add_content(
    kernel: &Kernel,
    request: &Request,
    frames: &[BacktraceFrame],
    items: &mut [FrameItem],
) {
    for (index, pair) in frames.windows(2).enumerate() {
        let [frame, next] = pair else { continue };
        let (from, stack) = match (&frame.registers, frame.frame.stack, frame.frame.ip_slot) {
            (None, _, Some(slot)) => (slot.offset(8), frame.stack),
            // The function that was interrupted, on a stack that was left by the exception.
            (_, on, _) => (frame.frame.sp, on),
        };
        let saved_on_same_stack = frame
            .stack
            .zip(frame.frame.stack)
            .is_some_and(|(slot, sp)| index > 0 && frame.registers.is_some() && slot.low == sp.low);
        let from = match index.checked_sub(1).and_then(|before| frames.get(before)) {
            Some(before) if saved_on_same_stack => {
                before.frame.ip_slot.map_or(from, |slot| slot.offset(8))
            }
            _ => from,
        };
        let (Some(stack), Some(last)) = (stack, next.frame.ip_slot) else { continue };
        // Registers come next: the words are theirs to show, or their stack is left.
        if next.registers.is_some() || !stack.holds(last, 8) || last < from {
            continue;
        }
        if let Some(item) = items.get_mut(index) {
            item.content = content(kernel, request, &stack, from, last);
        }
    }
}

impl Render for TaskBacktrace {
    fn render(&self, out: &mut String, style: Style) {
        match (&self.header, self.running_on) {
            (Some(header), _) => header.render(out, style),
            (None, Some(cpu)) => out.push_str(&format!("CPU {cpu}: no task\n")),
            (None, None) => {}
        }
        for frame in &self.frames {
            frame.render(out, style);
        }
        if let Some(registers) = &self.user_registers {
            registers.render(out);
        }
        if self.end.code == "no-stack" {
            out.push_str("(no stack)\n");
        } else if !self.end.complete {
            out.push_str(&format!("    (no more frames: {})\n", self.end.message));
        }
    }
}
