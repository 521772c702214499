//! `kmem -o`: what is added to the address of a per-CPU variable, by CPU.

use super::bare;
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use serde::Serialize;

/// One CPU's offset.
#[derive(Serialize)]
struct PerCpuOffset {
    cpu: u32,
    offset: String,
}

impl Render for PerCpuOffset {
    fn render(&self, out: &mut String, _: Style) {
        let cpu = format!("CPU {}", self.cpu);
        out.push_str(&format!("{cpu:>7}: {}\n", bare(&self.offset)));
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    let cpus = kernel.cpus()?;
    out.layout("PER-CPU OFFSET VALUES:\n")?;
    for &cpu in &cpus.possible {
        let Some(offset) = cpus.offsets.get(cpu as usize) else { continue };
        out.emit(&PerCpuOffset { cpu, offset: format!("{offset:#x}") })?;
    }
    Ok(())
}
