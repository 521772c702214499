//! From file names to a session: what each file is, and what to do when one cannot be opened.

use crate::session::{OpenedFiles, Session, Settings};
use mortis_dump::{Dump, FileKind, sniff};
use mortis_kernel::vmlinux::Vmlinux;
use mortis_kernel::{Kernel, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A session could not be opened: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct OpenFailure {
    /// What went wrong, with the file.
    pub what: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl OpenFailure {
    fn new(what: impl ToString) -> Self {
        Self { what: what.to_string(), advice: None }
    }

    fn with(what: impl ToString, advice: impl Into<String>) -> Self {
        Self { what: what.to_string(), advice: Some(advice.into()) }
    }
}

/// Opens `files`, a dump and perhaps its vmlinux, in any order.
///
/// # Errors
/// [`OpenFailure`].
pub fn open(
    files: &[PathBuf],
    options: Options,
    settings: Settings,
) -> Result<Session, OpenFailure> {
    let mut dump: Option<PathBuf> = None;
    let mut vmlinux: Option<PathBuf> = None;
    for file in files {
        let kind = sniff(file).map_err(|error| unreadable(file, &error))?;
        let slot = match kind {
            FileKind::ElfExecutable => &mut vmlinux,
            kind if kind.is_dump() => &mut dump,
            other => {
                return Err(OpenFailure::with(
                    format!("{}: this is {other}", file.display()),
                    "give a vmcore (ELF or kdump-compressed) and, if at hand, its vmlinux",
                ));
            }
        };
        if let Some(first) = slot.replace(file.clone()) {
            return Err(OpenFailure::new(format!(
                "{} and {} are of the same kind; give one dump and at most one vmlinux",
                first.display(),
                file.display()
            )));
        }
    }
    let Some(dump) = dump else {
        return Err(match vmlinux {
            Some(vmlinux) => OpenFailure::with(
                format!("{}: a kernel, but no dump was given", vmlinux.display()),
                "name the vmcore as well: mortis VMLINUX VMCORE",
            ),
            None => OpenFailure::with("no dump was given", "name one: mortis VMCORE"),
        });
    };
    open_session(dump, vmlinux, options, settings)
}

fn unreadable(file: &Path, error: &std::io::Error) -> OpenFailure {
    let what = format!("{}: {error}", file.display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => OpenFailure::with(
            what,
            "dumps hold all of a machine's memory and are often readable by root only: try sudo",
        ),
        _ => OpenFailure::new(what),
    }
}

fn open_session(
    dump_path: PathBuf,
    vmlinux_path: Option<PathBuf>,
    options: Options,
    settings: Settings,
) -> Result<Session, OpenFailure> {
    let dump = Dump::open(&dump_path).map_err(OpenFailure::new)?;
    let vmlinux = match &vmlinux_path {
        Some(path) => Some(Arc::new(Vmlinux::open(path).map_err(OpenFailure::new)?)),
        None => None,
    };
    let kernel = Kernel::open(Arc::new(dump), vmlinux, options).map_err(|error| {
        let what = format!("{}: {error}", dump_path.display());
        match error {
            mortis_kernel::OpenKernelError::WrongVmlinux { .. } => OpenFailure::with(
                what,
                "leave the vmlinux out: the dump brings its own symbols and types",
            ),
            _ => OpenFailure::new(what),
        }
    })?;
    let files = OpenedFiles { dump: dump_path, vmlinux: vmlinux_path };
    Ok(Session::new(Arc::new(kernel), files, settings))
}
