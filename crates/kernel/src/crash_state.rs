//! What the kernel saved as it died: which CPU panicked, and each CPU's registers.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory, X86_64Registers};

/// How a CPU's registers were come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistersFrom {
    /// The CPU's own `crash_notes` in the kernel's memory (kernel/crash_core.c).
    CrashNotes,
    /// A note of the dump whose process id is that of the CPU's task.
    DumpNotePid,
    /// The dump's notes taken in order, one a CPU.
    DumpNoteOrder,
}

/// `PANIC_CPU_INVALID`: nobody panicked.
const PANIC_CPU_INVALID: u32 = u32::MAX;

/// Where `pr_pid` and `pr_reg` lie in the `struct elf_prstatus` of x86_64 (include/linux/elfcore.h),
/// and its size.
const PR_PID: usize = 32;
const PR_REG: usize = 112;
const PRSTATUS_SIZE: usize = 336;
/// An ELF note's header and the padded name `CORE`.
const NOTE_HEADER: usize = 12 + 8;
const NT_PRSTATUS: u32 = 1;

impl Kernel {
    /// The CPU on which the kernel died: `crashing_cpu`, which kexec sets (arch/x86/kernel/crash.c),
    /// or `panic_cpu`, which panic() sets.
    pub fn panic_cpu(&self) -> Option<u32> {
        let possible = self.cpus().ok()?;
        ["crashing_cpu", "panic_cpu"]
            .into_iter()
            .filter_map(|name| self.read_symbol::<4>(name).ok())
            .map(|cpu| cpu as u32)
            .find(|cpu| *cpu != PANIC_CPU_INVALID && possible.possible.contains(cpu))
    }

    /// The task that died: the one that was running on the CPU that panicked.
    pub fn panic_task(&self) -> Option<Task> {
        self.current_task(self.panic_cpu()?).ok()
    }

    /// The registers that `cpu` saved as the kernel died, and how it is known that they are its.
    pub fn cpu_registers(&self, cpu: u32) -> Option<(X86_64Registers, RegistersFrom)> {
        if let Ok(Some(registers)) = self.crash_notes(cpu) {
            return Some((registers, RegistersFrom::CrashNotes));
        }
        let notes = self.dump().cpu_registers();
        // QEMU numbers its notes from 1 where a process id should be (target/i386/arch_dump.c).
        let numbered = notes.iter().zip(1..).all(|(note, number)| note.pid == number);
        if !numbered {
            let pid = self.current_task(cpu).ok().map(|task| task.pid);
            let mut same_pid = notes.iter().filter(|note| Some(note.pid) == pid && note.pid != 0);
            if let (Some(note), None) = (same_pid.next(), same_pid.next()) {
                return Some((note.registers, RegistersFrom::DumpNotePid));
            }
        }
        let cpus = self.cpus().ok()?;
        // A virtual machine's monitor notes every CPU there is, also those that the panicking one
        // stopped and took off the online mask.
        let noted = if notes.len() == cpus.present.len() { &cpus.present } else { &cpus.online };
        let index = noted.iter().position(|&noted| noted == cpu)?;
        // A state file may lack a CPU's registers, whose place is kept.
        let note = notes.get(index).filter(|note| note.registers.rip != 0)?;
        Some((note.registers, RegistersFrom::DumpNoteOrder))
    }

    /// The ELF note that `crash_save_cpu()` left in the CPU's `crash_notes`; `None` when the CPU
    /// never got to save any.
    fn crash_notes(&self, cpu: u32) -> Result<Option<X86_64Registers>> {
        // `crash_notes` is a pointer to per-CPU memory, not itself per-CPU.
        let percpu = VirtAddr(self.read_symbol::<8>("crash_notes")?);
        let note = self.cpus()?.address(percpu, cpu)?;
        let mut bytes = [0; NOTE_HEADER + PRSTATUS_SIZE];
        self.read(note, &mut bytes)?;
        let word =
            |at: usize| bytes[at..].first_chunk::<4>().map_or(0, |word| u32::from_le_bytes(*word));
        let valid = word(0) == 5 && word(4) as usize == PRSTATUS_SIZE && word(8) == NT_PRSTATUS;
        if !valid || word(NOTE_HEADER + PR_PID) > i32::MAX as u32 {
            return Ok(None);
        }
        Ok(Some(X86_64Registers::from_user_regs(&bytes[NOTE_HEADER + PR_REG..])))
    }
}
