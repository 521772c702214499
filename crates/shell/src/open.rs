//! From file names to a session: what each file is, and what to do when one cannot be opened.

use crate::commands;
use crate::messages;
use crate::open_progress::open_progress;
use crate::output::Interrupt;
use crate::session::{OpenedFiles, Session, Settings};
pub use mortis_dump::Layout;
use mortis_dump::{Dump, FileKind, OpenError, OpenOptions, sniff};
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

/// What is to be opened.
#[derive(Clone, Default)]
pub struct Input {
    /// A dump, of one file or several, and perhaps its vmlinux, in any order.
    pub files: Vec<PathBuf>,
    /// The snapshot to open, of a file that has several.
    pub snapshot: Option<String>,
    /// Where raw memory lies, in place of a dump.
    pub layout: Option<Layout>,
    /// Ends what takes long.
    pub interrupt: Interrupt,
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
    open_input(&Input { files: files.to_owned(), ..Input::default() }, options, settings)
}

/// As [`open`], with all that can be chosen.
///
/// # Errors
/// [`OpenFailure`].
pub fn open_input(
    input: &Input,
    options: Options,
    settings: Settings,
) -> Result<Session, OpenFailure> {
    let (dump_files, vmlinux) = sort(&input.files, input.layout.is_some())?;
    let dump = open_dump(input, &dump_files)?;
    open_session(dump, vmlinux, input, options, settings)
}

/// Opens the dump alone, of `files` that are all of the dump.
///
/// # Errors
/// [`OpenFailure`].
pub fn open_dump(input: &Input, files: &[PathBuf]) -> Result<Dump, OpenFailure> {
    let options = OpenOptions {
        index_folder: index_folder(),
        snapshot: input.snapshot.clone(),
        progress: Some(open_progress(&input.interrupt)),
        ..OpenOptions::default()
    };
    match &input.layout {
        Some(layout) => Dump::open_layout(layout, &options),
        None => Dump::open_files(files, &options),
    }
    .map_err(not_a_dump)
}

/// `$XDG_CACHE_HOME/mortis/index`, else under `~/.cache`.
fn index_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("mortis/index"))
}

/// Which of the files are the dump, and which is the vmlinux. A layout takes the dump's place.
fn sort(
    files: &[PathBuf],
    has_layout: bool,
) -> Result<(Vec<PathBuf>, Option<PathBuf>), OpenFailure> {
    let mut dump: Vec<PathBuf> = Vec::new();
    let mut vmlinux: Option<PathBuf> = None;
    for file in files {
        refuse_pipe(file)?;
        refuse_live(file)?;
        let kind = sniff(file).map_err(|error| unreadable(file, &error))?;
        match kind {
            FileKind::ElfExecutable => {
                if let Some(first) = vmlinux.replace(file.clone()) {
                    return Err(OpenFailure::with(
                        format!("{} and {} are both kernels", first.display(), file.display()),
                        "give one dump and at most one vmlinux",
                    ));
                }
            }
            kind if has_layout && kind != FileKind::ElfExecutable => {
                return Err(OpenFailure::with(
                    format!("{}: this is {kind}, and --layout gives the memory", file.display()),
                    "give --layout and at most a vmlinux, or the dump without --layout",
                ));
            }
            kind if kind.is_dump() => dump.push(file.clone()),
            other => {
                return Err(OpenFailure::with(
                    format!("{}: this is {other}", file.display()),
                    other.advice().unwrap_or(GIVE_A_DUMP),
                ));
            }
        }
    }
    if dump.is_empty() && !has_layout {
        return Err(match vmlinux {
            Some(vmlinux) => OpenFailure::with(
                format!("{}: an executable, and no dump beside it", vmlinux.display()),
                "name the vmcore as well: mortis VMLINUX VMCORE",
            ),
            None => OpenFailure::with("no dump was given", "name one: mortis VMCORE"),
        });
    }
    Ok((dump, vmlinux))
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

/// Its layout is that of a dump, but its memory moves under the reader.
fn refuse_live(file: &Path) -> Result<(), OpenFailure> {
    match std::fs::canonicalize(file) {
        Ok(path) if path == Path::new("/proc/kcore") => Err(OpenFailure::with(
            format!("{}: this is the memory of the running system", file.display()),
            "a live system is not supported yet: give a dump",
        )),
        _ => Ok(()),
    }
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

const GIVE_A_DUMP: &str = "give a dump of a kernel and, if at hand, its vmlinux";

const CUT_OFF: &str = "the file is cut off or damaged: compare its size with the original's and \
    copy it again, or see why the collector stopped (often a full disk)";

fn not_a_dump(error: OpenError) -> OpenFailure {
    match error {
        OpenError::Kdump { .. }
        | OpenError::Elf { .. }
        | OpenError::NoMemory { .. }
        | OpenError::Damaged { .. } => OpenFailure::with(error, CUT_OFF),
        OpenError::Wanting { path, what, advice } => {
            OpenFailure::with(format!("{}: {what}", path.display()), advice)
        }
        OpenError::NotADump { kind, .. } => {
            OpenFailure::with(error, kind.advice().unwrap_or(GIVE_A_DUMP))
        }
        OpenError::Io { .. } | OpenError::Stopped { .. } => OpenFailure::new(error),
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
    dump: Dump,
    vmlinux_path: Option<PathBuf>,
    input: &Input,
    options: Options,
    settings: Settings,
) -> Result<Session, OpenFailure> {
    for warning in dump.warnings() {
        messages::tell(&messages::warning_line(warning));
    }
    let dump = Arc::new(dump);
    let dump_path = dump.files().first().cloned().unwrap_or_default();
    let vmlinux = match &vmlinux_path {
        Some(path) => Some(Arc::new(Vmlinux::open(path).map_err(OpenFailure::new)?)),
        None => None,
    };
    let kernel = Kernel::open(Arc::clone(&dump), vmlinux, options)
        .map_err(|error| not_a_kernel(error, &dump_path, dump.is_truncated()))?;
    let files = OpenedFiles { dump: dump_path, vmlinux: vmlinux_path };
    let mut session = Session::new(Arc::new(kernel), files, settings);
    session.interrupt = input.interrupt.clone();
    Ok(session)
}
