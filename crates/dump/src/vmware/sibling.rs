//! Finding the file that belongs to another: a machine's memory beside its state.

use super::{guest, tags};
use crate::container;
use crate::contents::Contents;
use crate::open::{OpenError, Opening};
use crate::sniff::{DumpKind, FileKind, sniff_at, sniff_source};
use crate::source::{FileSource, Source};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MEMORY: &str = "vmem";
const STATES: [&str; 3] = ["vmss", "vmsn", "guest"];
/// What compressors add to a name; ESXi compresses guest dumps by gzip.
const PACKED: [&str; 5] = ["gz", "xz", "zst", "bz2", "lz4"];
/// Files of a folder that are looked at for a memory of another name.
const MAX_NEIGHBOURS: usize = 4096;

/// Whether a file is memory by its name.
pub(crate) fn is_memory_name(path: &Path) -> bool {
    has_extension(path, &[MEMORY])
}

/// Whether a file is a guest dump by its name.
pub(crate) fn is_guest_name(path: &Path) -> bool {
    has_extension(path, &["guest"])
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let path = unpacked_name(path);
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// The name of what is in a file that may be compressed.
fn unpacked_name(path: &Path) -> PathBuf {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    match PACKED.contains(&extension) {
        true => path.with_extension(""),
        false => path.to_owned(),
    }
}

/// The file of that name with another extension, as it is or compressed.
fn beside(path: &Path, extension: &str) -> Option<PathBuf> {
    let plain = unpacked_name(path).with_extension(extension);
    let packed = PACKED.iter().map(|packed| {
        let mut name = plain.clone().into_os_string();
        name.push(".");
        name.push(packed);
        PathBuf::from(name)
    });
    std::iter::once(plain.clone()).chain(packed).find(|path| path.exists())
}

/// A file out of what it is compressed by.
fn open_file(path: &Path, opening: &Opening<'_>) -> Result<Arc<dyn Source>, OpenError> {
    let source =
        FileSource::open(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let source: Arc<dyn Source> = Arc::new(source);
    if unpacked_name(path) == path {
        return Ok(source);
    }
    match sniff_source(&*source) {
        FileKind::Container(kind) => container::open(kind, source, opening),
        _ => Ok(source),
    }
}

/// Whether two files are a state and its memory, in that order.
pub(crate) fn is_pair(state: &Path, memory: &Path) -> bool {
    let kind = FileSource::open(state).map(|source| sniff_at(state, &source));
    let is_state = match kind {
        Ok(FileKind::Dump(DumpKind::Vmware | DumpKind::VmwareGuest)) => true,
        // What is in it will be seen when it is open.
        Ok(FileKind::Container(_)) => has_extension(state, &STATES),
        _ => false,
    };
    is_state && is_memory_name(memory)
}

/// The memory that belongs to the state being opened, whose regions need `wanted` bytes.
pub(super) fn memory_of(
    opening: &Opening<'_>,
    wanted: Option<u64>,
) -> Result<(PathBuf, Arc<dyn Source>), OpenError> {
    let same_name = unpacked_name(opening.path).with_extension(MEMORY);
    let path = match opening.beside {
        Some(given) => given.to_owned(),
        None if !opening.on_disk => return Err(missing(opening, &same_name)),
        None => beside(opening.path, MEMORY)
            .or_else(|| neighbour(opening.path, wanted))
            .ok_or_else(|| missing(opening, &same_name))?,
    };
    let source = open_file(&path, opening)?;
    Ok((path, source))
}

fn missing(opening: &Opening<'_>, looked_for: &Path) -> OpenError {
    let full = std::path::absolute(looked_for).unwrap_or_else(|_| looked_for.to_owned());
    OpenError::Wanting {
        path: opening.path.to_owned(),
        what: format!(
            "the machine's memory is in another file, and there is no {}",
            full.display()
        ),
        advice: "copy the .vmem that was written with it beside it, or name both: mortis \
                 NAME.vmss NAME.vmem"
            .to_owned(),
    }
}

/// The one `.vmem` whose name goes on where the state's ends (`name.vmss`, `name-564d1c2f.vmem`),
/// which is as long as it has to be, and which is not another state's.
fn neighbour(state: &Path, wanted: Option<u64>) -> Option<PathBuf> {
    let stem = state.file_stem()?.to_str()?;
    let folder = match state.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let fits = |path: &PathBuf| {
        let goes_on = path
            .file_stem()
            .and_then(OsStr::to_str)
            .and_then(|name| name.strip_prefix(stem))
            .is_some_and(|rest| rest.starts_with('-'));
        let has_own_state = || STATES.iter().any(|state| path.with_extension(state).exists());
        let is_long_enough =
            || path.metadata().is_ok_and(|metadata| Some(metadata.len()) == wanted);
        is_memory_name(path) && goes_on && is_long_enough() && !has_own_state()
    };
    let entries = folder.read_dir().ok()?.flatten().take(MAX_NEIGHBOURS);
    let mut found = entries.map(|entry| entry.path()).filter(fits);
    found.next().filter(|_| found.next().is_none())
}

/// Opens a `.vmem` by the state that is beside it.
pub(crate) fn open_memory(opening: &Opening<'_>) -> Result<Contents, OpenError> {
    for extension in STATES.into_iter().filter(|_| opening.on_disk) {
        let Some(path) = beside(opening.path, extension) else { continue };
        let source = open_file(&path, opening)?;
        let state = Opening::of_file(&path, opening.options, Some(opening.path));
        let mut contents = match extension {
            "guest" if guest::is_guest(&*source) => guest::open(source, &state)?,
            "guest" => continue,
            _ if !is_checkpoint(&*source) => continue,
            _ => super::open(source, &state)?,
        };
        for warning in state.take_remarks().warnings {
            opening.warn(warning);
        }
        contents.beside = vec![path];
        return Ok(contents);
    }
    let stem = unpacked_name(opening.path).with_extension("");
    let stem = std::path::absolute(&stem).unwrap_or(stem);
    Err(OpenError::Wanting {
        path: opening.path.to_owned(),
        what: format!(
            "memory of VMware without its state: there is no {}.vmss, .vmsn or .guest",
            stem.display()
        ),
        advice: "copy that file beside it or name both; without it, say where the memory lies: \
                 --layout NAME.vmem@0 or, of a machine of more than 3 GiB, --layout \
                 NAME.vmem:0+3G@0,NAME.vmem:3G@4G"
            .to_owned(),
    })
}

fn is_checkpoint(source: &dyn Source) -> bool {
    const KNOWN: [u32; 6] = [
        tags::OLD_MAGIC,
        tags::NARROW_MAGIC,
        tags::MAGIC,
        tags::PARTIAL_MAGIC,
        tags::RESTORED_MAGIC,
        tags::NORESTORE_MAGIC,
    ];
    tags::Groups::parse(source).is_some_and(|groups| KNOWN.contains(&groups.magic))
}
