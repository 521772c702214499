//! What tasks use and may use: memory, limits, and the words they were started with.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::tasks::SignalStruct;
use crate::user_memory::UserMemory;
use mortis_memory::{MAX_ALLOCATION, ReadError, Unavailable, UserAddr, VirtAddr, VirtualMemory};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

layout! {
    /// What a process's memory is accounted for: include/linux/mm_types.h.
    pub struct MmAccounting = "mm_struct" {
        total_vm: "total_vm",
        /// An array of `struct percpu_counter` since f1a7941243c1 (6.2).
        rss_stat: "rss_stat",
        /// Before that a struct with an array of plain counters.
        rss_stat_count: "rss_stat.count",
        /// And before 2.6.34 (d559db086ff5) two counters.
        file_rss: "_file_rss",
        anon_rss: "_anon_rss",
        arg_start: "arg_start",
        arg_end: "arg_end",
        env_start: "env_start",
        env_end: "env_end",
    }
}

layout! {
    /// A counter that each CPU keeps a part of: include/linux/percpu_counter.h.
    pub struct PercpuCounter = "percpu_counter" {
        count: "count",
        counters: "counters",
    }
}

layout! {
    /// Counters that a task has not yet added to its process's: SPLIT_RSS_COUNTING, before 6.2.
    pub struct TaskRssStat = "task_struct" {
        count: "rss_stat.count",
        tgid: "tgid",
    }
}

/// The memory that a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Pages of address space.
    pub total_vm: u64,
    /// Pages that are in memory: of files, anonymous and shared.
    pub rss: u64,
}

/// Reads processes' memory use, each process's once.
pub struct MemoryAccounts<'k> {
    kernel: &'k Kernel,
    mm: Arc<MmAccounting>,
    /// The counters that make up the resident set: their places in `rss_stat`.
    counters: Vec<u64>,
    by_mm: Mutex<FxHashMap<VirtAddr, Result<MemoryUse>>>,
    split: OnceLock<FxHashMap<u32, u64>>,
}

impl<'k> MemoryAccounts<'k> {
    /// The accounts of `kernel`'s processes.
    ///
    /// # Errors
    /// When the types are out of reach.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        let types = kernel.types()?;
        // `MM_SHMEMPAGES` came in 4.5, behind `MM_SWAPENTS`; until then shared pages were of files.
        let counters = ["MM_FILEPAGES", "MM_ANONPAGES", "MM_SHMEMPAGES"]
            .into_iter()
            .filter_map(|name| types.enumerator(name))
            .filter_map(|(_, place)| u64::try_from(place).ok())
            .filter(|&place| place < 8)
            .collect();
        Ok(Self {
            kernel,
            mm: kernel.layout::<MmAccounting>()?,
            counters,
            by_mm: Mutex::default(),
            split: OnceLock::new(),
        })
    }

    /// The memory use of the process of the thread group `tgid` whose `struct mm_struct` is `mm`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn of(&self, mm: VirtAddr, tgid: u32) -> Result<MemoryUse> {
        if mm.is_null() {
            return Ok(MemoryUse::default());
        }
        let known = self.by_mm.lock().unwrap_or_else(PoisonError::into_inner).get(&mm).cloned();
        if let Some(known) = known {
            return known;
        }
        let found = self.read(mm, tgid);
        let mut by_mm = self.by_mm.lock().unwrap_or_else(PoisonError::into_inner);
        by_mm.insert(mm, found.clone());
        found
    }

    fn read(&self, mm: VirtAddr, tgid: u32) -> Result<MemoryUse> {
        let total_vm = self.mm.total_vm.u64(self.kernel, mm)?;
        let rss = if self.mm.rss_stat_count.exists() {
            self.plain_counters(mm)?.saturating_add(self.split_counters(tgid))
        } else if self.mm.file_rss.exists() {
            let count =
                |field: &Field| field.i64(self.kernel, mm).map(|n| n.max(0).cast_unsigned());
            count(&self.mm.file_rss)?.saturating_add(count(&self.mm.anon_rss)?)
        } else {
            self.percpu_counters(mm)?
        };
        Ok(MemoryUse { total_vm, rss })
    }

    fn plain_counters(&self, mm: VirtAddr) -> Result<u64> {
        let start = self.mm.rss_stat_count.address(mm)?;
        let mut rss = 0u64;
        for place in &self.counters {
            let count = self.kernel.read_u64(start.offset(place * 8))?.cast_signed();
            // What is counted late may make a counter negative (get_mm_counter()).
            rss = rss.saturating_add(count.max(0).cast_unsigned());
        }
        Ok(rss)
    }

    /// What the threads of `tgid` have counted and not yet added.
    fn split_counters(&self, tgid: u32) -> u64 {
        let by_tgid = self.split.get_or_init(|| self.read_split_counters().unwrap_or_default());
        by_tgid.get(&tgid).copied().unwrap_or(0)
    }

    fn read_split_counters(&self) -> Result<FxHashMap<u32, u64>> {
        let layout = self.kernel.layout::<TaskRssStat>()?;
        let mut by_tgid = FxHashMap::default();
        if !layout.count.exists() {
            return Ok(by_tgid);
        }
        for task in &self.kernel.tasks().tasks {
            let Ok(tgid) = layout.tgid.u64(self.kernel, task.address) else { continue };
            let start = layout.count.address(task.address)?;
            for place in &self.counters {
                let count = self.kernel.read_u32(start.offset(place * 4)).unwrap_or(0);
                let sum = by_tgid.entry(tgid as u32).or_insert(0u64);
                *sum = sum.saturating_add(u64::from(count.cast_signed().max(0).cast_unsigned()));
            }
        }
        Ok(by_tgid)
    }

    fn percpu_counters(&self, mm: VirtAddr) -> Result<u64> {
        let counter = self.kernel.layout::<PercpuCounter>()?;
        let bytes =
            self.kernel.read_bytes(self.mm.rss_stat.address(mm)?, self.mm.rss_stat.size()?)?;
        let mut rss = 0u64;
        for place in &self.counters {
            let start = (place * counter.size_of) as usize;
            let Some(one) = bytes.get(start..) else { continue };
            let mut sum = counter.count.u64_in(one)?.cast_signed();
            let parts = VirtAddr(counter.counters.u64_in(one)?);
            for &cpu in &self.kernel.cpus()?.possible {
                let part = self.kernel.read_u32(self.kernel.cpus()?.address(parts, cpu)?)?;
                sum = sum.saturating_add(i64::from(part.cast_signed()));
            }
            rss = rss.saturating_add(sum.max(0).cast_unsigned());
        }
        Ok(rss)
    }
}

