//! VMware's states with memory inside.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::{Machine, NumberedMemory, SavedCpu, VmwareMemory, VmwareWriter};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::Vmware));
}

/// Every way of writing registers and memory.
pub fn seeds() -> Vec<Vec<u8>> {
    let memory = NumberedMemory { ranges: vec![0..0x4000, 0x10_0000..0x10_3000] };
    let machine = Machine::of(&memory, (0..2).map(SavedCpu::numbered).collect());
    let writers = [
        VmwareWriter::default(),
        VmwareWriter { in_blocks: true, magic: 0xbed3_bed3, ..VmwareWriter::default() },
        VmwareWriter { magic: 0xbed2_bed0, with_regions: false, ..VmwareWriter::default() },
        VmwareWriter { memory: VmwareMemory::Compressed, ..VmwareWriter::default() },
        VmwareWriter { memory: VmwareMemory::Separate, ..VmwareWriter::default() },
    ];
    writers.iter().map(|writer| writer.bytes(&machine)).collect()
}
