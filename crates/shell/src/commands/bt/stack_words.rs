//! `bt -t`, `-T` and `-r`: a stack's words without a walk.

use super::frames::{spell_symbolic, stack_label, with_offset};
use super::registers::Registers;
use super::request::{Mode, Request};
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::session::Radix;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::backtrace::{Backtrace, BacktraceFrame};
use mortis_kernel::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{Stack, StackKind};
use serde::Serialize;

/// More bytes than any stack has.
const MAX_STACK: u64 = 1 << 20;

/// The text addresses on a task's stack.
#[derive(Serialize)]
struct StackText {
    #[serde(flatten)]
    task: TaskHeader,
    /// Where the walk would begin, for `-t`.
    start: Option<TextWord>,
    words: Vec<TextWord>,
    user_registers: Option<Registers>,
}

/// A word that is an address of text.
#[derive(Clone, Serialize)]
struct TextWord {
    /// Where it lies.
    frame: Option<Hex>,
    address: Hex,
    symbol: String,
    offset: u64,
    module: Option<String>,
    /// The registers that were saved behind it.
    exception: Option<Registers>,
    #[serde(skip)]
    layout: WordLayout,
}

#[derive(Clone, Default)]
struct WordLayout {
    left_before: Option<String>,
    offsets: Option<Radix>,
    /// Symbol, offset and radix of the instruction in `exception`.
    interrupted: Option<(String, u64, Option<Radix>)>,
}

impl TextWord {
    fn new(
        kernel: &Kernel,
        request: &Request,
        frame: Option<VirtAddr>,
        ip: VirtAddr,
    ) -> Option<Self> {
        if !kernel.unwind_tables().is_text(ip) {
            return None;
        }
        // A call that never returns may end its function: what it would return to is another.
        let before = kernel.symbol_at(ip.back(1));
        let (symbol, offset) = match kernel.symbol_at(ip) {
            Some((_, 0)) if mortis_unwind::follows_call(kernel, ip) => {
                before.map(|(symbol, offset)| (symbol, offset + 1))?
            }
            found => found?,
        };
        Some(Self {
            frame: frame.map(|frame| Hex(frame.0)),
            address: Hex(ip.0),
            symbol: symbol.name.to_string(),
            offset,
            module: symbol.module.as_deref().map(str::to_owned),
            exception: None,
            layout: WordLayout {
                offsets: request.offsets.then_some(request.radix),
                ..WordLayout::default()
            },
        })
    }

    fn place(&self) -> String {
        let name = match self.layout.offsets {
            Some(radix) => with_offset(&self.symbol, self.offset, radix),
            None => self.symbol.clone(),
        };
        let module = self.module.as_ref().map_or(String::new(), |module| format!(" [{module}]"));
        format!("{name} at {:x}{module}", self.address.0)
    }
}

impl Render for StackText {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        if let Some(start) = &self.start {
            out.push_str(&format!("              START: {}\n", start.place()));
        }
        for word in &self.words {
            if let Some(label) = &word.layout.left_before {
                out.push_str(&format!("{label}\n"));
            }
            let frame = word.frame.map_or(0, |frame| frame.0);
            out.push_str(&format!("  [{frame:8x}] {}\n", word.place()));
            if let Some(registers) = &word.exception {
                let symbol = word.layout.interrupted.as_ref();
                let radix = symbol.and_then(|(_, _, radix)| *radix).unwrap_or(Radix::Decimal);
                let symbol = symbol.map(|(name, offset, _)| (name.as_str(), *offset));
                Registers::render_rip(out, symbol, radix);
                registers.render(out);
            }
        }
        if let Some(registers) = &self.user_registers {
            registers.render(out);
        }
    }
}

pub(super) fn show_text(
    kernel: &Kernel,
    request: &Request,
    task: Task,
    out: &mut Output,
) -> Result<(), CommandError> {
    let backtrace = kernel.backtrace_from(task, request.start);
    let mut words = Vec::new();
    let mut start = None;
    if request.mode == Mode::Text {
        if let Some(stack) = kernel.task_stack(task)? {
            add_text(kernel, request, &stack, stack.low, &mut words);
        }
    } else {
        start = backtrace
            .frames
            .first()
            .and_then(|first| TextWord::new(kernel, request, first.frame.ip_slot, first.frame.ip));
        add_stacks(kernel, request, &backtrace, &mut words);
    }
    let user_registers = backtrace.user_registers.as_ref().map(Registers::new);
    out.emit(&StackText { task: TaskHeader::read(kernel, task), start, words, user_registers })?;
    Ok(())
}

