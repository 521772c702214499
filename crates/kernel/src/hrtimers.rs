//! High resolution timers: what is to run when a clock reaches a nanosecond.
//!
//! Each CPU has one queue for each clock (kernel/time/hrtimer.c), a red-black tree by time.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::rb_tree::RbTree;
use mortis_debuginfo::types::{Namespace, Type, TypeSource};
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A CPU's queues: include/linux/hrtimer.h, include/linux/hrtimer_defs.h.
    pub struct HrtimerCpuBase = "hrtimer_cpu_base" {
        clock_base: "clock_base",
    }
}

layout! {
    /// A clock and its queue: include/linux/hrtimer_defs.h.
    pub struct HrtimerClockBase = "hrtimer_clock_base" {
        index: "index",
        /// The root of the tree: of a `timerqueue_linked_head` in 7.x, of a `timerqueue_head` with
        /// the first timer beside the root since 5.4, with one that knows it since 2.6.38.
        active: "active.rb_root" | "active.head" | "active",
        /// Until 009eb5da29a9 (6.18).
        get_time: "get_time",
        /// What the clock is ahead of `CLOCK_MONOTONIC`, in nanoseconds.
        offset: "offset.tv64" | "offset",
    }
}

layout! {
    /// A timer: include/linux/hrtimer_types.h.
    pub struct Hrtimer = "hrtimer" {
        node: "node",
        expires: "node.expires.tv64" | "node.expires" | "_expires.tv64" | "_expires",
        softexpires: "_softexpires.tv64" | "_softexpires",
        function: "function",
    }
}

/// More clocks than any kernel keeps queues for (`HRTIMER_MAX_CLOCK_BASES`).
const MAX_CLOCKS: u64 = 64;

/// More timers than a queue of a living kernel holds.
const MAX_TIMERS: usize = 1 << 20;

/// A clock of a CPU, with its timers.
#[derive(Clone, Debug)]
pub struct ClockBase {
    /// Its number.
    pub index: u64,
    /// Its `struct hrtimer_clock_base`.
    pub address: VirtAddr,
    /// The function that reads the clock; null where the kernel keeps none.
    pub get_time: VirtAddr,
    /// What the kernel calls it, such as `HRTIMER_BASE_MONOTONIC`, where the types tell.
    pub name: Option<String>,
    /// What it is ahead of `CLOCK_MONOTONIC`, in nanoseconds.
    pub offset: Result<i64>,
}

/// A high resolution timer that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HighResolutionTimer {
    /// Its `struct hrtimer`.
    pub address: VirtAddr,
    /// When it may run, on its clock, in nanoseconds; `None` before 2.6.28.
    pub softexpires: Result<Option<i64>>,
    /// When it must run.
    pub expires: Result<i64>,
    /// What is to run.
    pub function: Result<VirtAddr>,
}

impl Kernel {
    /// Where the queues of CPU `cpu` are (`struct hrtimer_cpu_base`).
    ///
    /// # Errors
    /// When there is no such symbol or CPU.
    pub fn hrtimer_cpu_base(&self, cpu: u32) -> Result<VirtAddr> {
        self.per_cpu("hrtimer_bases", cpu)
    }

    /// The clocks whose queues are at `cpu_base`.
    ///
    /// # Errors
    /// When the types are out of reach, or the clocks' own structures.
    pub fn hrtimer_clocks(&self, cpu_base: VirtAddr) -> Result<Vec<ClockBase>> {
        let layout = self.layout::<HrtimerClockBase>()?;
        let clocks = &self.layout::<HrtimerCpuBase>()?.clock_base;
        let start = clocks.address(cpu_base)?;
        let size = layout.size_of.max(1);
        let count = (clocks.size()? / size).min(MAX_CLOCKS);
        let names = self.hrtimer_base_names();
        let clock = |number: u64| -> Result<ClockBase> {
            let address = start.offset(number * size);
            let bytes = self.read_bytes(address, size)?;
            let index = layout.index.u64_in(&bytes).unwrap_or(number);
            let name = names.iter().find(|(_, value)| *value as u64 == index);
            let get_time = match layout.get_time.exists() {
                true => VirtAddr(layout.get_time.u64_in(&bytes)?),
                false => VirtAddr(0),
            };
            Ok(ClockBase {
                index: number,
                address,
                get_time,
                name: name.map(|(name, _)| name.clone()),
                offset: layout.offset.u64_in(&bytes).map(u64::cast_signed),
            })
        };
        (0..count).map(clock).collect()
    }

    /// The kernel's names of its clocks.
    fn hrtimer_base_names(&self) -> Vec<(String, i64)> {
        let types = self.type_set();
        let found = types.lookup(Namespace::Enum, "hrtimer_base_type");
        let Some(Ok(ty)) = found.map(|id| types.get(id)) else { return Vec::new() };
        match &*ty {
            Type::Enum(names) => {
                names.variants.iter().map(|(name, value)| (name.to_string(), *value)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The timers in the queue of `clock`, the next to run first, and what kept others from being
    /// read.
    pub fn hrtimers(&self, clock: &ClockBase) -> (Vec<HighResolutionTimer>, Option<KernelError>) {
        let mut timers = Vec::new();
        let damage = self.read_hrtimers(clock, &mut timers).err();
        (timers, damage)
    }

    fn read_hrtimers(
        &self,
        clock: &ClockBase,
        timers: &mut Vec<HighResolutionTimer>,
    ) -> Result<()> {
        let layout = self.layout::<Hrtimer>()?;
        let root = self.layout::<HrtimerClockBase>()?.active.address(clock.address)?;
        for node in RbTree::new(self, "hrtimer_clock_base.active", root) {
            // The node is the first member of a timerqueue_node in all its forms.
            let address = layout.node.container(node?)?;
            let softexpires = match layout.softexpires.exists() {
                true => layout.softexpires.i64(self, address).map(Some),
                false => Ok(None),
            };
            timers.push(HighResolutionTimer {
                address,
                softexpires,
                expires: layout.expires.i64(self, address),
                function: layout.function.pointer(self, address),
            });
            if timers.len() > MAX_TIMERS {
                let problem = "tree does not end";
                let list = "hrtimer_clock_base.active";
                return Err(KernelError::DamagedList { list, problem, at: root });
            }
        }
        Ok(())
    }
}
