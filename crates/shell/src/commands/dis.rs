//! `dis`: instructions.

mod source;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands::sym::address_of;
use crate::output::{Output, Render, Style};
use crate::session::{DisassemblyFlavor, Radix, Session};
use mortis_disasm::{
    Architecture, Disassembler, Flow, Instruction, OffsetRadix, Style as Flavor, SymbolOffset,
    TextOptions,
};
use mortis_kernel::Kernel;
use mortis_kernel::user_memory::UserMemory;
use mortis_memory::{ReadError, UserAddr, VirtAddr, VirtualMemory};
use serde::Serialize;

/// `dis`.
pub const COMMAND: Command = Command {
    name: "dis",
    aliases: &[],
    summary: "instructions of a function or at an address",
    synopsis: "[-rfludxs][-b [num]] [address | symbol | (expression)] [count]",
    options: &[
        flag('r', "from the start of the function up to the address"),
        flag('f', "from the address to the end of the function"),
        flag('l', "with source lines (needs a vmlinux)"),
        flag('u', "a user address of the task in focus"),
        flag('s', "the source instead, where it is to be had (set src)"),
        flag('U', "as gdb's x/i shows it: addresses are not looked up first"),
        flag('x', "offsets in hexadecimal"),
        flag('h', "the same as -x"),
        flag('d', "offsets in decimal"),
        value('b', "[num]", "bytes to skip behind each ud2; alone, how many that are now"),
        value('B', "num", "the same"),
    ],
    help: "A symbol or the start of a function shows the whole function, any other address one\n\
           instruction, unless a count is given.\n\n\
           Examples:\n  dis sysrq_handle_crash\n  dis -r ffffffffc03f3035\n  dis -l schedule 10",
    run,
};

/// One instruction.
#[derive(Serialize)]
struct Line {
    address: String,
    symbol: Option<String>,
    offset: Option<u64>,
    module: Option<String>,
    /// The bytes in hexadecimal.
    bytes: String,
    text: String,
    /// Where a direct jump or call goes.
    target: Option<String>,
    flow: &'static str,
    file: Option<String>,
    line: Option<u32>,
    #[serde(skip)]
    whole: String,
    /// `file: line`, where it is not that of the instruction before.
    #[serde(skip)]
    heading: Option<String>,
}

impl Render for Line {
    fn render(&self, out: &mut String, style: Style) {
        if let Some(heading) = &self.heading {
            out.push_str(&style.dim(heading));
            out.push('\n');
        }
        out.push_str(&self.whole);
        out.push('\n');
    }
}

/// What is to be shown, in which memory.
struct Request<'k> {
    kernel: &'k Kernel,
    user: Option<UserMemory<'k>>,
    start: VirtAddr,
    /// The start of the function, where instructions are known to begin.
    decode_from: VirtAddr,
    /// One past the last byte, where the end is known.
    end: Option<VirtAddr>,
    /// The instruction that starts there, or the first behind it, is the last one.
    until: Option<VirtAddr>,
    /// Whether the end is where the next symbol begins, which padding reaches to.
    to_next_symbol: bool,
    count: Option<u64>,
    skip_after_ud2: usize,
    /// As gdb shows it.
    unfiltered: bool,
    /// Only so many, those that come last.
    last: Option<u64>,
    lines: bool,
    flavor: Flavor,
    offsets: OffsetRadix,
}

/// What a traced function begins with while it is not traced; crash marks it where it is the very
/// first instruction.
const FTRACE_NOP: &str = "nopl   0x0(%rax,%rax,1)";

/// The longest x86 instruction.
const MAX_INSTRUCTION: u64 = 16;

/// A function of more code than this is none.
const MAX_FUNCTION: u64 = 1 << 20;

/// What `dis -b` alone says.
#[derive(Serialize)]
struct Skipped {
    bytes: u64,
}

impl Render for Skipped {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("encoded bytes being skipped after ud2a: {}\n", self.bytes));
    }
}

fn number(session: &Session, word: &str) -> Result<u64, CommandError> {
    let invalid = || CommandError::Message(format!("not a valid number: {word}"));
    session.parse_number(word).ok_or_else(invalid)
}

/// Refuses options that contradict each other.
fn exclude(arguments: &Arguments) -> Result<(), CommandError> {
    let both = |a, b| arguments.has(a) && arguments.has(b);
    let what = if both('d', 'x') || both('d', 'h') {
        "-d and -x are mutually exclusive"
    } else if both('r', 'f') {
        "-r and -f are mutually exclusive"
    } else if both('r', 's') {
        "-r and -s are mutually exclusive"
    } else if both('f', 's') {
        "-f and -s are mutually exclusive"
    } else if both('u', 's') {
        "-s can only be used with kernel addresses"
    } else {
        return Ok(());
    };
    Err(CommandError::message(what))
}

