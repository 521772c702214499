//! The notes of a core file: structures of include/uapi/linux/elfcore.h and the like.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::task_accounting::ArgumentAreas;
use crate::tasks::{Task, TaskState};
use crate::vma::Area;
use mortis_memory::{VirtAddr, VirtualMemory, X86_64Registers};

layout! {
    /// What else is told of a task.
    struct CoreTask = "task_struct" {
        credentials: "cred",
        static_prio: "static_prio",
        utime: "utime",
        stime: "stime",
        signal: "signal",
        fpu: "thread.fpu",
    }
}

layout! {
    /// On whose behalf a task acts: include/linux/cred.h.
    struct Credentials = "cred" {
        uid: "uid.val",
        gid: "gid.val",
    }
}

layout! {
    /// The process group and session, since 2c4704756cab (4.19).
    struct GroupIds = "signal_struct" {
        pids: "pids",
    }
}

layout! {
    /// A process id: include/linux/pid.h.
    struct PidNumber = "pid" {
        numbers: "numbers",
    }
}

layout! {
    /// Where a task's floating point registers are kept: arch/x86/include/asm/fpu/types.h.
    struct Fpu = "fpu" {
        /// Since 5.16.
        state: "fpstate",
        /// Before.
        registers: "state",
    }
}

layout! {
    struct FpuState = "fpstate" {
        registers: "regs",
    }
}

layout! {
    /// The auxiliary vector: include/linux/mm_types.h.
    struct AuxiliaryVector = "mm_struct" {
        saved: "saved_auxv",
    }
}

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
/// "FILE" in ASCII.
const NT_FILE: u32 = 0x4649_4c45;

/// Bytes that the FXSAVE instruction writes.
const FXSAVE_SIZE: u64 = 512;

/// `PIDTYPE_PGID` and `PIDTYPE_SID` of include/linux/pid.h, since 4.19.
const PIDTYPE_PGID: u64 = 2;
const PIDTYPE_SID: u64 = 3;

/// Nice 0 (`DEFAULT_PRIO`).
const DEFAULT_PRIO: u64 = 120;

/// Threads of one process: fewer than there are process ids.
const MAX_THREADS: usize = 4 << 20;

/// A structure that is filled from its start to its end.
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// A field of `len` bytes, cut or filled with zeros, the last of them always zero.
    fn text(self, text: &[u8], len: usize) -> Self {
        let mut field = text.get(..text.len().min(len - 1)).unwrap_or_default().to_vec();
        field.resize(len, 0);
        self.put(field)
    }
}

fn note(notes: &mut Vec<u8>, kind: u32, content: &[u8]) {
    const NAME: &[u8; 8] = b"CORE\0\0\0\0";
    notes.extend(5u32.to_le_bytes());
    notes.extend((content.len() as u32).to_le_bytes());
    notes.extend(kind.to_le_bytes());
    notes.extend(NAME);
    notes.extend(content);
    notes.resize(notes.len().next_multiple_of(4), 0);
}

impl Kernel {
    /// All notes, how many threads have registers in them, and how many have none in the dump.
    pub(super) fn core_notes(
        &self,
        task: Task,
        mm: VirtAddr,
        areas: &[Area],
    ) -> Result<(Vec<u8>, usize, usize)> {
        let tgid = task.tgid(self)?;
        let all = self.tasks().tasks.iter().copied();
        let others = all
            .filter(|other| other.address != task.address && other.tgid(self) == Ok(tgid))
            .take(MAX_THREADS);
        let mut notes = Vec::new();
        let (mut with, mut without) = (0, 0);
        for (index, thread) in std::iter::once(task).chain(others).enumerate() {
            match self.user_registers(thread) {
                Ok(registers) => {
                    note(&mut notes, NT_PRSTATUS, &self.prstatus(thread, &registers));
                    with += 1;
                }
                Err(_) => without += 1,
            }
            // After the first thread's registers comes what they have in common.
            if index == 0 {
                note(&mut notes, NT_PRPSINFO, &self.prpsinfo(task, mm));
                if let Some(vector) = self.auxiliary_vector(mm) {
                    note(&mut notes, NT_AUXV, &vector);
                }
                note(&mut notes, NT_FILE, &self.file_note(areas));
            }
            if let Ok(registers) = self.floating_point_registers(thread) {
                note(&mut notes, NT_FPREGSET, &registers);
            }
        }
        Ok((notes, with, without))
    }

