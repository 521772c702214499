//! Blocks of memory that can be taken offline (drivers/base/memory.c): `/sys/devices/system/memory`.
//!
//! They are the devices of the bus `memory`. A bus knew its private part until d2bf38c088e0 (6.3);
//! since then it is found among all buses, by its name.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_debuginfo::types::{Namespace, Type, TypeSource, strip};
use mortis_memory::{PhysAddr, VirtAddr};

layout! {
    /// A block: include/linux/memory.h.
    pub struct MemoryBlockStruct = "memory_block" {
        start_section_nr: "start_section_nr",
        /// Until b6c88d3b9d38 (5.5).
        end_section_nr: "end_section_nr",
        state: "state",
        nid: "nid",
        dev: "dev",
        name: "dev.kobj.name",
    }
}

layout! {
    /// include/linux/device/bus.h.
    struct BusType = "bus_type" {
        p: "p",
    }
}

layout! {
    /// drivers/base/base.h.
    struct SubsysPrivate = "subsys_private" {
        kobj: "subsys.kobj",
        devices: "klist_devices.k_list",
    }
}

layout! {
    /// include/linux/kobject.h.
    struct Kset = "kset" {
        list: "list",
    }
}

layout! {
    /// include/linux/kobject.h.
    struct Kobject = "kobject" {
        name: "name",
        entry: "entry",
    }
}

layout! {
    /// drivers/base/base.h.
    struct DevicePrivate = "device_private" {
        bus_node: "knode_bus.n_node",
        device: "device",
    }
}

/// More buses than any machine has.
const MAX_BUSES: usize = 1 << 16;

/// A block of memory.
#[derive(Clone, Debug)]
pub struct MemoryBlock {
    /// Its `struct memory_block`.
    pub address: VirtAddr,
    /// `memory0`.
    pub name: Result<String>,
    /// Its first byte, or its only one that is known.
    pub start: PhysAddr,
    /// Its last byte, where the kernel tells.
    pub last: Option<PhysAddr>,
    /// The node that its memory belongs to.
    pub node: Option<i64>,
    /// Its first section.
    pub start_section: u64,
    /// `ONLINE`, `GOING_OFFLINE`; `None` for a state that has no name.
    pub state: Result<Option<String>>,
}

/// `MEM_…` before an enumeration named them.
const STATES: [&str; 6] =
    ["ONLINE", "GOING_OFFLINE", "OFFLINE", "GOING_ONLINE", "CANCEL_ONLINE", "CANCEL_OFFLINE"];

impl Kernel {
    /// The blocks of memory; none where the kernel knows none (CONFIG_MEMORY_HOTPLUG). What comes
    /// behind an error is not known.
    ///
    /// # Errors
    /// When the bus of memory is out of reach.
    pub fn memory_blocks(&self) -> Result<Vec<Result<MemoryBlock>>> {
        if self.symbol("memory_subsys").is_err() {
            return Ok(Vec::new());
        }
        let layout = self.layout::<MemoryBlockStruct>()?;
        let device = self.layout::<DevicePrivate>()?;
        let bytes_per_section = {
            let bits = self.vmcoreinfo().number("SECTION_SIZE_BITS").unwrap_or(27);
            1u64 << bits.clamp(16, 40)
        };
        let size = self.read_symbol::<8>("memory_block_size_probed").ok();
        let head = self.layout::<SubsysPrivate>()?.devices.address(self.memory_bus()?)?;
        let block = |link: VirtAddr| -> Result<MemoryBlock> {
            let private = device.bus_node.container(link)?;
            let address = layout.dev.container(device.device.pointer(self, private)?)?;
            let start_section = layout.start_section_nr.u64(self, address)?;
            let start = start_section.wrapping_mul(bytes_per_section);
            let end = match (size, layout.end_section_nr.u64(self, address)) {
                (Some(size), _) => Some(start.wrapping_add(size)),
                (None, Ok(end)) => Some(end.wrapping_add(1).wrapping_mul(bytes_per_section)),
                (None, Err(_)) => None,
            };
            Ok(MemoryBlock {
                address,
                name: layout.name.string(self, address, 64),
                start: PhysAddr(start),
                last: end.map(|end| PhysAddr(end.wrapping_sub(1))),
                node: layout.nid.i64(self, address).ok(),
                start_section,
                state: layout.state.u64(self, address).map(|state| self.block_state(state)),
            })
        };
        let mut blocks = Vec::new();
        for link in ListHead::new(self, "list of memory blocks", head) {
            let block = link.and_then(block);
            let damaged = block.is_err();
            blocks.push(block);
            if damaged {
                break;
            }
        }
        Ok(blocks)
    }

    /// An enumeration since 6.12, bits of these names before.
    fn block_state(&self, state: u64) -> Option<String> {
        let types = self.type_set();
        let states = types.lookup(Namespace::Enum, "memory_block_state");
        if let Some((_, ty)) = states.and_then(|id| strip(types, id).ok())
            && let Type::Enum(kind) = &*ty
        {
            let named = kind.variants.iter().find(|(_, value)| value.cast_unsigned() == state);
            return named.map(|(name, _)| name.strip_prefix("MEM_").unwrap_or(name).to_owned());
        }
        let bit = state.is_power_of_two().then(|| state.trailing_zeros() as usize)?;
        STATES.get(bit).map(|name| (*name).to_owned())
    }

    /// The `struct subsys_private` of the bus of memory.
    fn memory_bus(&self) -> Result<VirtAddr> {
        let private = self.layout::<BusType>()?;
        if private.p.exists() {
            return private.p.pointer(self, self.symbol("memory_subsys")?);
        }
        let kobject = self.layout::<Kobject>()?;
        let bus = self.layout::<SubsysPrivate>()?;
        let buses = VirtAddr(self.read_symbol::<8>("bus_kset")?);
        let head = self.layout::<Kset>()?.list.address(buses)?;
        for link in ListHead::new(self, "list of buses", head).take(MAX_BUSES) {
            let object = kobject.entry.container(link?)?;
            if kobject.name.string(self, object, 32)? == "memory" {
                return bus.kobj.container(object);
            }
        }
        Err(KernelError::Unsupported("there is no bus of memory".to_owned()))
    }
}
