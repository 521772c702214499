//! ELF notes.

/// One note with its padding.
pub fn note(name: &str, kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((name.len() as u32 + 1).to_le_bytes());
    bytes.extend((desc.len() as u32).to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.push(0);
    pad(&mut bytes, 4);
    bytes.extend(desc);
    pad(&mut bytes, 4);
    bytes
}

/// The empty note that ends a CPU's buffer.
pub fn final_note() -> Vec<u8> {
    vec![0; 12]
}

/// `NT_PRSTATUS` of an x86_64 CPU: `struct elf_prstatus` member by member.
pub fn prstatus(pid: u32, registers: [u64; 27]) -> Vec<u8> {
    let mut desc = Vec::new();
    desc.extend([0; 12]); // pr_info
    desc.extend([0; 2]); // pr_cursig
    pad(&mut desc, 8);
    desc.extend([0; 16]); // pr_sigpend, pr_sighold
    desc.extend(pid.to_le_bytes());
    desc.extend([0; 12]); // pr_ppid, pr_pgrp, pr_sid
    desc.extend([0; 64]); // pr_utime, pr_stime, pr_cutime, pr_cstime
    for register in registers {
        desc.extend(register.to_le_bytes());
    }
    desc.extend([0; 4]); // pr_fpvalid
    pad(&mut desc, 8);
    note("CORE", 1, &desc)
}

/// QEMU's note of an x86 CPU: `QEMUCPUState`. `general` is rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp,
/// r8 to r15, rip, rflags; segments get bases 0x1000, 0x2000, … and control registers are given.
pub fn qemu_cpu(general: [u64; 18], cr: [u64; 5], kernel_gs_base: u64) -> Vec<u8> {
    let mut desc = Vec::new();
    desc.extend(1u32.to_le_bytes());
    desc.extend(440u32.to_le_bytes());
    for register in general {
        desc.extend(register.to_le_bytes());
    }
    for segment in 1..=10u32 {
        desc.extend(segment.to_le_bytes());
        desc.extend(0xffffu32.to_le_bytes());
        desc.extend((segment << 8).to_le_bytes());
        desc.extend(0u32.to_le_bytes());
        desc.extend((u64::from(segment) * 0x1000).to_le_bytes());
    }
    for register in cr {
        desc.extend(register.to_le_bytes());
    }
    desc.extend(kernel_gs_base.to_le_bytes());
    note("QEMU", 0, &desc)
}

pub(crate) fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}
