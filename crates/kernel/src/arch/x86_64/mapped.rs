//! Everything that a page table maps, in the order of addresses.

use super::paging::{PAGE_SIZE_BIT, PRESENT, PROTNONE, PageTable};
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};

/// Bytes of a table.
const TABLE: usize = 4096;

/// Bits 12 to 51 of an entry hold the physical address.
const PHYSICAL_MASK: u64 = 0x000f_ffff_ffff_f000;

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedPage {
    /// Its virtual address.
    pub address: u64,
    /// Where it lies.
    pub physical: PhysAddr,
    /// Its size in bytes.
    pub size: u64,
}

/// A table on the way down.
struct Open {
    bytes: Box<[u8; TABLE]>,
    index: usize,
    /// The address that its first entry maps.
    base: u64,
    /// Each entry maps 2^shift bytes.
    shift: u32,
}

/// Walks a page table from one address to another; see [`PageTable::mapped`].
pub struct Mapped<'m> {
    memory: &'m dyn PhysicalMemory,
    encryption_mask: u64,
    /// The bits above those that are translated.
    upper: u64,
    end: u64,
    start: u64,
    open: Vec<Open>,
    /// Tables that may still be read: one that leads to itself has no end.
    tables_left: u64,
}

impl PageTable {
    /// The pages of the lower half of the address space that the table maps from `start` up to
    /// `end`, ascending. A table that is not in the dump is passed over with all it maps, and no
    /// more than `max_tables` are read.
    pub fn mapped<'m>(
        &self,
        memory: &'m dyn PhysicalMemory,
        start: u64,
        end: u64,
        max_tables: u64,
    ) -> Mapped<'m> {
        // The upper half of the top table's entries is the kernel's.
        let end = end.min(256 << self.top());
        self.mapped_in(memory, 0, start, end, max_tables)
    }

    /// The same for the upper half, where the kernel is.
    pub fn mapped_by_kernel<'m>(
        &self,
        memory: &'m dyn PhysicalMemory,
        start: VirtAddr,
        end: VirtAddr,
        max_tables: u64,
    ) -> Mapped<'m> {
        let translated = (512 << self.top()) - 1;
        let (start, end) = (start.0 & translated, end.0 & translated);
        self.mapped_in(memory, !translated, start, end, max_tables)
    }

    fn mapped_in<'m>(
        &self,
        memory: &'m dyn PhysicalMemory,
        upper: u64,
        start: u64,
        end: u64,
        max_tables: u64,
    ) -> Mapped<'m> {
        let open = Vec::with_capacity(5);
        let encryption_mask = self.encryption_mask;
        let mut walk =
            Mapped { memory, encryption_mask, upper, end, start, open, tables_left: max_tables };
        walk.descend(self.root, 0, self.top());
        walk
    }

    /// Each entry of the top table maps 2 to this power bytes.
    fn top(&self) -> u32 {
        if self.five_levels { 48 } else { 39 }
    }
}

impl Mapped<'_> {
    fn descend(&mut self, table: PhysAddr, base: u64, shift: u32) {
        let Some(left) = self.tables_left.checked_sub(1) else {
            self.open.clear();
            return;
        };
        self.tables_left = left;
        let mut bytes = Box::new([0; TABLE]);
        if self.memory.read(table, &mut bytes[..]).is_ok() {
            let index = (self.start.saturating_sub(base) >> shift).min(512) as usize;
            self.open.push(Open { bytes, index, base, shift });
        }
    }
}