/// The functions that are called `word`, where there are several: which one is meant is not known.
fn duplicates(session: &Session, word: &str) -> Option<CommandError> {
    let kernel = &*session.kernel;
    let mut named = kernel.all_symbols().ok()?.lookup_name(word);
    named.retain(|symbol| kernel.is_code(symbol));
    named.sort_by_key(|symbol| symbol.address);
    if named.len() < 2 {
        return None;
    }
    let mut text = format!("{word}: duplicate text symbols found:");
    for symbol in named {
        let line = kernel.line_at(symbol.address);
        let line = line.map(|line| format!("{}: {}", line.file.full_path(), line.line));
        text.push_str(&format!("\n{symbol} {}", line.unwrap_or_default()));
    }
    Some(CommandError::Message(text))
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let usage = || CommandError::Usage(format!("Usage: dis {}", COMMAND.synopsis));
    exclude(arguments)?;
    let given = arguments.value('b').or(arguments.value('B'));
    let given = given.map(|word| number(session, word)).transpose()?;
    if let Some(bytes) = given {
        session.skip_after_ud2 = bytes.min(MAX_INSTRUCTION);
    }
    let Some(word) = arguments.first() else {
        return match (arguments.has('b') || arguments.has('B'), given) {
            (false, _) => Err(usage()),
            (true, Some(_)) => Ok(()),
            (true, None) => Ok(out.emit(&Skipped { bytes: session.skip_after_ud2 })?),
        };
    };
    let count = arguments.words.get(1).map(|word| number(session, word)).transpose()?;
    if count == Some(0) {
        return Err(CommandError::message("invalid count argument: 0"));
    }
    if !arguments.has('u')
        && let Some(duplicates) = duplicates(session, word)
    {
        return Err(duplicates);
    }
    let address = address_of(session, word)?;
    if arguments.has('s') {
        return source::list(session, word, address, count, out);
    }
    let user = match arguments.has('u') {
        true => Some(UserMemory::of(&kernel, session.context()?)?),
        false => None,
    };
    let hexadecimal = match (arguments.has('x') || arguments.has('h'), arguments.has('d')) {
        (true, _) => true,
        (_, true) => false,
        _ => session.settings.radix == Radix::Hexadecimal,
    };
    let mut request = Request {
        kernel: &kernel,
        user,
        start: address,
        decode_from: address,
        end: None,
        until: None,
        to_next_symbol: false,
        count,
        skip_after_ud2: session.skip_after_ud2 as usize,
        unfiltered: arguments.has('U'),
        last: None,
        lines: arguments.has('l'),
        flavor: match session.settings.disassembly {
            DisassemblyFlavor::Att => Flavor::Att,
            DisassemblyFlavor::Intel => Flavor::Intel,
        },
        offsets: if hexadecimal { OffsetRadix::Hexadecimal } else { OffsetRadix::Decimal },
    };
    match request.unfiltered {
        true => _ = request.count.get_or_insert(1),
        false => request.set_bounds(arguments.has('r'), arguments.has('f'))?,
    }
    if request.lines && !kernel.has_lines() {
        out.warn("source lines need a vmlinux: mortis VMLINUX VMCORE");
    }
    request.show(out)
}