    /// The process id, parent's, group's and session's; 0 for what is not in the dump.
    fn ids(&self, task: Task) -> [u32; 4] {
        let parent = task.parent(self).and_then(|parent| parent.tgid(self)).unwrap_or(0);
        let id = |kind: u64| -> Result<u32> {
            let signal = self.layout::<CoreTask>()?.signal.pointer(self, task.address)?;
            let pids = self.layout::<GroupIds>()?.pids.address(signal)?;
            let pid = self.read_pointer(pids.offset(kind * 8))?;
            Ok(self.read_u32(self.layout::<PidNumber>()?.numbers.address(pid)?)?)
        };
        [task.pid, parent, id(PIDTYPE_PGID).unwrap_or(0), id(PIDTYPE_SID).unwrap_or(0)]
    }

    /// `struct elf_prstatus`.
    fn prstatus(&self, task: Task, registers: &X86_64Registers) -> Vec<u8> {
        let signals = self.task_signals(task).ok();
        let pending = signals.as_ref().and_then(|signals| signals.pending.set.clone().ok());
        let blocked = signals.as_ref().and_then(|signals| signals.blocked.clone().ok());
        let time = |field: fn(&CoreTask) -> &crate::layout::Field| {
            let layout = self.layout::<CoreTask>();
            layout.and_then(|layout| field(&layout).u64(self, task.address)).unwrap_or(0)
        };
        // si_signo, si_code, si_errno and the current signal: none, nothing killed it.
        let mut bytes = Bytes(Vec::with_capacity(336))
            .put([0; 16])
            .put(pending.unwrap_or(0).to_le_bytes())
            .put(blocked.unwrap_or(0).to_le_bytes());
        for id in self.ids(task) {
            bytes = bytes.put(id.to_le_bytes());
        }
        for nanoseconds in [time(|task| &task.utime), time(|task| &task.stime), 0, 0] {
            bytes = bytes
                .put((nanoseconds / 1_000_000_000).to_le_bytes())
                .put((nanoseconds % 1_000_000_000 / 1000).to_le_bytes());
        }
        for register in user_registers(registers) {
            bytes = bytes.put(register.to_le_bytes());
        }
        let has_fpu = i32::from(self.floating_point_registers(task).is_ok());
        bytes.put(has_fpu.to_le_bytes()).put([0; 4]).0
    }

