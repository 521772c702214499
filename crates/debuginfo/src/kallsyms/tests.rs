//! Tables written here in each form that kernels have used, by the description in
//! scripts/kallsyms.c, and read back.

#![allow(clippy::unwrap_used)]

use super::*;
use mortis_memory::{ReadError, Unavailable};

const BASE: u64 = 0xffff_ffff_8100_0000;

/// Memory at `BASE`, some pages of which are missing.
struct Image {
    bytes: Vec<u8>,
    missing: Vec<u64>,
}

impl VirtualMemory for Image {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let start = address.0.wrapping_sub(BASE) as usize;
        let end = start.saturating_add(buf.len());
        for page in start / 4096..=(end.max(start + 1) - 1) / 4096 {
            if self.missing.contains(&(page as u64)) {
                return Err(ReadError::new(address, Unavailable::Excluded));
            }
        }
        match self.bytes.get(start..end) {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return Err(ReadError::new(address, Unavailable::Unmapped)),
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Absolute,
    Relative,
    AbsolutePercpu,
    PlaceRelative,
}

/// How lengths of names are written, and whether there is one above 127.
#[derive(Clone, Copy, PartialEq)]
enum Lengths {
    Short,
    Uleb,
    Byte,
}

type Written = (Image, KallsymsTables, Vec<(String, u64, char)>);

/// `count` symbols and some special ones. Token 1 is `sym_`, token 2 `ubol`, and letters are
/// themselves.
fn write(form: Form, lengths: Lengths, count: u64) -> Written {
    let mut symbols = Vec::new();
    if form == Form::AbsolutePercpu || form == Form::Absolute {
        symbols.push(("__per_cpu_start".to_owned(), 0, 'A'));
        symbols.push(("current_task".to_owned(), 0x1000, 'A'));
    }
    symbols.push(("_stext".to_owned(), BASE, 'T'));
    symbols.push(("first".to_owned(), BASE, 'T'));
    for index in 1..count {
        symbols.push((format!("sym_{index}"), BASE + index * 0x10, 't'));
    }
    symbols.push(("twin".to_owned(), BASE + count * 0x10, 't'));
    symbols.push(("twin".to_owned(), BASE + count * 0x10 + 8, 't'));
    let longest = match lengths {
        Lengths::Short => 0,
        Lengths::Uleb => 300,
        Lengths::Byte => 200,
    };
    if longest > 0 {
        symbols.push(("x".repeat(longest), BASE + count * 0x10 + 0x10, 'd'));
    }
    symbols.push(("_end".to_owned(), BASE + count * 0x10 + 0x20, 'B'));

    let mut bytes = vec![0; 64];
    let align = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(8), 0);
    let place = |bytes: &Vec<u8>| VirtAddr(BASE + bytes.len() as u64);
    let relative_base = BASE - 0x100;
    let addresses = |bytes: &mut Vec<u8>| {
        let start = place(bytes);
        for (index, (_, address, _)) in symbols.iter().enumerate() {
            let base = relative_base;
            let here = start.0 + index as u64 * 4;
            match form {
                Form::Absolute => bytes.extend(address.to_le_bytes()),
                Form::Relative => bytes.extend(((address - base) as u32).to_le_bytes()),
                Form::AbsolutePercpu if *address < 0x10000 => {
                    bytes.extend((*address as u32).to_le_bytes());
                }
                Form::AbsolutePercpu => {
                    bytes.extend(((base as i64 - *address as i64 - 1) as i32).to_le_bytes());
                }
                Form::PlaceRelative => {
                    bytes.extend(((*address as i64 - here as i64) as i32).to_le_bytes());
                }
            }
        }
        align(bytes);
        start
    };
    let table = addresses(&mut bytes);
    let base_at = place(&bytes);
    if matches!(form, Form::Relative | Form::AbsolutePercpu) {
        bytes.extend(relative_base.to_le_bytes());
    }
    let num_syms = place(&bytes);
    bytes.extend((symbols.len() as u64).to_le_bytes());
    let names = place(&bytes);
    let names_start = bytes.len();
    let mut markers = Vec::new();
    for (index, (name, _, letter)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.push((bytes.len() - names_start) as u32);
        }
        let mut code = vec![*letter as u8];
        match name.strip_prefix("sym_") {
            Some(number) => {
                code.push(1);
                code.extend(number.bytes());
            }
            None => code.extend(name.bytes()),
        }
        if code.len() < 0x80 || lengths == Lengths::Byte {
            bytes.push(code.len() as u8);
        } else {
            bytes.extend([(code.len() & 0x7f) as u8 | 0x80, (code.len() >> 7) as u8]);
        }
        bytes.extend(code);
    }
    align(&mut bytes);
    for marker in &markers {
        bytes.extend(marker.to_le_bytes());
        // 64-bit numbers until 5.1.
        if form == Form::Absolute {
            bytes.extend([0; 4]);
        }
    }
    align(&mut bytes);
    let token_table = place(&bytes);
    let mut starts = Vec::new();
    let tokens_start = bytes.len();
    for code in 0..=255u8 {
        starts.push((bytes.len() - tokens_start) as u16);
        match code {
            1 => bytes.extend(b"sym_"),
            2 => bytes.extend(b"ubol"),
            b'!'..=b'~' => bytes.push(code),
            _ => {}
        }
        bytes.push(0);
    }
    align(&mut bytes);
    let token_index = place(&bytes);
    bytes.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
    let tables = KallsymsTables {
        num_syms,
        names,
        token_table,
        token_index,
        offsets: (form != Form::Absolute).then_some(table),
        relative_base: matches!(form, Form::Relative | Form::AbsolutePercpu).then_some(base_at),
        addresses: (form == Form::Absolute).then_some(table),
    };
    (Image { bytes, missing: Vec::new() }, tables, symbols)
}