impl Iterator for Mapped<'_> {
    type Item = MappedPage;

    fn next(&mut self) -> Option<MappedPage> {
        loop {
            let table = self.open.last_mut()?;
            let (words, _) = table.bytes.as_chunks::<8>();
            let Some(entry) = words.get(table.index) else {
                self.open.pop();
                continue;
            };
            let entry = u64::from_le_bytes(*entry);
            let shift = table.shift;
            let address = table.base | (table.index as u64) << shift;
            table.index += 1;
            if address >= self.end {
                self.open.clear();
                return None;
            }
            if entry & (PRESENT | PROTNONE) == 0 {
                continue;
            }
            // The frame number of an entry that is PROT_NONE only is stored inverted.
            let frame = match entry & PRESENT {
                0 => !entry & PHYSICAL_MASK,
                _ => entry & PHYSICAL_MASK & !self.encryption_mask,
            };
            let size = 1u64 << shift;
            let is_huge = entry & PAGE_SIZE_BIT != 0 && matches!(shift, 21 | 30);
            if shift == 12 || is_huge {
                let physical = PhysAddr(frame & !(size - 1));
                return Some(MappedPage { address: address | self.upper, physical, size });
            }
            self.descend(PhysAddr(frame), address, shift - 9);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_memory::{PhysicalRange, ReadError, Unavailable};

    /// Tables of 4096 bytes from physical address 0 on.
    struct Tables(Vec<[u64; 512]>);

    impl PhysicalMemory for Tables {
        fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
            let missing = ReadError::new(address, Unavailable::Excluded);
            let table = self.0.get(address.0 as usize / TABLE).ok_or(missing)?;
            for (index, byte) in buf.iter_mut().enumerate() {
                *byte = table[index / 8].to_le_bytes()[index % 8];
            }
            Ok(())
        }

        fn page_size(&self) -> u64 {
            4096
        }

        fn ranges(&self) -> Vec<PhysicalRange> {
            Vec::new()
        }
    }

    const TABLE_OF: PageTable =
        PageTable { root: PhysAddr(0), five_levels: false, encryption_mask: 0 };

    #[test]
    fn pages_of_each_size_are_found_in_order() {
        let mut tables = vec![[0; 512]; 4];
        tables[0][0] = 0x1000 | PRESENT;
        // A table that the dump lacks.
        tables[0][1] = 0x9000 | PRESENT;
        tables[1][0] = 0x2000 | PRESENT;
        tables[1][2] = 0x8000_0000 | PRESENT | PAGE_SIZE_BIT;
        tables[2][0] = 0x3000 | PRESENT;
        tables[2][1] = 0x60_0000 | PRESENT | PAGE_SIZE_BIT;
        tables[3][1] = 0x5000 | PRESENT;
        tables[3][3] = (!0x6000 & PHYSICAL_MASK) | PROTNONE;
        let tables = Tables(tables);
        let pages = |start, end| -> Vec<(u64, u64, u64)> {
            let mapped = TABLE_OF.mapped(&tables, start, end, 100);
            mapped.map(|page| (page.address, page.physical.0, page.size)).collect()
        };
        assert_eq!(
            pages(0, 1 << 47),
            [
                (0x1000, 0x5000, 0x1000),
                (0x3000, 0x6000, 0x1000),
                (0x20_0000, 0x60_0000, 0x20_0000),
                (0x8000_0000, 0x8000_0000, 0x4000_0000),
            ]
        );
        assert_eq!(pages(0x3000, 0x20_0000), [(0x3000, 0x6000, 0x1000)]);
        assert_eq!(pages(0x30_0000, 0x30_1000), [(0x20_0000, 0x60_0000, 0x20_0000)]);
    }

    #[test]
    fn the_kernels_half_is_left_out() {
        let mut tables = vec![[0; 512]; 4];
        tables[0][255] = 0x1000 | PRESENT;
        tables[0][256] = 0x1000 | PRESENT;
        tables[1][0] = 0x8000_0000 | PRESENT | PAGE_SIZE_BIT;
        let tables = Tables(tables);
        let addresses: Vec<u64> =
            TABLE_OF.mapped(&tables, 0, 1 << 56, 100).map(|page| page.address).collect();
        let (start, end) = (VirtAddr(u64::MAX << 47), VirtAddr(u64::MAX << 30));
        let of_kernel = TABLE_OF.mapped_by_kernel(&tables, start, end, 100);
        let of_kernel: Vec<u64> = of_kernel.map(|page| page.address).collect();
        assert_eq!(of_kernel, [0xffff_8000_0000_0000]);
        assert_eq!(addresses, [0x7f80_0000_0000]);
    }

    #[test]
    fn a_table_that_leads_to_itself_ends() {
        let tables = Tables(vec![[PRESENT; 512]]);
        assert!(TABLE_OF.mapped(&tables, 0, 1 << 47, 100).count() <= 100 * 512);
    }
}