/// A limit of `getrlimit(2)`; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// What holds now.
    pub current: Option<u64>,
    /// How far it may be raised.
    pub maximum: Option<u64>,
}

/// Where a process's arguments and environment lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentAreas {
    /// NUL-separated arguments.
    pub arguments: Range<UserAddr>,
    /// NUL-separated `NAME=value`.
    pub environment: Range<UserAddr>,
}

/// More resources than `RLIM_NLIMITS` (16).
const MAX_LIMITS: u64 = 64;

impl Kernel {
    /// The resource limits in the `struct signal_struct` at `signal`, in the order of
    /// include/uapi/asm-generic/resource.h.
    ///
    /// # Errors
    /// What could not be read.
    pub fn resource_limits(&self, signal: VirtAddr) -> Result<Vec<ResourceLimit>> {
        let rlim = self.layout::<SignalStruct>()?.rlim.clone();
        let bytes = self.read_bytes(rlim.address(signal)?, rlim.size()?.min(MAX_LIMITS * 16))?;
        let limit = |bytes: &[u8]| {
            let value = bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
            (value != u64::MAX).then_some(value)
        };
        let limits = bytes
            .chunks_exact(16)
            .map(|pair| ResourceLimit { current: limit(&pair[..8]), maximum: limit(&pair[8..]) });
        Ok(limits.collect())
    }

    /// Where the arguments and the environment of the process with `mm` lie.
    ///
    /// # Errors
    /// What could not be read.
    pub fn argument_areas(&self, mm: VirtAddr) -> Result<ArgumentAreas> {
        let layout = self.layout::<MmAccounting>()?;
        let at = |field: &Field| field.u64(self, mm).map(UserAddr);
        let area = |start: UserAddr, end: UserAddr| start..end.max(start);
        Ok(ArgumentAreas {
            arguments: area(at(&layout.arg_start)?, at(&layout.arg_end)?),
            environment: area(at(&layout.env_start)?, at(&layout.env_end)?),
        })
    }

    /// Reads the user memory of the process with `mm`.
    ///
    /// # Errors
    /// [`ReadError`] with the first user address that cannot be had.
    pub fn read_user_area(&self, mm: VirtAddr, area: &Range<UserAddr>) -> Result<Vec<u8>> {
        let len = area.end.0.saturating_sub(area.start.0);
        if len > MAX_ALLOCATION {
            return Err(ReadError::new(area.start, Unavailable::Unreadable).into());
        }
        let mut bytes = vec![0; len as usize];
        UserMemory::of_mm(self, mm)?.read(area.start, &mut bytes)?;
        Ok(bytes)
    }
}
