//! The machine as a whole: its name, its clocks, its load and its size.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_debuginfo::types::{Namespace, Type};
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A namespace of host names: include/linux/utsname.h.
    pub struct UtsNamespace = "uts_namespace" {
        name: "name",
    }
}

layout! {
    /// The kernel's clocks: include/linux/timekeeper_internal.h.
    pub struct Timekeeper = "timekeeper" {
        /// Seconds since 1970.
        xtime_sec: "xtime_sec",
        /// What turns wall-clock time into time since boot.
        wall_to_monotonic_sec: "wall_to_monotonic.tv_sec",
        wall_to_monotonic_nsec: "wall_to_monotonic.tv_nsec",
        /// How much longer the machine has been up than it has been awake, in nanoseconds.
        offs_boot: "offs_boot",
        /// The rest of `xtime_sec` in nanoseconds, shifted left.
        xtime_nsec: "tkr_mono.xtime_nsec",
        shift: "tkr_mono.shift",
        /// Before 3.6 (4e250fdde9be) three `struct timespec`; before 3.4 variables of their own.
        xtime: "xtime",
        wall_to_monotonic: "wall_to_monotonic",
        total_sleep_time: "total_sleep_time",
    }
}

layout! {
    /// A timekeeper with its lock: kernel/time/timekeeping.c, with a name since 6.13.
    pub struct TkData = "tk_data" {
        timekeeper: "timekeeper",
    }
}

layout! {
    /// A memory node: include/linux/mmzone.h.
    pub struct PglistData = "pglist_data" {
        node_present_pages: "node_present_pages",
    }
}

/// What `uname -a` told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KernelName {
    pub sysname: String,
    pub nodename: String,
    pub release: String,
    pub version: String,
    pub machine: String,
}

/// `__NEW_UTS_LEN` and the NUL behind it.
const UTS_FIELD: u64 = 65;

/// What the clocks showed when the kernel last looked at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Nanoseconds since 1970, UTC.
    pub wall: i128,
    /// Nanoseconds since boot, without the time spent suspended: what `ktime_get()` gives, and what
    /// tasks and the log are stamped with.
    pub monotonic: i128,
    /// Nanoseconds since boot: what /proc/uptime shows.
    pub uptime: i128,
}

const NANOSECONDS: i128 = 1_000_000_000;

impl Clocks {
    /// The wall-clock time in seconds since 1970 at which `monotonic` nanoseconds had passed since
    /// boot.
    pub fn wall_seconds_at(&self, monotonic: u64) -> i64 {
        let wall = self.wall - self.monotonic + i128::from(monotonic);
        i64::try_from(wall.div_euclid(NANOSECONDS)).unwrap_or(0)
    }

    /// Whole seconds since 1970.
    pub fn wall_seconds(&self) -> i64 {
        i64::try_from(self.wall.div_euclid(NANOSECONDS)).unwrap_or(0)
    }

    /// Whole seconds since boot.
    pub fn uptime_seconds(&self) -> u64 {
        u64::try_from(self.uptime / NANOSECONDS).unwrap_or(0)
    }
}

/// More memory nodes than any kernel is built for (`MAX_NUMNODES`).
const MAX_NODES: u64 = 1024;

/// More than `DMI_STRING_MAX`, and longer than a string of SMBIOS may be.
const MAX_DMI_FIELDS: usize = 64;
const MAX_DMI_STRING: usize = 1024;

impl Kernel {
    /// The kernel's and the machine's name. Needs no types.
    ///
    /// # Errors
    /// When `init_uts_ns` cannot be read.
    pub fn name(&self) -> Result<KernelName> {
        let offset = match self.vmcoreinfo().offset("uts_namespace.name") {
            Some(offset) => offset,
            None => self.layout::<UtsNamespace>()?.name.offset()?,
        };
        let start = self.symbol("init_uts_ns")?.offset(offset);
        let bytes = self.read_bytes(start, 5 * UTS_FIELD)?;
        let mut fields = bytes.chunks_exact(UTS_FIELD as usize).map(|field| {
            let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        });
        let mut next = || fields.next().unwrap_or_default();
        Ok(KernelName {
            sysname: next(),
            nodename: next(),
            release: next(),
            version: next(),
            machine: next(),
        })
    }

