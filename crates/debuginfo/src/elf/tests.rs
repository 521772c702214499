use std::io::Write;
use std::sync::Arc;

use mortis_memory::{LinkAddr, VirtAddr};

use super::{BuildId, ElfError, ElfFile, ElfKind, ElfSymbolKind, ModuleLayout};
use crate::elf::test_writer::{self as writer, TestSection};

fn open(file_type: u16, sections: &[TestSection]) -> ElfFile {
    ElfFile::open(Arc::new(writer::write(file_type, sections))).expect("a sound file")
}

fn note(name: &[u8], note_type: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = (name.len() as u32).to_le_bytes().to_vec();
    bytes.extend((desc.len() as u32).to_le_bytes());
    bytes.extend(note_type.to_le_bytes());
    for part in [name, desc] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("writes to memory");
    encoder.finish().expect("writes to memory")
}

#[test]
fn build_id_behind_other_notes() {
    let mut notes = note(b"Linux\0", 0x101, b"odd");
    notes.extend(note(b"GNU\0", 3, &[0xab; 20]));
    let file = open(
        writer::ET_EXEC,
        &[TestSection::new(".notes", writer::NOTE, notes.clone()).at(0x1000, writer::ALLOC)],
    );
    assert_eq!(file.build_id(), Ok(Some(BuildId(vec![0xab; 20]))));
    assert_eq!(BuildId(vec![0xab, 0x01]).to_string(), "ab01");
    assert_eq!(BuildId::find_in_notes(&notes[..notes.len() - 1]), None);
    assert_eq!(BuildId::find_in_notes(&[0xff; 12]), None);
}

#[test]
fn compressed_sections_are_decompressed() {
    let content = b"the same again and again, ".repeat(100);
    let zstd = zstd::encode_all(content.as_slice(), 1).expect("writes to memory");
    let size = content.len() as u64;
    let mut old = b"ZLIB".to_vec();
    old.extend(size.to_be_bytes());
    old.extend(zlib(&content));
    let section = |name, bytes| TestSection::new(name, writer::PROGBITS, bytes);
    let file = open(
        writer::ET_EXEC,
        &[
            section(".debug_a", content.clone()),
            section(".debug_b", writer::compressed(1, size, &zlib(&content)))
                .at(0, writer::COMPRESSED),
            section(".debug_c", writer::compressed(2, size, &zstd)).at(0, writer::COMPRESSED),
            section(".zdebug_d", old),
        ],
    );
    for name in [".debug_a", ".debug_b", ".debug_c", ".debug_d"] {
        assert_eq!(file.section_data(name), Ok(Some(content.as_slice())), "{name}");
    }
    assert_eq!(file.section_data(".debug_e"), Ok(None));
}

#[test]
fn decompression_has_bounds() {
    let content = [7; 1000];
    let bad = [
        writer::compressed(1, u64::MAX, &zlib(&content)),
        writer::compressed(1, 1001, &zlib(&content)),
        writer::compressed(2, 1000, &zlib(&content)),
        writer::compressed(9, 1000, &zlib(&content)),
        writer::compressed(1, 1000, &[]),
        vec![1],
    ];
    for bytes in bad {
        let section = TestSection::new(".debug_x", writer::PROGBITS, bytes);
        let file = open(writer::ET_EXEC, &[section.at(0, writer::COMPRESSED)]);
        assert!(matches!(file.section_data(".debug_x"), Err(ElfError::Section { .. })));
    }
}

/// `.text`, a symbol table with its names, and a debug section with relocations.
fn module() -> Vec<TestSection> {
    let mut symbols = writer::symbol(0, 0, 0, 0, 0);
    symbols.extend(writer::symbol(0, 3, 1, 0, 0));
    symbols.extend(writer::symbol(1, 0x12, 1, 8, 4));
    let mut relocations = Vec::new();
    for (offset, kind, symbol, addend) in
        [(0u64, 1u64, 1u64, 0x10u64), (8, 10, 2, 1), (12, 2, 1, 0), (1 << 40, 1, 1, 0)]
    {
        relocations.extend(offset.to_le_bytes());
        relocations.extend((symbol << 32 | kind).to_le_bytes());
        relocations.extend(addend.to_le_bytes());
    }
    let mut rela = TestSection::new(".rela.debug_x", writer::RELA, relocations);
    (rela.link, rela.info) = (3, 4);
    let mut symtab = TestSection::new(".symtab", writer::SYMTAB, symbols);
    symtab.link = 2;
    vec![
        TestSection::new(".text", writer::PROGBITS, [0x90; 64]).at(0, writer::ALLOC | writer::EXEC),
        TestSection::new(".strtab", writer::STRTAB, *b"\0crash_here\0"),
        symtab,
        TestSection::new(".debug_x", writer::PROGBITS, [0; 16]),
        rela,
    ]
}

