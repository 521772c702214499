//! The kernel's symbol table.
//!
//! The input is an image of memory, behind eight 16-bit offsets that say where the tables are.

use mortis_debuginfo::kallsyms::{Kallsyms, KallsymsTables};
use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};

const BASE: u64 = 0xffff_ffff_8100_0000;

/// Bytes in front of the image.
const HEADER: usize = 16;

struct Image<'a>(&'a [u8]);

impl VirtualMemory for Image<'_> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let start = address.0.wrapping_sub(BASE) as usize;
        match start.checked_add(buf.len()).and_then(|end| self.0.get(start..end)) {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return Err(ReadError::new(address, Unavailable::Unmapped)),
        }
        Ok(())
    }
}

/// Opens the table in each of its forms and looks everything up.
pub fn fuzz(data: &[u8]) {
    let Some((header, image)) = data.split_at_checked(HEADER) else { return };
    let place = |index: usize| {
        let at = header.get(index * 2..index * 2 + 2).and_then(|bytes| bytes.try_into().ok());
        VirtAddr(BASE + u64::from(at.map_or(0, u16::from_le_bytes)))
    };
    let tables = KallsymsTables {
        num_syms: place(0),
        names: place(1),
        token_table: place(2),
        token_index: place(3),
        offsets: Some(place(4)),
        relative_base: Some(place(5)),
        addresses: None,
    };
    let anchor = [("_stext", VirtAddr(BASE))];
    for tables in [
        tables,
        KallsymsTables { relative_base: None, ..tables },
        KallsymsTables { offsets: None, addresses: tables.offsets, ..tables },
    ] {
        let Ok(kallsyms) = Kallsyms::read(&Image(image), &tables, &anchor) else { continue };
        for symbol in kallsyms.iter().take(1000) {
            let _ = kallsyms.lookup_address(symbol.address);
            let _ = kallsyms.address(&symbol.name);
        }
    }
}

/// Three symbols from a relative base: `_stext`, `a` and `b`.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut image = Vec::new();
    let mut places = Vec::new();
    let mut table = |bytes: &[u8]| {
        places.push(image.len() as u16);
        image.extend(bytes);
        image.resize(image.len().next_multiple_of(8), 0);
    };
    table(&3u32.to_le_bytes());
    table(b"\x07T_stext\x02ta\x02tb");
    let tokens: Vec<u8> = (0..=255u8).flat_map(|code| [code.max(1), 0]).collect();
    table(&tokens);
    let index: Vec<u8> = (0..=255u16).flat_map(|code| (code * 2).to_le_bytes()).collect();
    table(&index);
    let offsets: Vec<u8> = [0u32, 0x10, 0x20].iter().flat_map(|at| at.to_le_bytes()).collect();
    table(&offsets);
    table(&BASE.to_le_bytes());
    places.resize(HEADER / 2, 0);
    let mut seed: Vec<u8> = places.iter().flat_map(|at| at.to_le_bytes()).collect();
    seed.extend(&image);
    vec![seed]
}
