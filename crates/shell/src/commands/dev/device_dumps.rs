//! `dev -V` and `dev -v`: the dumps that drivers made of their devices while the crash kernel
//! started. They lie among the notes of a dump (`NT_VMCOREDD` of include/uapi/linux/vmcore.h).

use crate::command::CommandError;
use crate::commands::rd;
use crate::output::{Output, Render, Style, Text};
use mortis_kernel::Kernel;
use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};
use serde::Serialize;
use std::path::Path;

/// `NT_VMCOREDD`.
const NOTE: u32 = 0x700;

/// `VMCOREDD_MAX_NAME_BYTES`: the name in front of the bytes.
const NAME_LEN: usize = 44;

/// One device's dump.
struct DeviceDump<'d> {
    name: String,
    bytes: &'d [u8],
}

fn device_dumps(kernel: &Kernel) -> Result<Vec<DeviceDump<'_>>, CommandError> {
    let notes = kernel.dump().notes().filter(|note| note.kind == NOTE);
    let dumps: Vec<DeviceDump<'_>> = notes
        .filter_map(|note| {
            let (name, bytes) = note.desc.split_at_checked(NAME_LEN)?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            Some(DeviceDump { name: String::from_utf8_lossy(name).into_owned(), bytes })
        })
        .collect();
    match dumps.is_empty() {
        true => Err(CommandError::message("no device dumps found in this dumpfile")),
        false => Ok(dumps),
    }
}

/// A line of the list.
#[derive(Serialize)]
struct Row {
    index: usize,
    name: String,
    /// Bytes.
    size: usize,
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&self.name);
        out.push_str(&format!("{:^5}  {:<16} {name}\n", self.index, self.size));
    }
}

pub(super) fn list(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    let dumps = device_dumps(kernel)?;
    out.layout(&format!("INDEX  {:<16} NAME\n", "SIZE"))?;
    for (index, dump) in dumps.into_iter().enumerate() {
        out.emit(&Row { index, name: dump.name, size: dump.bytes.len() })?;
    }
    Ok(())
}

/// A device's bytes by their place in its dump.
struct Bytes<'d>(&'d [u8]);

impl VirtualMemory for Bytes<'_> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let start = usize::try_from(address.0).unwrap_or(usize::MAX);
        // The last word may be cut.
        let rest = self.0.get(start..).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or(ReadError::new(address, Unavailable::Truncated))?;
        let len = rest.len().min(buf.len());
        buf.fill(0);
        if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(())
    }
}

pub(super) fn show(
    kernel: &Kernel,
    index: &str,
    file: Option<&Path>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let dumps = device_dumps(kernel)?;
    let missing = || CommandError::Message(format!("no device dump found at index: {index}"));
    let dump = index.parse().ok().and_then(|index: usize| dumps.get(index)).ok_or_else(missing)?;
    out.emit(&Text { text: format!("DEVICE: {}\n", dump.name) })?;
    match file {
        Some(path) => std::fs::write(path, dump.bytes).map_err(|error| {
            CommandError::Message(format!("cannot write {}: {error}", path.display()))
        }),
        None => {
            let words = dump.bytes.len().div_ceil(8) as u64;
            rd::words(kernel, &Bytes(dump.bytes), VirtAddr(0), words, out)
        }
    }
}
