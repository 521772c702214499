//! ELF64 cores.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::{ElfWriter, Load, note, page, prstatus, qemu_cpu};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::ElfCore));
}

/// A filtered core of kexec's kind, one of QEMU's, and one with extended numbering.
pub fn seeds() -> Vec<Vec<u8>> {
    let load = |address: u64, memory_size: u64, len: usize| Load {
        address,
        memory_size,
        bytes: page(address, len),
    };
    let info = note("VMCOREINFO", 0, b"OSRELEASE=6.12.0\nPAGESIZE=4096\n");
    let kexec = ElfWriter {
        notes: [prstatus(1, [5; 27]), prstatus(2, [6; 27]), info].concat(),
        loads: vec![
            load(0x10_2000, 0x2000, 0x2000),
            load(0x10_0000, 0x9000, 0x6000),
            load(0x20_0000, 0x10_0000, 0),
        ],
        ..ElfWriter::default()
    };
    let qemu = ElfWriter {
        notes: qemu_cpu([1; 18], [2; 5], 3),
        loads: vec![load(0, 0x3000, 0x3000)],
        ..ElfWriter::default()
    };
    let extended = ElfWriter { extended_numbering: true, ..kexec.clone() };
    [kexec, qemu, extended].iter().map(ElfWriter::write).collect()
}
