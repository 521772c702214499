//! The timers of the timer wheel: what is to run when `jiffies` reaches their time.
//!
//! Each CPU has wheels (`timer_bases`, kernel/time/timer.c, since 4.8), each an array of lists by
//! how far away the time is. Before, a CPU had one cascade of five such arrays (`tvec_bases`).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use crate::list::{ListHead, SinglyLinked};
use mortis_debuginfo::types::{Type, TypeSource, strip};
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A wheel: kernel/time/timer.c.
    pub struct TimerBase = "timer_base" {
        vectors: "vectors",
    }
}

layout! {
    /// The cascade of kernels before 4.8: kernel/time/timer.c, kernel/timer.c.
    pub struct TvecBase = "tvec_base" {
        tv1: "tv1.vec",
        tv2: "tv2.vec",
        tv3: "tv3.vec",
        tv4: "tv4.vec",
        tv5: "tv5.vec",
    }
}

layout! {
    /// A timer: include/linux/timer.h.
    pub struct TimerList = "timer_list" {
        entry: "entry",
        expires: "expires",
        function: "function",
    }
}

/// More timers than a wheel of a living kernel holds.
const MAX_TIMERS: usize = 1 << 20;

/// A wheel of a CPU.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// What it is for: `BASE_STD`, `BASE_LOCAL`, `BASE_GLOBAL`, `BASE_DEF`; `None` before 4.8, where
    /// a CPU had one.
    pub name: Option<&'static str>,
    /// Its `struct timer_base` or `struct tvec_base`.
    pub address: VirtAddr,
}

/// A timer that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its `struct timer_list`.
    pub address: VirtAddr,
    /// The value of `jiffies` at which it is to run.
    pub expires: u64,
    /// What is to run.
    pub function: VirtAddr,
}

/// How the lists of a wheel are linked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linkage {
    /// `struct hlist_head`, since 4.2.
    Singly,
    /// `struct list_head`.
    Circular,
}

impl Kernel {
    /// The number of ticks since shortly before boot.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn jiffies(&self) -> Result<u64> {
        let address = self.first_symbol(&["jiffies", "jiffies_64"])?;
        Ok(self.read_u64(address)?)
    }

    /// The wheels of CPU `cpu`.
    ///
    /// # Errors
    /// When there are none to be found.
    pub fn timer_wheels(&self, cpu: u32) -> Result<Vec<Wheel>> {
        if self.symbol("timer_bases").is_err() {
            let base = self.per_cpu("tvec_bases", cpu)?;
            // A pointer to the base, until 4.1; the symbol of the boot CPU's own went with it.
            let has_pointers = self.symbol("boot_tvec_bases").is_ok();
            let address = if has_pointers { self.read_pointer(base)? } else { base };
            return Ok(vec![Wheel { name: None, address }]);
        }
        let first = self.per_cpu("timer_bases", cpu)?;
        let size = self.layout::<TimerBase>()?.size_of;
        // One without CONFIG_NO_HZ_COMMON, which needs no deferrable timers apart; with it two, and
        // three since 6.9, which tells timers that may run on any CPU from those that may not.
        let names: &[&'static str] = match self.wheel_count() {
            1 => &["BASE_STD"],
            2 => &["BASE_STD", "BASE_DEF"],
            _ => &["BASE_LOCAL", "BASE_GLOBAL", "BASE_DEF"],
        };
        let wheel = |(index, name): (u64, &&'static str)| Wheel {
            name: Some(*name),
            address: first.offset(index * size),
        };
        Ok((0..).zip(names).map(wheel).collect())
    }

    /// How many wheels a CPU has, by the type of `timer_bases`.
    fn wheel_count(&self) -> u64 {
        let count = |types: &dyn TypeSource| {
            let (_, ty) = strip(types, types.variable("timer_bases")?).ok()?;
            match *ty {
                Type::Array { count, .. } => count,
                _ => None,
            }
        };
        let by_constants = || if self.symbol("sysctl_timer_migration").is_ok() { 2 } else { 1 };
        self.types().ok().and_then(count).unwrap_or_else(by_constants)
    }

    /// The timers of the wheel `wheel`, in the order of their lists, and the first thing that kept
    /// others from being read.
    pub fn timers(&self, wheel: &Wheel) -> (Vec<Timer>, Option<KernelError>) {
        let mut timers = Vec::new();
        let mut damage = None;
        if let Err(error) = self.read_timers(wheel, &mut timers, &mut damage) {
            damage.get_or_insert(error);
        }
        (timers, damage)
    }

    fn read_timers(
        &self,
        wheel: &Wheel,
        timers: &mut Vec<Timer>,
        damage: &mut Option<KernelError>,
    ) -> Result<()> {
        if wheel.name.is_some() {
            let vectors = &self.layout::<TimerBase>()?.vectors;
            return self.read_vectors(wheel.address, vectors, Linkage::Singly, timers, damage);
        }
        let base = self.layout::<TvecBase>()?;
        let linkage = match self.symbol("boot_tvec_bases") {
            Ok(_) => Linkage::Circular,
            Err(_) => Linkage::Singly,
        };
        for vector in [&base.tv1, &base.tv2, &base.tv3, &base.tv4, &base.tv5] {
            self.read_vectors(wheel.address, vector, linkage, timers, damage)?;
        }
        Ok(())
    }

    /// The timers of an array of lists.
    fn read_vectors(
        &self,
        base: VirtAddr,
        vectors: &Field,
        linkage: Linkage,
        timers: &mut Vec<Timer>,
        damage: &mut Option<KernelError>,
    ) -> Result<()> {
        let layout = self.layout::<TimerList>()?;
        let start = vectors.address(base)?;
        let heads = self.read_bytes(start, vectors.size()?)?;
        let step: u64 = if linkage == Linkage::Circular { 16 } else { 8 };
        for (index, head) in (0..).zip(heads.chunks_exact(step as usize)) {
            let first = head.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            let address = start.offset(index * step);
            let list: Box<dyn Iterator<Item = Result<VirtAddr>>> = match linkage {
                Linkage::Singly => {
                    Box::new(SinglyLinked::new(self, "timer_list", VirtAddr(first), 0))
                }
                Linkage::Circular => Box::new(ListHead::new(self, "timer_list", address)),
            };
            for entry in list {
                match entry.and_then(|entry| self.read_timer(&layout, entry)) {
                    Ok(timer) => timers.push(timer),
                    Err(error) => {
                        damage.get_or_insert(error);
                        break;
                    }
                }
                if timers.len() > MAX_TIMERS {
                    let problem = "lists do not end";
                    return Err(KernelError::DamagedList {
                        list: "timer_base",
                        problem,
                        at: address,
                    });
                }
            }
        }
        Ok(())
    }

    fn read_timer(&self, layout: &TimerList, entry: VirtAddr) -> Result<Timer> {
        let address = layout.entry.container(entry)?;
        let bytes = self.read_bytes(address, layout.size_of)?;
        Ok(Timer {
            address,
            expires: layout.expires.u64_in(&bytes)?,
            function: VirtAddr(layout.function.u64_in(&bytes)?),
        })
    }
}
