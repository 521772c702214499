//! What a dump may be wrapped in: each container gives the [`Source`] of what is inside.

mod compressed;
mod extents;
mod flattened;
mod libvirt;
mod qcow2;
mod tar;

use crate::open::{OpenError, Opening};
use crate::sniff::ContainerKind;
use crate::source::Source;
use compressed::Codec;
use std::sync::Arc;

/// Opens a container.
pub(crate) fn open(
    kind: ContainerKind,
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let decompressed = |codec| compressed::decompressed(codec, Arc::clone(&source), opening);
    match kind {
        ContainerKind::Flattened => flattened::open(source, opening),
        ContainerKind::LibvirtSave => libvirt::open(source, opening),
        ContainerKind::Qcow2 => qcow2::open(source, opening),
        ContainerKind::Gzip => decompressed(Codec::Gzip),
        ContainerKind::Xz => decompressed(Codec::Xz),
        ContainerKind::Zstd => decompressed(Codec::Zstd),
        ContainerKind::Bzip2 => decompressed(Codec::Bzip2),
        ContainerKind::Lz4 => decompressed(Codec::Lz4),
        ContainerKind::Lzop => decompressed(Codec::Lzop),
        ContainerKind::Tar => tar::open(source, opening),
    }
}
