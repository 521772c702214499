//! libvirt's save images.

use mortis_dump::{ContainerKind, FileKind};
use mortis_dump_synthetic::{QemuWriter, libvirt_save};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Container(ContainerKind::LibvirtSave));
}

/// A small guest in either byte order, complete and not.
pub fn seeds() -> Vec<Vec<u8>> {
    let stream = QemuWriter::small(true);
    vec![
        libvirt_save(b"LibvirtQemudSave", 0, false, &stream),
        libvirt_save(b"LibvirtQemudSave", 6, true, &stream),
        libvirt_save(b"LibvirtQemudPart", 0, false, &stream),
    ]
}