    /// What the kernel's clocks showed.
    ///
    /// # Errors
    /// When the timekeeper is out of reach.
    pub fn clocks(&self) -> Result<Clocks> {
        if let Ok(xtime) = self.symbol("xtime") {
            let wall_to_monotonic = self.symbol("wall_to_monotonic")?;
            return self.clocks_of(xtime, wall_to_monotonic, self.symbol("total_sleep_time").ok());
        }
        let at = self.timekeeper()?;
        let layout = self.layout::<Timekeeper>()?;
        if layout.xtime.exists() {
            return self.clocks_of(
                layout.xtime.address(at)?,
                layout.wall_to_monotonic.address(at)?,
                layout.total_sleep_time.address(at).ok(),
            );
        }
        let shift = layout.shift.u64(self, at)?.min(63);
        let rest = layout.xtime_nsec.u64(self, at)? >> shift;
        let wall = i128::from(layout.xtime_sec.u64(self, at)?) * NANOSECONDS + i128::from(rest);
        let monotonic = wall
            + i128::from(layout.wall_to_monotonic_sec.i64(self, at)?) * NANOSECONDS
            + i128::from(layout.wall_to_monotonic_nsec.i64(self, at)?);
        let suspended = i128::from(layout.offs_boot.i64(self, at)?);
        Ok(Clocks { wall, monotonic, uptime: monotonic + suspended })
    }

    /// The clocks of a kernel before 3.6, each a `struct timespec`.
    fn clocks_of(
        &self,
        xtime: VirtAddr,
        wall_to_monotonic: VirtAddr,
        total_sleep_time: Option<VirtAddr>,
    ) -> Result<Clocks> {
        let timespec = |at: VirtAddr| -> Result<i128> {
            let seconds = i128::from(self.read_u64(at)?.cast_signed());
            let rest = i128::from(self.read_u64(at.offset(8))?.cast_signed());
            Ok(seconds * NANOSECONDS + rest)
        };
        let wall = timespec(xtime)?;
        let monotonic = wall + timespec(wall_to_monotonic)?;
        let suspended = total_sleep_time.map_or(Ok(0), timespec)?;
        Ok(Clocks { wall, monotonic, uptime: monotonic + suspended })
    }

    /// The address of the timekeeper of the system's clock.
    fn timekeeper(&self) -> Result<VirtAddr> {
        // `timekeeper_data[0]` since the auxiliary clocks of 6.17, `tk_core` of the same type since
        // 6.13. Earlier `tk_core` has no type of its own, but a twin: `shadow_timekeeper`, from
        // which each update is copied.
        if let Ok(tk_data) = self.layout::<TkData>() {
            let start = self.symbol("timekeeper_data").or_else(|_| self.symbol("tk_core"))?;
            return tk_data.timekeeper.address(start);
        }
        self.symbol("shadow_timekeeper").or_else(|_| self.symbol("timekeeper"))
    }

    /// When the newest record of the log was written, in nanoseconds since boot; for dumps whose
    /// clocks cannot be read.
    ///
    /// # Errors
    /// When the log cannot be found, or has no time stamps.
    pub fn newest_log_stamp(&self) -> Result<u64> {
        let mut newest = None;
        self.log(&mut |record| {
            newest = newest.max(record.ts_nsec);
            true
        })?;
        newest.ok_or_else(|| KernelError::Unsupported("the log has no time stamps".to_owned()))
    }

    /// The load averages over 1, 5 and 15 minutes, as fixed-point numbers of 11 fraction bits.
    ///
    /// # Errors
    /// When `avenrun` cannot be read.
    pub fn load_averages(&self) -> Result<[u64; 3]> {
        let at = self.symbol("avenrun")?;
        let mut averages = [0; 3];
        for (index, average) in averages.iter_mut().enumerate() {
            *average = self.read_u64(at.offset(index as u64 * 8))?;
        }
        Ok(averages)
    }

