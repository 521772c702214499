//! `dev -i`: who uses which I/O ports and which physical addresses.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::resource::Resource;
use serde::Serialize;

/// A range.
#[derive(Serialize)]
struct Row {
    /// `ports` or `memory`.
    kind: &'static str,
    address: Hex,
    depth: usize,
    start: Hex,
    end: Hex,
    flags: Hex,
    name: Known<String>,
    /// Digits of the numbers.
    #[serde(skip)]
    digits: usize,
}

impl Row {
    fn new(kind: &'static str, digits: usize, resource: Resource) -> Self {
        Self {
            kind,
            address: Hex(resource.address.0),
            depth: resource.depth,
            start: Hex(resource.start),
            end: Hex(resource.end),
            flags: Hex(resource.flags),
            name: resource.name.into(),
            digits,
        }
    }
}

/// crash breaks a name that reaches past this column, at a blank.
const COLUMNS: usize = 80;

impl Render for Row {
    fn render(&self, out: &mut String, _: Style) {
        let Self { address, start, end, digits, .. } = self;
        let name = match &self.name {
            Known::Unavailable(_) => "(unknown)".to_owned(),
            known => known.to_string(),
        };
        let range = format!("{:0digits$x}-{:0digits$x}", start.0, end.0, digits = *digits);
        out.push_str(&format!("{:>8x}  {range}  ", address.0));
        let column = 16 + 2 + 2 * digits + 1 + 2;
        let over = (column + name.len()).saturating_sub(COLUMNS);
        // The last blank that leaves little enough on the line.
        let fits = name.len().saturating_sub(over);
        let at = name.get(..fits).filter(|_| over > 0).and_then(|front| front.rfind(' '));
        match at.and_then(|at| Some((name.get(..at)?, name.get(at + 1..)?))) {
            Some((front, rest)) => {
                out.push_str(&format!("{front}\n{:column$}{rest}\n", ""));
            }
            None => out.push_str(&format!("{name}\n")),
        }
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    for (kind, symbol) in [("ports", "ioport_resource"), ("memory", "iomem_resource")] {
        let (resources, damage) = kernel.resources(symbol)?;
        let last = resources.first().map_or(0, |root| root.end);
        let digits = if last > 0xffff { 8 } else { 4 };
        let break_before = if kind == "memory" { "\n" } else { "" };
        let width = 2 * digits + 1;
        out.layout(&format!("{break_before}{:^16}  {:^width$}  NAME\n", "RESOURCE", "RANGE"))?;
        for resource in resources {
            out.emit(&Row::new(kind, digits, resource))?;
        }
        if let Some(damage) = damage {
            out.warn(damage);
        }
    }
    Ok(())
}
