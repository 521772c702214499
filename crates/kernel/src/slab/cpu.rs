//! What CPUs hold of a cache: objects that are free, and yet left the slabs they lie in.

use super::SlabLayouts;
use super::cache::{PerCpu, SlabCache};
use super::objects::Slab;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::{ListHead, SinglyLinked};
use mortis_memory::VirtAddr;

layout! {
    /// A CPU's current slab and its own partial slabs: mm/slub.c.
    pub struct KmemCacheCpu = "kmem_cache_cpu" {
        freelist: "freelist",
        /// `page` until bb192ed9aa71 (5.17).
        slab: "slab" | "page",
        /// With CONFIG_SLUB_CPU_PARTIAL only.
        partial: "partial",
    }
}

layout! {
    /// A CPU's sheaves: mm/slub.c, since 2d517aa09bbc (6.18).
    pub struct PercpuSheaves = "slub_percpu_sheaves" {
        main: "main",
        spare: "spare",
        rcu_free: "rcu_free",
    }
}

layout! {
    /// An array of objects: mm/slub.c.
    pub struct SlabSheaf = "slab_sheaf" {
        barn_list: "barn_list",
        size: "size",
    }
}

layout! {
    /// A node's store of full and empty sheaves: mm/slub.c.
    pub struct NodeBarn = "node_barn" {
        sheaves_full: "sheaves_full",
    }
}

/// More objects than a sheaf holds.
const MAX_SHEAF: u64 = 1 << 16;

/// More slabs than a CPU keeps on its partial list (`cpu_partial_slabs` is below 100).
const MAX_CPU_PARTIAL: usize = 1 << 16;

/// A sheaf: an array of objects ready to be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheaf {
    /// Its `struct slab_sheaf`.
    pub address: VirtAddr,
    /// How many objects it holds.
    pub size: u64,
}

/// What one CPU holds of a cache.
#[derive(Clone, Debug)]
pub enum CpuSlabs {
    /// SLUB without sheaves.
    Slabs {
        /// Its `struct kmem_cache_cpu`.
        address: VirtAddr,
        /// The slab it allocates from.
        current: Option<Slab>,
        /// The objects of that slab which only this CPU may hand out.
        free: Vec<VirtAddr>,
        /// Slabs with free objects that it keeps for itself; `None` in a kernel without
        /// CONFIG_SLUB_CPU_PARTIAL.
        partial: Option<Vec<Slab>>,
        /// Why `partial` may lack some.
        damage: Option<KernelError>,
    },
    /// SLUB with sheaves.
    Sheaves {
        /// Its `struct slub_percpu_sheaves`.
        address: VirtAddr,
        /// What it hands out from and takes back to.
        main: Option<Sheaf>,
        /// A full or an empty one in reserve.
        spare: Option<Sheaf>,
        /// Objects freed by `kfree_rcu()`, waiting for more of them.
        rcu_free: Option<Sheaf>,
    },
}

impl CpuSlabs {
    /// Free objects that the slabs' own counters take for in use, and those of the CPU's slabs.
    /// What was freed by `kfree_rcu()` is in use until no reader can see it any more.
    pub fn free(&self) -> u64 {
        match self {
            CpuSlabs::Slabs { current, free, partial, .. } => {
                let slabs = current.iter().chain(partial.iter().flatten());
                free.len() as u64 + slabs.map(Slab::free).sum::<u64>()
            }
            CpuSlabs::Sheaves { main, spare, .. } => {
                [main, spare].into_iter().flatten().map(|sheaf| sheaf.size).sum()
            }
        }
    }
}

fn sheaf(kernel: &Kernel, layout: &SlabSheaf, address: VirtAddr) -> Result<Sheaf> {
    let size = layout.size.u64(kernel, address)?;
    if size > MAX_SHEAF {
        return Err(KernelError::DamagedList {
            list: "sheaf",
            problem: "impossible size",
            at: address,
        });
    }
    Ok(Sheaf { address, size })
}

