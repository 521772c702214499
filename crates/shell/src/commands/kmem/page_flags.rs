//! `kmem -g`: the flags of pages.

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use serde::Serialize;

/// A flag.
#[derive(Serialize)]
struct Flag {
    name: String,
    bit: u32,
    value: Hex,
    #[serde(skip)]
    layout: FlagLayout,
}

#[derive(Clone, Copy)]
struct FlagLayout {
    indent: usize,
    name_width: usize,
    digits: usize,
}

impl Render for Flag {
    fn render(&self, out: &mut String, _: Style) {
        let FlagLayout { indent, name_width, digits } = self.layout;
        out.push_str(&format!(
            "{:indent$}{:<name_width$}  {:>2}  {:0digits$x}\n",
            "", self.name, self.bit, self.value.0
        ));
    }
}

pub(super) fn run(kernel: &Kernel, values: &[u64], out: &mut Output) -> Result<(), CommandError> {
    let flags = kernel.page_flag_bits()?;
    // As wide as the longest name of the enumeration, its end among them.
    let name_width = flags.iter().map(|(name, _)| name.len()).chain([14]).max().unwrap_or(0);
    let highest = flags.iter().map(|(_, bit)| *bit).max().unwrap_or(0);
    let digits = (highest as usize + 1) / 4 + 1;
    let every = [0];
    let asked = if values.is_empty() { &every[..] } else { values };
    for (index, &value) in asked.iter().enumerate() {
        if index > 0 {
            out.layout("\n")?;
        }
        // Zero has no flags: crash shows all then, too.
        let indent = if value == 0 { 0 } else { 2 };
        if value != 0 {
            out.layout(&format!("FLAGS: {value:x}\n"))?;
        }
        let blank = "";
        out.layout(&format!("{blank:indent$}{:<name_width$} BIT  VALUE\n", "PAGE-FLAG"))?;
        let layout = FlagLayout { indent, name_width, digits };
        let mut found = false;
        for (name, bit) in &flags {
            if value == 0 || value >> bit & 1 != 0 {
                found = true;
                let value = Hex(1 << bit);
                out.emit(&Flag { name: name.clone(), bit: *bit, value, layout })?;
            }
        }
        if !found {
            out.layout("  (none found)\n")?;
        }
    }
    Ok(())
}
