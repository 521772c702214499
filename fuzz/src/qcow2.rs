//! Disk images with a machine's state in a snapshot.

use mortis_dump::{ContainerKind, FileKind};
use mortis_dump_synthetic::{QcowOptions, QemuWriter, qcow2};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Container(ContainerKind::Qcow2));
}

/// Every form that an image's tables have.
pub fn seeds() -> Vec<Vec<u8>> {
    let stream = QemuWriter::small(true);
    let plain = QcowOptions::default();
    let forms = [
        plain,
        QcowOptions { version_2: true, compressed: true, ..plain },
        QcowOptions { zstd: true, compressed: true, extended_l2: true, ..plain },
    ];
    let one = forms.map(|form| qcow2(&[("one", "1", &stream)], form));
    let several = qcow2(&[("one", "1", &stream), ("two", "2", &stream)], plain);
    one.into_iter().chain([several]).collect()
}
