use std::sync::Arc;

use gimli::write::{
    Address, AttributeValue as Value, Expression, FileId, LineProgram, LineString, Range,
    RangeList, Sections, Unit, UnitEntryId,
};
use gimli::{DwAt, DwTag, Encoding, Format, LineEncoding, LittleEndian, constants as dw};
use mortis_memory::LinkAddr;

use super::{Dwarf, DwarfError, DwarfTypes};
use crate::elf::ElfFile;
use crate::elf::test_writer::{self as writer, TestSection};
use crate::types::{Namespace, Type, TypeId, TypeSource, find_member, size_of, type_name};

const TEXT: u64 = 0xffff_ffff_8100_0000;

/// Puts a unit together, one entry after the other.
struct Builder {
    dwarf: gimli::write::Dwarf,
    unit: gimli::write::UnitId,
    /// kernel/panic.c and include/linux/list.h.
    source: FileId,
    header: FileId,
}

impl Builder {
    fn new(version: u16) -> Self {
        let encoding = Encoding { format: Format::Dwarf32, version, address_size: 8 };
        let text = |text: &str| LineString::String(text.into());
        let mut lines = LineProgram::new(
            encoding,
            LineEncoding::default(),
            text("/build/linux"),
            None,
            text("kernel/panic.c"),
            None,
        );
        let root = lines.default_directory();
        let include = lines.add_directory(text("include/linux"));
        let source = lines.add_file(text("kernel/panic.c"), root, None);
        let header = lines.add_file(text("list.h"), include, None);
        lines.begin_sequence(Some(Address::Constant(TEXT)));
        for (offset, file, line) in [
            (0x00, source, 10),
            (0x10, source, 11),
            // No instruction lies between these two.
            (0x20, source, 12),
            (0x20, header, 99),
            (0x28, header, 100),
            (0x30, source, 13),
            (0x38, source, 0),
        ] {
            let row = lines.row();
            (row.address_offset, row.file, row.line) = (offset, file, line);
            lines.generate_row();
        }
        lines.end_sequence(0x40);

        let mut dwarf = gimli::write::Dwarf::new();
        let unit = dwarf.units.add(Unit::new(encoding, lines));
        let mut builder = Self { dwarf, unit, source, header };
        let root = builder.root();
        builder.set(root, dw::DW_AT_name, Value::String(b"kernel/panic.c".to_vec()));
        builder.set(root, dw::DW_AT_comp_dir, Value::String(b"/build/linux".to_vec()));
        builder.set(root, dw::DW_AT_stmt_list, Value::LineProgramRef);
        builder.set(root, dw::DW_AT_low_pc, Value::Address(Address::Constant(TEXT)));
        builder.set(root, dw::DW_AT_high_pc, Value::Udata(0x40));
        builder
    }

    fn unit(&mut self) -> &mut Unit {
        self.dwarf.units.get_mut(self.unit)
    }

    fn root(&mut self) -> UnitEntryId {
        self.unit().root()
    }

    fn set(&mut self, entry: UnitEntryId, name: DwAt, value: Value) {
        self.unit().get_mut(entry).set(name, value);
    }

    fn add(
        &mut self,
        parent: UnitEntryId,
        tag: DwTag,
        name: &str,
        attributes: impl IntoIterator<Item = (DwAt, Value)>,
    ) -> UnitEntryId {
        let entry = self.unit().add(parent, tag);
        self.unit().get_mut(entry).set_sibling(true);
        if !name.is_empty() {
            // As gcc does: short names stand in the entry.
            let value = match name.len() {
                0..4 => Value::String(name.into()),
                _ => Value::StringRef(self.dwarf.strings.add(name)),
            };
            self.set(entry, dw::DW_AT_name, value);
        }
        for (name, value) in attributes {
            self.set(entry, name, value);
        }
        entry
    }

    fn base(&mut self, name: &str, size: u64, encoding: gimli::DwAte) -> UnitEntryId {
        let root = self.root();
        let attributes = [
            (dw::DW_AT_byte_size, Value::Udata(size)),
            (dw::DW_AT_encoding, Value::Encoding(encoding)),
        ];
        self.add(root, dw::DW_TAG_base_type, name, attributes)
    }

