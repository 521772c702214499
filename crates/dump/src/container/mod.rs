//! What a dump may be wrapped in: each container gives the [`Source`] of what is inside.

use crate::open::{OpenError, Opening};
use crate::sniff::{ContainerKind, FileKind};
use crate::source::Source;
use std::sync::Arc;

/// Opens a container.
pub(crate) fn open(
    kind: ContainerKind,
    _source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let not_yet =
        || OpenError::NotADump { path: opening.path.to_owned(), kind: FileKind::Container(kind) };
    match kind {
        ContainerKind::Flattened => Err(not_yet()),
        ContainerKind::LibvirtSave => Err(not_yet()),
        ContainerKind::Qcow2 => Err(not_yet()),
        ContainerKind::Gzip => Err(not_yet()),
        ContainerKind::Xz => Err(not_yet()),
        ContainerKind::Zstd => Err(not_yet()),
        ContainerKind::Bzip2 => Err(not_yet()),
        ContainerKind::Lz4 => Err(not_yet()),
        ContainerKind::Lzop => Err(not_yet()),
        ContainerKind::Tar => Err(not_yet()),
    }
}
