//! The ELF notes of a written dump: those of the dump that is read, and what its form keeps
//! elsewhere, as notes that other readers know.

use super::fields::Fields;
use crate::cpu_state::{CpuState, Segment};
use crate::dump::Dump;
use crate::vmcoreinfo::Vmcoreinfo;
use mortis_memory::X86_64Registers;

/// `NT_PRSTATUS` (include/uapi/linux/elf.h).
const NT_PRSTATUS: u32 = 1;
const CORE: &[u8] = b"CORE";
const QEMU: &[u8] = b"QEMU";
const VMCOREINFO: &[u8] = b"VMCOREINFO";

/// Notes one after the other, and where VMCOREINFO's text is among them.
pub(super) struct WrittenNotes {
    pub(super) bytes: Vec<u8>,
    /// Offset and length.
    pub(super) vmcoreinfo: Option<(u64, u64)>,
    /// How many CPUs left registers.
    pub(super) cpus: usize,
}

impl WrittenNotes {
    /// The notes of `dump`. Registers that a hypervisor saved become `NT_PRSTATUS` and QEMU's notes
    /// where there are none, in the order that QEMU writes them; `found` is VMCOREINFO that is no
    /// note of the dump.
    pub(super) fn of(dump: &Dump, found: Option<&Vmcoreinfo>) -> Self {
        let mut written = Self { bytes: Vec::new(), vmcoreinfo: None, cpus: 0 };
        for note in dump.notes() {
            written.add(note.name, note.kind, note.desc);
        }
        if written.cpus == 0 {
            for (index, cpu) in dump.cpu_registers().iter().enumerate() {
                // QEMU, too, gives no task but the CPU's number.
                let pid = if cpu.pid == 0 { index as u32 + 1 } else { cpu.pid };
                written.add(CORE, NT_PRSTATUS, &prstatus(pid, &cpu.registers));
            }
        }
        if !dump.notes().any(|note| note.name == QEMU) {
            for cpu in dump.cpu_states() {
                written.add(QEMU, 0, &qemu_cpu(cpu));
            }
        }
        if let Some(info) = dump.vmcoreinfo().or(found).filter(|_| written.vmcoreinfo.is_none()) {
            written.add(VMCOREINFO, 0, info.text().as_bytes());
        }
        written
    }

    fn add(&mut self, name: &[u8], kind: u32, desc: &[u8]) {
        let mut note = Fields::default();
        note.u32(name.len() as u32 + 1).u32(desc.len() as u32).u32(kind);
        note.bytes(name).bytes(&[0]).align(4);
        let start = (self.bytes.len() + note.as_bytes().len()) as u64;
        note.bytes(desc).align(4);
        if name == VMCOREINFO && self.vmcoreinfo.is_none() {
            self.vmcoreinfo = Some((start, desc.len() as u64));
        }
        self.cpus += usize::from(name == CORE && kind == NT_PRSTATUS);
        self.bytes.extend(note.into_bytes());
    }
}

/// x86_64's `struct elf_prstatus` (include/linux/elfcore.h).
fn prstatus(pid: u32, registers: &X86_64Registers) -> Vec<u8> {
    const PID: usize = 32;
    const REGISTERS: usize = 112;
    const SIZE: usize = 336;
    let mut desc = Fields::default();
    desc.pad_to(PID).u32(pid).pad_to(REGISTERS);
    for register in registers.to_user_regs() {
        desc.u64(register);
    }
    desc.pad_to(SIZE);
    desc.into_bytes()
}

/// `QEMUCPUState`, version 1 (QEMU target/i386/arch_dump.c).
fn qemu_cpu(cpu: &CpuState) -> Vec<u8> {
    const VERSION: u32 = 1;
    const SIZE: u32 = 440;
    let r = &cpu.registers;
    let mut desc = Fields::default();
    desc.u32(VERSION).u32(SIZE);
    for register in [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, r.rip, r.rflags,
    ] {
        desc.u64(register);
    }
    let of =
        |selector: u64, base| Segment { selector: selector as u32, base, ..Segment::default() };
    let none = Segment::default();
    let segments = [
        of(r.cs, 0),
        of(r.ds, 0),
        of(r.es, 0),
        of(r.fs, r.fs_base),
        of(r.gs, r.gs_base),
        of(r.ss, 0),
        none, // LDT
        none, // TR
        cpu.gdt,
        cpu.idt,
    ];
    for segment in segments {
        desc.u32(segment.selector).u32(segment.limit).u32(segment.flags).u32(0).u64(segment.base);
    }
    for register in cpu.cr {
        desc.u64(register);
    }
    desc.u64(cpu.kernel_gs_base.unwrap_or(0));
    desc.into_bytes()
}