    fn array(&mut self, element: UnitEntryId, bounds: &[Option<u64>]) -> UnitEntryId {
        let root = self.root();
        let array = self.add(root, dw::DW_TAG_array_type, "", [of(element)]);
        for bound in bounds {
            let bound = bound.map(|bound| (dw::DW_AT_upper_bound, Value::Udata(bound)));
            self.add(array, dw::DW_TAG_subrange_type, "", bound);
        }
        array
    }

    /// The whole as sections.
    fn sections(mut self, aranges: bool) -> Vec<TestSection> {
        let mut sections = Sections::new(gimli::write::EndianVec::new(LittleEndian));
        self.dwarf.write(&mut sections).expect("sound DWARF");
        let mut written = vec![
            TestSection::new(".text", writer::PROGBITS, [0x90; 0x80])
                .at(TEXT, writer::ALLOC | writer::EXEC),
        ];
        sections
            .for_each(|id, bytes| {
                written.push(TestSection::new(id.name(), writer::PROGBITS, bytes.slice()));
                Ok::<_, ()>(())
            })
            .expect("visits memory");
        if aranges {
            let mut bytes = 44u32.to_le_bytes().to_vec();
            bytes.extend([2, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0]);
            for word in [TEXT, 0x40, 0, 0] {
                bytes.extend(word.to_le_bytes());
            }
            written.push(TestSection::new(".debug_aranges", writer::PROGBITS, bytes));
        }
        written
    }

    fn open(self) -> Arc<Dwarf> {
        open(&self.sections(true))
    }
}

fn open(sections: &[TestSection]) -> Arc<Dwarf> {
    let image = Arc::new(writer::write(writer::ET_EXEC, sections));
    let elf = ElfFile::open(image).expect("a sound file");
    Arc::new(Dwarf::new(Arc::new(elf)).expect("has DWARF"))
}

fn of(ty: UnitEntryId) -> (DwAt, Value) {
    (dw::DW_AT_type, Value::UnitRef(ty))
}

fn code(offset: u64, len: u64) -> [(DwAt, Value); 2] {
    [
        (dw::DW_AT_low_pc, Value::Address(Address::Constant(TEXT + offset))),
        (dw::DW_AT_high_pc, Value::Udata(len)),
    ]
}

/// `outer` at 0x00..0x38, which inlines `list_add` at 0x20..0x30, and that `__list_add` at
/// 0x28..0x30.
fn with_functions(version: u16) -> Builder {
    let mut b = Builder::new(version);
    let root = b.root();
    let inlined = |b: &mut Builder, name| {
        let inline = (dw::DW_AT_inline, Value::Inline(dw::DW_INL_inlined));
        b.add(root, dw::DW_TAG_subprogram, name, [inline])
    };
    let list_add = inlined(&mut b, "list_add");
    let inner_add = inlined(&mut b, "__list_add");
    let outer = b.add(root, dw::DW_TAG_subprogram, "outer", code(0, 0x38));
    let block = b.add(outer, dw::DW_TAG_lexical_block, "", []);
    let ranges = RangeList(vec![Range::OffsetPair { begin: 0x20, end: 0x30 }]);
    let ranges = b.unit().ranges.add(ranges);
    let call_file = (dw::DW_AT_call_file, Value::FileIndex(Some(b.source)));
    let call = b.add(
        block,
        dw::DW_TAG_inlined_subroutine,
        "",
        [
            (dw::DW_AT_abstract_origin, Value::UnitRef(list_add)),
            (dw::DW_AT_ranges, Value::RangeListRef(ranges)),
            call_file,
            (dw::DW_AT_call_line, Value::Udata(12)),
        ],
    );
    let mut attributes = vec![
        (dw::DW_AT_abstract_origin, Value::UnitRef(inner_add)),
        (dw::DW_AT_call_file, Value::FileIndex(Some(b.header))),
        (dw::DW_AT_call_line, Value::Udata(98)),
    ];
    attributes.extend(code(0x28, 8));
    b.add(call, dw::DW_TAG_inlined_subroutine, "", attributes);
    b
}

fn frames(dwarf: &Dwarf, offset: u64) -> Vec<String> {
    let frames = dwarf.frames_at(LinkAddr(TEXT + offset)).expect("sound DWARF");
    frames
        .iter()
        .map(|frame| {
            let line = frame.line.as_ref().expect("a line");
            let inlined = if frame.inlined { "inlined " } else { "" };
            format!("{inlined}{} {}:{}", frame.function, line.file.full_path(), line.line)
        })
        .collect()
}

