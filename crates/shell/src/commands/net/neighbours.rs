//! `net -a`: the IPv4 neighbours.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::neighbour::Neighbour;
use serde::Serialize;

/// crash's names of hardware (`ARPHRD_*` of include/uapi/linux/if_arp.h).
const HARDWARE: [(u16, &str); 11] = [
    (0, "NETROM"),
    (1, "ETHER"),
    (2, "EETHER"),
    (3, "AX25"),
    (4, "PRONET"),
    (5, "CHAOS"),
    (6, "IEEE802"),
    (7, "ARCNET"),
    (8, "APPLETLK"),
    (15, "DLCI"),
    (23, "METRICOM"),
];

/// A neighbour.
#[derive(Serialize)]
struct Row {
    address: Hex,
    ip: Known<String>,
    hardware: Known<&'static str>,
    hardware_address: Known<String>,
    device: Known<String>,
    state: Known<Vec<&'static str>>,
}

impl From<Neighbour> for Row {
    fn from(neighbour: Neighbour) -> Self {
        let hardware = Known::from(neighbour.device.clone()).map(|device| {
            let known = HARDWARE.iter().find(|(kind, _)| *kind == device.kind);
            known.map_or("UNKNOWN", |(_, name)| *name)
        });
        // Ethernet's is spelled with colons, all others' without.
        let separator = if hardware.value() == Some(&"ETHER") { ":" } else { " " };
        let spelled = |bytes: Vec<u8>| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            bytes.join(separator)
        };
        Self {
            address: Hex(neighbour.address.0),
            ip: Known::from(neighbour.ip).map(|ip| ip.to_string()),
            hardware,
            hardware_address: Known::from(neighbour.hardware_address).map(spelled),
            device: Known::from(neighbour.device).map(|device| device.device),
            state: Known::from(neighbour.state)
                .map(|state| Neighbour::state_names(state).collect()),
        }
    }
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let Self { address, ip, hardware, hardware_address, device, state } = self;
        let device = style.name(&format!("{device:<6}"));
        let state = match state {
            Known::Value(names) => names.join("|"),
            missing => missing.clone().map(|names| names.join("|")).to_string(),
        };
        // Every byte takes three columns, the last one too.
        let gap = if hardware_address.value().is_some_and(String::is_empty) { "" } else { " " };
        out.push_str(&format!(
            "{:<16x} {ip:<16}{hardware:<10} {hardware_address}{gap} {device}  {state}\n",
            address.0
        ));
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    let (neighbours, damage) = kernel.ipv4_neighbours()?;
    if !neighbours.is_empty() {
        out.layout(
            "NEIGHBOUR        IP ADDRESS      HW TYPE    HW ADDRESS         DEVICE  STATE\n",
        )?;
    }
    for neighbour in neighbours {
        out.emit(&Row::from(neighbour))?;
    }
    if let Some(damage) = damage {
        out.warn(damage);
    }
    Ok(())
}
