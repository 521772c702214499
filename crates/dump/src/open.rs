//! From a file to [`Contents`]: what it is wrapped in, and which reader it is for.
//!
//! A dump may stand inside a container: a stream that is to be put in order, a compressed file, an
//! archive, a disk image. Each container gives a [`Source`] in which the next layer is looked for,
//! until a dump is met; its reader turns the source into [`Contents`].

use crate::container;
use crate::contents::Contents;
use crate::elf;
use crate::kdump::{self, HeaderError};
use crate::qemu;
use crate::raw;
use crate::sniff::{ContainerKind, DumpKind, FileKind, sniff_at};
use crate::source::Source;
use crate::vmware;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Containers in containers: no file that somebody made has more.
const MAX_DEPTH: usize = 8;
/// Characters of the rules of erasing that a warning shows.
const MAX_RULES: usize = 500;

/// What can be chosen when a dump is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Bytes that pages, bitmaps and descriptors may take in memory once they were read.
    pub cache_bytes: usize,
    /// Where an index that took a pass over the whole file is kept for the next time, and where
    /// what must be decompressed as a whole goes. It may be deleted at any time. `None`: an index
    /// stays in memory, and such a compressed file is refused.
    pub index_folder: Option<PathBuf>,
    /// The snapshot to open, of a file that has several.
    pub snapshot: Option<String>,
    /// Is told of every long step, and ends it by answering `false`.
    pub progress: Option<Arc<OpenProgress>>,
}

/// Hears how far a long step is: its name, what is done, and all there is, in bytes. Says whether
/// to go on.
pub type OpenProgress = dyn Fn(&'static str, u64, u64) -> bool + Send + Sync;

impl Default for OpenOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, index_folder: None, snapshot: None, progress: None }
    }
}

/// Why a file could not be opened as a dump.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system does not open or read the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{}: this is {kind}", path.display())]
    NotADump {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// A kdump header that cannot be used.
    #[error("{}: {source}", path.display())]
    Kdump {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
    /// An ELF core whose headers cannot be read.
    #[error("{}: the ELF headers are damaged or cut off", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
    },
    /// A dump without one piece of physical memory.
    #[error("{}: there is no physical memory in it", path.display())]
    NoMemory {
        /// The file.
        path: PathBuf,
    },
    /// Headers or contents that cannot be used.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// Another file, or a choice, is wanted to go on.
    #[error("{}: {what}", path.display())]
    Wanting {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
        /// What to do.
        advice: String,
    },
    /// Somebody stopped a long step.
    #[error("{}: stopped", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}

/// What readers may know while a file is opened.
pub(crate) struct Opening<'a> {
    /// The file, for messages and for the names of files beside it.
    pub(crate) path: &'a Path,
    pub(crate) options: &'a OpenOptions,
    /// The file that was given as the dump's other part.
    pub(crate) beside: Option<&'a Path>,
    /// Whether `path` is where the file is, so that others may be looked for beside it.
    pub(crate) on_disk: bool,
    /// What is to be told to who opens the file, and whether a part of the file is missing.
    remarks: Mutex<Remarks>,
}

/// What was noticed on the way into a dump.
#[derive(Default)]
pub(crate) struct Remarks {
    pub(crate) warnings: Vec<String>,
    /// What the dump is wrapped in ends early.
    pub(crate) cut_short: bool,
}

impl<'a> Opening<'a> {
    /// `path` is a name, which need not be that of a file.
    pub(crate) fn new(path: &'a Path, options: &'a OpenOptions) -> Self {
        Self { path, options, beside: None, on_disk: false, remarks: Mutex::default() }
    }

    /// `path` is a file, and `beside` one that was given as the dump's other part.
    pub(crate) fn of_file(
        path: &'a Path,
        options: &'a OpenOptions,
        beside: Option<&'a Path>,
    ) -> Self {
        Self { beside, on_disk: true, ..Self::new(path, options) }
    }
}

