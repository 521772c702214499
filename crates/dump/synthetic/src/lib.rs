//! Small dumps for tests and fuzzers, written field by field in the order of the C structures.
//!
//! Nothing is shared with the reader in `mortis-dump`: a mistake in an offset there is not
//! repeated here. Everything is deterministic. Memory with [`Faults`] stands in front of real dumps.

mod compressed;
mod elf;
mod faults;
mod flattened;
mod guestdump;
mod kdump;
mod lime;
mod machine;
mod notes;
mod qemu;
mod random;
mod tar;
mod terabyte;
mod virtualbox;
mod vmware;

pub use compressed::Wrapping;
pub use elf::{ElfWriter, Load};
pub use faults::{Faults, FaultyMemory, WatchedMemory};
pub use flattened::Flattened;
pub use guestdump::guestdump;
pub use kdump::{Codec, KdumpWriter, Offsets, Stored};
pub use lime::{avml, lime};
pub use machine::{Machine, NumberedMemory, SavedCpu, SparseFile};
pub use notes::{final_note, note, prstatus, qemu_cpu};
pub use qemu::{QcowOptions, QcowSnapshot, QemuCpu, QemuPage, QemuWriter, libvirt_save, qcow2};
pub use random::Random;
pub use tar::{TarKind, TarWriter};
pub use terabyte::sparse_terabyte;
pub use virtualbox::{virtualbox, virtualbox_notes};
pub use vmware::{VmwareMemory, VmwareWriter};

/// The content of page `pfn`: compressible, and different for each.
pub fn page(pfn: u64, size: usize) -> Vec<u8> {
    let mut state = pfn.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let run = (state >> 40) as usize % 24 + 1;
        let byte = state.to_le_bytes()[0];
        if state & 0x300 == 0 {
            bytes.extend_from_slice(&state.to_le_bytes());
        } else {
            bytes.extend(std::iter::repeat_n(byte, run));
        }
    }
    bytes.truncate(size);
    bytes
}

/// Content that no codec makes smaller.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}
