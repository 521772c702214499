//! One frame of a backtrace, as crash lays it out.

use super::registers::Registers;
use super::request::{Content, Request};
use crate::output::Style;
use crate::session::Radix;
use crate::task_header::Hex;
use mortis_debuginfo::dwarf::SourceLine;
use mortis_kernel::Kernel;
use mortis_kernel::backtrace::BacktraceFrame;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{Stack, StackKind};
use serde::Serialize;

/// One frame.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FrameItem {
    /// crash's number. Null for a function that an exception interrupted and that is shown with
    /// the registers saved.
    pub(super) level: Option<usize>,
    /// The instruction that ran, or to which the frame returns.
    pub(super) address: Hex,
    pub(super) symbol: Option<String>,
    pub(super) offset: Option<u64>,
    pub(super) module: Option<String>,
    /// Where the return address lies, or the saved instruction pointer.
    pub(super) frame: Option<Hex>,
    /// The stack that it lies on.
    pub(super) stack: Option<StackItem>,
    /// How the frame was found.
    pub(super) how: &'static str,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    /// Calls that the compiler inlined at the address, innermost first.
    pub(super) inlined: Vec<InlinedItem>,
    /// The registers that were saved when this function was interrupted.
    pub(super) exception: Option<Registers>,
    /// The stack's content up to the next frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Vec<ContentRow>>,
    #[serde(skip)]
    pub(super) layout: FrameLayout,
}

/// What of a frame only text shows.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameLayout {
    /// The stack that was left before this frame.
    pub(super) left_before: Option<String>,
    /// The exception stack that was left after this frame's registers: the function interrupted
    /// is then shown once more, at its stack pointer.
    pub(super) left_after: Option<(String, u64)>,
    pub(super) show_line: bool,
    pub(super) show_inlined: bool,
    /// The radix of offsets, where they are shown.
    pub(super) offsets: Option<Radix>,
    pub(super) exception_offsets: Option<Radix>,
    pub(super) guessed: bool,
}

/// A stack.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct StackItem {
    kind: &'static str,
    cpu: Option<u32>,
}

/// An inlined call.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InlinedItem {
    function: String,
    file: Option<String>,
    line: Option<u32>,
}

/// Up to two words of a stack.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ContentRow {
    address: Hex,
    values: Vec<String>,
}

/// `name+offset`, or `name` at its very start.
pub(super) fn with_offset(name: &str, offset: u64, radix: Radix) -> String {
    match (offset, radix) {
        (0, _) => name.to_owned(),
        (_, Radix::Decimal) => format!("{name}+{offset}"),
        (_, Radix::Hexadecimal) => format!("{name}+{offset:#x}"),
    }
}

/// `--- <NMI exception stack> ---`
pub(super) fn stack_label(kind: StackKind) -> String {
    let exception = if kind.is_exception() { " exception" } else { "" };
    format!("--- <{}{exception} stack> ---", kind.name())
}

fn file_and_line(line: Option<&SourceLine>) -> (Option<String>, Option<u32>) {
    (line.map(|line| line.file.full_path()), line.map(|line| line.line))
}

impl FrameItem {
    pub(super) fn new(kernel: &Kernel, request: &Request, frame: &BacktraceFrame) -> Self {
        let source = request.source(kernel, frame);
        let (real, inlined) = match source.functions.split_last() {
            Some((real, inlined)) => (real.line.as_ref(), inlined),
            None => (None, &[][..]),
        };
        // Next to its inlined calls a function stands at the line of the outermost of them.
        let own_line = if inlined.is_empty() || !request.shows_inlined() {
            source.line.as_ref()
        } else {
            real
        };
        let (file, line) = file_and_line(own_line);
        let symbol = frame.symbol.as_ref();
        Self {
            level: None,
            address: Hex(frame.frame.ip.0),
            symbol: symbol.map(|(symbol, _)| symbol.name.to_string()),
            offset: symbol.map(|(_, offset)| *offset),
            module: symbol.and_then(|(symbol, _)| symbol.module.as_deref()).map(str::to_owned),
            frame: frame.frame.ip_slot.map(|slot| Hex(slot.0)),
            stack: frame.stack.map(|stack| StackItem { kind: stack.kind.name(), cpu: stack.cpu }),
            how: frame.frame.how.code(),
            file,
            line,
            inlined: inlined
                .iter()
                .map(|call| {
                    let (file, line) = file_and_line(call.line.as_ref());
                    InlinedItem { function: call.function.to_string(), file, line }
                })
                .collect(),
            exception: frame.registers.as_ref().map(Registers::new),
            content: None,
            layout: FrameLayout {
                show_line: request.lines,
                show_inlined: request.inlines,
                offsets: request.offsets.then_some(request.radix),
                exception_offsets: Some(request.session_radix),
                guessed: frame.frame.how.is_guess(),
                ..FrameLayout::default()
            },
        }
    }

