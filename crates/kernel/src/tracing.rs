//! The kernel's tracer: the events that it recorded, and how they are to be read.
//!
//! An [instance](TraceInstance) has a ring buffer of pages for each CPU ([`ring_buffer`]); in the
//! pages are events, each with the number of its kind; the [format](formats) of a kind says which
//! members it has and, as a line of C, how it is to be printed ([`print_format`]).

pub mod formats;
pub mod print_format;
pub mod record;
pub mod ring_buffer;

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// An instance of the tracer: kernel/trace/trace.h.
    pub struct TraceArray = "trace_array" {
        list: "list",
        name: "name",
        /// `trace_buffer` until 5.7.
        buffer: "array_buffer.buffer" | "trace_buffer.buffer",
        current_trace: "current_trace",
        clock_id: "clock_id",
    }
}

layout! {
    /// A kind of tracing: kernel/trace/trace.h.
    pub struct Tracer = "tracer" {
        name: "name",
    }
}

layout! {
    /// The names of tasks that were traced: kernel/trace/trace_sched_switch.c.
    pub struct SavedCommands = "saved_cmdlines_buffer" {
        map_pid_to_cmdline: "map_pid_to_cmdline",
        map_cmdline_to_pid: "map_cmdline_to_pid",
        cmdline_num: "cmdline_num",
        /// A pointer until 6.8, then the names themselves.
        saved_cmdlines: "saved_cmdlines",
    }
}

/// More instances than anybody makes.
const MAX_INSTANCES: usize = 4096;

/// A name of an instance is not longer (NAME_MAX).
const MAX_NAME: usize = 256;

/// `TASK_COMM_LEN`.
const COMM: u64 = 16;

/// An instance of the tracer.
#[derive(Clone, Debug)]
pub struct TraceInstance {
    /// Its `struct trace_array`.
    pub address: VirtAddr,
    /// Its name; `None` for the main one.
    pub name: Option<String>,
    /// The tracer that was chosen: `nop`, `function`, `function_graph`.
    pub tracer: Result<String>,
    /// Its `struct trace_buffer`.
    pub buffer: VirtAddr,
    /// Whether its clock counts nanoseconds.
    pub clock_in_nanoseconds: bool,
    /// What its clock is called.
    pub clock: Option<String>,
}

/// The names of tasks as the tracer remembers them.
pub struct TracedCommands {
    by_pid: Vec<u32>,
    pids: Vec<u32>,
    names: Vec<u8>,
}

impl TracedCommands {
    /// The name of the task with id `pid`, in the tracer's words where it does not know.
    pub fn name(&self, pid: u32) -> String {
        if pid == 0 {
            return "<idle>".to_owned();
        }
        // The map is of as many ids as there were before they could be more (`PID_MAX_DEFAULT`).
        let known = self.by_pid.get(pid as usize & 0x7fff).map(|&slot| slot as usize);
        let name = known.filter(|&slot| self.pids.get(slot) == Some(&pid)).and_then(|slot| {
            let start = slot.checked_mul(COMM as usize)?;
            self.names.get(start..start.checked_add(COMM as usize)?)
        });
        match name {
            Some(name) => {
                let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                String::from_utf8_lossy(&name[..end]).into_owned()
            }
            None => "<...>".to_owned(),
        }
    }

    /// The tasks that are remembered, with their names.
    pub fn all(&self) -> impl Iterator<Item = (u32, String)> + '_ {
        let known = self.pids.iter().copied().filter(|&pid| pid != 0 && pid != u32::MAX);
        known.map(|pid| (pid, self.name(pid))).filter(|(_, name)| name != "<...>")
    }
}