#[test]
fn lines_and_inlined_calls() {
    for version in [4, 5] {
        let dwarf = with_functions(version).open();
        let panic_c = "/build/linux/kernel/panic.c";
        let list_h = "/build/linux/include/linux/list.h";
        assert_eq!(frames(&dwarf, 0x0f), [format!("outer {panic_c}:10")]);
        assert_eq!(
            frames(&dwarf, 0x20),
            [format!("inlined list_add {list_h}:99"), format!("outer {panic_c}:12")]
        );
        assert_eq!(
            frames(&dwarf, 0x2f),
            [
                format!("inlined __list_add {list_h}:100"),
                format!("inlined list_add {list_h}:98"),
                format!("outer {panic_c}:12")
            ]
        );
        let line = |offset| dwarf.line_at(LinkAddr(TEXT + offset)).expect("sound DWARF");
        assert_eq!(line(0x38).expect("a row").line, 0);
        assert_eq!(line(0x40), None);
        let function = dwarf.function_at(LinkAddr(TEXT + 0x2f)).expect("sound").expect("outer");
        assert_eq!(
            (&*function.name, function.start, function.end),
            ("outer", LinkAddr(TEXT), LinkAddr(TEXT + 0x38))
        );
        assert_eq!(frames(&dwarf, 0x3c), Vec::<String>::new());
    }
}

#[test]
fn rows_and_lines_to_addresses() {
    let dwarf = with_functions(5).open();
    let rows = dwarf.lines_in(LinkAddr(TEXT + 0x18), LinkAddr(TEXT + 0x30)).expect("sound DWARF");
    let rows: Vec<_> = rows.iter().map(|row| (row.address.0 - TEXT, row.line.line)).collect();
    assert_eq!(rows, [(0x18, 11), (0x20, 99), (0x28, 100)]);

    let starts = |file: &str, line| -> Vec<(u64, u32)> {
        let rows = dwarf.addresses_of_line(file, line).expect("sound DWARF");
        rows.iter().map(|row| (row.address.0 - TEXT, row.line.line)).collect()
    };
    assert_eq!(starts("kernel/panic.c", 11), [(0x10, 11)]);
    assert_eq!(starts("panic.c", 12), [(0x30, 13)]);
    assert_eq!(starts("linux/list.h", 99), [(0x20, 99)]);
    assert_eq!(starts("anic.c", 11), []);
    assert_eq!(starts("panic.c", 14), []);
}

#[test]
fn units_without_aranges_are_found() {
    let with = with_functions(5).open();
    let without = open(&with_functions(5).sections(false));
    for offset in 0..0x40 {
        assert_eq!(frames_or_none(&with, offset), frames_or_none(&without, offset));
    }
}

fn frames_or_none(dwarf: &Dwarf, offset: u64) -> Vec<super::SourceFrame> {
    dwarf.frames_at(LinkAddr(TEXT + offset)).expect("sound DWARF")
}

