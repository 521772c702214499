//! ELF notes as vmcores carry them: registers (NT_PRSTATUS, QEMU's CPU state) and VMCOREINFO.

use crate::cpu_state::{CpuState, Segment};
use crate::field::{u32_at, u64_at};
use mortis_memory::{CpuRegisters, X86_64Registers};

/// `NT_PRSTATUS` (include/uapi/linux/elf.h).
const NT_PRSTATUS: u32 = 1;
/// Offset of `pr_pid` in x86_64's `struct elf_prstatus` (include/linux/elfcore.h).
const PRSTATUS_PID: usize = 32;
/// Offset of `pr_reg` in the same.
const PRSTATUS_REGISTERS: usize = 112;
/// No machine has more CPUs than this; a note area that claims more is damaged.
const MAX_CPUS: usize = 65536;

/// One ELF note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The owner's name, without its NUL.
    pub name: &'a [u8],
    /// `n_type`.
    pub kind: u32,
    /// The content.
    pub desc: &'a [u8],
}

/// The notes of PT_NOTE areas, in order. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    rest: &'a [u8],
}

impl<'a> Notes<'a> {
    /// Reads the notes in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        // The kernel ends a CPU's notes with a header of zeroes (kernel/vmcore_info.c: final_note).
        // /proc/vmcore leaves those out, but where notes come in several areas more may follow.
        let (words, _) = self.rest.as_chunks::<4>();
        let zeroes = words.iter().take_while(|word| **word == [0; 4]).count();
        self.rest = self.rest.get(zeroes * 4..)?;
        let name_len = u32_at(self.rest, 0)? as usize;
        let desc_len = u32_at(self.rest, 4)? as usize;
        let kind = u32_at(self.rest, 8)?;
        let name_end = 12usize.checked_add(name_len)?;
        let desc_start = name_end.checked_next_multiple_of(4)?;
        let desc_end = desc_start.checked_add(desc_len)?;
        let name = self.rest.get(12..name_end)?;
        let desc = self.rest.get(desc_start..desc_end)?;
        self.rest = self.rest.get(desc_end.checked_next_multiple_of(4)?..).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(Note { name, kind, desc })
    }
}

/// `QEMUCPUState`, version 1 (QEMU target/i386/arch_dump.c).
struct QemuCpu;

impl QemuCpu {
    const VERSION: u32 = 1;
    const REGISTERS: usize = 8;
    const SEGMENTS: usize = 152;
    const SEGMENT_SIZE: usize = 24;
    const CONTROL: usize = 392;
    const KERNEL_GS_BASE: usize = 432;

    fn parse(desc: &[u8]) -> Option<CpuState> {
        if u32_at(desc, 0)? != Self::VERSION {
            return None;
        }
        let register = |index: usize| u64_at(desc, Self::REGISTERS + index * 8);
        let segment = |index: usize| {
            let at = Self::SEGMENTS + index * Self::SEGMENT_SIZE;
            Some(Segment {
                selector: u32_at(desc, at)?,
                limit: u32_at(desc, at + 4)?,
                flags: u32_at(desc, at + 8)?,
                base: u64_at(desc, at + 16)?,
            })
        };
        let control = |index: usize| u64_at(desc, Self::CONTROL + index * 8);
        let (cs, ds, es, fs, gs, ss) =
            (segment(0)?, segment(1)?, segment(2)?, segment(3)?, segment(4)?, segment(5)?);
        Some(CpuState {
            registers: X86_64Registers {
                rax: register(0)?,
                rbx: register(1)?,
                rcx: register(2)?,
                rdx: register(3)?,
                rsi: register(4)?,
                rdi: register(5)?,
                rsp: register(6)?,
                rbp: register(7)?,
                r8: register(8)?,
                r9: register(9)?,
                r10: register(10)?,
                r11: register(11)?,
                r12: register(12)?,
                r13: register(13)?,
                r14: register(14)?,
                r15: register(15)?,
                rip: register(16)?,
                rflags: register(17)?,
                cs: cs.selector.into(),
                ds: ds.selector.into(),
                es: es.selector.into(),
                fs: fs.selector.into(),
                gs: gs.selector.into(),
                ss: ss.selector.into(),
                fs_base: fs.base,
                gs_base: gs.base,
                orig_rax: 0,
            },
            gdt: segment(8)?,
            idt: segment(9)?,
            cr: [control(0)?, control(1)?, control(2)?, control(3)?, control(4)?],
            kernel_gs_base: u64_at(desc, Self::KERNEL_GS_BASE),
        })
    }
}

