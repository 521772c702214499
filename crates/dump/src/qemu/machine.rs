//! Where a machine has its RAM.
//!
//! The stream has blocks of RAM with names and sizes. A PC has all of its RAM below 4 GiB but for
//! a hole for devices, and what does not fit starts at 4 GiB. Where the hole starts depends on the
//! machine's type, the size of RAM and an option, but firmware has to know it, too: QEMU puts both
//! sizes into the clock's CMOS, and the clock is in the stream (hw/i386/pc.c: `pc_cmos_init`).
//! Without the clock, in a stream that was cut off, the rules of hw/i386/pc_piix.c, pc_q35.c and
//! microvm.c are followed.

use super::sections::Walk;
use crate::format::Machine;
use crate::source::{Source, read_up_to};

/// The section of the clock, whose state starts with 128 bytes of CMOS.
pub(super) const CLOCK: &str = "mc146818rtc";
const GIB: u64 = 1 << 30;
const FOUR_GIB: u64 = 4 * GIB;
/// Where the arm64 machine "virt" has RAM (hw/arm/virt.c: `base_memmap`).
const ARM_RAM: u64 = GIB;
const ARM_BLOCK: &str = "mach-virt.ram";

/// A stretch of physical memory, in a block of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) block: usize,
    /// Where in the block `start` is.
    pub(super) offset: u64,
}

/// What the clock's CMOS says of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CmosSizes {
    below_4g: u64,
    above_4g: u64,
}

impl CmosSizes {
    pub(super) fn of(walk: &Walk, source: &dyn Source) -> Option<Self> {
        let clock = walk.devices.iter().find(|section| section.name == CLOCK)?;
        let cmos = read_up_to(source, clock.start, 128);
        let byte = |at: usize| cmos.get(at).map(|byte| u64::from(*byte));
        let above_16m = byte(0x34)? | byte(0x35)? << 8;
        let below_16m = byte(0x30)? | byte(0x31)? << 8;
        let above_4g = byte(0x5b)? | byte(0x5c)? << 8 | byte(0x5d)? << 16;
        let below_4g = match above_16m {
            0 => (below_16m << 10) + (1 << 20),
            units => (units << 16) + (16 << 20),
        };
        Some(Self { below_4g, above_4g: above_4g << 16 })
    }
}

/// The architecture, which the stream does not name.
pub(super) fn of(walk: &Walk) -> Machine {
    let has_block = |name: &str| walk.ram.blocks.iter().any(|block| block.name == name);
    match walk.machine_type.as_deref() {
        _ if has_block(ARM_BLOCK) => Machine::Aarch64,
        None => Machine::X86_64,
        Some(name) if name.starts_with("virt-") => Machine::Aarch64,
        Some(name) if is_pc(name) => Machine::X86_64,
        Some(_) if has_block("pc.ram") => Machine::X86_64,
        Some(name) => Machine::Other(format!("QEMU machine {name}")),
    }
}

fn is_pc(name: &str) -> bool {
    let known = ["pc", "q35", "microvm", "isapc", "rhel", "xenfv"];
    known.iter().any(|known| name.starts_with(known)) || name.contains("q35")
}

/// The physical memory that the machine had, ascending and disjoint.
pub(super) fn extents(walk: &Walk, machine: &Machine, cmos: Option<CmosSizes>) -> Vec<Extent> {
    let candidates = ram_blocks(walk);
    let sum = |blocks: &[usize]| blocks.iter().map(|index| len(walk, *index)).sum::<u64>();
    if *machine != Machine::X86_64 {
        let base = if *machine == Machine::Aarch64 { ARM_RAM } else { 0 };
        return place(walk, &candidates, u64::MAX, base);
    }
    if let Some(CmosSizes { below_4g, above_4g }) = cmos {
        // Memory that was plugged in later is not in the CMOS, and where it is nobody says.
        let total = below_4g + above_4g;
        let booted = (1..=candidates.len())
            .filter_map(|count| candidates.get(..count))
            .chain(candidates.chunks(1))
            .find(|blocks| sum(blocks) == total);
        if let Some(blocks) = booted {
            return place(walk, blocks, below_4g, 0);
        }
    }
    place(walk, &candidates, hole_start(walk, sum(&candidates)), 0)
}

fn len(walk: &Walk, index: usize) -> u64 {
    walk.ram.blocks.get(index).map_or(0, |block| block.len)
}

/// The blocks that are RAM, in the order of addresses. A device's memory has the device's path in
/// its name. The stream has blocks by their sizes; those of NUMA nodes are taken in the order of
/// their names, which is that of the nodes wherever somebody numbers them.
fn ram_blocks(walk: &Walk) -> Vec<usize> {
    const ROMS: [&str; 6] =
        ["pc.bios", "pc.rom", "isa-bios", "vga.vram", "system.flash0", "system.flash1"];
    let is_ram = |name: &str| {
        (!name.contains('/') || name.starts_with("/objects/"))
            && !ROMS.contains(&name)
            && !name.contains(".flash")
            && !name.contains(".bios")
            && !name.starts_with("tpm-")
            && !matches!(name, "vram" | "ramfb" | "acpi-ram")
    };
    let is_main = |name: &str| matches!(name, "pc.ram" | "microvm.ram" | ARM_BLOCK);
    let key = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name.get(stem.len()..).and_then(|digits| digits.parse::<u64>().ok());
        (!is_main(name), stem.to_owned(), number)
    };
    let mut blocks: Vec<_> = walk
        .ram
        .blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| is_ram(&block.name))
        .map(|(index, block)| (key(&block.name), index))
        .collect();
    blocks.sort();
    blocks.into_iter().map(|(_, index)| index).collect()
}

/// Where the hole of a PC with so much RAM starts.
fn hole_start(walk: &Walk, total: u64) -> u64 {
    let has_device = |part: &str| walk.devices.iter().any(|section| section.name.contains(part));
    let name = walk.machine_type.as_deref().unwrap_or_default();
    // 3.5 GiB, and 3 GiB since 2.0 where RAM does not fit below that.
    let old_pc = ["pc-0", "pc-1", "pc-i440fx-1", "rhel6"];
    if name.contains("q35") || has_device("/ICH9LPC") || has_device("/mch") {
        if total >= 0xb000_0000 { 2 * GIB } else { 0xb000_0000 }
    } else if name.starts_with("microvm") {
        3 * GIB
    } else if total < 0xe000_0000 || old_pc.iter().any(|old| name.starts_with(old)) {
        0xe000_0000
    } else {
        3 * GIB
    }
}

/// Puts blocks one behind the other from `base` on, and what reaches `hole` at 4 GiB.
fn place(walk: &Walk, blocks: &[usize], hole: u64, base: u64) -> Vec<Extent> {
    let mut extents = Vec::new();
    let mut next = base;
    for &block in blocks {
        let len = len(walk, block);
        let mut offset = 0;
        while offset < len {
            if next == hole {
                next = next.max(FOUR_GIB);
            }
            let room = if next < hole { hole - next } else { u64::MAX };
            let take = room.min(len - offset);
            let Some(end) = next.checked_add(take) else { return extents };
            extents.push(Extent { start: next, end, block, offset });
            next = end;
            offset += take;
        }
    }
    extents
}
