//! tar archives.

use mortis_dump::{ContainerKind, FileKind};
use mortis_dump_synthetic::{TarKind, TarWriter};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Container(ContainerKind::Tar));
}

/// A dump in every form of member.
pub fn seeds() -> Vec<Vec<u8>> {
    let kinds = [
        TarKind::Plain,
        TarKind::LongName,
        TarKind::Pax,
        TarKind::GnuSparse,
        TarKind::PaxSparse,
    ];
    let archive = |(kind, dump): (TarKind, Vec<u8>)| {
        TarWriter::default()
            .with(TarKind::Folder, "folder/", b"")
            .with(TarKind::Plain, "notes", b"notes")
            .with(kind, "vmcore", &dump)
            .finish()
    };
    kinds.into_iter().zip(crate::kdump::seeds().into_iter().cycle()).map(archive).collect()
}
