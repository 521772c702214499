//! `swap`: the swap devices and files.

use crate::arguments::Arguments;
use crate::columns::{ADDRESS, centered, centered_right};
use crate::command::{Command, CommandError};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::swap::SwapKind;
use serde::Serialize;

/// `swap`.
pub const COMMAND: Command = Command {
    name: "swap",
    aliases: &[],
    summary: "the swap devices and files",
    synopsis: "",
    options: &[],
    help: "\
One line for each, with its size, how much of it is used, and its priority.

Examples:
  swap",
    run,
};

/// A swap device or file.
#[derive(Serialize)]
struct SwapReport {
    swap_info_struct: Hex,
    kind: Known<&'static str>,
    /// KiB.
    size: u64,
    /// KiB.
    used: u64,
    priority: i64,
    filename: Known<String>,
}

impl Render for SwapReport {
    fn render(&self, out: &mut String, _: Style) {
        let address = centered(&format!("{:x}", self.swap_info_struct.0), ADDRESS);
        let kind = match self.kind.value() {
            Some(&"partition") => "PARTITION".to_owned(),
            Some(_) => "  FILE   ".to_owned(),
            None => self.kind.to_string(),
        };
        let size = centered_right(&format!("{}k", self.size), 10);
        let used = centered_right(&format!("{}k", self.used), 10);
        let percent = self.used.saturating_mul(100).checked_div(self.size).unwrap_or(0);
        let percent = centered_right(&format!("{percent:>2}%"), 4);
        out.push_str(&format!(
            "{address}  {kind} {size} {used} {percent} {:>4}  {}\n",
            self.priority, self.filename
        ));
    }
}

fn run(session: &mut Session, _: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    for symbol in ["nr_swapfiles", "swap_info"] {
        if kernel.symbol(symbol).is_err() {
            let message = format!("{symbol} doesn't exist in this kernel!");
            return Err(CommandError::Message(message));
        }
    }
    let kib_per_page = kernel.memory().physical().page_size() / 1024;
    let devices = kernel.swap_devices()?;
    out.layout("SWAP_INFO_STRUCT    TYPE       SIZE       USED     PCT  PRI  FILENAME\n")?;
    for device in devices {
        let kind = Known::from(kernel.swap_kind(&device));
        let path = kernel.file_path(device.file).map(|path| match kind {
            // The kernel's own mount of devtmpfs is at no path.
            Known::Value(SwapKind::Partition) if !path.starts_with("/dev/") => {
                format!("/dev{path}")
            }
            _ => path,
        });
        out.emit(&SwapReport {
            swap_info_struct: Hex(device.address.0),
            kind: kind.map(|kind| match kind {
                SwapKind::Partition => "partition",
                SwapKind::File => "file",
            }),
            size: device.pages.saturating_mul(kib_per_page),
            used: device.used.saturating_mul(kib_per_page),
            priority: device.priority,
            filename: path.into(),
        })?;
    }
    Ok(())
}
