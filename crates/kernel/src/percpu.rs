//! Per-CPU variables: where each CPU's copy lies.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_memory::{VirtAddr, VirtualMemory};

/// More CPUs than any kernel is built for (`NR_CPUS` is at most 8192 on x86_64).
pub const MAX_CPUS: u64 = 8192;

/// The CPUs of the machine and where their per-CPU areas lie.
#[derive(Clone, Debug, Default)]
pub struct Cpus {
    /// CPUs that may ever be there, ascending.
    pub possible: Vec<u32>,
    /// CPUs that were plugged in.
    pub present: Vec<u32>,
    /// CPUs that were running.
    pub online: Vec<u32>,
    /// What to add to the address of a per-CPU symbol, by CPU number (`__per_cpu_offset`).
    pub offsets: Vec<u64>,
}

/// The masks' names: since 4.5 (4b804c85dc37), since 2.6.28 (b3199c025d16), and before.
const POSSIBLE: [&str; 3] = ["__cpu_possible_mask", "cpu_possible_bits", "cpu_possible_map"];
const PRESENT: [&str; 3] = ["__cpu_present_mask", "cpu_present_bits", "cpu_present_map"];
const ONLINE: [&str; 3] = ["__cpu_online_mask", "cpu_online_bits", "cpu_online_map"];

impl Cpus {
    /// Reads the CPU masks and the per-CPU offsets.
    ///
    /// # Errors
    /// When `__per_cpu_offset` or every CPU mask is out of reach.
    pub(crate) fn read(kernel: &Kernel) -> Result<Self> {
        let possible = kernel.cpu_mask(&POSSIBLE)?;
        let present = kernel.cpu_mask(&PRESENT).unwrap_or_else(|_| possible.clone());
        let online = kernel.cpu_mask(&ONLINE).unwrap_or_else(|_| possible.clone());
        let count = possible.last().map_or(1, |&last| u64::from(last) + 1).min(MAX_CPUS);
        let array = kernel.symbol("__per_cpu_offset")?;
        let bytes = kernel.read_bytes(array, count * 8)?;
        let offsets = bytes
            .chunks_exact(8)
            .map(|chunk| chunk.try_into().map_or(0, u64::from_le_bytes))
            .collect();
        Ok(Self { possible, present, online, offsets })
    }

    /// Whether `cpu` was running.
    pub fn is_online(&self, cpu: u32) -> bool {
        self.online.binary_search(&cpu).is_ok()
    }

    /// The address of CPU `cpu`'s copy of the per-CPU variable whose symbol is `symbol`.
    ///
    /// # Errors
    /// When there is no such CPU.
    pub fn address(&self, symbol: VirtAddr, cpu: u32) -> Result<VirtAddr> {
        match self.offsets.get(cpu as usize) {
            Some(&offset) => Ok(symbol.offset(offset)),
            None => Err(KernelError::Unsupported(format!("no CPU {cpu} in this dump"))),
        }
    }
}

impl Kernel {
    /// The CPUs set in the `struct cpumask` behind the first of `symbols` that there is.
    fn cpu_mask(&self, symbols: &[&str]) -> Result<Vec<u32>> {
        let mask = self.first_symbol(symbols)?;
        // `nr_cpu_ids` is a macro for NR_CPUS where the kernel is built for exactly that many.
        let limit = self
            .symbol("nr_cpu_ids")
            .and_then(|address| Ok(self.read_u32(address)?))
            .map_or(64, u64::from)
            .clamp(1, MAX_CPUS);
        let bytes = self.read_bytes(mask, limit.div_ceil(64) * 8)?;
        let set =
            |cpu: &u64| bytes.get(*cpu as usize / 8).is_some_and(|byte| byte >> (cpu % 8) & 1 != 0);
        Ok((0..limit).filter(set).map(|cpu| cpu as u32).collect())
    }

    /// The address of CPU `cpu`'s copy of the per-CPU variable `name`.
    ///
    /// # Errors
    /// When there is no such symbol or CPU.
    pub fn per_cpu(&self, name: &str, cpu: u32) -> Result<VirtAddr> {
        // Before 2.6.34 (dd17c8f72993) such symbols had a prefix.
        let symbol = self
            .symbol(name)
            .or_else(|error| self.symbol(&format!("per_cpu__{name}")).map_err(|_| error))?;
        self.cpus()?.address(symbol, cpu)
    }
}