#[test]
fn a_module_is_placed_and_relocated() {
    let file = open(writer::ET_REL, &module());
    assert_eq!(file.kind(), ElfKind::Relocatable);
    let text = file.section(".text").expect(".text").address;
    assert_ne!(text, LinkAddr(0));

    let symbols: Vec<_> = file.symbols().expect("a symbol table").collect();
    assert_eq!(symbols.len(), 1);
    assert_eq!(symbols[0].name, b"crash_here");
    assert_eq!((symbols[0].address, symbols[0].size), (text.offset(8), 4));
    assert_eq!(symbols[0].kind, ElfSymbolKind::Function);
    assert!(symbols[0].global);

    let relocated = file.section_data(".debug_x").expect("relocates").expect("has bytes");
    assert_eq!(relocated[..8], (text.0 + 0x10).to_le_bytes());
    assert_eq!(relocated[8..12], (text.0 as u32 + 9).to_le_bytes());
    assert_eq!(relocated[12..16], (text.0 as u32 - 12).to_le_bytes());
}

#[test]
fn a_linked_file_is_not_relocated_again() {
    let file = open(writer::ET_EXEC, &module());
    assert_eq!(file.section_data(".debug_x"), Ok(Some([0; 16].as_slice())));
}

#[test]
fn a_layout_maps_both_ways() {
    let mut sections = module();
    sections.push(
        TestSection::new(".init.text", writer::PROGBITS, [0xcc; 32])
            .at(0, writer::ALLOC | writer::EXEC),
    );
    let file = open(writer::ET_REL, &sections);
    let (text, init) = (VirtAddr(0xffff_ffff_c000_0000), VirtAddr(0xffff_ffff_c000_4000));
    let layout =
        ModuleLayout::new(&file, [(".init.text", init), (".text", text), (".gone", VirtAddr(1))]);
    let link = file.section(".text").expect(".text").address;
    assert_eq!(layout.to_link(text.offset(63)), Some(link.offset(63)));
    assert_eq!(layout.to_link(text.offset(64)), None);
    assert_eq!(layout.to_loaded(link.offset(5)), Some(text.offset(5)));
    let init_link = file.section(".init.text").expect(".init.text").address;
    assert_eq!(layout.to_link(init), Some(init_link));
    assert_eq!(layout.to_link(VirtAddr(1)), None);
}

#[test]
fn the_banner_is_not_the_format_beside_it() {
    let rodata =
        b"%s version %s\0Linux version %s (x)\0Linux version 6.12.1 (gcc)\n\0more".to_vec();
    let file = open(
        writer::ET_EXEC,
        &[TestSection::new(".rodata", writer::PROGBITS, rodata).at(0x1000, writer::ALLOC)],
    );
    assert_eq!(file.linux_banner(), Some(b"Linux version 6.12.1 (gcc)".as_slice()));
    assert_eq!(file.read(LinkAddr(0x1000), 2), Some(b"%s".as_slice()));
    assert_eq!(file.read(LinkAddr(0x1000), 1 << 40), None);
}

#[test]
fn what_is_no_elf_file_says_so() {
    let open = |bytes: &[u8]| ElfFile::open(Arc::new(bytes.to_vec())).err();
    assert_eq!(open(b""), Some(ElfError::NotElf));
    assert_eq!(open(&[0; 64]), Some(ElfError::NotElf));
    let sound = writer::write(writer::ET_EXEC, &module());
    let mut big_endian = sound.clone();
    big_endian[5] = 2;
    assert_eq!(open(&big_endian), Some(ElfError::Unsupported("not little endian")));
    let cut = &sound[..sound.len() - 1];
    assert!(matches!(open(cut), Some(ElfError::OutOfFile { what: "section headers", .. })));
}

/// Touches everything a file offers; only panics and hangs matter.
fn exercise(bytes: Vec<u8>) {
    let Ok(file) = ElfFile::open(Arc::new(bytes)) else { return };
    let _ = file.build_id();
    let _ = file.linux_banner();
    for section in file.sections() {
        let _ = file.section_data(&section.name);
        let _ = file.read(section.address, section.size);
    }
    if let Ok(symbols) = file.symbols() {
        assert!(symbols.count() < 1 << 16);
    }
    let _ = ModuleLayout::new(&file, [(".text", VirtAddr(u64::MAX - 3))]).to_link(VirtAddr(2));
}

#[test]
fn damage_does_no_harm() {
    for file_type in [writer::ET_REL, writer::ET_EXEC] {
        let sound = writer::write(file_type, &module());
        for len in 0..sound.len() {
            exercise(sound[..len].to_vec());
        }
        for at in 0..sound.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] ^= bits;
                exercise(damaged);
            }
        }
    }
}
