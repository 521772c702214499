//! `sym`: symbols by name and by address.

mod listing;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::{Output, Render, Style};
use crate::session::{Radix, Session};
use mortis_debuginfo::symbols::{Symbol, SymbolTable};
use mortis_kernel::Kernel;
use mortis_memory::VirtAddr;
use serde::Serialize;

use listing::not_found;

/// `sym`.
pub const COMMAND: Command = Command {
    name: "sym",
    aliases: &[],
    summary: "symbols by name and by address",
    synopsis: "[-l] | [-M] | [-m module] | [-p|-n] | [-q string] | [symbol | vaddr]",
    options: &[
        flag('l', "every symbol of the kernel and its modules"),
        flag('L', "the same"),
        flag('M', "every symbol of every module"),
        value('m', "module", "every symbol of one module"),
        flag('p', "also the symbol before"),
        flag('n', "also the symbol after"),
        value('q', "string", "every symbol whose name holds the string"),
        value('Q', "string", "how many symbols have names that hold the string"),
        flag('s', "the section instead of the source line"),
    ],
    help: "Shows address, nm letter, name and, with a vmlinux (of a module, with its file: mod -s),\n\
           the source line of code. Lists of modules' symbols have marks where each part of a\n\
           module's memory starts and ends.\n\n\
           Examples:\n  sym jiffies\n  sym ffffffffc03f3035\n  sym -q sysrq\n  sym -m virtio_net",
    run,
};

/// A symbol, or a place in one.
#[derive(Serialize)]
pub(super) struct SymbolLine {
    address: String,
    letter: char,
    name: String,
    /// Bytes past the symbol's start.
    offset: u64,
    module: Option<String>,
    /// `file: line` of code.
    line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<String>,
    /// Whether it is code, and its line was asked for: a blank stands where none is known.
    #[serde(skip)]
    room_for_line: bool,
    #[serde(skip)]
    room_for_section: bool,
    #[serde(skip)]
    without_module: bool,
    #[serde(skip)]
    indent: &'static str,
    #[serde(skip)]
    hexadecimal: bool,
}

impl Render for SymbolLine {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(&format!("{}{} ({}) ", self.indent, &self.address[2..], self.letter));
        out.push_str(&style.name(&self.name));
        match (self.offset, self.hexadecimal) {
            (0, _) => {}
            (offset, true) => out.push_str(&format!("+{offset:#x}")),
            (offset, false) => out.push_str(&format!("+{offset}")),
        }
        if let Some(module) = self.module.as_ref().filter(|_| !self.without_module) {
            out.push_str(&format!(" [{module}]"));
        }
        if self.room_for_line {
            out.push_str(&format!(" {}", self.line.as_deref().unwrap_or_default()));
        }
        if self.room_for_section {
            out.push_str(&format!(" [{}]", self.section.as_deref().unwrap_or_default()));
        }
        out.push('\n');
    }
}

/// What else is asked for of a symbol.
struct Wanted<'k> {
    kernel: &'k Kernel,
    sections: bool,
    hexadecimal: bool,
}

impl SymbolLine {
    fn listed(name: &str, address: VirtAddr, letter: char, module: Option<&str>) -> Self {
        Self {
            address: format!("{:#x}", address.0),
            letter,
            name: name.to_owned(),
            offset: 0,
            module: module.map(str::to_owned),
            line: None,
            section: None,
            room_for_line: false,
            room_for_section: false,
            without_module: false,
            indent: "",
            hexadecimal: false,
        }
    }
}

/// The line of the place `offset` bytes into `symbol`.
pub(super) fn line_of(kernel: &Kernel, symbol: &Symbol, offset: u64) -> SymbolLine {
    Wanted { kernel, sections: false, hexadecimal: false }.line(symbol, offset)
}

impl Wanted<'_> {
    fn line(&self, symbol: &Symbol, offset: u64) -> SymbolLine {
        let address = symbol.address.offset(offset);
        let code = self.kernel.is_code(symbol);
        let line = (code && !self.sections).then(|| source_line(self.kernel, address)).flatten();
        let module = symbol.module.as_deref();
        SymbolLine {
            line,
            offset,
            section: self.sections.then(|| self.kernel.section_at(address)).flatten(),
            room_for_line: code && !self.sections,
            room_for_section: self.sections,
            hexadecimal: self.hexadecimal,
            ..SymbolLine::listed(&symbol.name, address, self.letter(symbol), module)
        }
    }

    /// Its nm letter. kallsyms calls per-CPU variables absolute, which their offsets are; the
    /// vmlinux tells more.
    fn letter(&self, symbol: &Symbol) -> char {
        if symbol.letter != 'A' || !self.kernel.is_per_cpu(symbol) {
            return symbol.letter;
        }
        let same = |known: &Symbol| known.address == symbol.address;
        let elf = self.kernel.elf_symbols();
        elf.and_then(|elf| elf.lookup_name(&symbol.name).find(same)).map_or('D', |it| it.letter)
    }
}

