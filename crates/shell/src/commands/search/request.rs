//! What a command line asks `search` for.

use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::commands::search::COMMAND;
use crate::output::Output;
use crate::session::Session;
use mortis_kernel::Kernel;
use mortis_kernel::memory_search::Needle;
use mortis_kernel::search_space::KernelPart;
use mortis_kernel::tasks::Task;
use mortis_kernel::vmalloc::VmapArea;
use mortis_memory::PhysicalMemory;
use std::ops::Range;

/// Which memory is searched.
pub(super) enum Space {
    Kernel { areas: Vec<VmapArea>, parts: Vec<(KernelPart, Range<u64>)> },
    User(Task),
    Physical,
    Stacks { only_running: bool },
}

/// What is searched for, and where.
pub(super) struct Request {
    pub(super) space: Space,
    /// The addresses of user and physical memory that are searched.
    pub(super) range: Range<u64>,
    pub(super) needle: Needle,
    /// The symbol or expression that each number was given by.
    pub(super) words: Vec<Option<String>>,
    /// Numbers to show around each hit.
    pub(super) context: u64,
}

/// Where user space ends, for those who ask for all of it.
const USER_END: u64 = 1 << 56;

fn usage(what: &str) -> CommandError {
    CommandError::Usage(format!("{what}\nUsage: {} {}", COMMAND.name, COMMAND.synopsis))
}

fn message(text: String) -> CommandError {
    CommandError::Message(text)
}

