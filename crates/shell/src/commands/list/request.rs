//! What the words of `list` ask for.

use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::commands::eval;
use crate::commands::struct_::beside::member_offset;
use crate::number;
use crate::session::Session;
use mortis_memory::VirtAddr;

/// Everything that was asked for.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub start: VirtAddr,
    /// Where an entry holds the address of the next.
    pub next: u64,
    /// What an entry's link is further in than the address that is shown of it.
    pub shown_back: u64,
    /// How much further before that the structure begins that is shown.
    pub struct_back: u64,
    /// `-e`.
    pub end: Option<VirtAddr>,
    /// Where the head is in what starts the list, when it is not an entry itself: `-H`, `-O`.
    pub head: Option<u64>,
    /// Whether entries are linked by `struct list_head`s, and so in a ring: `-h`, `-H`, `-r`.
    pub is_ring: bool,
}

impl Request {
    pub fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        let usage = |what: &str| {
            CommandError::Usage(format!("{what}\nUsage: list {}", super::COMMAND.synopsis))
        };
        let struct_back = once(session, arguments, 'l', "option")?;
        if struct_back.is_some() && !arguments.has('s') && !arguments.has('S') {
            return Err(usage("-l option can only be used with -s or -S option"));
        }
        let head_offset = once(session, arguments, 'O', "argument")?;
        let offset = once(session, arguments, 'o', "argument")?;
        let mut words = Words { session, start: None, offset };
        words.take(&arguments.words).map_err(|error| match error {
            CommandError::Usage(what) => usage(&what),
            error => error,
        })?;
        let Words { start, offset, .. } = words;
        let start = start.ok_or_else(|| usage("starting address required"))?;
        let struct_back = struct_back.unwrap_or(0);
        if offset.is_some() && struct_back != 0 {
            return Err(usage("-l and -o are mutually exclusive"));
        }
        let end = arguments.value('e').map(|end| end_address(session, end)).transpose()?;
        let mut request = Self { start, struct_back, end, ..Self::default() };
        let offset = offset.unwrap_or(0);
        if !['h', 'H', 'r'].iter().any(|letter| arguments.has(*letter)) {
            request.next = offset;
            return Ok(request);
        }
        request.is_ring = true;
        request.shown_back = offset;
        // `prev` is behind `next`.
        request.next = if arguments.has('r') { 8 } else { 0 };
        request.head = match (arguments.has('H'), head_offset) {
            (true, _) => Some(0),
            (false, head_offset) => head_offset,
        };
        if request.head.is_none() {
            request.start = start.offset(offset);
        }
        Ok(request)
    }
}

/// The offset that an option names, which may be given once.
fn once(
    session: &Session,
    arguments: &Arguments,
    letter: char,
    called: &str,
) -> Result<Option<u64>, CommandError> {
    let mut offset = None;
    for word in arguments.values(letter) {
        if let Some(offset) = offset {
            return Err(already(offset));
        }
        let found = number::number(word).or_else(|| member_offset(&session.kernel, word));
        offset =
            Some(found.ok_or_else(|| {
                CommandError::Message(format!("invalid -{letter} {called}: {word}"))
            })?);
    }
    Ok(offset)
}

fn already(offset: u64) -> CommandError {
    CommandError::Message(format!("offset value {offset} ({offset:#x}) already entered"))
}

/// crash takes hexadecimal digits; a symbol or an expression says as much.
fn end_address(session: &Session, word: &str) -> Result<VirtAddr, CommandError> {
    match number::address(word) {
        Some(end) => Ok(VirtAddr(end)),
        None => address(session, word)
            .ok_or_else(|| CommandError::Message(format!("invalid input: \"{word}\""))),
    }
}

/// The kernel's half of the address space.
const KERNEL_HALF: u64 = 1 << 63;

/// The kernel address that a symbol or an expression stands for.
pub(in crate::commands) fn address(session: &Session, word: &str) -> Option<VirtAddr> {
    let found = match session.kernel.all_symbols().ok().and_then(|all| all.address(word)) {
        Some(address) => address,
        None => match eval::evaluate(session, word) {
            Ok(value) => VirtAddr(value),
            Err(_) => session.address(word).ok()?,
        },
    };
    (found.0 >= KERNEL_HALF).then_some(found)
}

/// The words that are no options: a start and an offset, in any order.
struct Words<'a> {
    session: &'a Session,
    start: Option<VirtAddr>,
    offset: Option<u64>,
}

impl Words<'_> {
    fn take(&mut self, words: &[String]) -> Result<(), CommandError> {
        if words.len() > 2 {
            return Err(CommandError::Usage("too many arguments".to_owned()));
        }
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if let Some(offset) = member_offset(&self.session.kernel, word) {
                self.set_offset(offset)?;
                continue;
            }
            if number::number(word).is_none() || self.is_symbol(word) {
                let invalid = || CommandError::Message(format!("invalid argument: {word}"));
                let start = address(self.session, word).ok_or_else(invalid)?;
                self.set_start(start)?;
                continue;
            }
            if self.start.is_some() {
                self.offset = Some(number::number(word).ok_or_else(|| invalid_number(word))?);
                break;
            }
            let Some(next) = words.peek().filter(|_| self.offset.is_none()) else {
                return self.set_start(kernel_address(word)?);
            };
            if self.is_start(word, next)? {
                self.start = Some(kernel_address(word)?);
            } else {
                self.offset = Some(number::number(word).ok_or_else(|| invalid_number(word))?);
            }
        }
        Ok(())
    }

    /// Which of two numbers is the start.
    fn is_start(&self, word: &str, next: &str) -> Result<bool, CommandError> {
        if self.is_symbol(next) {
            return Ok(false);
        }
        let is_number = number::number(next).is_some();
        if !is_number && !next.contains('.') && address(self.session, next).is_none() {
            return Err(CommandError::Message(format!("symbol not found: {next}")));
        }
        Ok(number::address(word).is_some_and(|word| word >= KERNEL_HALF))
    }

    fn is_symbol(&self, word: &str) -> bool {
        let symbols = self.session.kernel.all_symbols();
        symbols.is_ok_and(|symbols| symbols.address(word).is_some())
    }

    fn set_start(&mut self, start: VirtAddr) -> Result<(), CommandError> {
        match self.start.replace(start) {
            Some(_) => Err(CommandError::message("list start already entered")),
            None => Ok(()),
        }
    }

    fn set_offset(&mut self, offset: u64) -> Result<(), CommandError> {
        match self.offset.replace(offset) {
            Some(entered) => Err(already(entered)),
            None => Ok(()),
        }
    }
}

fn invalid_number(word: &str) -> CommandError {
    CommandError::Message(format!("not a valid number: {word}"))
}

fn kernel_address(word: &str) -> Result<VirtAddr, CommandError> {
    let address = number::parse_address(word)?;
    match address >= KERNEL_HALF {
        true => Ok(VirtAddr(address)),
        false => Err(CommandError::Message(format!("invalid kernel virtual address: {address:x}"))),
    }
}