/// `file: line` of the instruction at `address`.
fn source_line(kernel: &Kernel, address: VirtAddr) -> Option<String> {
    let line = kernel.line_at(address)?;
    Some(format!("{}: {}", line.file.full_path(), line.line))
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let symbols = kernel.all_symbols()?;
    let mut asked = false;
    if arguments.has('l') || arguments.has('L') {
        listing::all(session, out)?;
        asked = true;
    } else if arguments.has('M') {
        listing::modules(session, None, out)?;
        asked = true;
    }
    if let Some(wanted) = arguments.value('m') {
        listing::modules(session, Some(wanted), out)?;
        asked = true;
    }
    if let Some(part) = arguments.value('q') {
        listing::holding(session, part, "", out)?;
        asked = true;
    }
    if let Some(part) = arguments.value('Q') {
        listing::count(session, part, out)?;
        asked = true;
    }
    if arguments.words.is_empty() && !asked {
        return Err(CommandError::Usage(format!("Usage: sym {}", COMMAND.synopsis)));
    }
    let wanted = Wanted {
        kernel: &kernel,
        sections: arguments.has('s'),
        hexadecimal: session.settings.radix == Radix::Hexadecimal,
    };
    let mut failed = Ok(());
    for word in &arguments.words {
        let found = match resolve(session, symbols, word) {
            Ok(found) => found,
            Err(CommandError::Shown(_)) => {
                out.layout(&format!("{}\n", not_found(session, word)))?;
                failed = Err(CommandError::Shown(format!("symbol not found: {word}")));
                continue;
            }
            Err(error) => {
                failed = Err(error);
                continue;
            }
        };
        for (symbol, offset) in found {
            let before = arguments.has('p').then(|| neighbour(symbols, &symbol, false)).flatten();
            let after = arguments.has('n').then(|| neighbour(symbols, &symbol, true)).flatten();
            for (symbol, offset) in [
                before.map(|symbol| (symbol, 0)),
                Some((symbol, offset)),
                after.map(|symbol| (symbol, 0)),
            ]
            .into_iter()
            .flatten()
            {
                out.emit(&wanted.line(&symbol, offset))?;
            }
        }
    }
    failed
}

/// The symbols that a word means: every one of that name, or the one an address lies in.
fn resolve(
    session: &Session,
    symbols: &SymbolTable,
    word: &str,
) -> Result<Vec<(Symbol, u64)>, CommandError> {
    let named = symbols.lookup_name(word);
    if !named.is_empty() {
        return Ok(named.into_iter().map(|symbol| (symbol, 0)).collect());
    }
    // What kallsyms leaves out.
    if let Some(elf) = session.kernel.elf_symbols() {
        let named: Vec<Symbol> = elf.lookup_name(word).collect();
        if !named.is_empty() {
            return Ok(named.into_iter().map(|symbol| (symbol, 0)).collect());
        }
    }
    let address = match session.address(word) {
        Ok(address) => address,
        Err(_) => return Err(CommandError::Shown(format!("symbol not found: {word}"))),
    };
    // The offset of a per-CPU variable is no address, but it is known by it.
    let per_cpu = || {
        let at = symbols.lookup_address(address);
        at.filter(|(symbol, offset)| *offset == 0 && session.kernel.is_per_cpu(symbol))
    };
    match session.kernel.symbol_within(address).or_else(per_cpu) {
        Some(found) => Ok(vec![found]),
        None => Err(CommandError::Message(format!("invalid address: {word}"))),
    }
}

/// The symbol at the next higher, or lower, address.
fn neighbour(symbols: &SymbolTable, symbol: &Symbol, above: bool) -> Option<Symbol> {
    if above {
        let next = symbol.address.offset(symbol.size?);
        return symbols.lookup_address(next).map(|(symbol, _)| symbol);
    }
    symbols.lookup_address(symbol.address.back(1)).map(|(symbol, _)| symbol)
}

/// The address that a word of a command means; see [`Session::address`]. A wrong name is answered
/// with those that are like it.
pub(super) fn address_of(session: &Session, word: &str) -> Result<VirtAddr, CommandError> {
    let found = session.address(word);
    match &found {
        Err(CommandError::Message(message))
            if message.strip_prefix("symbol not found: ") == Some(word) =>
        {
            Err(CommandError::Plain(not_found(session, word)))
        }
        _ => found,
    }
}
