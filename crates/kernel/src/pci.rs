//! PCI: the buses below the roots, and the devices on them.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_memory::VirtAddr;
use rustc_hash::FxHashSet;
use std::sync::Arc;

layout! {
    /// A bus: include/linux/pci.h.
    pub struct PciBusStruct = "pci_bus" {
        node: "node",
        parent: "parent",
        children: "children",
        devices: "devices",
        /// The bridge that leads to it.
        bridge: "self",
        name: "dev.kobj.name",
    }
}

layout! {
    /// A device: include/linux/pci.h.
    pub struct PciDevStruct = "pci_dev" {
        bus_list: "bus_list",
        vendor: "vendor",
        device: "device",
        class: "class",
        header: "hdr_type",
        express_flags: "pcie_flags_reg",
        name: "dev.kobj.name",
        driver: "driver",
    }
}

layout! {
    /// What drives a device: include/linux/pci.h.
    pub struct PciDriver = "pci_driver" {
        name: "name",
    }
}

/// A bus.
#[derive(Clone, Debug)]
pub struct PciBus {
    /// Its `struct pci_bus`.
    pub address: VirtAddr,
    /// The bus that it hangs from; null for a root.
    pub parent: VirtAddr,
    /// `0000:00`.
    pub name: Result<String>,
    /// The bridge that leads to it, then what is on it.
    pub devices: Vec<PciDevice>,
}

/// A device.
#[derive(Clone, Debug)]
pub struct PciDevice {
    /// Its `struct pci_dev`.
    pub address: VirtAddr,
    /// `0000:00:01.3`.
    pub name: Result<String>,
    /// Class and subclass: 0x0604 is a bridge to another bus.
    pub class: Result<u64>,
    /// Who made it.
    pub vendor: Result<u64>,
    /// What it is.
    pub device: Result<u64>,
    /// `PCI_HEADER_TYPE_*`.
    pub header: Result<u64>,
    /// The PCI Express capability's flags; their bits 4 to 7 are the port's type.
    pub express_flags: Result<u64>,
    /// The driver's name; `None` without one.
    pub driver: Option<String>,
}

/// More buses than a machine has.
const MAX_BUSES: usize = 1 << 16;

struct PciReader<'k> {
    kernel: &'k Kernel,
    bus: Arc<PciBusStruct>,
    device: Arc<PciDevStruct>,
    seen: FxHashSet<VirtAddr>,
    buses: Vec<PciBus>,
    damage: Option<KernelError>,
}

impl Kernel {
    /// The PCI buses, each root followed by the buses below it, and what hid some.
    ///
    /// # Errors
    /// When the kernel has no PCI.
    pub fn pci_buses(&self) -> Result<(Vec<PciBus>, Option<KernelError>)> {
        let roots = self.symbol("pci_root_buses")?;
        let mut reader = PciReader {
            kernel: self,
            bus: self.layout()?,
            device: self.layout()?,
            seen: FxHashSet::default(),
            buses: Vec::new(),
            damage: None,
        };
        // A stack, not a recursion: nothing but memory says how deep buses go.
        let mut pending = reader.list("PCI root buses", roots);
        pending.reverse();
        while let Some(entry) = pending.pop() {
            let address = reader.bus.node.container(entry)?;
            if !reader.seen.insert(address) || reader.buses.len() >= MAX_BUSES {
                let problem = "bus is listed twice";
                let error = KernelError::DamagedList { list: "PCI buses", problem, at: address };
                reader.damage.get_or_insert(error);
                continue;
            }
            reader.read_bus(address)?;
            let children = reader.list("PCI buses", reader.bus.children.address(address)?);
            pending.extend(children.into_iter().rev());
        }
        Ok((reader.buses, reader.damage))
    }
}

impl PciReader<'_> {
    /// The members of a list before any damage.
    fn list(&mut self, name: &'static str, head: VirtAddr) -> Vec<VirtAddr> {
        let mut members = Vec::new();
        for entry in ListHead::new(self.kernel, name, head) {
            match entry {
                Ok(entry) => members.push(entry),
                Err(error) => {
                    self.damage.get_or_insert(error);
                }
            }
        }
        members
    }

    fn read_bus(&mut self, address: VirtAddr) -> Result<()> {
        let kernel = self.kernel;
        let bridge = self.bus.bridge.pointer(kernel, address).unwrap_or(VirtAddr(0));
        let mut devices = Vec::new();
        if !bridge.is_null() {
            devices.push(self.read_device(bridge));
        }
        let head = self.bus.devices.address(address)?;
        for entry in self.list("PCI devices", head) {
            devices.push(self.read_device(self.device.bus_list.container(entry)?));
        }
        self.buses.push(PciBus {
            address,
            parent: self.bus.parent.pointer(kernel, address).unwrap_or(VirtAddr(0)),
            name: self.bus.name.string(kernel, address, 64),
            devices,
        });
        Ok(())
    }

    fn read_device(&self, address: VirtAddr) -> PciDevice {
        let (kernel, layout) = (self.kernel, &*self.device);
        let driver = || {
            let driver = layout.driver.pointer(kernel, address).ok()?;
            kernel.layout::<PciDriver>().ok()?.name.string(kernel, driver, 64).ok()
        };
        PciDevice {
            address,
            name: layout.name.string(kernel, address, 64),
            class: layout.class.u64(kernel, address).map(|class| class >> 8),
            vendor: layout.vendor.u64(kernel, address),
            device: layout.device.u64(kernel, address),
            header: layout.header.u64(kernel, address),
            express_flags: layout.express_flags.u64(kernel, address),
            driver: driver().filter(|name| !name.is_empty()),
        }
    }
}