/// The CPUs of `notes` by `NT_PRSTATUS`, in the order of the notes, x86_64's layout.
pub(crate) fn prstatus_registers(notes: Notes<'_>) -> Vec<CpuRegisters> {
    notes
        .filter(|note| note.name == b"CORE" && note.kind == NT_PRSTATUS)
        .take(MAX_CPUS)
        .enumerate()
        .filter_map(|(note_index, note)| {
            let registers = note.desc.get(PRSTATUS_REGISTERS..)?;
            let registers = registers.get(..X86_64Registers::USER_REGS_SIZE)?;
            Some(CpuRegisters {
                note_index,
                pid: u32_at(note.desc, PRSTATUS_PID)?,
                registers: X86_64Registers::from_user_regs(registers),
            })
        })
        .collect()
}

/// The CPUs of `notes` by QEMU's own notes.
pub(crate) fn qemu_cpus(notes: Notes<'_>) -> Vec<CpuState> {
    notes
        .filter(|note| note.name == b"QEMU")
        .take(MAX_CPUS)
        .filter_map(|note| QemuCpu::parse(note.desc))
        .collect()
}

/// The text of the VMCOREINFO note.
pub(crate) fn vmcoreinfo_text(notes: Notes<'_>) -> Option<&[u8]> {
    notes.filter(|note| note.name == b"VMCOREINFO").map(|note| note.desc).next()
}

/// The rules of erasing, which `makedumpfile -E` keeps in a note (its elf_info.h).
pub(crate) fn erase_info(mut notes: Notes<'_>) -> Option<String> {
    let note = notes.find(|note| note.name == b"ERASEINFO" && !note.desc.is_empty())?;
    Some(String::from_utf8_lossy(note.desc).into_owned())
}

/// Whether the notes are those of a process that dumped core: the kernel's own ELF writer
/// (fs/binfmt_elf.c) says what files were mapped and which signal killed it.
pub(crate) fn are_of_a_process(notes: Notes<'_>) -> bool {
    const NT_AUXV: u32 = 6;
    const NT_SIGINFO: u32 = 0x5349_4749;
    const NT_FILE: u32 = 0x4649_4c45;
    let mut process = false;
    for note in notes {
        match (note.name, note.kind) {
            (b"VMCOREINFO" | b"QEMU", _) => return false,
            (b"CORE", NT_AUXV | NT_SIGINFO | NT_FILE) => process = true,
            _ => {}
        }
    }
    process
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_dump_synthetic::{final_note, note};

    #[test]
    fn notes_go_on_behind_the_end_of_an_area() {
        let bytes =
            [note("CORE", 1, b"abc"), final_note(), note("X", 7, b""), vec![0; 64]].concat();
        let notes: Vec<_> =
            Notes::new(&bytes).map(|note| (note.name, note.kind, note.desc)).collect();
        assert_eq!(notes, [(&b"CORE"[..], 1, &b"abc"[..]), (b"X", 7, b"")]);
    }

    #[test]
    fn a_note_that_does_not_fit_ends_them() {
        let mut bytes = [note("CORE", 1, b"abc"), note("LONG", 2, &[1; 100])].concat();
        bytes.truncate(bytes.len() - 40);
        assert_eq!(Notes::new(&bytes).count(), 1);
        assert_eq!(Notes::new(&[0xff; 64]).count(), 0);
        assert_eq!(Notes::new(&[1, 0, 0]).count(), 0);
    }
}
