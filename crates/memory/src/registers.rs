//! A CPU's registers as a dump saved them.

/// The registers of an x86_64 CPU, in the order of `struct user_regs_struct`
/// (arch/x86/include/asm/user_64.h), which is also that of `NT_PRSTATUS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct X86_64Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl X86_64Registers {
    /// Bytes that [`X86_64Registers::from_user_regs`] takes.
    pub const USER_REGS_SIZE: usize = 27 * 8;

    /// Bytes of a `struct pt_regs`, the first 21 of those registers.
    pub const PT_REGS_SIZE: usize = 21 * 8;

    /// Decodes a `struct user_regs_struct` or, from a shorter slice, a `struct pt_regs`; what the
    /// slice does not reach is zero.
    pub fn from_user_regs(bytes: &[u8]) -> Self {
        let at = |index: usize| {
            bytes
                .get(index * 8..index * 8 + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        Self {
            r15: at(0),
            r14: at(1),
            r13: at(2),
            r12: at(3),
            rbp: at(4),
            rbx: at(5),
            r11: at(6),
            r10: at(7),
            r9: at(8),
            r8: at(9),
            rax: at(10),
            rcx: at(11),
            rdx: at(12),
            rsi: at(13),
            rdi: at(14),
            orig_rax: at(15),
            rip: at(16),
            cs: at(17),
            rflags: at(18),
            rsp: at(19),
            ss: at(20),
            fs_base: at(21),
            gs_base: at(22),
            ds: at(23),
            es: at(24),
            fs: at(25),
            gs: at(26),
        }
    }

    /// As words of a `struct user_regs_struct`.
    pub const fn to_user_regs(&self) -> [u64; Self::USER_REGS_SIZE / 8] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.orig_rax,
            self.rip,
            self.cs,
            self.rflags,
            self.rsp,
            self.ss,
            self.fs_base,
            self.gs_base,
            self.ds,
            self.es,
            self.fs,
            self.gs,
        ]
    }

    /// Whether the CPU was in user mode: the privilege bits of CS say so.
    pub const fn in_user_mode(&self) -> bool {
        self.cs & 3 == 3
    }
}

/// What a dump's `NT_PRSTATUS` note says of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuRegisters {
    /// The CPU that the note belongs to, as far as the format says: kdump writes one note a
    /// possible CPU in order and leaves out those that never saved any.
    pub note_index: usize,
    /// `pr_pid` of the note: the task that was running, 0 where the format does not say.
    pub pid: u32,
    /// The registers.
    pub registers: X86_64Registers,
}
