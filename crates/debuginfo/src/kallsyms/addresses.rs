//! The addresses of symbols, in the four forms that kernels have used.

use super::tables::{KallsymsError, KallsymsTables};
use crate::region::Region;
use mortis_memory::{VirtAddr, VirtualMemory};

/// What a number in the table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The address.
    Absolute,
    /// An unsigned distance from this base.
    Relative(u64),
    /// A number as it is where positive (per-CPU symbols, which were linked at 0); otherwise the
    /// distance from this base, less one, negated: `--absolute-percpu` of scripts/kallsyms.c.
    RelativeUnlessPositive(u64),
    /// A signed distance from the place it stands at, for the table that starts here.
    PlaceRelative(u64),
}

/// The table of addresses as it stands in memory.
#[derive(Debug)]
pub(super) struct Addresses {
    table: Region,
    encodings: Vec<Encoding>,
}

impl Addresses {
    pub(super) fn read(
        memory: &dyn VirtualMemory,
        tables: &KallsymsTables,
        count: u32,
    ) -> Result<Self, KallsymsError> {
        if let Some(offsets) = tables.offsets {
            let mut encodings = vec![];
            if let Some(at) = tables.relative_base {
                let base = memory.read_u64(at).map_err(|error| KallsymsError::Read {
                    table: "kallsyms_relative_base",
                    error,
                })?;
                encodings
                    .extend([Encoding::RelativeUnlessPositive(base), Encoding::Relative(base)]);
            }
            encodings.push(Encoding::PlaceRelative(offsets.0));
            let table = Region::read(memory, offsets, count as usize * 4);
            return Ok(Self { table, encodings });
        }
        let addresses = tables.addresses.unwrap_or(VirtAddr(0));
        let table = Region::read(memory, addresses, count as usize * 8);
        Ok(Self { table, encodings: vec![Encoding::Absolute] })
    }

    /// The forms that the table may have, the likelier first.
    pub(super) fn encodings(&self) -> impl Iterator<Item = Encoding> + '_ {
        self.encodings.iter().copied()
    }

    /// The address of symbol `index` if the table is in the form `encoding`; `None` where it is
    /// not in the dump.
    pub(super) fn get(&self, encoding: Encoding, index: usize) -> Option<u64> {
        let offset = || self.table.u32(index * 4);
        Some(match encoding {
            Encoding::Absolute => self.table.u64(index * 8)?,
            Encoding::Relative(base) => base.wrapping_add(u64::from(offset()?)),
            Encoding::RelativeUnlessPositive(base) => match offset()? as i32 {
                number @ 0.. => number as u64,
                distance => base.wrapping_sub(1).wrapping_sub(i64::from(distance) as u64),
            },
            Encoding::PlaceRelative(start) => {
                let place = start.wrapping_add(index as u64 * 4);
                place.wrapping_add(i64::from(offset()? as i32) as u64)
            }
        })
    }
}