/// A number of hexadecimal digits.
fn hexadecimal(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn symbol(kernel: &Kernel, name: &str) -> Option<u64> {
    let symbols = kernel.all_symbols().ok()?;
    symbols.lookup_name(name).first().map(|symbol| symbol.address.0)
}

/// The address that an option names.
fn address(kernel: &Kernel, word: &str) -> Result<u64, CommandError> {
    let found = symbol(kernel, word).or_else(|| hexadecimal(word));
    found.ok_or_else(|| message(format!("invalid input: \"{word}\"")))
}

/// Whether crash would compute a word: it has an operator between two operands.
fn is_expression(word: &str) -> bool {
    let in_parentheses = word.starts_with('(') && word.ends_with(')') && word.len() > 2;
    let operator = word.find(['>', '<', '+', '-', '&', '|', '*', '/', '%', '^']);
    in_parentheses || operator.is_some_and(|at| at > 0 && at + 1 < word.len())
}

/// Computes `operand operator operand`; symbols stand for their addresses.
fn compute(session: &Session, word: &str) -> Result<u64, CommandError> {
    let invalid = || message(format!("invalid expression: {word}"));
    let inner = word.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(word);
    let operand = |text: &str| {
        let text = text.trim();
        let found = symbol(&session.kernel, text).or_else(|| session.parse_number(text));
        found.ok_or_else(invalid)
    };
    let operators = ["<<", ">>", "+", "-", "&", "|", "*", "/", "%", "^"];
    let split = operators.iter().find_map(|operator| {
        let (left, right) = inner.split_once(operator)?;
        (!left.trim().is_empty()).then_some((left, *operator, right))
    });
    let Some((left, operator, right)) = split else { return operand(inner) };
    let (left, right) = (operand(left)?, operand(right)?);
    let shift = u32::try_from(right).unwrap_or(u32::MAX);
    Ok(match operator {
        "<<" => left.checked_shl(shift).unwrap_or(0),
        ">>" => left.checked_shr(shift).unwrap_or(0),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "&" => left & right,
        "|" => left | right,
        "*" => left.wrapping_mul(right),
        "/" => left.checked_div(right).ok_or_else(invalid)?,
        "%" => left.checked_rem(right).ok_or_else(invalid)?,
        _ => left ^ right,
    })
}

impl Request {
    pub(super) fn parse(
        session: &Session,
        arguments: &Arguments,
        out: &mut Output,
    ) -> Result<Self, CommandError> {
        let kernel = &*session.kernel;
        let option = |letter| arguments.value(letter).map(|word| address(kernel, word)).transpose();
        let (start, end) = (option('s')?, option('e')?);
        if end == Some(0) {
            return Err(message("invalid ending address: 0".to_owned()));
        }
        let length = arguments.value('l').map(|word| {
            let number = session.parse_number(word);
            number.ok_or_else(|| message(format!("not a valid number: {word}")))
        });
        let length = length.transpose()?;
        let stacks = match (arguments.has('t'), arguments.has('T')) {
            (true, true) => {
                return Err(message("-t and -T options are mutually exclusive".to_owned()));
            }
            (all, running) => (all || running).then_some(if all { 't' } else { 'T' }),
        };
        let selected = ['u', 'p', 'k', 'K', 'V'].into_iter().any(|letter| arguments.has(letter));
        if let Some(letter) = stacks
            && (selected || start.is_some() || end.is_some() || length.is_some())
        {
            return Err(message(format!(
                "-{letter} option cannot be used with other memory-selection options"
            )));
        }
        if end.is_some() && length.is_some_and(|length| length > 0) {
            return Err(usage("-e and -l cannot be used together"));
        }
        let (size, mode) = mode(arguments, out);
        let context = context(arguments, size)?;
        let mask = arguments.value('m').map(|word| {
            hexadecimal(word).ok_or_else(|| message(format!("invalid input: \"{word}\"")))
        });
        let mask = mask.transpose()?.unwrap_or(0);
        if size.is_none() && mask != 0 {
            out.warn("mask ignored on string search");
        }
        let (needle, words) = needle(session, arguments, size, mode, mask)?;
        let (space, range) = match stacks {
            Some(letter) => (Space::Stacks { only_running: letter == 'T' }, 0..u64::MAX),
            None => space(session, arguments, start, end, length, out)?,
        };
        Ok(Self { space, range, needle, words, context })
    }
}

/// Bytes of the numbers that are searched (`None` for strings), and the option that says so.
fn mode(arguments: &Arguments, out: &mut Output) -> (Option<usize>, char) {
    let given: Vec<char> =
        arguments.letters().filter(|letter| matches!(letter, 'w' | 'h' | 'c')).collect();
    for letter in given.iter().skip(1) {
        let what = if *letter == 'c' { "type" } else { "mode" };
        out.warn(format_args!("overriding previously set search {what} with \"{letter}\""));
    }
    match given.last() {
        Some('c') => (None, 'c'),
        Some('w') => (Some(4), 'w'),
        Some('h') => (Some(2), 'h'),
        _ => (Some(8), ' '),
    }
}

fn context(arguments: &Arguments, size: Option<usize>) -> Result<u64, CommandError> {
    let Some(word) = arguments.value('x') else { return Ok(0) };
    let context: u64 = word.parse().map_err(|_| message(format!("invalid input: \"{word}\"")))?;
    let Some(size) = size else {
        return Err(message("-x option is not allowed with -c".to_owned()));
    };
    let most = 4096 / size as u64;
    if context > most {
        return Err(message(format!("context value {context} is too large: maximum is {most}")));
    }
    Ok(context)
}

/// What the words are.
fn needle(
    session: &Session,
    arguments: &Arguments,
    size: Option<usize>,
    mode: char,
    mask: u64,
) -> Result<(Needle, Vec<Option<String>>), CommandError> {
    let Some(size) = size else {
        let strings: Vec<Vec<u8>> = arguments
            .words
            .iter()
            .filter(|w| !w.is_empty())
            .map(|w| w.clone().into_bytes())
            .collect();
        if strings.is_empty() {
            return Err(usage("nothing to search for"));
        }
        let words = vec![None; strings.len()];
        return Ok((Needle::Strings(strings), words));
    };
    let (mut values, mut words) = (Vec::new(), Vec::new());
    for word in &arguments.words {
        let (value, named) = if is_expression(word) {
            (compute(session, word)?, true)
        } else if let Some(address) = symbol(&session.kernel, word) {
            (address, true)
        } else {
            let invalid = || message(format!("invalid input: \"{word}\""));
            (hexadecimal(word).ok_or_else(invalid)?, false)
        };
        let words_shown = (named && mask == 0).then(|| word.clone());
        if size < 8 && value >> (size * 8) != 0 {
            let shown = match &words_shown {
                Some(word) if word.starts_with('(') => word.clone(),
                Some(word) => format!("({word})"),
                None => String::new(),
            };
            return Err(message(format!("value too large for -{mode} option: {value:x} {shown}")));
        }
        values.push(value);
        words.push(words_shown);
    }
    if values.is_empty() {
        return Err(usage("nothing to search for"));
    }
    let mask = if size < 8 { mask & ((1 << (size * 8)) - 1) } else { mask };
    Ok((Needle::Numbers { size, values, mask }, words))
}

/// The memory that is searched, and the addresses in it.
fn space(
    session: &Session,
    arguments: &Arguments,
    start: Option<u64>,
    end: Option<u64>,
    length: Option<u64>,
    out: &mut Output,
) -> Result<(Space, Range<u64>), CommandError> {
    let kernel = &*session.kernel;
    let last = arguments.letters().filter(|c| matches!(c, 'u' | 'p' | 'k' | 'K' | 'V')).last();
    let aligned = |start: u64, out: &mut Output| {
        if !start.is_multiple_of(8) {
            out.warn(format_args!("rounding down start address to: {:x}", start & !7));
        }
        start & !7
    };
    let below = |start: u64, end: u64| {
        usage(&format!("ending address {end:x} is below starting address {start:x}"))
    };
    let end_of = |start: u64, default: u64| match (end, length) {
        (_, Some(length)) if length > 0 => start.saturating_add(length),
        (Some(end), _) => end,
        _ => default,
    };
    match last {
        Some('p') => {
            let span = kernel.physical_span().or_else(|error| {
                let ranges = kernel.memory().physical().ranges();
                let span = ranges.first().zip(ranges.last());
                span.map(|(first, last)| first.start.0..last.end.0).ok_or(error)
            })?;
            let start = start.unwrap_or(span.start);
            let end = end_of(start, span.end);
            if end < start {
                return Err(below(start, end));
            }
            Ok((Space::Physical, aligned(start, out)..end))
        }
        Some('u') => {
            let task = session.context()?;
            if task.mm(kernel)?.is_null() {
                return Err(message("current context has no user address space".to_owned()));
            }
            let start = start.unwrap_or(0);
            if start >> 63 != 0 {
                return Err(usage(&format!("invalid user virtual address: {start:x}")));
            }
            let end = end_of(start, USER_END);
            if end > USER_END {
                return Err(usage(&format!("ending address {end:x} is in kernel space: {end:x}")));
            }
            if end < start {
                return Err(below(start, end));
            }
            Ok((Space::User(task), aligned(start, out)..end))
        }
        _ => {
            let areas = kernel.vmap_areas().unwrap_or_else(|error| {
                out.warn(format_args!("vmalloc is not searched: {error}"));
                mortis_kernel::vmalloc::VmapAreas::default()
            });
            if let Some(damage) = &areas.damage {
                out.warn(format_args!("not all of vmalloc is searched: {damage}"));
            }
            let mut parts = kernel.kernel_parts(&areas.areas);
            if let Some(start) = start.filter(|start| start >> 63 == 0) {
                return Err(usage(&format!("invalid kernel virtual address: {start:x}")));
            }
            let start = start.or_else(|| parts.first().map(|(_, range)| range.start)).unwrap_or(0);
            let highest = parts.iter().map(|(_, range)| range.end).max().unwrap_or(0);
            let end = end_of(start, highest);
            if end < start {
                return Err(below(start, end));
            }
            let start = aligned(start, out);
            let (without_mapped, without_linear) = (arguments.has('K'), arguments.has('V'));
            parts.retain_mut(|(part, range)| {
                *range = range.start.max(start)..range.end.min(end);
                let is_linear = matches!(part, KernelPart::DirectMap | KernelPart::Image);
                let wanted = if is_linear { !without_linear } else { !without_mapped };
                wanted && range.start < range.end
            });
            Ok((Space::Kernel { areas: areas.areas, parts }, start..end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_an_operator_between_operands_are_expressions() {
        for word in ["(init_task+8)", "init_task+8", "(5)", "1<<3", "a-b"] {
            assert!(is_expression(word), "{word}");
        }
        for word in ["ffff8000", "init_task", "-5", "5-", "()"] {
            assert!(!is_expression(word), "{word}");
        }
    }

    #[test]
    fn numbers_are_hexadecimal() {
        assert_eq!(hexadecimal("10"), Some(16));
        assert_eq!(hexadecimal("0xff"), Some(255));
        assert_eq!(hexadecimal("xyz"), None);
        assert_eq!(hexadecimal(""), None);
        assert_eq!(hexadecimal("+5"), None);
    }
}
