//! VirtualBox's cores.

use crate::machine::{Machine, SavedCpu};
use crate::notes::{note, pad};
use std::io::{self, Write};

/// Writes the core that `dumpvmcore` of VirtualBox 7.0 writes.
///
/// # Errors
/// What the operating system says.
pub fn virtualbox(machine: &Machine<'_>, out: &mut dyn Write) -> io::Result<()> {
    let notes = virtualbox_notes(0x0001_0006, &machine.cpus);
    let count = machine.ranges.len() + 1;
    let mut header = b"\x7fELF\x02\x01\0\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend(4u16.to_le_bytes()); // ET_CORE
    header.extend(62u16.to_le_bytes()); // EM_X86_64
    header.extend(1u32.to_le_bytes()); // e_version
    header.extend(0u64.to_le_bytes()); // e_entry
    header.extend(64u64.to_le_bytes()); // e_phoff
    header.extend(0u64.to_le_bytes()); // e_shoff
    header.extend(0u32.to_le_bytes()); // e_flags
    for half in [64, 56, count as u16, 64, 0, 0] {
        header.extend(half.to_le_bytes()); // e_ehsize to e_shstrndx
    }
    let mut offset = 64 + 56 * count as u64;
    let mut segment = |kind: u32, address: u64, len: u64| {
        header.extend(kind.to_le_bytes());
        header.extend(0u32.to_le_bytes()); // p_flags
        for word in [offset, 0, address, len, len, 0] {
            header.extend(word.to_le_bytes()); // p_offset to p_align
        }
        offset += len;
    };
    segment(4, 0, notes.len() as u64);
    for range in &machine.ranges {
        segment(1, range.start, range.end - range.start);
    }
    out.write_all(&header)?;
    out.write_all(&notes)?;
    machine.write_all(out)
}

/// `VBCORE` and a `VBCPU` for each CPU, of format version `version`: `DBGFCOREDESCRIPTOR` and
/// `DBGFCORECPU` member by member.
pub fn virtualbox_notes(version: u32, cpus: &[SavedCpu]) -> Vec<u8> {
    let mut descriptor = Vec::new();
    descriptor.extend(0xc01a_c0deu32.to_le_bytes());
    descriptor.extend(version.to_le_bytes());
    descriptor.extend(24u32.to_le_bytes()); // cbSelf
    descriptor.extend(0x0700_0a00u32.to_le_bytes()); // u32VBoxVersion
    descriptor.extend(158_379u32.to_le_bytes()); // u32VBoxRevision
    descriptor.extend((cpus.len() as u32).to_le_bytes());
    let mut notes = unterminated(note("VBCORE", 0xb00, &descriptor), 6);
    for cpu in cpus {
        notes.extend(unterminated(note("VBCPU", 0xb01, &core_cpu(cpu)), 5));
    }
    notes
}

/// VirtualBox does not count the name's NUL.
fn unterminated(mut note: Vec<u8>, name_len: u8) -> Vec<u8> {
    note[0] = name_len;
    note
}

fn core_cpu(cpu: &SavedCpu) -> Vec<u8> {
    let SavedCpu { registers, cr, idt_base, kernel_gs_base } = cpu;
    let mut desc = Vec::new();
    for register in [
        registers.rax,
        registers.rbx,
        registers.rcx,
        registers.rdx,
        registers.rsi,
        registers.rdi,
        registers.r8,
        registers.r9,
        registers.r10,
        registers.r11,
        registers.r12,
        registers.r13,
        registers.r14,
        registers.r15,
        registers.rip,
        registers.rsp,
        registers.rbp,
        registers.rflags,
    ] {
        desc.extend(register.to_le_bytes());
    }
    let selector = |desc: &mut Vec<u8>, base: u64, selector: u64| {
        desc.extend(base.to_le_bytes());
        desc.extend(0xffff_ffffu32.to_le_bytes()); // uLimit
        desc.extend(0xa09bu32.to_le_bytes()); // uAttr
        desc.extend((selector as u16).to_le_bytes());
        desc.extend([0; 6]); // uReserved0, uReserved1
    };
    selector(&mut desc, 0, registers.cs);
    selector(&mut desc, 0, registers.ds);
    selector(&mut desc, 0, registers.es);
    selector(&mut desc, registers.fs_base, registers.fs);
    selector(&mut desc, registers.gs_base, registers.gs);
    selector(&mut desc, 0, registers.ss);
    for control in [cr[0], cr[2], cr[3], cr[4]] {
        desc.extend(control.to_le_bytes());
    }
    desc.extend([0; 64]); // dr
    for base in [0xffff_fe00_0000_1000, *idt_base] {
        desc.extend(base.to_le_bytes());
        desc.extend(0xfffu32.to_le_bytes());
        desc.extend([0; 4]);
    }
    selector(&mut desc, 0, 0); // ldtr
    selector(&mut desc, 0xffff_fe00_0000_3000, 0x40); // tr
    desc.extend([0x11; 24]); // sysenter
    desc.extend([0x22; 48]); // EFER, STAR, PAT, LSTAR, CSTAR, SFMASK
    desc.extend(kernel_gs_base.to_le_bytes());
    desc.extend([0x33; 32]); // APIC base, TSC_AUX, XCR0, XCR1
    desc.extend([0; 512]); // the rest is the FPU's
    pad(&mut desc, 8);
    desc
}
