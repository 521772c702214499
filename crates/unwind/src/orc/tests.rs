use super::*;
use crate::Register;
use crate::test_memory::TestMemory;
use mortis_memory::{Unavailable, VirtAddr};

const IPS: u64 = 0xffff_ffff_8300_0000;
const ENTRIES: u64 = 0xffff_ffff_8310_0000;
const TEXT: u64 = 0xffff_ffff_8100_0000;

/// `orc_fp_entry` as it stands in the memory of real kernels.
const FP_ENTRY_5_10: [u8; 6] = [0x10, 0x00, 0xf0, 0xff, 0x14, 0x00];
const FP_ENTRY_6_12: [u8; 6] = [0x10, 0x00, 0xf0, 0xff, 0x14, 0x02];
const FP_ENTRY_7_2: [u8; 6] = [0x10, 0x00, 0xf0, 0xff, 0x84, 0x02];

fn entry(sp_offset: i16, registers: u8, flags: u8) -> [u8; 6] {
    let [low, high] = sp_offset.to_le_bytes();
    [low, high, 0, 0, registers, flags]
}

fn memory_with(table: &[(u64, [u8; 6])]) -> TestMemory {
    let (ips, entries) = sections(table);
    TestMemory::default().with(IPS, ips).with(ENTRIES, entries)
}

fn sections(table: &[(u64, [u8; 6])]) -> (Vec<u8>, Vec<u8>) {
    let ips = table
        .iter()
        .zip((IPS..).step_by(4))
        .flat_map(|(&(ip, _), place)| (ip.wrapping_sub(place) as i32).to_le_bytes());
    (ips.collect(), table.iter().flat_map(|&(_, entry)| entry).collect())
}

fn probe(table: &[(u64, [u8; 6])], probe: &OrcProbe) -> Result<OrcFormat, OrcError> {
    let count = table.len() as u64;
    OrcTable::probe(
        &memory_with(table),
        VirtAddr(IPS)..VirtAddr(IPS + count * 4),
        VirtAddr(ENTRIES)..VirtAddr(ENTRIES + count * 6),
        probe,
    )
    .map(|table| table.format())
}

#[test]
fn the_kernels_own_frame_pointer_entry_reads_the_same_in_every_version() {
    for (bytes, format) in [
        (FP_ENTRY_5_10, OrcFormat::Original),
        (FP_ENTRY_5_10, OrcFormat::Signal),
        (FP_ENTRY_6_12, OrcFormat::WideType),
        (FP_ENTRY_7_2, OrcFormat::Reordered),
    ] {
        assert_eq!(OrcEntry::decode(bytes, format), OrcEntry::FRAME_POINTER, "{format:?}");
    }
}

#[test]
fn types_and_flags_mean_what_each_version_says() {
    use OrcFormat::{Original, Reordered, Signal, WideType};
    use OrcKind::{Call, EndOfStack, Regs, RegsPartial, Undefined, Unknown};
    // Format, sp_reg, the last byte: the kind, whether the address found is exact.
    let cases = [
        (Original, 0, 0x0, Undefined, false),
        (Original, 0, 0x4, EndOfStack, false),
        (Original, 5, 0x0, Call, false),
        (Original, 5, 0x1, Regs, true),
        (Original, 5, 0x2, RegsPartial, true),
        (Original, 5, 0x3, Unknown(3), false),
        (Signal, 0, 0x0, Undefined, false),
        (Signal, 0, 0x8, EndOfStack, false),
        (Signal, 5, 0x0, Call, false),
        (Signal, 5, 0x5, Regs, true),
        (Signal, 5, 0x6, RegsPartial, true),
        (Signal, 5, 0x1, Regs, false),
        (WideType, 0, 0x0, Undefined, false),
        (WideType, 0, 0x1, EndOfStack, false),
        (WideType, 5, 0x2, Call, false),
        (WideType, 5, 0xb, Regs, true),
        (WideType, 5, 0xc, RegsPartial, true),
        (WideType, 5, 0x7, Unknown(7), false),
        (Reordered, 3, 0x2, Call, false),
        (Reordered, 3, 0xb, Regs, true),
    ];
    for (format, sp_reg, flags, kind, signal) in cases {
        let decoded = OrcEntry::decode(entry(8, sp_reg, flags), format);
        assert_eq!((decoded.kind, decoded.signal), (kind, signal), "{format:?} {flags:#x}");
    }
}

