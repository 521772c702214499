//! The line of C that says how a kind of event is printed: a format string and its arguments.
//!
//! ```text
//! "comm=%s pid=%d ret=%s", REC->comm, REC->pid, REC->ret ? "handled" : "unhandled"
//! ```
//!
//! The arguments are expressions over the record's members and a few functions of the kernel's
//! (`__print_flags`, `__get_str` and so on: include/trace/stages/stage3_trace_output.h). What this
//! does not understand is an error, and the event is then shown by its members.

mod expression;
mod printf;
mod values;

use super::formats::Format;
use crate::kernel::Kernel;
use expression::Parser;
use mortis_memory::VirtAddr;
use printf::printf;
use values::Value;

pub(crate) use printf::{PrintArgument, printf_numbers};
pub use values::plain_field;

/// Prints the event with that record; `None` where its line of C is not understood.
pub fn print(kernel: &Kernel, format: &Format, record: &[u8]) -> Option<String> {
    let mut parser = Parser::new(kernel, format, record);
    let text = parser.string()?;
    let mut arguments = Vec::new();
    while parser.eat(",") {
        arguments.push(parser.expression()?);
    }
    if !parser.is_at_end() {
        return None;
    }
    // Kernel probes print where they are as a symbol (`print_kprobe_event()`).
    let names_probe = format.field("__probe_ip").is_some() && text.starts_with("(%lx)");
    let names_return = format.field("__probe_ret_ip").is_some() && text.starts_with("(%lx <- %lx)");
    let place = |value: Option<&Value>, with_offset| {
        let address = VirtAddr(value.and_then(Value::number).unwrap_or(0) as u64);
        symbol(kernel, address, with_offset)
    };
    if names_probe {
        let rest = printf(kernel, &text["(%lx)".len()..], arguments.get(1..)?)?;
        return Some(format!("({}){rest}", place(arguments.first(), true)));
    }
    if names_return {
        let rest = printf(kernel, &text["(%lx <- %lx)".len()..], arguments.get(2..)?)?;
        let (function, back) = (place(arguments.first(), false), place(arguments.get(1), true));
        return Some(format!("({back} <- {function}){rest}"));
    }
    printf(kernel, &text, &arguments)
}

/// `schedule+0x15/0x120`, or only the function, or the bare number where none is known.
pub fn symbol(kernel: &Kernel, address: VirtAddr, with_offset: bool) -> String {
    match kernel.symbol_at(address) {
        Some((symbol, offset)) if with_offset => {
            let size = symbol.size.unwrap_or(0);
            let module = symbol.module.as_deref();
            let module = module.map_or(String::new(), |module| format!(" [{module}]"));
            format!("{}+{offset:#x}/{size:#x}{module}", symbol.name)
        }
        Some((symbol, _)) => symbol.name.to_string(),
        None => format!("{:#x}", address.0),
    }
}