/// The types of a kernel in small.
fn with_types(version: u16) -> Builder {
    let mut b = Builder::new(version);
    let root = b.root();
    let int = b.base("int", 4, dw::DW_ATE_signed);
    let char = b.base("char", 1, dw::DW_ATE_unsigned_char);
    let u32_base = b.base("unsigned int", 4, dw::DW_ATE_unsigned);
    let bool_base = b.base("_Bool", 1, dw::DW_ATE_boolean);
    let u32 = b.add(root, dw::DW_TAG_typedef, "u32", [of(u32_base)]);
    let constant = b.add(root, dw::DW_TAG_const_type, "", [of(char)]);
    let size = |size| (dw::DW_AT_byte_size, Value::Udata(size));
    let pointer = b.add(root, dw::DW_TAG_pointer_type, "", [size(8), of(constant)]);
    let matrix = b.array(int, &[Some(1), Some(2)]);
    let flexible = b.array(pointer, &[None]);

    // Another unit's `struct thing;` comes first.
    let declaration = [(dw::DW_AT_declaration, Value::FlagPresent)];
    let declared = b.add(root, dw::DW_TAG_structure_type, "thing", declaration);
    let to_declared = b.add(root, dw::DW_TAG_pointer_type, "", [size(8), of(declared)]);
    let thing = b.add(root, dw::DW_TAG_structure_type, "thing", [size(64)]);
    let at = |offset| (dw::DW_AT_data_member_location, Value::Udata(offset));
    let bits = |bits| (dw::DW_AT_bit_size, Value::Udata(bits));
    b.add(thing, dw::DW_TAG_member, "name", [of(pointer), at(0)]);
    b.add(thing, dw::DW_TAG_member, "m", [of(matrix), at(8)]);
    // DWARF 4 counts bits from the start; DWARF 2 from the top of a storage unit.
    let new_form = (dw::DW_AT_data_bit_offset, Value::Udata(32 * 8 + 3));
    b.add(thing, dw::DW_TAG_member, "new_bits", [of(u32), new_form, bits(5)]);
    let from_top = (dw::DW_AT_bit_offset, Value::Udata(32 - 3 - 5));
    b.add(thing, dw::DW_TAG_member, "old_bits", [of(u32), at(36), size(4), from_top, bits(5)]);
    let from_top = (dw::DW_AT_bit_offset, Value::Udata(31));
    b.add(thing, dw::DW_TAG_member, "sizeless", [of(u32), at(40), from_top, bits(1)]);
    let inner = b.add(thing, dw::DW_TAG_union_type, "", [size(8)]);
    b.add(inner, dw::DW_TAG_member, "self", [of(to_declared)]);
    b.add(inner, dw::DW_TAG_member, "flag", [of(bool_base)]);
    b.add(thing, dw::DW_TAG_member, "", [of(inner), at(48)]);
    b.add(thing, dw::DW_TAG_member, "tail", [of(flexible), at(64)]);

    let state = b.add(root, dw::DW_TAG_enumeration_type, "state", [size(4), of(u32_base)]);
    let value = |value| (dw::DW_AT_const_value, value);
    b.add(state, dw::DW_TAG_enumerator, "RUNNING", [value(Value::Data1(0))]);
    b.add(state, dw::DW_TAG_enumerator, "LARGE_VALUE", [value(Value::Data1(0xff))]);
    let signed = b.add(root, dw::DW_TAG_enumeration_type, "", [size(4), of(int)]);
    b.add(signed, dw::DW_TAG_enumerator, "BELOW_ZERO", [value(Value::Sdata(-2))]);

    // extern struct thing the_thing; struct thing the_thing;
    let external = [
        of(thing),
        (dw::DW_AT_external, Value::FlagPresent),
        (dw::DW_AT_declaration, Value::FlagPresent),
    ];
    let external = b.add(root, dw::DW_TAG_variable, "the_thing", external);
    let mut location = Expression::new();
    location.op_addr(Address::Constant(TEXT + 0x1000));
    b.add(
        root,
        dw::DW_TAG_variable,
        "",
        [
            (dw::DW_AT_specification, Value::UnitRef(external)),
            (dw::DW_AT_location, Value::Exprloc(location)),
        ],
    );

    let function = b.add(root, dw::DW_TAG_subprogram, "printk_like", [of(int)]);
    b.add(function, dw::DW_TAG_formal_parameter, "fmt", [of(pointer)]);
    b.add(function, dw::DW_TAG_unspecified_parameters, "", []);
    // What is declared in a function is not seen from outside.
    b.add(function, dw::DW_TAG_structure_type, "hidden_in_function", [size(1)]);
    b
}

fn types(version: u16) -> DwarfTypes {
    DwarfTypes::new(with_types(version).open(), "DWARF in a test")
}

#[test]
fn members_and_bit_fields() {
    for version in [2, 3, 4, 5] {
        let types = types(version);
        let thing = types.lookup(Namespace::Struct, "thing").expect("struct thing");
        assert_eq!(size_of(&types, thing), Ok(64), "the definition, not the declaration");
        let member = |path| {
            let found = find_member(&types, thing, path).expect(path);
            (type_name(&types, found.ty), found.bit_offset, found.bit_size)
        };
        assert_eq!(member("name"), ("const char *".into(), 0, None));
        assert_eq!(member("m[1][2]"), ("int".into(), (8 + 5 * 4) * 8, None));
        assert_eq!(member("new_bits"), ("u32".into(), 32 * 8 + 3, Some(5)));
        assert_eq!(member("old_bits"), ("u32".into(), 36 * 8 + 3, Some(5)));
        assert_eq!(member("sizeless"), ("u32".into(), 40 * 8, Some(1)));
        assert_eq!(member("self"), ("struct thing *".into(), 48 * 8, None));
        assert_eq!(member("flag"), ("_Bool".into(), 48 * 8, None));
        let tail = find_member(&types, thing, "tail").expect("tail").ty;
        assert!(matches!(*types.get(tail).expect("decodes"), Type::Array { count: None, .. }));
    }
}