#[test]
fn registers_are_numbered_anew_since_7_1() {
    let old = |number| OrcFormat::WideType.register(number);
    let new = |number| OrcFormat::Reordered.register(number);
    for (old_number, new_number, register) in [
        (0, 0, OrcRegister::Undefined),
        (1, 8, OrcRegister::PreviousSp),
        (2, 2, OrcRegister::Register(Register::Rdx)),
        (3, 5, OrcRegister::Register(Register::Rdi)),
        (4, 4, OrcRegister::Register(Register::Rbp)),
        (5, 3, OrcRegister::Register(Register::Rsp)),
        (6, 6, OrcRegister::Register(Register::R10)),
        (7, 7, OrcRegister::Register(Register::R13)),
        (8, 10, OrcRegister::BpIndirect),
        (9, 9, OrcRegister::SpIndirect),
        (10, 1, OrcRegister::Register(Register::Rax)),
        (15, 15, OrcRegister::Unknown(15)),
    ] {
        assert_eq!((old(old_number), new(new_number)), (register, register));
    }
}

#[test]
fn the_headers_hash_names_the_version() {
    // `.orc_header` of Debian's 6.12.117 and 7.2.13.
    let wide = [
        0xfe, 0x5d, 0x32, 0xbf, 0x58, 0x1b, 0xd6, 0x3b, 0x2c, 0xa9, 0xa5, 0xc6, 0x5b, 0xa5, 0xa6,
        0x25, 0xea, 0xb3, 0xfe, 0x24,
    ];
    let reordered = [
        0x13, 0x7c, 0x36, 0xad, 0x76, 0x27, 0xc4, 0xdd, 0x55, 0x93, 0x21, 0x76, 0xbb, 0x0e, 0xcd,
        0xbd, 0x50, 0x41, 0xfc, 0x82,
    ];
    let table = [(TEXT, entry(8, 5, 2))];
    for (hash, format) in [(wide, OrcFormat::WideType), (reordered, OrcFormat::Reordered)] {
        let header = OrcProbe { header: Some(hash), ..Default::default() };
        assert_eq!(probe(&table, &header), Ok(format));
    }
    assert_eq!(OrcFormat::from_header(&[0; 20]), None);
}

#[test]
fn without_a_header_the_content_names_the_version() {
    // (sp_reg and type of a call frame counted from SP, last byte of one with saved registers)
    for (sp_reg, call, saved, format) in [
        (5, 0x0, 0x1, OrcFormat::Original),
        (5, 0x0, 0x5, OrcFormat::Signal),
        (5, 0x2, 0xb, OrcFormat::WideType),
        (3, 0x2, 0xb, OrcFormat::Reordered),
    ] {
        let mut table: Vec<_> =
            (0..60).map(|i| (TEXT + 16 * i, entry(8 + 8 * (i % 5) as i16, sp_reg, call))).collect();
        table.extend((60..64).map(|i| (TEXT + 16 * i, entry(0, sp_reg, saved))));
        assert_eq!(probe(&table, &OrcProbe::default()), Ok(format));
        let entry_text = VirtAddr(TEXT + 16 * 60)..VirtAddr(TEXT + 16 * 64);
        let fp_entry = match format {
            OrcFormat::WideType => FP_ENTRY_6_12,
            OrcFormat::Reordered => FP_ENTRY_7_2,
            _ => FP_ENTRY_5_10,
        };
        let told = OrcProbe {
            header: Some([0; 20]),
            fp_entry: Some(fp_entry),
            entry_text: Some(entry_text),
        };
        assert_eq!(probe(&table, &told), Ok(format));
    }
}

#[test]
fn a_table_of_noise_has_no_version() {
    let table: Vec<_> = (0..64).map(|i| (TEXT + 16 * i, entry(-1, 0xff, 0xff))).collect();
    assert_eq!(probe(&table, &OrcProbe::default()), Err(OrcError::Format));
}

#[test]
fn arrays_that_do_not_belong_together_are_refused() {
    let memory = TestMemory::default();
    let sized = |ips: u64, entries: u64| {
        let ips = VirtAddr(IPS)..VirtAddr(IPS.wrapping_add(ips));
        let entries = VirtAddr(ENTRIES)..VirtAddr(ENTRIES.wrapping_add(entries));
        OrcTable::probe(&memory, ips, entries, &OrcProbe::default()).err()
    };
    assert_eq!(sized(0, 0), Some(OrcError::Empty));
    assert_eq!(sized(8, 6), Some(OrcError::Size { ips: 8, entries: 6 }));
    assert_eq!(sized(7, 6), Some(OrcError::Size { ips: 7, entries: 6 }));
    assert!(matches!(sized(u64::MAX - 3, u64::MAX), Some(OrcError::Size { .. })));
    assert!(matches!(sized(4, 6), Some(OrcError::Unreadable(_))));
    let huge = OrcTable::in_memory(VirtAddr(IPS), VirtAddr(ENTRIES), u64::MAX, OrcFormat::WideType);
    assert!(matches!(huge, Err(OrcError::Size { .. })));
}

