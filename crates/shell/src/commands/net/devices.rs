//! `net` and `net -n`: devices and their addresses.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::net_device::NetDevice;
use mortis_memory::VirtAddr;
use serde::Serialize;

#[derive(Serialize)]
struct Address {
    address: String,
    prefix_len: u32,
}

/// A device.
#[derive(Serialize)]
struct Device {
    address: Hex,
    name: Known<String>,
    index: Known<u64>,
    mtu: Known<u64>,
    flags: Known<Hex>,
    addresses: Vec<Address>,
}

impl From<NetDevice> for Device {
    fn from(device: NetDevice) -> Self {
        Self {
            address: Hex(device.address.0),
            name: device.name.into(),
            index: device.index.into(),
            mtu: device.mtu.into(),
            flags: Known::from(device.flags).map(Hex),
            addresses: device
                .addresses
                .iter()
                .map(|entry| Address {
                    address: entry.address.to_string(),
                    prefix_len: entry.prefix_len,
                })
                .collect(),
        }
    }
}

impl Render for Device {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&format!("{:<10}", self.name));
        let addresses: Vec<&str> = self.addresses.iter().map(|a| a.address.as_str()).collect();
        let address = format!("{:x}", self.address.0);
        out.push_str(&format!("{address:^16}  {name} {}\n", addresses.join(", ")));
    }
}

pub(super) fn run(
    kernel: &Kernel,
    namespace: VirtAddr,
    out: &mut Output,
) -> Result<(), CommandError> {
    out.layout("   NET_DEVICE     NAME       IP ADDRESS(ES)\n")?;
    let (devices, mut damage) = kernel.net_devices(namespace)?;
    for device in devices {
        damage = damage.or(device.damage.clone());
        out.emit(&Device::from(device))?;
    }
    if let Some(damage) = damage {
        out.warn(damage);
    }
    Ok(())
}
