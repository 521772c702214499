//! Flattened streams.

use mortis_dump::{ContainerKind, FileKind};
use mortis_dump_synthetic::Flattened;

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Container(ContainerKind::Flattened));
}

/// Streams of small dumps, in records of different lengths.
pub fn seeds() -> Vec<Vec<u8>> {
    let dumps = crate::kdump::seeds().into_iter().chain(crate::elf::seeds());
    dumps.zip([100, 512, 4096].into_iter().cycle()).map(|(dump, len)| Flattened::of(&dump, len).write()).collect()
}