#[test]
fn an_entry_holds_up_to_the_next_one() {
    let table: Vec<_> = (0..1000).map(|i| (TEXT + 16 * i, entry(i as i16, 5, 2))).collect();
    let memory = memory_with(&table);
    let (ips, entries) = sections(&table);
    let format = OrcFormat::WideType;
    let in_memory = OrcTable::in_memory(VirtAddr(IPS), VirtAddr(ENTRIES), 1000, format);
    let in_bytes = OrcTable::from_sections(&ips, VirtAddr(IPS), &entries, format);
    for table in [in_memory, in_bytes] {
        let table = table.expect("a table");
        let at = |ip| {
            let found = table.find(&memory, VirtAddr(ip)).expect("memory");
            found.map(|entry| entry.sp_offset)
        };
        assert_eq!(at(TEXT - 1), None);
        assert_eq!(at(TEXT), Some(0));
        assert_eq!(at(TEXT + 15), Some(0));
        assert_eq!(at(TEXT + 16), Some(1));
        assert_eq!(at(TEXT + 16 * 517 + 3), Some(517));
        assert_eq!(at(TEXT + 16 * 999), Some(999));
        assert_eq!(at(u64::MAX), Some(999));
    }
}

#[test]
fn a_files_entries_are_sorted_and_section_ends_lose() {
    let format = OrcFormat::WideType;
    let end_of_section = entry(0, 0, 0);
    let table = [(TEXT + 32, entry(3, 5, 2)), (TEXT, entry(1, 5, 2)), (TEXT + 32, end_of_section)];
    let (ips, entries) = sections(&table);
    let table = OrcTable::from_sections(&ips, VirtAddr(IPS), &entries, format).expect("a table");
    let memory = TestMemory::default();
    let kind = |ip| table.find(&memory, VirtAddr(ip)).expect("bytes").map(|entry| entry.kind);
    assert_eq!(kind(TEXT + 32), Some(OrcKind::Call));
    assert_eq!(kind(TEXT + 31), Some(OrcKind::Call));
    assert!(OrcTable::from_sections(&ips[..11], VirtAddr(IPS), &entries, format).is_err());
}

#[test]
fn the_kernels_index_is_used_and_not_believed() {
    const LOOKUP: u64 = 0xffff_ffff_8320_0000;
    let table: Vec<_> = (0..1000).map(|i| (TEXT + 16 * i, entry(i as i16, 5, 2))).collect();
    let index_for = |numbers: Vec<u32>| {
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        let end = LOOKUP + bytes.len() as u64;
        let memory = memory_with(&table).with(LOOKUP, bytes);
        let index = OrcLookup { start: VirtAddr(LOOKUP), end: VirtAddr(end), text: VirtAddr(TEXT) };
        (memory, index)
    };
    let good = (0..=63).map(|block: u32| (block * 16).min(999)).collect();
    for numbers in [good, vec![0; 64], vec![999; 64], vec![u32::MAX; 64], vec![]] {
        let (memory, index) = index_for(numbers);
        let format = OrcFormat::WideType;
        let table = OrcTable::in_memory(VirtAddr(IPS), VirtAddr(ENTRIES), 1000, format)
            .expect("a table")
            .with_lookup(index);
        for i in [0, 1, 15, 16, 17, 500, 998, 999] {
            let found = table.find(&memory, VirtAddr(TEXT + 16 * i + 5)).expect("memory");
            assert_eq!(found.map(|entry| u64::from(entry.sp_offset.unsigned_abs())), Some(i));
        }
    }
}

#[test]
fn a_missing_page_of_the_table_is_an_error_with_its_reason() {
    let table: Vec<_> = (0..1000).map(|i| (TEXT + 16 * i, entry(i as i16, 5, 2))).collect();
    let memory = memory_with(&table).excluding(ENTRIES..ENTRIES + 600);
    let format = OrcFormat::WideType;
    let table =
        OrcTable::in_memory(VirtAddr(IPS), VirtAddr(ENTRIES), 1000, format).expect("a table");
    let error = table.find(&memory, VirtAddr(TEXT)).expect_err("excluded");
    assert_eq!(error.why, Unavailable::Excluded);
    assert!(table.find(&memory, VirtAddr(TEXT + 16 * 200)).is_ok());
}
