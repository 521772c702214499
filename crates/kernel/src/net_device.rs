//! Network devices, by network namespace, and their addresses.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::{ListHead, SinglyLinked};
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

layout! {
    /// A network namespace: include/net/net_namespace.h.
    pub struct NetNamespace = "net" {
        dev_base_head: "dev_base_head",
    }
}

layout! {
    /// The namespaces of a task: include/linux/nsproxy.h.
    pub struct NsProxy = "nsproxy" {
        net: "net_ns",
        ipc: "ipc_ns",
    }
}

layout! {
    /// A task's namespaces: include/linux/sched.h.
    pub struct TaskNamespaces = "task_struct" {
        nsproxy: "nsproxy",
    }
}

layout! {
    /// A network device: include/linux/netdevice.h.
    pub struct NetDeviceStruct = "net_device" {
        dev_list: "dev_list",
        name: "name",
        index: "ifindex",
        mtu: "mtu",
        flags: "flags",
        /// `ARPHRD_*` of include/uapi/linux/if_arp.h.
        hardware: "type",
        addr_len: "addr_len",
        dev_addr: "dev_addr",
        ip: "ip_ptr",
        ip6: "ip6_ptr",
    }
}

layout! {
    /// What IPv4 keeps of a device: include/linux/inetdevice.h.
    pub struct InDevice = "in_device" {
        addresses: "ifa_list",
    }
}

layout! {
    /// An IPv4 address of a device: include/linux/inetdevice.h.
    pub struct InIfaddr = "in_ifaddr" {
        next: "ifa_next",
        address: "ifa_address",
        prefix_len: "ifa_prefixlen",
    }
}

layout! {
    /// What IPv6 keeps of a device: include/net/if_inet6.h.
    pub struct Inet6Dev = "inet6_dev" {
        addresses: "addr_list",
    }
}

layout! {
    /// An IPv6 address of a device: include/net/if_inet6.h.
    pub struct Inet6Ifaddr = "inet6_ifaddr" {
        address: "addr",
        prefix_len: "prefix_len",
        list: "if_list",
    }
}

/// More addresses than anybody gives a device: what a damaged list may cost.
const MAX_ADDRESSES: usize = 1 << 16;

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAddress {
    /// The address.
    pub address: std::net::IpAddr,
    /// How many of its leading bits are the network's.
    pub prefix_len: u32,
}

/// A network device.
#[derive(Clone, Debug)]
pub struct NetDevice {
    /// Its `struct net_device`.
    pub address: VirtAddr,
    /// `eth0`.
    pub name: Result<String>,
    /// Its number in its namespace.
    pub index: Result<u64>,
    /// The largest packet it takes, in bytes.
    pub mtu: Result<u64>,
    /// `IFF_*` of include/uapi/linux/if.h.
    pub flags: Result<u64>,
    /// Its IPv4 addresses, then its IPv6 addresses.
    pub addresses: Vec<DeviceAddress>,
    /// Why there may be more addresses.
    pub damage: Option<KernelError>,
}

/// A device's hardware, as the table of neighbours shows it.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// The device's name.
    pub device: String,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// Bytes of a hardware address.
    pub addr_len: u8,
}

/// Reads devices.
struct DeviceReader<'k> {
    kernel: &'k Kernel,
    device: Arc<NetDeviceStruct>,
}

impl DeviceReader<'_> {
    fn read(&self, address: VirtAddr) -> NetDevice {
        let (kernel, device) = (self.kernel, &*self.device);
        let mut addresses = Vec::new();
        let damage = [self.ipv4(address, &mut addresses), self.ipv6(address, &mut addresses)]
            .into_iter()
            .find_map(Result::err);
        NetDevice {
            address,
            name: device.name.text(kernel, address),
            index: device.index.u64(kernel, address),
            mtu: device.mtu.u64(kernel, address),
            flags: device.flags.u64(kernel, address),
            addresses,
            damage,
        }
    }

    fn ipv4(&self, device: VirtAddr, addresses: &mut Vec<DeviceAddress>) -> Result<()> {
        let kernel = self.kernel;
        let ip = self.device.ip.pointer(kernel, device)?;
        if ip.is_null() {
            return Ok(());
        }
        let layout = kernel.layout::<InIfaddr>()?;
        let first = kernel.layout::<InDevice>()?.addresses.pointer(kernel, ip)?;
        let list = SinglyLinked::new(kernel, "IPv4 addresses", first, layout.next.offset()?);
        for entry in list.take(MAX_ADDRESSES) {
            let entry = entry?;
            let address = layout.address.u64(kernel, entry)? as u32;
            addresses.push(DeviceAddress {
                address: Ipv4Addr::from(address.to_le_bytes()).into(),
                prefix_len: layout.prefix_len.u64(kernel, entry)? as u32,
            });
        }
        Ok(())
    }

    fn ipv6(&self, device: VirtAddr, addresses: &mut Vec<DeviceAddress>) -> Result<()> {
        let kernel = self.kernel;
        // Without CONFIG_IPV6 there is no such member.
        let Ok(ip6) = self.device.ip6.pointer(kernel, device) else { return Ok(()) };
        if ip6.is_null() {
            return Ok(());
        }
        let layout = kernel.layout::<Inet6Ifaddr>()?;
        let head = kernel.layout::<Inet6Dev>()?.addresses.address(ip6)?;
        for entry in ListHead::new(kernel, "IPv6 addresses", head).take(MAX_ADDRESSES) {
            let entry = layout.list.container(entry?)?;
            let mut bytes = [0; 16];
            kernel.read(layout.address.address(entry)?, &mut bytes)?;
            addresses.push(DeviceAddress {
                address: Ipv6Addr::from(bytes).into(),
                prefix_len: layout.prefix_len.u64(kernel, entry)? as u32,
            });
        }
        Ok(())
    }
}

impl Kernel {
    /// The network namespace that a task is in; the first one where there are no namespaces.
    ///
    /// # Errors
    /// When the task's namespaces cannot be read: they are gone once it has exited.
    pub fn net_namespace(&self, task: Task) -> Result<VirtAddr> {
        let layout = self.layout::<NsProxy>()?;
        if !layout.net.exists() {
            return self.symbol("init_net");
        }
        let nsproxy = self.layout::<TaskNamespaces>()?.nsproxy.pointer(self, task.address)?;
        layout.net.pointer(self, nsproxy)
    }

    /// The network devices of a namespace, in the order of their numbers as the kernel keeps them,
    /// and what ended the list early.
    ///
    /// # Errors
    /// When the types do not tell what a device is.
    pub fn net_devices(
        &self,
        namespace: VirtAddr,
    ) -> Result<(Vec<NetDevice>, Option<KernelError>)> {
        let reader = DeviceReader { kernel: self, device: self.layout()? };
        let head = self.layout::<NetNamespace>()?.dev_base_head.address(namespace)?;
        let mut devices = Vec::new();
        for entry in ListHead::new(self, "network devices", head) {
            match entry {
                Ok(entry) => devices.push(reader.read(reader.device.dev_list.container(entry)?)),
                Err(error) => return Ok((devices, Some(error))),
            }
        }
        Ok((devices, None))
    }

    /// The hardware behind the `struct net_device` at `device`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn net_hardware(&self, device: VirtAddr) -> Result<Hardware> {
        let layout = self.layout::<NetDeviceStruct>()?;
        Ok(Hardware {
            device: layout.name.text(self, device)?,
            kind: layout.hardware.u64(self, device)? as u16,
            addr_len: layout.addr_len.u64(self, device)? as u8,
        })
    }
}
