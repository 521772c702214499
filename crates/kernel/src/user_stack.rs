//! What a task was doing in user mode: the calls on its user stack.
//!
//! The walk is the kernel's own ([`mortis_unwind`]) over the process's memory. Its tables are the
//! `.eh_frame` sections of the mapped files, which compilers write for every function of a 64-bit
//! program, as far as they are in memory; where they are not, return addresses are guessed. Of a
//! file that was read whole, and not long ago, even the parts that no program maps are in memory:
//! the names of its functions.

mod module;

use crate::error::Result;
use crate::kernel::Kernel;
use crate::process_memory::ProcessMemory;
use crate::tasks::Task;
use module::{Module, Symbols};
use mortis_memory::{UserAddr, VirtAddr, X86_64Registers};
use mortis_unwind::{
    Options, Stack, StackKind, Start, Stop, Tables, TaskAndCpuStacks, Trust, Unwinder,
};
use rustc_hash::FxHashMap;

/// One call.
#[derive(Clone, Debug)]
pub struct UserFrame {
    /// The instruction it is at, or returns to.
    pub ip: UserAddr,
    /// The stack pointer there.
    pub sp: UserAddr,
    /// How it was found.
    pub how: Trust,
    /// The file that its code is in, and where in the file.
    pub place: Option<FilePlace>,
    /// The function, and how far in, where the file's own symbols are in memory.
    pub function: Option<(String, u64)>,
}

/// A place in a mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The file's path.
    pub path: String,
    /// Bytes from the file's start.
    pub offset: u64,
}

/// The calls on a user stack.
#[derive(Clone, Debug)]
pub struct UserStack {
    /// The registers with which the task last left user mode.
    pub registers: X86_64Registers,
    /// The calls, innermost first.
    pub frames: Vec<UserFrame>,
    /// Why there are no more.
    pub end: Stop,
}

const MAX_FRAMES: usize = 512;
/// The first page is never mapped (`vm.mmap_min_addr`).
const LOWEST: u64 = 4096;
const PAGE_SIZE: u64 = 4096;

impl Kernel {
    /// The calls on the user stack of `task`.
    ///
    /// # Errors
    /// When it is a task without user mode, or its registers are not in the dump.
    pub fn user_stack(&self, task: Task) -> Result<UserStack> {
        let registers = self.user_registers(task)?;
        let mm = task.mm(self)?;
        let (areas, _) = self.areas(mm);
        let memory = ProcessMemory::new(self, mm, areas)?;
        let modules = Module::all(&memory);
        let tables = tables(&memory, &modules);
        let stack = memory.area_at(UserAddr(registers.rsp)).map(|area| Stack {
            kind: StackKind::Task,
            cpu: None,
            low: VirtAddr(area.start.0),
            high: VirtAddr(area.end.0),
        });
        let stacks = TaskAndCpuStacks { task: stack, cpus: &[] };
        let options = Options { max_frames: MAX_FRAMES, lowest: LOWEST, ..Options::default() };
        let trace = Unwinder::new(&memory, &tables)
            .with_options(options)
            .trace(&stacks, Start::at_cpu(&registers));
        let mut paths: FxHashMap<VirtAddr, Option<String>> = FxHashMap::default();
        let mut place = |ip: VirtAddr| {
            let area = memory.area_at(UserAddr(ip.0))?;
            let file = area.file.clone().ok().filter(|file| !file.is_null())?;
            let path = paths.entry(file).or_insert_with(|| self.file_path(file).ok()).clone()?;
            let first = area.page_offset.clone().ok()?.wrapping_mul(PAGE_SIZE);
            Some(FilePlace { path, offset: first.wrapping_add(ip.0 - area.start.0) })
        };
        let mut symbols: FxHashMap<VirtAddr, Option<Symbols>> = FxHashMap::default();
        let mut function = |ip: VirtAddr| {
            let module = modules.iter().find(|module| module.text.contains(&ip))?;
            let known = symbols.entry(module.text.start);
            known.or_insert_with(|| Symbols::read(&memory, module)).as_ref()?.function_at(ip)
        };
        let frames = trace.frames.iter().map(|frame| UserFrame {
            ip: UserAddr(frame.ip.0),
            sp: UserAddr(frame.sp.0),
            how: frame.how,
            place: place(frame.ip),
            function: function(frame.lookup_ip())
                .map(|(name, start)| (name, frame.ip.0.wrapping_sub(start.0))),
        });
        Ok(UserStack { registers, frames: frames.collect(), end: trace.stop })
    }
}

/// The code that the process maps, with its call frame information where that is in memory.
fn tables(memory: &ProcessMemory<'_>, modules: &[Module]) -> Tables {
    let mut tables = Tables::new();
    for module in modules {
        match module.call_frame_information(memory) {
            Some(table) => tables.add_cfi([module.text.clone()], table),
            None => tables.add_text(module.text.clone()),
        }
    }
    tables
}
