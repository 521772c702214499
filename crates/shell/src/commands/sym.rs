//! `sym`: symbols by name and by address.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use mortis_debuginfo::symbols::{Symbol, SymbolTable};
use mortis_kernel::Kernel;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `sym`.
pub const COMMAND: Command = Command {
    name: "sym",
    aliases: &[],
    summary: "symbols by name and by address",
    synopsis: "[-l] | [-M] | [-m module] | [-p|-n] | [-q|-Q string] | [symbol | vaddr]...",
    options: &[
        flag('l', "every symbol of the kernel and its modules"),
        flag('M', "every symbol of every module"),
        value('m', "module", "every symbol of one module"),
        flag('p', "also the symbol before"),
        flag('n', "also the symbol after"),
        value('q', "string", "every symbol whose name holds the string"),
        value('Q', "string", "the same, with their number behind them"),
    ],
    help: "Shows address, nm letter, name and, with a vmlinux, the source line of code.\n\n\
           Examples:\n  sym jiffies\n  sym ffffffff810d5e86\n  sym -q sysrq",
    run,
};

/// A symbol, or a place in one.
#[derive(Serialize)]
struct SymbolLine {
    address: String,
    letter: char,
    name: String,
    /// Bytes past the symbol's start.
    offset: u64,
    module: Option<String>,
    /// `file: line` of code.
    line: Option<String>,
    /// Whether an address was asked for, or a name.
    #[serde(skip)]
    exact: bool,
}

impl Render for SymbolLine {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(&format!("{} ({}) ", &self.address[2..], self.letter));
        out.push_str(&style.name(&self.name));
        if self.offset != 0 {
            out.push_str(&format!("+{}", self.offset));
        }
        if let Some(module) = &self.module {
            out.push_str(&format!(" [{module}]"));
        }
        match &self.line {
            Some(line) => out.push_str(&format!(" {line}\n")),
            None if self.exact => out.push_str(" \n"),
            None => out.push('\n'),
        }
    }
}

impl SymbolLine {
    fn new(kernel: &Kernel, symbol: &Symbol, offset: u64, with_line: bool) -> Self {
        let line = (with_line && kernel.is_code(symbol))
            .then(|| source_line(kernel, symbol.address.offset(offset)))
            .flatten();
        Self {
            address: format!("{:#x}", symbol.address.0.wrapping_add(offset)),
            letter: symbol.letter,
            name: symbol.name.to_string(),
            offset,
            module: symbol.module.as_deref().map(str::to_owned),
            line,
            exact: false,
        }
    }
}

/// `file: line` of the instruction at `address`.
fn source_line(kernel: &Kernel, address: VirtAddr) -> Option<String> {
    let line = kernel.vmlinux()?.line_at(address, kernel.kaslr_offset())?;
    Some(format!("{}: {}", line.file.full_path(), line.line))
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let symbols = kernel.all_symbols()?;
    if arguments.has('l') {
        return list(out, symbols, |_, _| true);
    }
    if arguments.has('M') {
        return list(out, symbols, |_, module| module.is_some());
    }
    if let Some(wanted) = arguments.value('m') {
        if !symbols.modules().iter().any(|module| **module.name() == *wanted) {
            return Err(CommandError::Message(format!("no module called {wanted}")));
        }
        return list(out, symbols, |_, module| module == Some(wanted));
    }
    if let Some(part) = arguments.value('q').or(arguments.value('Q')) {
        let mut found = 0u64;
        list(out, symbols, |name, _| {
            let hit = name.contains(part);
            found += u64::from(hit);
            hit
        })?;
        if arguments.has('Q') && found > 0 {
            out.layout(&format!("{found} found\n"))?;
        }
        return if found > 0 { Ok(()) } else { Err(not_found(symbols, part)) };
    }
    if arguments.words.is_empty() {
        return Err(CommandError::Usage(format!("Usage: sym {}", COMMAND.synopsis)));
    }
    for word in &arguments.words {
        for (symbol, offset) in resolve(session, symbols, word)? {
            let before = arguments.has('p').then(|| neighbour(symbols, &symbol, false)).flatten();
            let after = arguments.has('n').then(|| neighbour(symbols, &symbol, true)).flatten();
            for (symbol, offset, exact) in [
                before.map(|symbol| (symbol, 0, true)),
                Some((symbol, offset, false)),
                after.map(|symbol| (symbol, 0, true)),
            ]
            .into_iter()
            .flatten()
            {
                let mut line = SymbolLine::new(&kernel, &symbol, offset, !exact);
                line.exact = exact && kernel.is_code(&symbol);
                out.emit(&line)?;
            }
        }
    }
    Ok(())
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
    let address = match session.address(word) {
        Ok(address) => address,
        Err(_) => return Err(not_found(symbols, word)),
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

fn list(
    out: &mut Output,
    symbols: &SymbolTable,
    mut wanted: impl FnMut(&str, Option<&str>) -> bool,
) -> Result<(), CommandError> {
    let mut result = Ok(());
    symbols.for_each(|name, address, letter, module| {
        if result.is_ok() && wanted(name, module) {
            result = out.emit(&SymbolLine {
                address: format!("{:#x}", address.0),
                letter,
                name: name.to_owned(),
                offset: 0,
                module: module.map(str::to_owned),
                line: None,
                exact: false,
            });
        }
    });
    Ok(result?)
}

/// The address that a word of a command means; see [`Session::address`]. A wrong name is answered
/// with those that are like it.
pub(super) fn address_of(session: &Session, word: &str) -> Result<VirtAddr, CommandError> {
    let found = session.address(word);
    match (&found, session.kernel.all_symbols()) {
        (Err(CommandError::Message(message)), Ok(symbols))
            if message.strip_prefix("symbol not found: ") == Some(word) =>
        {
            Err(not_found(symbols, word))
        }
        _ => found,
    }
}

/// How many alternatives a wrong name is answered with.
const ALTERNATIVES: usize = 16;

fn not_found(symbols: &SymbolTable, name: &str) -> CommandError {
    let mut alternatives = Vec::new();
    symbols.for_each(|symbol, address, letter, module| {
        if alternatives.len() < ALTERNATIVES && symbol.contains(name) {
            let module = module.map_or(String::new(), |module| format!(" [{module}]"));
            alternatives.push(format!("\n  {:x} ({letter}) {symbol}{module}", address.0));
        }
    });
    let alternatives = match alternatives.is_empty() {
        true => "\n  (none found)".to_owned(),
        false => alternatives.concat(),
    };
    CommandError::Message(format!("symbol not found: {name}\npossible alternatives:{alternatives}"))
}
