//! A CPU as a hypervisor saved it.

use mortis_memory::X86_64Registers;

/// A segment register or descriptor table of a [`CpuState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Segment {
    pub selector: u32,
    pub limit: u32,
    pub flags: u32,
    pub base: u64,
}

/// An x86 CPU with what `NT_PRSTATUS` lacks: control registers and tables. What a format does not
/// save is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CpuState {
    /// General registers; segment bases are in there, too.
    pub registers: X86_64Registers,
    pub gdt: Segment,
    pub idt: Segment,
    /// CR0 to CR4.
    pub cr: [u64; 5],
    /// `MSR_KERNEL_GS_BASE`, where it is saved.
    pub kernel_gs_base: Option<u64>,
}
