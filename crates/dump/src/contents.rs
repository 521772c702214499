//! What the reader of a format hands over: the dump's memory, and what its headers say.

use crate::cpu_state::CpuState;
use crate::format::{Format, Machine, Timestamp, Utsname};
use crate::notes::{self, Notes};
use crate::source::Source;
use crate::virtualbox;
use crate::vmcoreinfo::Vmcoreinfo;
use mortis_memory::{CpuRegisters, PhysicalMemory};
use std::path::PathBuf;
use std::sync::Arc;

/// Pages that a dump speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCounts {
    /// Pages that the machine had.
    pub total: u64,
    /// Those of them that the file should hold.
    pub present: u64,
}

/// A format's memory, which can count itself.
pub(crate) trait DumpMemory: PhysicalMemory {
    /// How many pages there are. May read an index on first use.
    fn page_counts(&self) -> PageCounts;

    /// Whether the file is shorter than its headers say. May read an index on first use.
    fn is_truncated(&self) -> bool;
}

/// An opened dump, in words of no single format. A reader fills in what its format knows, over
/// [`Contents::of`].
pub(crate) struct Contents {
    pub(crate) format: Format,
    pub(crate) memory: Arc<dyn DumpMemory>,
    pub(crate) machine: Machine,
    /// ELF notes, one after the other.
    pub(crate) notes: Vec<u8>,
    /// The CPUs by the notes of the kernel that crashed.
    pub(crate) cpu_registers: Vec<CpuRegisters>,
    /// The CPUs as a hypervisor saved them.
    pub(crate) cpu_states: Vec<CpuState>,
    pub(crate) vmcoreinfo: Option<Vmcoreinfo>,
    /// Whether the writer marked the dump as one that it could not finish.
    pub(crate) incomplete: bool,
    /// The rules by which makedumpfile overwrote data, as its configuration has them.
    pub(crate) erase_info: Option<String>,
    pub(crate) kdump: Option<KdumpFacts>,
    /// The file out of everything that it is wrapped in.
    pub(crate) image: Option<Arc<dyn Source>>,
    /// Files that are parts of the dump beside the one that was opened.
    pub(crate) beside: Vec<PathBuf>,
}

impl Contents {
    /// Memory, and nothing known beside it.
    pub(crate) fn of(format: Format, memory: Arc<dyn DumpMemory>) -> Self {
        Self {
            format,
            memory,
            machine: Machine::X86_64,
            notes: Vec::new(),
            cpu_registers: Vec::new(),
            cpu_states: Vec::new(),
            vmcoreinfo: None,
            incomplete: false,
            erase_info: None,
            kdump: None,
            image: None,
            beside: Vec::new(),
        }
    }

    /// Takes over the ELF notes, and the registers in them.
    pub(crate) fn with_notes(mut self, machine: Machine, notes: Vec<u8>) -> Self {
        if self.erase_info.is_none() {
            self.erase_info = notes::erase_info(Notes::new(&notes));
        }
        if machine == Machine::X86_64 {
            self.cpu_registers = notes::prstatus_registers(Notes::new(&notes));
            let mut cpus = notes::qemu_cpus(Notes::new(&notes));
            cpus.extend(virtualbox::cpus(Notes::new(&notes)));
            self = self.with_cpu_states(cpus);
        }
        Self { machine, notes, ..self }
    }

    /// Takes over what a hypervisor saved; its registers count where the kernel left none.
    pub(crate) fn with_cpu_states(mut self, cpu_states: Vec<CpuState>) -> Self {
        if self.cpu_registers.is_empty() {
            let of_cpu = |(note_index, cpu): (usize, &CpuState)| CpuRegisters {
                note_index,
                pid: 0,
                registers: cpu.registers,
            };
            self.cpu_registers = cpu_states.iter().enumerate().map(of_cpu).collect();
        }
        Self { cpu_states, ..self }
    }
}

/// What only a kdump header says.
pub(crate) struct KdumpFacts {
    pub(crate) utsname: Utsname,
    pub(crate) timestamp: Timestamp,
    pub(crate) dump_level: u32,
    pub(crate) nr_cpus: u32,
    pub(crate) max_mapnr: u64,
    pub(crate) phys_base: u64,
    pub(crate) vmemmap_excluded: bool,
    pub(crate) split: Option<(u64, u64)>,
}
