//! From file names to a session: what each file is, and what to do when one cannot be opened.

use crate::commands;
use crate::session::{OpenedFiles, Session, Settings};
use mortis_dump::{Dump, FileKind, OpenError, sniff};
use mortis_kernel::vmlinux::Vmlinux;
use mortis_kernel::{Kernel, OpenKernelError, Options};
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
        refuse_pipe(file)?;
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
            let both = if kind == FileKind::ElfExecutable { "kernels" } else { "dumps" };
            return Err(OpenFailure::with(
                format!("{} and {} are both {both}", first.display(), file.display()),
                "give one dump and at most one vmlinux",
            ));
        }
    }
    let Some(dump) = dump else {
        return Err(match vmlinux {
            Some(vmlinux) => OpenFailure::with(
                format!("{}: an executable, and no dump beside it", vmlinux.display()),
                "name the vmcore as well: mortis VMLINUX VMCORE",
            ),
            None => OpenFailure::with("no dump was given", "name one: mortis VMCORE"),
        });
    };
    open_session(dump, vmlinux, options, settings)
}

/// A pipe would be waited for, perhaps for ever, and a dump is read in many places.
fn refuse_pipe(file: &Path) -> Result<(), OpenFailure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let is_pipe = |kind: std::fs::FileType| kind.is_fifo() || kind.is_socket();
        if std::fs::metadata(file).is_ok_and(|metadata| is_pipe(metadata.file_type())) {
            return Err(OpenFailure::with(
                format!("{}: this is a pipe", file.display()),
                "a dump is read in many places: write it to a file first",
            ));
        }
    }
    Ok(())
}

fn unreadable(file: &Path, error: &std::io::Error) -> OpenFailure {
    let what = format!("{}: {error}", file.display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => OpenFailure::with(
            what,
            "dumps hold all of a machine's memory and are often readable by root only: try sudo",
        ),
        std::io::ErrorKind::NotFound => match file.to_str().and_then(commands::find) {
            Some(command) => OpenFailure::with(
                what,
                format!("to run the command, write: mortis VMCORE -c {}", command.name),
            ),
            None => OpenFailure::new(what),
        },
        std::io::ErrorKind::IsADirectory => {
            OpenFailure::with(what, "name the dump in it, often called vmcore or dump.*")
        }
        _ => OpenFailure::new(what),
    }
}

const CUT_OFF: &str = "the file is cut off or damaged: compare its size with the original's and \
    copy it again, or see why the collector stopped (often a full disk)";

fn not_a_dump(error: OpenError) -> OpenFailure {
    match error {
        OpenError::Kdump { .. } | OpenError::Elf { .. } | OpenError::NoMemory { .. } => {
            OpenFailure::with(error, CUT_OFF)
        }
        OpenError::NotADump { .. } | OpenError::Io { .. } => OpenFailure::new(error),
    }
}

fn not_a_kernel(error: OpenKernelError, dump_path: &Path, is_truncated: bool) -> OpenFailure {
    let what = format!("{}: {error}", dump_path.display());
    match error {
        OpenKernelError::WrongVmlinux { .. } => OpenFailure::with(
            what,
            "give the vmlinux of the dump's build-id, or none: the dump brings its own symbols \
             and types",
        ),
        _ if is_truncated => OpenFailure::with(what, CUT_OFF),
        OpenKernelError::NoVmcoreinfo | OpenKernelError::NoKey(_) => OpenFailure::with(
            what,
            "dumps by kexec have it; of a dump by a hypervisor, see that the guest's kernel \
             gives it (QEMU: -device vmcoreinfo)",
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
    let dump = Arc::new(Dump::open(&dump_path).map_err(not_a_dump)?);
    let vmlinux = match &vmlinux_path {
        Some(path) => Some(Arc::new(Vmlinux::open(path).map_err(OpenFailure::new)?)),
        None => None,
    };
    let kernel = Kernel::open(Arc::clone(&dump), vmlinux, options)
        .map_err(|error| not_a_kernel(error, &dump_path, dump.is_truncated()))?;
    let files = OpenedFiles { dump: dump_path, vmlinux: vmlinux_path };
    Ok(Session::new(Arc::new(kernel), files, settings))
}
