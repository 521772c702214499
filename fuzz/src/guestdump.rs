//! VMware's guest dumps: their headers; the memory is in another file.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::{Machine, NumberedMemory, SavedCpu, guestdump};

/// Opens.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::VmwareGuest));
}

/// One of each version.
pub fn seeds() -> Vec<Vec<u8>> {
    let memory = NumberedMemory { ranges: vec![0..0x4000, 0x10_0000..0x10_3000] };
    let machine = Machine::of(&memory, (0..2).map(SavedCpu::numbered).collect());
    [1, 3, 4, 5, 6, 7].map(|version| guestdump(&machine, version)).to_vec()
}
