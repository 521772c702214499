//! AVML images.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::{Machine, NumberedMemory, avml};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::Avml));
}

/// Images of several chunks.
pub fn seeds() -> Vec<Vec<u8>> {
    let image = |ranges: &[std::ops::Range<u64>]| {
        let memory = NumberedMemory { ranges: ranges.to_vec() };
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = avml(&Machine::of(&memory, Vec::new()), true, &mut bytes);
        bytes
    };
    vec![
        image(&[0x1000..0x4000, 0x10_0000..0x12_3000, 0x1_0000_0000..0x1_0000_1800]),
        image(&[0x4000..0x8000, 0x8000..0x8001]),
    ]
}