impl Kernel {
    /// The instances of the tracer, the main one first, and what kept others from being read.
    ///
    /// # Errors
    /// When the kernel has no tracer.
    pub fn trace_instances(&self) -> Result<(Vec<TraceInstance>, Option<KernelError>)> {
        let layout = self.layout::<TraceArray>()?;
        let head = self.symbol("ftrace_trace_arrays")?;
        let mut instances = Vec::new();
        let mut damage = None;
        let mut found = Vec::new();
        for link in ListHead::new(self, "ftrace_trace_arrays", head) {
            match link.and_then(|link| layout.list.container(link)) {
                Ok(address) => found.push(address),
                Err(error) => damage = Some(error),
            }
            if found.len() >= MAX_INSTANCES {
                break;
            }
        }
        // The main one, whatever the list is like.
        if let Ok(main) = self.symbol("global_trace")
            && !found.contains(&main)
        {
            found.push(main);
        }
        for address in found {
            match self.read_trace_instance(&layout, address) {
                Ok(instance) => instances.push(instance),
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        instances.sort_by(|a: &TraceInstance, b| a.name.cmp(&b.name));
        Ok((instances, damage))
    }

    fn read_trace_instance(&self, layout: &TraceArray, address: VirtAddr) -> Result<TraceInstance> {
        let name = layout.name.string(self, address, MAX_NAME)?;
        let tracer = layout
            .current_trace
            .pointer(self, address)
            .and_then(|tracer| self.layout::<Tracer>()?.name.string(self, tracer, MAX_NAME));
        let clock = layout.clock_id.u64(self, address).unwrap_or(0);
        let (clock_name, in_nanoseconds) = match self.trace_clock(clock) {
            Ok((name, in_nanoseconds)) => (Some(name), in_nanoseconds),
            Err(_) => (None, true),
        };
        Ok(TraceInstance {
            address,
            name: (!name.is_empty()).then_some(name),
            tracer,
            buffer: layout.buffer.pointer(self, address)?,
            clock_in_nanoseconds: in_nanoseconds,
            clock: clock_name,
        })
    }

    /// The name of a clock of the tracer, and whether it counts nanoseconds. `trace_clocks` is an
    /// array of structures without a tag: a function, a name, and that as an `int`
    /// (kernel/trace/trace.c).
    fn trace_clock(&self, id: u64) -> Result<(String, bool)> {
        const CLOCK: u64 = 24;
        const CLOCKS: u64 = 32;
        let at = self.symbol("trace_clocks")?.offset(id.min(CLOCKS) * CLOCK);
        let name = self.read_c_string(self.read_pointer(at.offset(8))?, MAX_NAME)?;
        let in_nanoseconds = self.read_u32(at.offset(16))? != 0;
        Ok((String::from_utf8_lossy(&name).into_owned(), in_nanoseconds))
    }

    /// The names of tasks that the tracer remembers.
    ///
    /// # Errors
    /// When it remembers none, or they are not in the dump.
    pub fn traced_commands(&self) -> Result<TracedCommands> {
        const MAX_COMMANDS: u64 = 1 << 20;
        let layout = self.layout::<SavedCommands>()?;
        let saved = self.read_pointer(self.symbol("savedcmd")?)?;
        let count = layout.cmdline_num.u64(self, saved)?.min(MAX_COMMANDS);
        let words = |at: VirtAddr, bytes: u64| -> Result<Vec<u32>> {
            let bytes = self.read_bytes(at, bytes)?;
            let word = |word: &[u8]| word.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
            Ok(bytes.chunks_exact(4).map(word).collect())
        };
        let map = &layout.map_pid_to_cmdline;
        let names = match layout.saved_cmdlines.size()? {
            8 => layout.saved_cmdlines.pointer(self, saved)?,
            _ => layout.saved_cmdlines.address(saved)?,
        };
        Ok(TracedCommands {
            by_pid: words(map.address(saved)?, map.size()?.min(1 << 20))?,
            pids: words(layout.map_cmdline_to_pid.pointer(self, saved)?, count * 4)?,
            names: self.read_bytes(names, count * COMM)?,
        })
    }
}
