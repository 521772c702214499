//! `dev`: who has registered which device numbers.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::device_numbers::DeviceNumber;
use serde::Serialize;

/// A registered range of numbers.
#[derive(Serialize)]
struct Row {
    /// `character` or `block`.
    kind: &'static str,
    major: Known<u64>,
    name: Known<String>,
    /// The `struct cdev` or `struct gendisk`.
    device: Option<Hex>,
    /// The operations, as a symbol where there is one.
    operations: Option<String>,
}

impl Row {
    fn new(kernel: &Kernel, kind: &'static str, number: DeviceNumber) -> Self {
        let symbol = |address| match kernel.symbol_at(address) {
            Some((symbol, 0)) => symbol.name.to_string(),
            Some((symbol, offset)) => format!("{}+{offset}", symbol.name),
            None => format!("{address:x}"),
        };
        Self {
            kind,
            major: number.major.into(),
            name: number.name.into(),
            device: number.device.map(|device| Hex(device.0)),
            operations: number.operations.map(symbol),
        }
    }
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&format!("{:<13}", self.name));
        out.push_str(&format!(" {:>3}      {name} ", self.major));
        match (self.device, &self.operations) {
            (Some(device), Some(operations)) => {
                out.push_str(&format!(" {:>16x}  {operations}\n", device.0));
            }
            _ => out.push_str(&format!(" {:^16}\n", "(none)")),
        }
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    out.layout("CHRDEV    NAME                 CDEV        OPERATIONS      \n")?;
    let (devices, damage) = kernel.char_devices()?;
    for device in devices {
        out.emit(&Row::new(kernel, "character", device))?;
    }
    if let Some(damage) = damage {
        out.warn(damage);
    }
    out.layout("\nBLKDEV    NAME                GENDISK      OPERATIONS      \n")?;
    let (devices, damage) = kernel.block_devices()?;
    for device in devices {
        out.emit(&Row::new(kernel, "block", device))?;
    }
    if let Some(damage) = damage {
        out.warn(damage);
    }
    Ok(())
}