#[test]
fn names_of_every_kind() {
    let types = types(5);
    let name = |id: Option<TypeId>| id.map(|id| type_name(&types, id));
    assert_eq!(name(types.lookup(Namespace::Typedef, "u32")), Some("u32".into()));
    assert_eq!(name(types.lookup(Namespace::Base, "int")), Some("int".into()));
    assert_eq!(types.lookup(Namespace::Struct, "u32"), None);
    assert_eq!(types.lookup(Namespace::Struct, "hidden_in_function"), None);
    assert_eq!(name(types.function("printk_like")), Some("int (const char *, ...)".into()));

    let (state, value) = types.enumerator("LARGE_VALUE").expect("an enumerator");
    assert_eq!((name(Some(state)), value), (Some("enum state".into()), 0xff));
    let (signed, value) = types.enumerator("BELOW_ZERO").expect("an enumerator");
    assert_eq!(value, -2);
    assert!(matches!(&*types.get(signed).expect("decodes"), Type::Enum(of) if of.signed));

    let (ty, address) = types.variable_at("the_thing").expect("sound").expect("a variable");
    assert_eq!(name(Some(ty)), Some("struct thing".into()));
    assert_eq!(address, Some(LinkAddr(TEXT + 0x1000)));
    assert_eq!(types.variable("the_thing"), Some(ty));
    assert_eq!(types.variable("nothing"), None);

    let mut seen = Vec::new();
    types.for_each_name(&mut |namespace, name, _| seen.push((namespace, name.to_owned())));
    seen.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        seen,
        [
            (Namespace::Enum, "state".into()),
            (Namespace::Struct, "thing".into()),
            (Namespace::Typedef, "u32".into())
        ]
    );
}

#[test]
fn ids_of_no_type() {
    let types = types(5);
    assert_eq!(*types.get(TypeId::VOID).expect("void"), Type::Void);
    for id in [1, 5, 1 << 39, 1 << 40, u64::MAX, 3 << 40 | 12] {
        assert!(types.get(TypeId(id)).is_err(), "{id:#x}");
    }
}

#[test]
fn a_file_without_dwarf() {
    let image = Arc::new(writer::write(writer::ET_EXEC, &[]));
    let elf = Arc::new(ElfFile::open(image).expect("a sound file"));
    assert_eq!(Dwarf::new(elf).err(), Some(DwarfError::Missing));
}

/// Asks for everything; only panics and hangs matter.
fn exercise(bytes: Vec<u8>) {
    let Ok(elf) = ElfFile::open(Arc::new(bytes)) else { return };
    let Ok(dwarf) = Dwarf::new(Arc::new(elf)) else { return };
    let dwarf = Arc::new(dwarf);
    for offset in (0..0x48).step_by(8) {
        let _ = dwarf.frames_at(LinkAddr(TEXT + offset));
        let _ = dwarf.function_at(LinkAddr(TEXT + offset));
        let _ = dwarf.line_at(LinkAddr(TEXT + offset));
    }
    let _ = dwarf.lines_in(LinkAddr(0), LinkAddr(u64::MAX));
    let _ = dwarf.addresses_of_line("panic.c", 11);
    let types = DwarfTypes::new(dwarf, "");
    let mut ids = Vec::new();
    types.for_each_name(&mut |_, _, id| ids.push(id));
    for id in ids {
        let _ = size_of(&types, id);
        let _ = type_name(&types, id);
        let _ = find_member(&types, id, "m[1][2]");
    }
    let _ = types.variable_at("the_thing");
    let _ = types.enumerator("LARGE_VALUE");
    let _ = types.function("printk_like").map(|id| types.get(id));
}

#[test]
fn damage_does_no_harm() {
    for builder in [with_functions(4), with_functions(5), with_types(2), with_types(5)] {
        let sound = writer::write(writer::ET_EXEC, &builder.sections(true));
        for len in (0..sound.len()).step_by(7) {
            exercise(sound[..len].to_vec());
        }
        for at in 64..sound.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] ^= bits;
                exercise(damaged);
            }
        }
    }
}