    /// The pages of memory that the kernel found in the machine, on all nodes.
    ///
    /// # Errors
    /// When a node cannot be read.
    pub fn present_pages(&self) -> Result<u64> {
        let layout = self.layout::<PglistData>()?;
        let Ok(nodes) = self.symbol("node_data") else {
            let node = self.symbol("contig_page_data")?;
            return layout.node_present_pages.u64(self, node);
        };
        // `nr_node_ids` is a macro for 1 where the kernel is built for one node.
        let count = self.read_symbol::<4>("nr_node_ids").unwrap_or(1).clamp(1, MAX_NODES);
        let mut pages = 0u64;
        for index in 0..count {
            let node = self.read_pointer(nodes.offset(index * 8))?;
            if !node.is_null() {
                pages = pages.saturating_add(layout.node_present_pages.u64(self, node)?);
            }
        }
        Ok(pages)
    }

    /// One more than the highest page frame of memory: `max_pfn`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn max_pfn(&self) -> Result<u64> {
        match self.read_symbol::<8>("max_pfn")? {
            0 => Err(KernelError::Unsupported("max_pfn is 0".to_owned())),
            max_pfn => Ok(max_pfn),
        }
    }

    /// The speed of the CPUs' time stamp counter in MHz; `None` where the kernel did not know.
    ///
    /// # Errors
    /// When `cpu_khz` cannot be read.
    pub fn cpu_mhz(&self) -> Result<Option<u64>> {
        let mhz = self.read_symbol::<4>("cpu_khz")? / 1000;
        Ok((mhz != 0).then_some(mhz))
    }

    /// What the firmware says of the machine: the names of `enum dmi_field`, and the string of
    /// each in `dmi_ident` where there is one.
    ///
    /// # Errors
    /// When the kernel keeps none, or the types do not name them.
    pub fn dmi_strings(&self) -> Result<Vec<(String, Option<String>)>> {
        let strings = self.symbol("dmi_ident")?;
        let no_names = || KernelError::NoType("enum dmi_field".to_owned());
        let ty = self.find_type(Namespace::Enum, "dmi_field")?.ok_or_else(no_names)?;
        let fields = match &*self.types()?.get(ty)? {
            Type::Enum(fields) => fields.variants.clone(),
            _ => return Err(no_names()),
        };
        let mut found = Vec::new();
        for (name, index) in fields.iter().take(MAX_DMI_FIELDS) {
            let place = u64::try_from(*index).unwrap_or(0).saturating_mul(8);
            // The last two fields only say how many there are (`DMI_STRING_MAX`,
            // `DMI_OEM_STRING`).
            if matches!(&**name, "DMI_NONE" | "DMI_STRING_MAX" | "DMI_OEM_STRING") {
                continue;
            }
            let pointer = self.read_pointer(strings.offset(place))?;
            let text = match pointer.is_null() {
                true => None,
                false => Some(self.read_c_string(pointer, MAX_DMI_STRING)?),
            };
            let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
            found.push((name.to_string(), text));
        }
        Ok(found)
    }

    /// Whether a livepatch was being put in or taken out.
    ///
    /// # Errors
    /// When `klp_transition_patch` cannot be read. A kernel without livepatching has none.
    pub fn is_livepatch_in_transition(&self) -> Result<bool> {
        match self.read_symbol::<8>("klp_transition_patch") {
            Ok(patch) => Ok(patch != 0),
            Err(KernelError::NoSymbol(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stamp_becomes_wall_clock_time() {
        let clocks = Clocks {
            wall: 1_700_000_100 * NANOSECONDS + 5,
            monotonic: 100 * NANOSECONDS,
            uptime: 160 * NANOSECONDS,
        };
        assert_eq!(clocks.wall_seconds(), 1_700_000_100);
        assert_eq!(clocks.uptime_seconds(), 160);
        assert_eq!(clocks.wall_seconds_at(0), 1_700_000_000);
        assert_eq!(clocks.wall_seconds_at(99_999_999_994), 1_700_000_099);
        assert_eq!(clocks.wall_seconds_at(99_999_999_996), 1_700_000_100);
    }
}
