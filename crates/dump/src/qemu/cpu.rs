//! The "cpu" section of x86: a CPU's registers (QEMU target/i386/machine.c: `vmstate_x86_cpu`).
//!
//! The section grew at its end and by subsections alone since version 7; what is read here lies at
//! its start. The instance's number is the CPU's.

use super::sections::Walk;
use crate::big_endian::{be32_at, be64_at};
use crate::cpu_state::{CpuState, Segment};
use crate::source::{Source, read_up_to};
use mortis_memory::X86_64Registers;

const NAME: &str = "cpu";
/// Version 7, of 2008, is the first with 64-bit `sysenter_esp`.
const FIRST_VERSION: u32 = 7;
/// No machine has more.
const MAX_CPUS: usize = 65536;

/// `env.regs`: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
const REGISTERS: usize = 0;
const RIP: usize = 128;
const RFLAGS: usize = 136;
/// Behind `hflags`, four words of the FPU and its eight registers of ten bytes: ES, CS, SS, DS, FS,
/// GS, then LDT, TR, GDT and IDT.
const SEGMENTS: usize = 236;
const SEGMENT_SIZE: usize = 20;
const GDT: usize = 8;
const IDT: usize = 9;
/// Behind `sysenter_cs`, `_esp` and `_eip`: CR0, CR2, CR3, CR4.
const CR0: usize = 456;
/// Behind eight debug registers, `a20_mask`, `mxcsr`, sixteen XMM registers, `efer`, `star`,
/// `lstar`, `cstar` and `fmask`.
const KERNEL_GS_BASE: usize = 856;
const SIZE: u64 = 864;

/// The CPUs in the order of their numbers.
pub(super) fn states(walk: &Walk, source: &dyn Source) -> Vec<CpuState> {
    let mut sections: Vec<_> = walk
        .devices
        .iter()
        .filter(|section| section.name == NAME && section.version >= FIRST_VERSION)
        .take(MAX_CPUS)
        .collect();
    sections.sort_by_key(|section| section.instance);
    sections.dedup_by_key(|section| section.instance);
    sections.iter().filter_map(|section| parse(&read_up_to(source, section.start, SIZE))).collect()
}

fn parse(bytes: &[u8]) -> Option<CpuState> {
    let register = |index: usize| be64_at(bytes, REGISTERS + index * 8);
    let segment = |index: usize| {
        let at = SEGMENTS + index * SEGMENT_SIZE;
        Some(Segment {
            selector: be32_at(bytes, at)?,
            base: be64_at(bytes, at + 4)?,
            limit: be32_at(bytes, at + 12)?,
            flags: be32_at(bytes, at + 16)?,
        })
    };
    let (es, cs, ss, ds, fs, gs) =
        (segment(0)?, segment(1)?, segment(2)?, segment(3)?, segment(4)?, segment(5)?);
    let control = |index: usize| be64_at(bytes, CR0 + index * 8);
    Some(CpuState {
        registers: X86_64Registers {
            rax: register(0)?,
            rcx: register(1)?,
            rdx: register(2)?,
            rbx: register(3)?,
            rsp: register(4)?,
            rbp: register(5)?,
            rsi: register(6)?,
            rdi: register(7)?,
            r8: register(8)?,
            r9: register(9)?,
            r10: register(10)?,
            r11: register(11)?,
            r12: register(12)?,
            r13: register(13)?,
            r14: register(14)?,
            r15: register(15)?,
            rip: be64_at(bytes, RIP)?,
            rflags: be64_at(bytes, RFLAGS)?,
            cs: cs.selector.into(),
            ss: ss.selector.into(),
            ds: ds.selector.into(),
            es: es.selector.into(),
            fs: fs.selector.into(),
            gs: gs.selector.into(),
            fs_base: fs.base,
            gs_base: gs.base,
            orig_rax: 0,
        },
        gdt: segment(GDT)?,
        idt: segment(IDT)?,
        cr: [control(0)?, 0, control(1)?, control(2)?, control(3)?],
        kernel_gs_base: be64_at(bytes, KERNEL_GS_BASE),
    })
}