const ANCHORS: [(&str, VirtAddr); 2] =
    [("swapper_pg_dir", VirtAddr(BASE + 0x77)), ("_stext", VirtAddr(BASE))];

fn all(kallsyms: &Kallsyms) -> Vec<(String, u64, char)> {
    kallsyms
        .iter()
        .map(|symbol| (symbol.name.to_string(), symbol.address.0, symbol.letter))
        .collect()
}

#[test]
fn every_form_gives_every_symbol() {
    for form in [Form::Absolute, Form::Relative, Form::AbsolutePercpu, Form::PlaceRelative] {
        for lengths in [Lengths::Short, Lengths::Uleb, Lengths::Byte] {
            let (image, tables, symbols) = write(form, lengths, 1000);
            let kallsyms = Kallsyms::read(&image, &tables, &ANCHORS).unwrap();
            assert_eq!(all(&kallsyms), symbols);
            assert_eq!(kallsyms.missing(), 0);
            let (symbol, offset) = kallsyms.lookup_address(VirtAddr(BASE + 0x29)).unwrap();
            assert_eq!((&*symbol.name, offset, symbol.size), ("sym_2", 9, Some(0x10)));
            let (symbol, offset) = kallsyms.lookup_address(VirtAddr(BASE + 1)).unwrap();
            assert_eq!((&*symbol.name, offset, symbol.size), ("first", 1, Some(0x10)));
            assert_eq!(kallsyms.address("sym_999"), Some(VirtAddr(BASE + 999 * 0x10)));
            assert_eq!(kallsyms.address("sym_"), None);
            assert_eq!(kallsyms.lookup_name("twin").count(), 2);
            assert_eq!(kallsyms.lookup_address(VirtAddr(0x1008)), None);
            assert_eq!(kallsyms.lookup_address(VirtAddr(u64::MAX)), None);
            assert_eq!(kallsyms.lookup_address(VirtAddr(BASE - 1)), None);
        }
    }
}

#[test]
fn tables_of_old_kernels_are_found() {
    for form in [Form::Absolute, Form::Relative, Form::AbsolutePercpu] {
        for count in [300, 700, 1000, 50_000] {
            let (mut image, tables, symbols) = write(form, Lengths::Byte, count);
            image.bytes.resize(image.bytes.len().next_multiple_of(4096), 0);
            // Something that looks like the tokens of digits, and is none.
            image.bytes[..20].copy_from_slice(b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0");
            let range = VirtAddr(BASE)..VirtAddr(BASE + (64 << 20));
            let found = KallsymsTables::search(&image, range).unwrap();
            assert_eq!(found, tables);
            assert_eq!(all(&Kallsyms::read(&image, &found, &ANCHORS).unwrap()), symbols);
        }
    }
}

#[test]
fn tables_are_not_found_where_there_are_none() {
    let (mut image, tables, _) = write(Form::AbsolutePercpu, Lengths::Byte, 1000);
    let range = VirtAddr(BASE)..VirtAddr(BASE + (64 << 20));
    image.missing = vec![(tables.token_index.0 - BASE) / 4096];
    assert_eq!(KallsymsTables::search(&image, range.clone()), None);
    image.missing.clear();
    let index = (tables.token_index.0 - BASE) as usize;
    image.bytes[index + 200] ^= 1;
    assert_eq!(KallsymsTables::search(&image, range), None);
}

#[test]
fn no_form_is_taken_that_moves_the_anchors() {
    let (image, tables, _) = write(Form::Relative, Lengths::Short, 100);
    let anchors = [("_stext", VirtAddr(BASE + 0x10))];
    assert_eq!(Kallsyms::read(&image, &tables, &anchors).err(), Some(KallsymsError::Anchors));
}

#[test]
fn a_missing_page_costs_its_own_symbols() {
    let (mut image, tables, symbols) = write(Form::Relative, Lengths::Uleb, 10_000);
    let names = (tables.names.0 - BASE) / 4096;
    image.missing = vec![2, names + 2];
    let kallsyms = Kallsyms::read(&image, &tables, &ANCHORS).unwrap();
    let read = all(&kallsyms);
    assert_eq!(kallsyms.missing() + read.len(), symbols.len());
    // One page of offsets is 1,024 symbols, one of names some 700 and the way to a marker.
    assert!(kallsyms.missing() > 1024 && kallsyms.missing() < 1024 + 1500);
    assert!(read.iter().all(|symbol| symbols.contains(symbol)));
    assert_eq!(read.last(), symbols.last());
    let lost = symbols.iter().find(|symbol| !read.contains(symbol)).unwrap();
    assert_eq!(kallsyms.lookup_address(VirtAddr(lost.1)), None);
    assert_eq!(kallsyms.address(&lost.0), None);
}

#[test]
fn damage_is_an_error_or_fewer_symbols() {
    let (image, tables, _) = write(Form::AbsolutePercpu, Lengths::Uleb, 300);
    for at in 0..image.bytes.len() {
        let mut bytes = image.bytes.clone();
        bytes[at] ^= 0x81;
        let damaged = Image { bytes, missing: Vec::new() };
        if let Ok(kallsyms) = Kallsyms::read(&damaged, &tables, &ANCHORS) {
            assert_eq!(kallsyms.iter().count(), kallsyms.len());
            let _ = kallsyms.address("twin");
        }
    }
}