    pub(super) fn render(&self, out: &mut String, style: Style) {
        if let Some(label) = &self.layout.left_before {
            out.push_str(label);
            out.push('\n');
        }
        match &self.exception {
            Some(registers) => {
                let radix = self.layout.exception_offsets.unwrap_or(Radix::Decimal);
                Registers::render_rip(out, self.symbol.as_deref().zip(self.offset), radix);
                self.render_source(out);
                registers.render(out);
                self.render_content(out);
                if let Some((label, sp)) = &self.layout.left_after {
                    out.push_str(label);
                    out.push('\n');
                    self.render_line(out, style, *sp);
                }
            }
            None => {
                self.render_line(out, style, self.frame.map_or(0, |frame| frame.0));
                self.render_source(out);
                self.render_content(out);
            }
        }
    }

    /// ` #0 [ffffd0614001be18] __schedule at ffffffffacac2dfa [module]`
    fn render_line(&self, out: &mut String, style: Style, place: u64) {
        let level = self.level.unwrap_or(0);
        if self.layout.show_inlined {
            for call in &self.inlined {
                let name = style.name(&call.function);
                out.push_str(&format!(
                    "{:>3} [{:^16}] {name} at {:x}\n",
                    format!("#{level}"),
                    "inlined",
                    self.address.0
                ));
                render_place(out, self.layout.show_line, call.file.as_deref(), call.line);
            }
        }
        let name = match (&self.symbol, self.offset, self.layout.offsets) {
            (Some(symbol), Some(offset), Some(radix)) => with_offset(symbol, offset, radix),
            (Some(symbol), _, _) => symbol.clone(),
            (None, _, _) => "(unknown)".to_owned(),
        };
        let name = style.name(&name);
        let mark = if self.layout.guessed { " ?" } else { "" };
        out.push_str(&format!("{:>3} ", format!("#{level}")));
        out.push_str(&format!("[{place:8x}] {name}{mark} at {:x}", self.address.0));
        if let Some(module) = &self.module {
            out.push_str(&format!(" [{module}]"));
        }
        out.push('\n');
    }

    fn render_source(&self, out: &mut String) {
        render_place(out, self.layout.show_line, self.file.as_deref(), self.line);
    }

    fn render_content(&self, out: &mut String) {
        for row in self.content.iter().flatten() {
            out.push_str(&format!("    {:x}: ", row.address.0));
            for value in &row.values {
                out.push_str(&format!("{value:<16} "));
            }
            out.push('\n');
        }
    }
}

fn render_place(out: &mut String, show: bool, file: Option<&str>, line: Option<u32>) {
    if let (true, Some(file), Some(line)) = (show, file, line) {
        out.push_str(&format!("    {file}: {line}\n"));
    }
}

/// More bytes than a frame has.
const MAX_CONTENT: u64 = 1 << 20;

/// The words of `stack` from `from` up to and with the one at `last`.
pub(super) fn content(
    kernel: &Kernel,
    request: &Request,
    stack: &Stack,
    from: VirtAddr,
    last: VirtAddr,
) -> Option<Vec<ContentRow>> {
    let len = last.offset(8).0.checked_sub(from.0).filter(|len| *len <= MAX_CONTENT)?;
    if !stack.holds(from, len) {
        return None;
    }
    let bytes = kernel.read_bytes(from, len).ok()?;
    let words = bytes.as_chunks::<8>().0;
    let rows = words.chunks(2).enumerate().map(|(row, words)| ContentRow {
        address: Hex(from.0 + row as u64 * 16),
        values: words
            .iter()
            .map(|word| spell(kernel, request, u64::from_le_bytes(*word)))
            .collect(),
    });
    Some(rows.collect())
}

/// A word as `-f` or `-F` shows it.
fn spell(kernel: &Kernel, request: &Request, word: u64) -> String {
    if request.content < Content::Symbolic {
        return format!("{word:016x}");
    }
    if let Some(cache) = request.slab_cache(kernel, VirtAddr(word)) {
        return match request.content {
            Content::SymbolicWithAddress => format!("[{word:x}:{cache}]"),
            _ => format!("[{cache}]"),
        };
    }
    spell_symbolic(kernel, word)
}

/// How far behind a symbol that is not code a word may be and still have to do with it. Strings
/// and other nameless data are far behind any.
const LARGEST_OBJECT: u64 = 64 << 10;

/// A word as a symbol, or in digits.
pub(super) fn spell_symbolic(kernel: &Kernel, word: u64) -> String {
    match kernel.symbol_at(VirtAddr(word)) {
        Some((symbol, offset)) if symbol.is_text() || offset < LARGEST_OBJECT => {
            with_offset(&symbol.name, offset, Radix::Decimal)
        }
        _ => format!("{word:016x}"),
    }
}