impl Opening<'_> {
    /// Keeps something that who opens the file should know. A text names no file.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.remarks().warnings.push(text.into());
    }

    /// As [`Opening::warn`], of a container that ends early: the dump is truncated, whether its
    /// reader notices or not.
    pub(crate) fn cut_short(&self, text: impl Into<String>) {
        let mut remarks = self.remarks();
        remarks.warnings.push(text.into());
        remarks.cut_short = true;
    }

    /// What was noticed up to now; forgets it.
    pub(crate) fn take_remarks(&self) -> Remarks {
        std::mem::take(&mut *self.remarks())
    }

    fn remarks(&self) -> MutexGuard<'_, Remarks> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how far a long step is.
    ///
    /// # Errors
    /// [`OpenError::Stopped`].
    pub(crate) fn progress(
        &self,
        step: &'static str,
        done: u64,
        total: u64,
    ) -> Result<(), OpenError> {
        match &self.options.progress {
            Some(progress) if !progress(step, done, total) => {
                Err(OpenError::Stopped { path: self.path.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn not_yet(&self, kind: DumpKind) -> OpenError {
        OpenError::NotADump { path: self.path.to_owned(), kind: FileKind::Dump(kind) }
    }

    /// The contents are damaged: what, and where.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> OpenError {
        OpenError::Damaged { path: self.path.to_owned(), what: what.into() }
    }
}

/// Opens what `source` holds, and says what that was wrapped in, outermost first.
pub(crate) fn open(
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<(Contents, Vec<ContainerKind>), OpenError> {
    let Unwrapped { kind, source, containers } = unwrap(source, opening)?;
    let image = Some(Arc::clone(&source));
    let contents = Contents { image, ..open_dump(kind, source, opening)? };
    if let Some(warning) = erase_warning(&contents) {
        opening.warn(warning);
    }
    Ok((contents, containers))
}

/// What to tell where makedumpfile overwrote data.
pub(crate) fn erase_warning(contents: &Contents) -> Option<String> {
    let rules = contents.erase_info.as_ref()?.trim().replace(char::is_control, "; ");
    let short: String = rules.chars().take(MAX_RULES).collect();
    Some(format!("data were erased from the dump and read as 'X': {short}"))
}

/// A dump without what it was wrapped in.
pub(crate) struct Unwrapped {
    pub(crate) kind: DumpKind,
    pub(crate) source: Arc<dyn Source>,
    /// What it was wrapped in, outermost first.
    pub(crate) containers: Vec<ContainerKind>,
}

/// Takes off what a dump is wrapped in.
pub(crate) fn unwrap(
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Unwrapped, OpenError> {
    let mut source = source;
    let mut containers = Vec::new();
    loop {
        match sniff_at(opening.path, &*source) {
            FileKind::Dump(kind) => return Ok(Unwrapped { kind, source, containers }),
            FileKind::Container(kind) if containers.len() < MAX_DEPTH => {
                source = container::open(kind, source, opening)?;
                containers.push(kind);
            }
            kind => {
                let remarks = opening.take_remarks();
                return Err(match remarks.warnings.first() {
                    Some(remark) if remarks.cut_short => {
                        opening.damaged(format!("{remark}, and that is no dump"))
                    }
                    _ => OpenError::NotADump { path: opening.path.to_owned(), kind },
                });
            }
        }
    }
}

fn open_dump(
    kind: DumpKind,
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Contents, OpenError> {
    match kind {
        DumpKind::ElfCore => elf::open(source, opening),
        DumpKind::Kdump => kdump::open(source, opening),
        DumpKind::QemuStream => qemu::open(source, opening),
        DumpKind::Vmware => vmware::open(source, opening),
        DumpKind::VmwareGuest => vmware::open_guest(source, opening),
        DumpKind::VmwareMemory => vmware::open_memory(opening),
        DumpKind::Lime | DumpKind::Avml => raw::open(source, opening),
        DumpKind::Sadump => Err(opening.not_yet(kind)),
    }
}
