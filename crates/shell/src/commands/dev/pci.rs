//! `dev -p`: the PCI devices by bus.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::pci::{PciBus, PciDevice};
use serde::Serialize;

/// crash's names of kinds of PCI Express ports, by number.
const PORTS: [&str; 11] = [
    "ENDPOINT",
    "LEG_END",
    "",
    "",
    "ROOT_PORT",
    "UPSTREAM",
    "DOWNSTREAM",
    "PCI_BRIDGE",
    "PCIE_BRIDGE",
    "RC_END",
    "RC_EC",
];

/// A bus with what is on it.
#[derive(Serialize)]
struct Bus {
    bus: Hex,
    /// `None` for a root.
    parent: Option<Hex>,
    name: Known<String>,
    devices: Vec<Device>,
}

/// A device.
#[derive(Serialize)]
struct Device {
    address: Hex,
    name: Known<String>,
    class: Known<Hex>,
    vendor: Known<Hex>,
    device: Known<Hex>,
    /// What kind of port it is, and whether a bridge.
    #[serde(rename = "type")]
    kind: String,
    driver: Option<String>,
}

impl From<PciBus> for Bus {
    fn from(bus: PciBus) -> Self {
        Self {
            bus: Hex(bus.address.0),
            parent: (!bus.parent.is_null()).then_some(Hex(bus.parent.0)),
            name: bus.name.into(),
            devices: bus.devices.into_iter().map(Device::from).collect(),
        }
    }
}

impl From<PciDevice> for Device {
    fn from(device: PciDevice) -> Self {
        let port = device
            .express_flags
            .map_or("", |flags| PORTS.get(flags as usize >> 4 & 0xf).copied().unwrap_or_default());
        // PCI_HEADER_TYPE_BRIDGE and PCI_HEADER_TYPE_CARDBUS.
        let bridge = if matches!(device.header, Ok(1 | 2)) { " [BRIDGE]" } else { "" };
        Self {
            address: Hex(device.address.0),
            name: device.name.into(),
            class: Known::from(device.class).map(Hex),
            vendor: Known::from(device.vendor).map(Hex),
            device: Known::from(device.device).map(Hex),
            kind: format!("{port}{bridge}"),
            driver: device.driver,
        }
    }
}

impl Render for Device {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&format!("{:^12}", self.name));
        let class = self.class.clone().map(|class| format!("{:04x}", class.0)).to_string();
        let part = |number: &Known<Hex>| number.clone().map(|n| format!("{:x}", n.0)).to_string();
        let id = format!("{}:{}", part(&self.vendor), part(&self.device));
        let (address, kind) = (self.address.0, &self.kind);
        out.push_str(&format!("  {address:<16x} {name} {class:^6} {id:^9} {kind:^10}\n"));
    }
}

impl Render for Bus {
    fn render(&self, out: &mut String, style: Style) {
        match self.parent {
            None => {
                let name = style.name(&format!("{:^7}", self.name));
                out.push_str(&format!("{:^16} BUSNAME\n{:<16x} {name}\n", "ROOT BUS", self.bus.0));
            }
            Some(parent) => {
                out.push_str(&format!("  {:^16} {:^16}\n", "PCI BUS", "PARENT BUS"));
                out.push_str(&format!("  {:<16x} {:<16x}\n", self.bus.0, parent.0));
            }
        }
        out.push_str(&format!(
            "  {:^16} DO:BU:SL.FN  {:^6} {:^9} {:^10}\n",
            "PCI DEV", "CLASS", "PCI_ID", "TYPE"
        ));
        for device in &self.devices {
            device.render(out, style);
        }
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    let (buses, damage) = kernel.pci_buses()?;
    if buses.is_empty() && damage.is_none() {
        return Err(CommandError::message("no PCI devices found on this system."));
    }
    // A blank line ends each bus below a root, and each root with all that is below it.
    let mut roots = 0;
    for bus in buses {
        let bus = Bus::from(bus);
        if bus.parent.is_none() {
            if roots > 0 {
                out.layout("\n")?;
            }
            roots += 1;
        }
        out.emit(&bus)?;
        if bus.parent.is_some() {
            out.layout("\n")?;
        }
    }
    out.layout("\n")?;
    if let Some(damage) = damage {
        out.warn(damage);
    }
    Ok(())
}
