//! The IPv4 neighbours: which hardware address answers for an address (`arp_tbl`).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::SinglyLinked;
use crate::net_device::Hardware;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::net::Ipv4Addr;

layout! {
    /// The neighbours of a protocol: include/net/neighbour.h.
    pub struct NeighTable = "neigh_table" {
        nht: "nht",
    }
}

layout! {
    /// A table of neighbours that can be replaced as it grows: include/net/neighbour.h.
    pub struct NeighHashTable = "neigh_hash_table" {
        /// Heads of `hlist`s since 6.13, pointers to neighbours before.
        buckets: "hash_heads" | "hash_buckets",
        hash_shift: "hash_shift",
    }
}

layout! {
    /// A neighbour: include/net/neighbour.h.
    pub struct NeighbourStruct = "neighbour" {
        /// The chain of the hash table: an `hlist_node` since 6.13, a pointer before.
        next: "hash" | "next",
        device: "dev",
        state: "nud_state",
        hardware_address: "ha",
        key: "primary_key",
    }
}

/// A table of more than 2^24 buckets is none.
const MAX_SHIFT: u64 = 24;

/// Names of the bits of `nud_state` (`NUD_*` of include/uapi/linux/neighbour.h), lowest first.
const STATES: [&str; 8] =
    ["INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"];

/// A neighbour.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its `struct neighbour`.
    pub address: VirtAddr,
    /// Its IPv4 address.
    pub ip: Result<Ipv4Addr>,
    /// Its hardware address, as long as its device's are.
    pub hardware_address: Result<Vec<u8>>,
    /// The device that leads to it.
    pub device: Result<Hardware>,
    /// The bits of `nud_state`.
    pub state: Result<u8>,
}

impl Neighbour {
    /// The names of the bits that are set in `state`, lowest first.
    pub fn state_names(state: u8) -> impl Iterator<Item = &'static str> {
        STATES.iter().enumerate().filter(move |(bit, _)| state >> bit & 1 != 0).map(|(_, n)| *n)
    }
}

impl Kernel {
    /// The IPv4 neighbours, in the order of the hash table, and what hid some of them.
    ///
    /// # Errors
    /// When there is no such table, or it cannot be read.
    pub fn ipv4_neighbours(&self) -> Result<(Vec<Neighbour>, Option<KernelError>)> {
        let table = self.symbol("arp_tbl")?;
        let nht = self.layout::<NeighTable>()?.nht.pointer(self, table)?;
        let layout = self.layout::<NeighHashTable>()?;
        let entry = self.layout::<NeighbourStruct>()?;
        let buckets = layout.buckets.pointer(self, nht)?;
        let shift = layout.hash_shift.u64(self, nht)?;
        if shift > MAX_SHIFT {
            return Err(KernelError::DamagedList {
                list: "IPv4 neighbours",
                problem: "hash table is too large",
                at: nht,
            });
        }
        let next = entry.next.offset()?;
        // An hlist links nodes, an older chain whole neighbours.
        let node = if entry.next.name() == Some("hash") { next } else { 0 };
        let (mut neighbours, mut damage) = (Vec::new(), None);
        for bucket in 0..1 << shift {
            let mut read_chain = || -> Result<()> {
                let first = self.read_pointer(buckets.offset(bucket * 8))?;
                for found in SinglyLinked::new(self, "IPv4 neighbours", first, next - node) {
                    neighbours.push(self.neighbour(&entry, found?.back(node)));
                }
                Ok(())
            };
            if let Err(error) = read_chain() {
                damage.get_or_insert(error);
            }
        }
        Ok((neighbours, damage))
    }

    fn neighbour(&self, layout: &NeighbourStruct, address: VirtAddr) -> Neighbour {
        let device = layout.device.pointer(self, address).and_then(|dev| self.net_hardware(dev));
        let key = layout.key.address(address).and_then(|key| {
            let mut bytes = [0; 4];
            self.read(key, &mut bytes)?;
            Ok(Ipv4Addr::from(bytes))
        });
        let hardware_address = device.as_ref().map_err(Clone::clone).and_then(|device| {
            let len = u64::from(device.addr_len).min(layout.hardware_address.size()?);
            Ok(self.read_bytes(layout.hardware_address.address(address)?, len)?)
        });
        Neighbour {
            address,
            ip: key,
            hardware_address,
            device,
            state: layout.state.u64(self, address).map(|state| state as u8),
        }
    }
}
