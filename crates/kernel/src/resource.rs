//! Who uses which I/O ports and which physical addresses: `/proc/ioports` and `/proc/iomem`.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};
use rustc_hash::FxHashSet;

layout! {
    /// A range that somebody uses: include/linux/ioport.h.
    pub struct ResourceStruct = "resource" {
        start: "start",
        end: "end",
        name: "name",
        flags: "flags",
        sibling: "sibling",
        child: "child",
    }
}

/// A range.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its `struct resource`.
    pub address: VirtAddr,
    /// How many ranges it lies in.
    pub depth: usize,
    /// The first port or address.
    pub start: u64,
    /// The last one.
    pub end: u64,
    /// `IORESOURCE_*` of include/linux/ioport.h.
    pub flags: u64,
    /// `PCI Bus 0000:00`.
    pub name: Result<String>,
}

/// More ranges than any machine has.
const MAX_RESOURCES: usize = 1 << 20;

/// Ranges in ranges in ranges.
const MAX_DEPTH: usize = 256;

impl Kernel {
    /// All ranges under the one that `symbol` is (`ioport_resource`, `iomem_resource`), itself
    /// first, each before those that lie in it; and what hid some.
    ///
    /// # Errors
    /// When there is no such symbol or type.
    pub fn resources(&self, symbol: &str) -> Result<(Vec<Resource>, Option<KernelError>)> {
        let layout = self.layout::<ResourceStruct>()?;
        let mut pending = vec![(self.symbol(symbol)?, 0)];
        let (mut resources, mut seen, mut damage) = (Vec::new(), FxHashSet::default(), None);
        while let Some((address, depth)) = pending.pop() {
            if address.is_null() {
                continue;
            }
            let problem = if !seen.insert(address) {
                Some("tree loops")
            } else if depth > MAX_DEPTH || resources.len() >= MAX_RESOURCES {
                Some("tree does not end")
            } else {
                None
            };
            if let Some(problem) = problem {
                let error = KernelError::DamagedList { list: "resources", problem, at: address };
                damage.get_or_insert(error);
                continue;
            }
            let bytes = match self.read_bytes(address, layout.size_of) {
                Ok(bytes) => bytes,
                Err(error) => {
                    damage.get_or_insert(error.into());
                    continue;
                }
            };
            // What is pushed last is next: all that lies in this one, then its neighbour.
            pending.push((VirtAddr(layout.sibling.u64_in(&bytes)?), depth));
            pending.push((VirtAddr(layout.child.u64_in(&bytes)?), depth + 1));
            let name = VirtAddr(layout.name.u64_in(&bytes)?);
            resources.push(Resource {
                address,
                depth,
                start: layout.start.u64_in(&bytes)?,
                end: layout.end.u64_in(&bytes)?,
                flags: layout.flags.u64_in(&bytes)?,
                name: self
                    .read_c_string(name, 256)
                    .map(|name| String::from_utf8_lossy(&name).into_owned())
                    .map_err(KernelError::from),
            });
        }
        Ok((resources, damage))
    }
}