impl Request<'_> {
    /// Decides where to start and end from the symbol that the address lies in.
    fn set_bounds(&mut self, reverse: bool, forward: bool) -> Result<(), CommandError> {
        let address = self.start;
        let symbol = match &self.user {
            None => {
                self.kernel.symbol_at(address).filter(|(symbol, _)| self.kernel.is_code(symbol))
            }
            Some(_) => None,
        };
        if (reverse || forward) && symbol.is_none() {
            let why =
                format!("{:x} is in no function, so where to start or end is not known", address.0);
            return Err(CommandError::Message(why));
        }
        let Some((symbol, offset)) = symbol else {
            self.count.get_or_insert(1);
            return Ok(());
        };
        let size = symbol.size.unwrap_or(0).min(MAX_FUNCTION);
        let function_end = symbol.address.offset(size);
        if reverse {
            self.start = symbol.address;
            self.decode_from = symbol.address;
            self.until = Some(address);
            self.end = Some(function_end);
            self.last = self.count.take();
        } else if forward || (self.count.is_none() && offset == 0) {
            self.end = Some(function_end);
            self.decode_from = symbol.address;
            self.to_next_symbol = self.count.is_none();
        } else {
            self.count.get_or_insert(1);
        }
        Ok(())
    }

    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        match &self.user {
            Some(user) => user.read(UserAddr(address.0), buf),
            None => self.kernel.read(address, buf),
        }
    }

    /// The bytes at `address`, as many of an instruction's as can be read.
    fn bytes_at(&self, address: VirtAddr) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; MAX_INSTRUCTION as usize];
        let Err(error) = self.read(address, &mut bytes) else { return Ok(bytes) };
        // The next page may be missing.
        let here = (4096 - address.0 % 4096).min(MAX_INSTRUCTION) as usize;
        bytes.truncate(here);
        self.read(address, &mut bytes).map_err(|_| error)?;
        Ok(bytes)
    }

    fn show(&self, out: &mut Output) -> Result<(), CommandError> {
        let disassembler = Disassembler::new(Architecture::X86_64);
        let symbols = |address: VirtAddr| self.symbol_offset(address);
        let options = TextOptions { style: self.flavor, offsets: self.offsets, symbols: &symbols };
        let mut address = self.decode_from;
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut heading = None;
        let mut padding = Vec::new();
        let mut ended = false;
        let mut kept = std::collections::VecDeque::new();
        while left > 0 && self.end.is_none_or(|end| address < end) {
            let bytes = self.bytes_at(address)?;
            let Some(instruction) = disassembler.instruction(address, &bytes) else { break };
            let skipped = if instruction.is_ud2() { self.skip_after_ud2 } else { 0 };
            address = address.offset((instruction.len() + skipped).max(1) as u64);
            if instruction.address < self.start {
                continue;
            }
            left -= 1;
            if self.until.is_some_and(|until| instruction.address >= until) {
                left = 0;
            }
            // An `int3` directly behind a return is the function's own: it stops speculation.
            let is_padding = match instruction.flow {
                Flow::Nop => true,
                Flow::Breakpoint => !(ended && padding.is_empty()),
                _ => false,
            };
            ended = matches!(instruction.flow, Flow::Return | Flow::Jump);
            if self.to_next_symbol && is_padding {
                padding.push(instruction);
                continue;
            }
            // What was inside the function after all.
            for inner in padding.drain(..) {
                out.emit(&self.line(&inner, &options, &mut heading))?;
            }
            if let Some(last) = self.last {
                kept.push_back(instruction);
                if kept.len() as u64 > last {
                    kept.pop_front();
                }
                continue;
            }
            out.emit(&self.line(&instruction, &options, &mut heading))?;
        }
        for instruction in kept {
            out.emit(&self.line(&instruction, &options, &mut heading))?;
        }
        Ok(())
    }

    fn symbol_offset(&self, address: VirtAddr) -> Option<SymbolOffset<'static>> {
        let (symbol, offset) = self.kernel.symbol_within(address)?;
        Some(SymbolOffset { name: symbol.name.to_string().into(), offset })
    }

    fn line(
        &self,
        instruction: &Instruction,
        options: &TextOptions,
        heading: &mut Option<String>,
    ) -> Line {
        let address = instruction.address;
        let symbol = match &self.user {
            None => self.kernel.symbol_at(address),
            Some(_) => None,
        };
        let source = match (&self.user, self.lines) {
            (None, true) => self.kernel.line_at(address),
            _ => None,
        };
        let position =
            source.as_ref().map(|line| format!("{}: {}", line.file.full_path(), line.line));
        let changed = position.is_some() && position != *heading;
        if changed {
            heading.clone_from(&position);
        }
        let is_ftrace_nop = symbol.as_ref().is_some_and(|(_, offset)| *offset == 0)
            && instruction.text(options) == FTRACE_NOP;
        let whole = match &self.user {
            None if self.unfiltered => format!("   {}", instruction.line(options)),
            None if is_ftrace_nop => format!("{} [FTRACE NOP]", instruction.line(options)),
            None => instruction.line(options),
            // gdb indents addresses that have no symbol.
            Some(_) => format!("   {:#x}:\t{}", address.0, instruction.text(options)),
        };
        Line {
            address: format!("{:#x}", address.0),
            offset: symbol.as_ref().map(|(_, offset)| *offset),
            module: symbol
                .as_ref()
                .and_then(|(symbol, _)| symbol.module.as_deref().map(Into::into)),
            symbol: symbol.map(|(symbol, _)| symbol.name.to_string()),
            bytes: instruction.bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            text: instruction.text(options),
            target: instruction.target.map(|target| format!("{:#x}", target.0)),
            flow: instruction.flow.name(),
            file: source.as_ref().map(|line| line.file.full_path()),
            line: source.as_ref().map(|line| line.line),
            whole,
            heading: position.filter(|_| changed),
        }
    }
}
