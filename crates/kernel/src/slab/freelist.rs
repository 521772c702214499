//! Free lists: each free object holds the address of the next.

use super::SlabCache;
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_memory::{VirtAddr, VirtualMemory};

/// More objects than a slab can have: `slab.objects` has 15 bits.
const MAX_OBJECTS: usize = 1 << 15;

/// How a kernel hides the pointers in free objects (CONFIG_SLAB_FREELIST_HARDENED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hiding {
    /// `pointer ^ random ^ swab(address)`, since 1ad53d9fa3f6 (5.7).
    SwappedAddress,
    /// `pointer ^ random ^ address`, before.
    Address,
}

/// The pointer that `stored`, read at `address`, stands for.
fn reveal(hiding: Hiding, random: u64, stored: u64, address: u64) -> u64 {
    match hiding {
        Hiding::SwappedAddress => stored ^ random ^ address.swap_bytes(),
        Hiding::Address => stored ^ random ^ address,
    }
}

impl SlabCache {
    /// The free objects from `first` on, which may be null. Each must lie in the slab whose
    /// memory is `start..end`.
    pub(super) fn free_list(
        &self,
        kernel: &Kernel,
        first: VirtAddr,
        start: VirtAddr,
        end: VirtAddr,
    ) -> Result<Vec<VirtAddr>> {
        let damaged = |problem, at| KernelError::DamagedList { list: "free list", problem, at };
        let belongs = |object: u64| object == 0 || (start.0..end.0).contains(&object);
        let mut objects = Vec::new();
        let mut hiding = Hiding::SwappedAddress;
        let mut object = first.0;
        while object != 0 {
            if !belongs(object) {
                return Err(damaged("object outside its slab", VirtAddr(object)));
            }
            if objects.len() >= MAX_OBJECTS {
                return Err(damaged("list loops", VirtAddr(object)));
            }
            objects.push(VirtAddr(object));
            let at = VirtAddr(object).offset(self.freelist_offset);
            let stored = kernel.read_u64(at)?;
            object = match self.random {
                None => stored,
                Some(random) => {
                    let next = reveal(hiding, random, stored, at.0);
                    let older = reveal(Hiding::Address, random, stored, at.0);
                    if !belongs(next) && belongs(older) {
                        hiding = Hiding::Address;
                        older
                    } else {
                        next
                    }
                }
            };
        }
        objects.sort_unstable();
        if objects.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(damaged("list loops", first));
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_pointers_are_revealed() {
        let (random, address, pointer) =
            (0x1234_5678_9abc_def0, 0xffff_8880_0123_4560, 0xffff_8880_0123_4600);
        let stored = pointer ^ random ^ 0x6045_2301_8088_ffff;
        assert_eq!(reveal(Hiding::SwappedAddress, random, stored, address), pointer);
        let stored = pointer ^ random ^ address;
        assert_eq!(reveal(Hiding::Address, random, stored, address), pointer);
    }
}