impl SlabCache {
    /// What `cpu` holds of the cache; `None` in a kernel whose CPUs hold nothing
    /// (CONFIG_SLUB_TINY).
    ///
    /// # Errors
    /// What could not be read, or is damaged.
    pub fn cpu_slabs(&self, kernel: &Kernel, cpu: u32) -> Result<Option<CpuSlabs>> {
        let cpus = kernel.cpus()?;
        match self.per_cpu {
            PerCpu::None => Ok(None),
            PerCpu::Slab(per_cpu) => {
                let address = cpus.address(per_cpu, cpu)?;
                self.read_cpu_slabs(kernel, address).map(Some)
            }
            PerCpu::Sheaves(per_cpu) => {
                let address = cpus.address(per_cpu, cpu)?;
                let layout = kernel.layout::<PercpuSheaves>()?;
                let sheaf_layout = kernel.layout::<SlabSheaf>()?;
                let read = |pointer: Result<VirtAddr>| {
                    let pointer = pointer?;
                    let exists = !pointer.is_null();
                    exists.then(|| sheaf(kernel, &sheaf_layout, pointer)).transpose()
                };
                Ok(Some(CpuSlabs::Sheaves {
                    address,
                    main: read(layout.main.pointer(kernel, address))?,
                    spare: read(layout.spare.pointer(kernel, address))?,
                    rcu_free: read(layout.rcu_free.pointer(kernel, address))?,
                }))
            }
        }
    }

    fn read_cpu_slabs(&self, kernel: &Kernel, address: VirtAddr) -> Result<CpuSlabs> {
        let layouts = SlabLayouts::new(kernel)?;
        let layout = kernel.layout::<KmemCacheCpu>()?;
        let slab = layout.slab.pointer(kernel, address)?;
        let mut current = None;
        let mut free = Vec::new();
        if !slab.is_null() {
            let slab = Slab::read(kernel, &layouts, slab)?;
            let freelist = layout.freelist.pointer(kernel, address)?;
            free = self.free_list(kernel, freelist, slab.memory, slab.end(self))?;
            current = Some(slab);
        }
        let mut partial = None;
        let mut damage = None;
        if layout.partial.exists() {
            let partial = partial.insert(Vec::new());
            let first = layout.partial.pointer(kernel, address)?;
            let next = layouts.slab.next.offset()?;
            let slabs = SinglyLinked::new(kernel, "list of a CPU's partial slabs", first, next);
            for slab in slabs.take(MAX_CPU_PARTIAL) {
                match slab.and_then(|slab| Slab::read(kernel, &layouts, slab)) {
                    Ok(slab) => partial.push(slab),
                    Err(error) => {
                        damage = Some(error);
                        break;
                    }
                }
            }
        }
        Ok(CpuSlabs::Slabs { address, current, free, partial, damage })
    }

    /// Objects in the full sheaves of the nodes' barns.
    ///
    /// # Errors
    /// What could not be read, or is damaged.
    pub fn barn_objects(&self, kernel: &Kernel) -> Result<u64> {
        let mut objects = 0u64;
        for barn in self.nodes.iter().filter_map(|node| node.barn) {
            let layout = kernel.layout::<NodeBarn>()?;
            let sheaf_layout = kernel.layout::<SlabSheaf>()?;
            let head = layout.sheaves_full.address(barn)?;
            for link in ListHead::new(kernel, "list of full sheaves", head) {
                let address = sheaf_layout.barn_list.container(link?)?;
                objects = objects.saturating_add(sheaf(kernel, &sheaf_layout, address)?.size);
            }
        }
        Ok(objects)
    }

    /// Free objects that `/proc/slabinfo` takes for in use, because CPUs hold them ready.
    ///
    /// # Errors
    /// What could not be read, or is damaged.
    pub fn cpu_free(&self, kernel: &Kernel) -> Result<u64> {
        let mut free = self.barn_objects(kernel)?;
        for &cpu in &kernel.cpus()?.possible {
            match self.cpu_slabs(kernel, cpu)? {
                Some(CpuSlabs::Slabs { damage: Some(damage), .. }) => return Err(damage),
                Some(slabs) => free = free.saturating_add(slabs.free()),
                None => {}
            }
        }
        Ok(free)
    }
}
