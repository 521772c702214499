//! LiME images.

use mortis_dump::{DumpKind, FileKind};
use mortis_dump_synthetic::{Machine, NumberedMemory, lime};

/// Opens and reads.
pub fn fuzz(data: &[u8]) {
    crate::dump::ask_everything(data, FileKind::Dump(DumpKind::Lime));
}

/// Images of one block and of several.
pub fn seeds() -> Vec<Vec<u8>> {
    let image = |ranges: &[std::ops::Range<u64>]| {
        let memory = NumberedMemory { ranges: ranges.to_vec() };
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = lime(&Machine::of(&memory, Vec::new()), &mut bytes);
        bytes
    };
    vec![
        image(&[0x1000..0x4000, 0x10_0000..0x10_3000, 0x1_0000_0000..0x1_0000_1800]),
        image(&[0x4000..0x8000, 0x8000..0x8001]),
    ]
}
