//! CPUs of VirtualBox: `VBoxManage debugvm NAME dumpvmcore` writes an ELF core with a note `VBCORE`
//! (`DBGFCOREDESCRIPTOR`) and one `VBCPU` a CPU (`DBGFCORECPU`, include/VBox/vmm/dbgfcorefmt.h).
//!
//! Format version 0x00010000 (before 4.3) has the monitor's own `CPUMCTX` in place of the latter,
//! which changed from release to release: its registers are left alone. What later versions
//! (0x00010006 in 7.0) changed comes behind everything that is read here.

use crate::cpu_state::{CpuState, Segment};
use crate::field::{u16_at, u32_at, u64_at};
use crate::notes::Notes;
use mortis_memory::X86_64Registers;

const NT_VBOXCORE: u32 = 0xb00;
const NT_VBOXCPU: u32 = 0xb01;
const MAGIC: u32 = 0xc01a_c0de;
const OLD_VERSION: u32 = 0x0001_0000;
/// No machine of VirtualBox has more.
const MAX_CPUS: usize = 4096;

/// Where members of `DBGFCORECPU` are.
mod offset {
    /// `cs`, `ds`, `es`, `fs`, `gs`, `ss`: 24 bytes each.
    pub(super) const SEGMENTS: usize = 144;
    /// `cr0`, `cr2`, `cr3`, `cr4`.
    pub(super) const CONTROL: usize = 288;
    /// Behind `dr[8]`.
    pub(super) const GDTR: usize = 384;
    pub(super) const IDTR: usize = 400;
    pub(super) const KERNEL_GS_BASE: usize = 536;
}

/// The CPUs of `notes`, in order.
pub(crate) fn cpus(notes: Notes<'_>) -> Vec<CpuState> {
    let is_current = |desc: &[u8]| {
        u32_at(desc, 0) == Some(MAGIC) && u32_at(desc, 4).is_some_and(|at| at > OLD_VERSION)
    };
    let mut descriptors =
        notes.clone().filter(|note| note.name == b"VBCORE" && note.kind == NT_VBOXCORE);
    if !descriptors.next().is_some_and(|note| is_current(note.desc)) {
        return Vec::new();
    }
    notes
        .filter(|note| note.name == b"VBCPU" && note.kind == NT_VBOXCPU)
        .take(MAX_CPUS)
        .filter_map(|note| cpu(note.desc))
        .collect()
}

fn cpu(desc: &[u8]) -> Option<CpuState> {
    let register = |index: usize| u64_at(desc, index * 8);
    let segment = |index: usize| {
        let at = offset::SEGMENTS + index * 24;
        Some((u64::from(u16_at(desc, at + 16)?), u64_at(desc, at)?))
    };
    let control = |index: usize| u64_at(desc, offset::CONTROL + index * 8);
    let table = |at: usize| {
        let (base, limit) = (u64_at(desc, at)?, u32_at(desc, at + 8)?);
        Some(Segment { base, limit, ..Segment::default() })
    };
    let (cs, ds, es) = (segment(0)?, segment(1)?, segment(2)?);
    let (fs, gs, ss) = (segment(3)?, segment(4)?, segment(5)?);
    Some(CpuState {
        registers: X86_64Registers {
            rax: register(0)?,
            rbx: register(1)?,
            rcx: register(2)?,
            rdx: register(3)?,
            rsi: register(4)?,
            rdi: register(5)?,
            r8: register(6)?,
            r9: register(7)?,
            r10: register(8)?,
            r11: register(9)?,
            r12: register(10)?,
            r13: register(11)?,
            r14: register(12)?,
            r15: register(13)?,
            rip: register(14)?,
            rsp: register(15)?,
            rbp: register(16)?,
            rflags: register(17)?,
            cs: cs.0,
            ds: ds.0,
            es: es.0,
            fs: fs.0,
            gs: gs.0,
            ss: ss.0,
            fs_base: fs.1,
            gs_base: gs.1,
            orig_rax: 0,
        },
        gdt: table(offset::GDTR)?,
        idt: table(offset::IDTR)?,
        cr: [control(0)?, 0, control(1)?, control(2)?, control(3)?],
        kernel_gs_base: u64_at(desc, offset::KERNEL_GS_BASE),
    })
}