    /// `struct elf_prpsinfo`.
    fn prpsinfo(&self, task: Task, mm: VirtAddr) -> Vec<u8> {
        let layout = self.layout::<CoreTask>().ok();
        let state = task.state(self).unwrap_or(TaskState::Unknown(0));
        let (state, letter) = match state {
            TaskState::Running => (0u8, b'R'),
            TaskState::Interruptible => (1, b'S'),
            TaskState::Uninterruptible => (2, b'D'),
            TaskState::Stopped => (3, b'T'),
            TaskState::Traced => (4, b't'),
            TaskState::Zombie => (5, b'Z'),
            _ => (6, b'.'),
        };
        let nice = layout
            .as_ref()
            .and_then(|layout| layout.static_prio.u64(self, task.address).ok())
            .map_or(0, |priority| priority.wrapping_sub(DEFAULT_PRIO) as u8);
        let credentials = layout.as_ref().and_then(|layout| {
            let credentials = layout.credentials.pointer(self, task.address).ok()?;
            let layout = self.layout::<Credentials>().ok()?;
            let uid = layout.uid.u64(self, credentials).ok()? as u32;
            Some((uid, layout.gid.u64(self, credentials).ok()? as u32))
        });
        let (uid, gid) = credentials.unwrap_or((0, 0));
        let flags =
            self.task_struct().and_then(|layout| layout.flags.u64(self, task.address)).unwrap_or(0);
        let mut bytes = Bytes(Vec::with_capacity(136))
            .put([state, letter, u8::from(letter == b'Z'), nice])
            .put([0; 4])
            .put(flags.to_le_bytes())
            .put(uid.to_le_bytes())
            .put(gid.to_le_bytes());
        for id in self.ids(task) {
            bytes = bytes.put(id.to_le_bytes());
        }
        let arguments = self
            .argument_areas(mm)
            .and_then(|ArgumentAreas { arguments, .. }| self.read_user_area(mm, &arguments));
        let mut arguments = arguments.unwrap_or_default();
        while arguments.last() == Some(&0) {
            arguments.pop();
        }
        for byte in &mut arguments {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        let name = task.comm(self).unwrap_or_default();
        bytes.text(name.as_bytes(), 16).text(&arguments, 80).0
    }

    /// The auxiliary vector up to its end (`AT_NULL`).
    fn auxiliary_vector(&self, mm: VirtAddr) -> Option<Vec<u8>> {
        let saved = self.layout::<AuxiliaryVector>().ok()?.saved.clone();
        let mut bytes =
            self.read_bytes(saved.address(mm).ok()?, saved.size().ok()?.min(4096)).ok()?;
        let pairs = bytes.chunks_exact(16);
        let end = pairs.take_while(|pair| pair.get(..8) != Some(&[0; 8][..])).count() + 1;
        bytes.truncate(end * 16);
        Some(bytes)
    }

    /// `NT_FILE`: which file is mapped where.
    fn file_note(&self, areas: &[Area]) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut names = Vec::new();
        let mut count = 0u64;
        for area in areas {
            let Ok(file) = &area.file else { continue };
            if file.is_null() {
                continue;
            }
            let Ok(path) = self.file_path(*file) else { continue };
            count += 1;
            let offset = area.page_offset.clone().unwrap_or(0);
            for word in [area.start.0, area.end.0, offset] {
                entries.extend(word.to_le_bytes());
            }
            names.extend(path.bytes().filter(|byte| *byte != 0));
            names.push(0);
        }
        let page_size = 4096u64;
        Bytes(Vec::new())
            .put(count.to_le_bytes())
            .put(page_size.to_le_bytes())
            .put(entries)
            .put(names)
            .0
    }

    /// What FXSAVE left of a task that is not running: of one that is, it is out of date.
    fn floating_point_registers(&self, task: Task) -> Result<Vec<u8>> {
        let not_there = || crate::error::KernelError::Unsupported("no registers".to_owned());
        if self.cpu_of_running(task).is_some() {
            return Err(not_there());
        }
        // Behind the task itself since 6.16, in it before.
        let fpu = match self.layout::<CoreTask>()?.fpu.address(task.address) {
            Ok(fpu) => fpu,
            Err(_) => task.address.offset(self.task_struct()?.size_of),
        };
        let layout = self.layout::<Fpu>()?;
        let registers = match layout.state.pointer(self, fpu) {
            Ok(state) => self.layout::<FpuState>()?.registers.address(state)?,
            Err(_) => layout.registers.address(fpu)?,
        };
        Ok(self.read_bytes(registers, FXSAVE_SIZE)?)
    }
}

/// `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
fn user_registers(registers: &X86_64Registers) -> [u64; 27] {
    let X86_64Registers {
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r11,
        r10,
        r9,
        r8,
        rax,
        rcx,
        rdx,
        rsi,
        rdi,
        orig_rax,
        rip,
        cs,
        rflags,
        rsp,
        ss,
        fs_base,
        gs_base,
        ds,
        es,
        fs,
        gs,
    } = *registers;
    [
        r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs,
        rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_where_user_regs_struct_has_them() {
        let bytes: Vec<u8> = (1..=27u64).flat_map(u64::to_le_bytes).collect();
        let registers = X86_64Registers::from_user_regs(&bytes);
        assert!(user_registers(&registers).into_iter().eq(1..=27));
    }

    #[test]
    fn notes_are_padded_to_words() {
        let mut notes = Vec::new();
        note(&mut notes, NT_AUXV, &[1; 5]);
        assert_eq!(notes.len(), 12 + 8 + 8);
        assert_eq!(&notes[..12], [5, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
        assert_eq!(&notes[12..17], b"CORE\0");
    }
}