/// The text on every stack that the walk came over, from where it came onto it.
fn add_stacks(
    kernel: &Kernel,
    request: &Request,
    backtrace: &Backtrace,
    words: &mut Vec<TextWord>,
) {
    let mut left: Option<Stack> = None;
    for (index, frame) in backtrace.frames.iter().enumerate() {
        let Some(stack) = frame.stack.filter(|stack| left.is_none_or(|left| left.low != stack.low))
        else {
            continue;
        };
        let label = left.filter(|left| left.kind != StackKind::Task);
        let first = words.len();
        let from = frame.frame.ip_slot.unwrap_or(frame.frame.sp);
        // Onto a stack by an interrupt: the frame of the entry code, and what it interrupted.
        match backtrace.frames.get(index + 1) {
            Some(next) if left.is_some() && next.registers.is_some() => {
                words.extend(interrupted_word(kernel, request, frame, next));
                add_text(kernel, request, &stack, next.frame.sp, words);
            }
            _ => add_text(kernel, request, &stack, from, words),
        }
        if let (Some(label), Some(word)) = (label, words.get_mut(first)) {
            word.layout.left_before = Some(stack_label(label.kind));
        }
        left = Some(stack);
    }
}

fn interrupted_word(
    kernel: &Kernel,
    request: &Request,
    entry: &BacktraceFrame,
    interrupted: &BacktraceFrame,
) -> Option<TextWord> {
    let mut word = TextWord::new(kernel, request, entry.frame.ip_slot, entry.frame.ip)?;
    word.exception = interrupted.registers.as_ref().map(Registers::new);
    word.layout.interrupted = interrupted
        .symbol
        .as_ref()
        .map(|(symbol, offset)| (symbol.name.to_string(), *offset, Some(request.session_radix)));
    Some(word)
}

fn add_text(
    kernel: &Kernel,
    request: &Request,
    stack: &Stack,
    from: VirtAddr,
    words: &mut Vec<TextWord>,
) {
    let from = VirtAddr(from.0.next_multiple_of(8)).max(stack.low);
    let len = stack.high.0.saturating_sub(from.0).min(MAX_STACK);
    let Ok(bytes) = kernel.read_bytes(from, len) else { return };
    for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let slot = from.offset(index as u64 * 8);
        let ip = VirtAddr(u64::from_le_bytes(*word));
        words.extend(TextWord::new(kernel, request, Some(slot), ip));
    }
}

/// A row of a raw stack.
#[derive(Serialize)]
struct RawRow {
    address: Hex,
    /// Numbers, and addresses as symbols.
    values: Vec<String>,
}

/// The content of a task's stack.
#[derive(Serialize)]
struct RawStack {
    #[serde(flatten)]
    task: TaskHeader,
    rows: Vec<RawRow>,
}

impl Render for RawStack {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        for row in &self.rows {
            out.push_str(&format!("{:x}:  ", row.address.0));
            for value in &row.values {
                out.push_str(&format!("{value:<16} "));
            }
            out.push('\n');
        }
    }
}

pub(super) fn show_raw(kernel: &Kernel, task: Task, out: &mut Output) -> Result<(), CommandError> {
    let header = TaskHeader::read(kernel, task);
    let mut rows = Vec::new();
    if let Some(stack) = kernel.task_stack(task)? {
        let bytes = kernel.read_bytes(stack.low, stack.high.0.wrapping_sub(stack.low.0))?;
        let words = bytes.as_chunks::<8>().0;
        rows.extend(
            words.chunks(2).enumerate().map(|(row, words)| RawRow {
                address: Hex(stack.low.0 + row as u64 * 16),
                values: words
                    .iter()
                    .map(|word| spell_symbolic(kernel, u64::from_le_bytes(*word)))
                    .collect(),
            }),
        );
    }
    out.emit(&RawStack { task: header, rows })?;
    Ok(())
}
