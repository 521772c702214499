//! What gdb tells of types and symbols: `ptype`, `whatis`, `info`.

use super::{captured, emit, failed};
use crate::command::CommandError;
use crate::output::Output;
use crate::session::Session;
use mortis_debuginfo::types::{CompoundKind, Type, TypeId, strip, type_name};
use mortis_kernel::Kernel;
use mortis_kernel::expression::Evaluator;
use mortis_memory::VirtAddr;

/// Bytes of one line's code, at most.
const MAX_LINE_CODE: u64 = 4096;

/// The type that a type's name or an expression has.
fn type_of(kernel: &Kernel, text: &str) -> Result<TypeId, CommandError> {
    let evaluator = Evaluator::new(kernel);
    match evaluator.parse_type(text) {
        Ok(ty) => Ok(ty),
        Err(_) => Ok(evaluator.evaluate(text)?.ty),
    }
}

pub(super) fn whatis(session: &Session, text: &str) -> Result<String, CommandError> {
    let kernel = &session.kernel;
    Ok(format!("type = {}", type_name(kernel.type_set(), type_of(kernel, text)?)))
}

pub(super) fn ptype(session: &mut Session, text: &str) -> Result<String, CommandError> {
    let kernel = session.kernel.clone();
    let types = kernel.type_set();
    let (_, stripped) = strip(types, type_of(&kernel, text)?)?;
    let (mut inner, mut stars) = (stripped.clone(), String::new());
    while let Type::Pointer { target, .. } = &*inner {
        let (_, next) = strip(types, *target)?;
        stars.push('*');
        inner = next;
        if stars.len() > 8 {
            break;
        }
    }
    let tag = match &*inner {
        Type::Compound(compound) => compound.name.as_ref().map(|name| {
            let is_union = compound.kind == CompoundKind::Union;
            let word = if is_union { "union" } else { "struct" };
            format!("{word} {name}")
        }),
        Type::Enum(enumeration) => enumeration.name.as_ref().map(|name| format!("enum {name}")),
        _ => None,
    };
    let Some(tag) = tag else { return whatis(session, text) };
    let declared = captured(session, &format!("whatis {tag}"))?;
    // What crash adds to gdb's answer.
    let declared = declared.split("\nSIZE: ").next().unwrap_or(&declared).trim_end();
    let declared = declared.trim_end_matches(';');
    let stars = if stars.is_empty() { stars } else { format!(" {stars}") };
    Ok(format!("type = {declared}{stars}"))
}

pub(super) fn info(
    session: &mut Session,
    what: &str,
    of: &str,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    match what {
        "symbol" | "sym" => {
            let address = session.address(of)?;
            match kernel.symbol_within(address) {
                Some((symbol, offset)) => {
                    let offset = if offset > 0 { format!(" + {offset}") } else { String::new() };
                    let section = section(symbol.letter, kernel.is_code(&symbol));
                    emit(out, &format!("{}{offset} in section {section}", symbol.name))
                }
                None => Err(CommandError::Message(format!("No symbol matches {of}."))),
            }
        }
        "address" => {
            let symbols = kernel.all_symbols()?;
            let symbol = symbols.symbol(of).ok_or_else(|| {
                CommandError::Message(format!("No symbol \"{of}\" in current context."))
            })?;
            let kind = if kernel.is_code(&symbol) { "a function" } else { "static storage" };
            let address = symbol.address.0;
            emit(out, &format!("Symbol \"{of}\" is {kind} at address {address:#x}."))
        }
        "line" => {
            let address = session.address(of.trim_start_matches('*'))?;
            emit(out, &line(&kernel, address))
        }
        "functions" | "variables" | "fun" | "var" => {
            let text = captured(session, &format!("sym -q {of}"))?;
            emit(out, text.trim_end())
        }
        "registers" | "reg" | "frame" | "stack" => {
            Err(failed(&format!("info {what}"), "'bt' shows frames and registers"))
        }
        "types" => Err(failed("info types", "'whatis' shows a type")),
        "threads" => Err(failed("info threads", "'ps' lists the tasks")),
        "files" | "target" | "sharedlibrary" => {
            Err(failed(&format!("info {what}"), "'sys' and 'mod' tell what is open"))
        }
        other => Err(failed(&format!("info {other}"), "'help' lists the commands")),
    }
}

/// The section that a symbol is in, by what its letter says.
fn section(letter: char, is_code: bool) -> &'static str {
    match letter.to_ascii_lowercase() {
        _ if is_code => ".text",
        'r' => ".rodata",
        'b' => ".bss",
        'a' => ".data..percpu",
        _ => ".data",
    }
}

/// Where the line of the code at `address` begins and ends.
fn line(kernel: &Kernel, address: VirtAddr) -> String {
    let spelled = |address: VirtAddr| {
        let symbol = kernel.symbol_within(address);
        let symbol = symbol.map(|(symbol, offset)| match offset {
            0 => format!(" <{}>", symbol.name),
            offset => format!(" <{}+{offset}>", symbol.name),
        });
        format!("{:#x}{}", address.0, symbol.unwrap_or_default())
    };
    let at = |address: VirtAddr| {
        let line = kernel.vmlinux()?.line_at(address, kernel.kaslr_offset())?;
        Some((line.file.full_path().to_string(), line.line))
    };
    let Some(first) = at(address) else {
        return format!("No line number information available for address {}", spelled(address));
    };
    let end = (1..MAX_LINE_CODE)
        .map(|offset| address.offset(offset))
        .find(|&address| at(address).as_ref() != Some(&first))
        .unwrap_or(address);
    format!(
        "Line {} of \"{}\" starts at address {} and ends at {}.",
        first.1,
        first.0,
        spelled(address),
        spelled(end)
    )
}
