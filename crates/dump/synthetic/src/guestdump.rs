//! VMware's `debug.guest`.

use crate::machine::Machine;

/// Writes `debug.guest` of a version that there is: 1, 3 to 7. The memory, `debug.vmem`, is
/// [`Machine::write_all`].
pub fn guestdump(machine: &Machine<'_>, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(version.to_le_bytes());
    bytes.extend((machine.cpus.len() as u32).to_le_bytes());
    let gap = match version {
        1 => 13,
        6 => 15,
        7 => 8,
        _ => 14,
    };
    bytes.extend(vec![0xa1; gap]);

    // The description of memory: holes are what is between ranges.
    let pages = machine.size() / 4096;
    let last = machine.ranges.last().map_or(0, |range| range.end);
    let mut holes = Vec::new();
    let mut end = 0;
    for range in &machine.ranges {
        if range.start > end {
            holes.push((end / 4096, (range.start - end) / 4096));
        }
        end = range.end;
    }
    bytes.extend((last - 1).to_le_bytes());
    if version == 1 {
        bytes.extend((pages as u32).to_le_bytes());
        bytes.extend(0xa2a2_a2a2u32.to_le_bytes());
        bytes.extend((holes.len() as u32).to_le_bytes());
        for index in 0..2 {
            let (ppn, pages) = holes.get(index).copied().unwrap_or_default();
            bytes.extend((ppn as u32).to_le_bytes());
            bytes.extend((pages as u32).to_le_bytes());
        }
        bytes.extend(vec![0xa3; 8 * holes.len() + 4]);
    } else {
        bytes.extend(pages.to_le_bytes());
        bytes.extend(0xa2a2_a2a2u32.to_le_bytes());
        bytes.extend((holes.len() as u32).to_le_bytes());
        for index in 0..2 {
            let (ppn, pages) = holes.get(index).copied().unwrap_or_default();
            bytes.extend(ppn.to_le_bytes());
            bytes.extend(pages.to_le_bytes());
        }
        if version == 7 {
            bytes.extend(1u32.to_le_bytes()); // x86
            bytes.extend([0xa4; 7]);
        }
    }

    for cpu in &machine.cpus {
        let registers = &cpu.registers;
        bytes.extend((cpu.cr[0] as u32).to_le_bytes());
        for control in &cpu.cr[2..5] {
            bytes.extend(control.to_le_bytes());
        }
        bytes.extend([0xa5; 80]);
        bytes.extend(cpu.idt_base.to_le_bytes());
        bytes.extend(vec![0xa6; if version < 4 { 45 } else { 42 }]);
        for register in [
            registers.r15,
            registers.r14,
            registers.r13,
            registers.r12,
            registers.rbp,
            registers.rbx,
            registers.r11,
            registers.r10,
            registers.r9,
            registers.r8,
            registers.rax,
            registers.rcx,
            registers.rdx,
            registers.rsi,
            registers.rdi,
            registers.orig_rax,
            registers.rip,
            registers.cs,
            registers.rflags,
            registers.rsp,
            registers.ss,
            registers.fs_base,
            registers.gs_base,
            registers.ds,
            registers.es,
            registers.fs,
            registers.gs,
        ] {
            bytes.extend(register.to_le_bytes());
        }
        bytes.extend([0xa7; 17]);
        bytes.extend([0xa8; 4096]);
    }
    bytes
}
