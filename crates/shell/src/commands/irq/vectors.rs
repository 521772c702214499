//! `irq -d` and `irq -b`: what runs for the processor's vectors and for softirqs.

use crate::columns::{ADDRESS, centered, centered_right};
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use serde::Serialize;

/// Where one of the processor's interrupt vectors leads.
#[derive(Serialize)]
struct Gate {
    vector: usize,
    address: Hex,
    /// The symbol, and how far behind it.
    symbol: Option<String>,
}

impl Render for Gate {
    fn render(&self, out: &mut String, style: Style) {
        let target = match &self.symbol {
            Some(symbol) => style.name(symbol),
            None => format!("{:016x}", self.address.0),
        };
        out.push_str(&format!("{:>5} {target}\n", format!("[{}]", self.vector)));
    }
}

pub(super) fn gates(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    for (vector, address) in kernel.interrupt_gates()?.into_iter().enumerate() {
        out.emit(&Gate { vector, address: Hex(address.0), symbol: kernel.symbolize(address) })?;
    }
    Ok(())
}

/// What runs for a kind of softirq.
#[derive(Serialize)]
struct Softirq {
    softirq: usize,
    action: Hex,
    symbol: Option<String>,
    module: Option<String>,
}

impl Render for Softirq {
    fn render(&self, out: &mut String, style: Style) {
        let number = format!("[{}]", self.softirq);
        let action = centered_right(&format!("{:x}", self.action.0), ADDRESS);
        let symbol = style.name(self.symbol.as_deref().unwrap_or_default());
        out.push_str(&format!("    {number:<7} {action}  <{symbol}>"));
        if let Some(module) = &self.module {
            out.push_str(&format!("  [{module}]"));
        }
        out.push('\n');
    }
}

pub(super) fn softirqs(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    out.layout(&format!("SOFTIRQ_VEC {}\n", centered("ACTION", ADDRESS)))?;
    for (softirq, action) in kernel.softirq_actions()?.into_iter().enumerate() {
        if action.is_null() {
            continue;
        }
        let symbol = kernel.symbol_at(action).filter(|(_, offset)| *offset == 0);
        let symbol = symbol.map(|(symbol, _)| symbol);
        out.emit(&Softirq {
            softirq,
            action: Hex(action.0),
            module: symbol.as_ref().and_then(|symbol| symbol.module.as_deref().map(str::to_owned)),
            symbol: symbol.map(|symbol| symbol.name.to_string()),
        })?;
    }
    Ok(())
}
