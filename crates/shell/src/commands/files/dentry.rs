//! `files -d`: a directory entry.

use super::digits;
use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// A directory entry.
#[derive(Serialize)]
struct DentryReport {
    dentry: Hex,
    inode: Hex,
    super_block: Known<Hex>,
    #[serde(rename = "type")]
    kind: Option<Known<&'static str>>,
    path: Known<String>,
}

const HEADING: &str = "     DENTRY           INODE           SUPERBLK     TYPE PATH\n";

impl Render for DentryReport {
    fn render(&self, out: &mut String, _: Style) {
        let kind = self.kind.as_ref().map_or("N/A".to_owned(), ToString::to_string);
        // An inode has its type in four columns, a name without one three letters.
        let width = if self.kind.is_some() { 4 } else { 3 };
        out.push_str(&format!(
            "{:>16x} {:>16x} {:^16} {kind:<width$} {}\n",
            self.dentry.0,
            self.inode.0,
            digits(&self.super_block),
            self.path
        ));
    }
}

pub(super) fn run(
    kernel: &Kernel,
    address: VirtAddr,
    out: &mut Output,
) -> Result<(), CommandError> {
    out.layout(HEADING)?;
    let path = kernel.dentry_path(address);
    let dentry = kernel.dentry(address)?;
    let inode = (!dentry.inode.is_null()).then(|| kernel.inode(dentry.inode));
    // crash asks the inode first.
    let super_block = match &inode {
        Some(inode) => inode.as_ref().map(|inode| inode.super_block).map_err(Clone::clone),
        None => Ok(dentry.super_block),
    };
    out.emit(&DentryReport {
        dentry: Hex(address.0),
        inode: Hex(dentry.inode.0),
        super_block: super_block.map(|address| Hex(address.0)).into(),
        kind: inode.map(|inode| inode.map(|inode| inode.file_type.code()).into()),
        path: match path {
            Ok(path) => Known::Value(path),
            Err(error) => Known::Unavailable(why(&error)),
        },
    })?;
    Ok(())
}
