//! `bt -R`: whether a stack has anything to do with a symbol or a value.

use crate::session::Session;
use mortis_kernel::Kernel;
use mortis_kernel::backtrace::Backtrace;
use mortis_memory::VirtualMemory;

/// What is looked for.
pub(super) struct Reference {
    name: String,
    value: Option<u64>,
}

/// More bytes than any stack has.
const MAX_STACK: u64 = 1 << 20;

impl Reference {
    pub(super) fn parse(session: &Session, word: &str) -> Self {
        let symbol = session.kernel.symbol(word).ok().map(|address| address.0);
        let number = || u64::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok();
        Self { name: word.to_owned(), value: symbol.or_else(number) }
    }

    /// Whether one of the frames is of that function, or the value is somewhere between the first
    /// frame and the end of its stack.
    pub(super) fn is_in(&self, kernel: &Kernel, backtrace: &Backtrace) -> bool {
        let named = backtrace.frames.iter().any(|frame| {
            frame.symbol.as_ref().is_some_and(|(symbol, _)| *symbol.name == *self.name)
                || Some(frame.frame.ip.0) == self.value
        });
        named || self.value.is_some_and(|value| is_on_stack(kernel, backtrace, value))
    }
}

fn is_on_stack(kernel: &Kernel, backtrace: &Backtrace, value: u64) -> bool {
    let Some(first) = backtrace.frames.first() else { return false };
    let from = first.frame.ip_slot.unwrap_or(first.frame.sp);
    let mut stacks: Vec<_> = backtrace.frames.iter().filter_map(|frame| frame.stack).collect();
    stacks.dedup_by_key(|stack| stack.low);
    stacks.into_iter().any(|stack| {
        let start = if stack.holds(from, 1) { from } else { stack.low };
        let len = stack.high.0.saturating_sub(start.0).min(MAX_STACK);
        kernel.read_bytes(start, len).is_ok_and(|bytes| {
            bytes.as_chunks::<8>().0.iter().any(|word| u64::from_le_bytes(*word) == value)
        })
    })
}
