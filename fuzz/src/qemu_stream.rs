//! QEMU's migration streams.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::QemuWriter;

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::QemuStream));
}

/// A small guest with and without a description of its devices, and one whose pages have places.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![QemuWriter::small(true), QemuWriter::small(false), QemuWriter::small_mapped()]
}
