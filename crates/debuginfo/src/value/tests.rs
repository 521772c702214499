//! The expected texts are what gdb 13.1 prints (`set print pretty on`, `set width 0`) for the
//! same C objects.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::types::{Compound, CompoundKind, Enum, Member, Type, TypeId, TypeSet, parse_type};

const STRINGS: u64 = 0x2000;

struct Context;

impl ValueContext for Context {
    fn symbolize(&self, address: VirtAddr) -> Option<String> {
        (address.0 == 0x1129).then(|| "fu".to_owned())
    }

    fn string(&self, address: VirtAddr, max: usize) -> Result<PointedString, Unavailable> {
        match address.0 {
            STRINGS => Ok(PointedString { bytes: b"hi\n".to_vec(), terminated: true }),
            0x3000 => Ok(PointedString { bytes: vec![b'a'; max], terminated: false }),
            0x4000 => Err(Unavailable::Excluded),
            _ => Err(Unavailable::Unmapped),
        }
    }
}

fn show_at(types: &TypeSet, ty: TypeId, object: &ObjectBytes, radix: Radix) -> String {
    decode_value(types, ty, object, &Context, &ValueLimits::default())
        .text(&TextOptions { radix, ..TextOptions::default() })
}

fn show(types: &TypeSet, ty: &str, bytes: &[u8]) -> String {
    let object = ObjectBytes::new(VirtAddr(0x4270), bytes.to_vec());
    show_at(types, parse_type(types, ty).unwrap(), &object, Radix::Decimal)
}

fn member(name: &str, ty: TypeId, offset: u64) -> Member {
    let name = (!name.is_empty()).then(|| name.into());
    Member { name, ty, bit_offset: offset * 8, bit_size: None }
}

fn compound(types: &TypeSet, kind: CompoundKind, size: u64, members: Vec<Member>) -> TypeId {
    types.intern(Type::Compound(Compound { kind, name: None, size, members, incomplete: false }))
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn scalars() {
    let types = TypeSet::new();
    assert_eq!(show(&types, "unsigned long", &[255; 8]), "18446744073709551615");
    assert_eq!(show(&types, "short", &[0xfc, 0xff]), "-4");
    assert_eq!(show(&types, "signed char", &[0xfd]), "-3 '\\375'");
    assert_eq!(show(&types, "char", b"x"), "120 'x'");
    assert_eq!(show(&types, "unsigned char", &[0]), "0 '\\000'");
    assert_eq!(show(&types, "char", b"'"), "39 '\\''");
    assert_eq!(show(&types, "_Bool", &[1]), "true");
    assert_eq!(show(&types, "_Bool", &[2]), "2");
    assert_eq!(show(&types, "void *", &[0; 8]), "0x0");
    assert_eq!(show(&types, "int (*)(void)", &0x1129u64.to_le_bytes()), "0x1129 <fu>");
    assert_eq!(show(&types, "int", &[1, 2]), "<truncated>");
}

#[test]
fn strings() {
    let types = TypeSet::new();
    let quoted = |bytes: &[u8]| show(&types, &format!("char [{}]", bytes.len()), bytes);
    assert_eq!(quoted(b"abc\0\0\0\0\0\0\0\0\0\0\0\0\0"), "\"abc\", '\\000' <repeats 12 times>");
    assert_eq!(quoted(b"\x001\t\x1b\"'\\x\x80z\0"), r#""\0001\t\033\"'\\x\200z""#);
    assert_eq!(quoted(b"aaaaaaaaaab\0"), "\"aaaaaaaaaab\"");
    assert_eq!(quoted(b"aaaaaaaaaaab\0"), "'a' <repeats 11 times>, \"b\"");
    assert_eq!(quoted(b"\0"), "\"\"");
    assert_eq!(quoted(&[0; 11]), format!("\"{}\"", "\\000".repeat(10)));
    assert_eq!(quoted(b"abcd"), "\"abcd\"");
    let mut long = [1u8, 2, 3, 4, 5].to_vec();
    long.resize(300, 0);
    assert_eq!(quoted(&long), r#""\001\002\003\004\005", '\000' <repeats 294 times>"#);
    let letters: Vec<u8> = (0..300).map(|index| b'a' + (index % 26) as u8).collect();
    let text = quoted(&letters);
    assert!(text.ends_with("\"...") && text.len() == 200 + 5);
    let to = |address: u64| show(&types, "char *", &address.to_le_bytes());
    assert_eq!(to(STRINGS), "0x2000 \"hi\\n\"");
    assert_eq!(to(0x3000), "0x3000 'a' <repeats 200 times>...");
    assert_eq!(to(0x4000), "0x4000 <excluded>");
    assert_eq!(to(0x5000), "0x5000 <error: Cannot access memory at address 0x5000>");
}

#[test]
fn arrays() {
    let types = TypeSet::new();
    let ints = |values: &[u32]| show(&types, &format!("int [{}]", values.len()), &words(values));
    assert_eq!(ints(&[0; 10]), "{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}");
    assert_eq!(ints(&[0; 11]), "{0 <repeats 11 times>}");
    assert_eq!(ints(&[1, 1, 2]), "{1, 1, 2}");
    assert_eq!(ints(&[0; 300]), "{0 <repeats 300 times>}");
    let counting: Vec<u32> = (0..250).collect();
    assert!(ints(&counting).ends_with(" 198, 199...}"));
    let mut twins: Vec<u32> = (0..199).collect();
    twins.extend([7, 7, 7]);
    assert!(ints(&twins).ends_with(" 198, 7...}"));
    assert_eq!(
        show(&types, "int [3][4]", &words(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])),
        "{{1, 0, 0, 0}, {2, 0, 0, 0}, {0, 0, 0, 0}}"
    );
    assert_eq!(show(&types, "char [2][4]", b"ab\0\0cd\0\0"), "{\"ab\\000\", \"cd\\000\"}");
    assert_eq!(show(&types, "int []", &[]), "0x4270");
    // A length from a damaged type costs no more than the bytes that are there.
    assert_eq!(show(&types, "int [0xffffffff]", &words(&[1, 2])), "{1, 2...}");
}

#[test]
fn structures() {
    let types = TypeSet::new();
    let of = |name| parse_type(&types, name).unwrap();
    let union = compound(
        &types,
        CompoundKind::Union,
        4,
        vec![member("a", of("int"), 0), member("b", of("char"), 0)],
    );
    let inner = compound(
        &types,
        CompoundKind::Struct,
        8,
        vec![member("y", of("int"), 0), member("", union, 4)],
    );
    let empty = compound(&types, CompoundKind::Struct, 0, vec![]);
    let bits = |name: &str, ty, bit_offset, bits| Member {
        bit_offset,
        bit_size: Some(bits),
        ..member(name, of(ty), 0)
    };
    let outer = compound(
        &types,
        CompoundKind::Struct,
        16,
        vec![
            member("x", of("int"), 0),
            member("", inner, 4),
            bits("bf", "int", 96, 3),
            bits("bu", "unsigned int", 99, 5),
            bits("t", "_Bool", 104, 1),
            member("emp", empty, 16),
        ],
    );
    let mut bytes = words(&[1, 2, 3]);
    bytes.extend([0b10001111, 1, 0, 0]);
    let mut object = ObjectBytes::new(VirtAddr(0x1000), bytes);
    assert_eq!(
        show_at(&types, outer, &object, Radix::Decimal),
        "\
{
  x = 1,
  {
    y = 2,
    {
      a = 3,
      b = 3 '\\003'
    }
  },
  bf = -1,
  bu = 17,
  t = true,
  emp = {<No data fields>}
}"
    );
    assert_eq!(
        show_at(&types, outer, &object, Radix::Hexadecimal),
        "\
{
  x = 0x1,
  {
    y = 0x2,
    {
      a = 0x3,
      b = 0x3
    }
  },
  bf = 0xffffffff,
  bu = 0x11,
  t = 0x1,
  emp = {<No data fields>}
}"
    );
    object.add_hole(4..12, Unavailable::Excluded);
    let text = show_at(&types, outer, &object, Radix::Decimal);
    assert!(text.starts_with("{\n  x = 1,\n  <excluded>,\n  bf = -1,\n"), "{text}");
}

#[test]
fn arrays_of_structures() {
    let types = TypeSet::new();
    let int = parse_type(&types, "int").unwrap();
    let pair =
        compound(&types, CompoundKind::Struct, 8, vec![member("a", int, 0), member("b", int, 4)]);
    let of = |count| types.intern(Type::Array { element: pair, count: Some(count) });
    let object = ObjectBytes::new(VirtAddr(0), words(&[1, 2, 3, 4]));
    assert_eq!(
        show_at(&types, of(2), &object, Radix::Decimal),
        "{{\n    a = 1,\n    b = 2\n  }, {\n    a = 3,\n    b = 4\n  }}"
    );
    let object = ObjectBytes::new(VirtAddr(0), words(&[0; 60]));
    assert_eq!(
        show_at(&types, of(30), &object, Radix::Decimal),
        "{{\n    a = 0,\n    b = 0\n  } <repeats 30 times>}"
    );
}

#[test]
fn elements_that_are_alike_have_addresses_of_their_own() {
    let types = TypeSet::new();
    let int = parse_type(&types, "int").unwrap();
    let flexible = parse_type(&types, "int []").unwrap();
    let ends = compound(
        &types,
        CompoundKind::Struct,
        8,
        vec![member("a", int, 0), member("tail", flexible, 8)],
    );
    let two = types.intern(Type::Array { element: ends, count: Some(2) });
    let object = ObjectBytes::new(VirtAddr(0x4680), words(&[0; 4]));
    let text = show_at(&types, two, &object, Radix::Decimal);
    assert!(text.contains("tail = 0x4688") && text.contains("tail = 0x4690"), "{text}");
}

#[test]
fn answers_say_the_type_of_a_pointer() {
    let types = TypeSet::new();
    let answer = |ty: &str| {
        let ty = parse_type(&types, ty).unwrap();
        let object = ObjectBytes::new(VirtAddr(0), vec![0; 8]);
        decode_value(&types, ty, &object, &NoContext, &ValueLimits::default()).answer(
            &types,
            ty,
            &TextOptions::default(),
        )
    };
    assert_eq!(answer("int *"), "(int *) 0x0");
    assert_eq!(answer("void (*)(int)"), "(void (*)(int)) 0x0");
    assert_eq!(answer("const char *"), "0x0");
    assert_eq!(answer("unsigned char *"), "(unsigned char *) 0x0");
    assert_eq!(answer("long"), "0");
}

#[test]
fn enumerations_and_flags() {
    let types = TypeSet::new();
    let show = |variants: &[(&str, i64)], value: u32| {
        let ty = types.intern(Type::Enum(Enum {
            name: None,
            size: 4,
            signed: variants.iter().any(|(_, value)| *value < 0),
            variants: variants.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
            incomplete: false,
        }));
        let object = ObjectBytes::new(VirtAddr(0), words(&[value]));
        show_at(&types, ty, &object, Radix::Decimal)
    };
    let flags = [("A", 1), ("B", 2), ("C", 4)];
    assert_eq!(show(&flags, 2), "B");
    assert_eq!(show(&flags, 3), "(A | B)");
    assert_eq!(show(&flags, 8), "(unknown: 0x8)");
    assert_eq!(show(&flags, 9), "(A | unknown: 0x8)");
    assert_eq!(show(&flags, 0), "0");
    let numbers = [("G0", 0), ("G1", 1), ("GM", 6)];
    assert_eq!(show(&numbers, 6), "GM");
    assert_eq!(show(&numbers, 3), "3");
    assert_eq!(show(&[("N1", -1), ("N2", 2)], u32::MAX), "N1");
    assert_eq!(show(&[("N1", -1), ("N2", 2)], 5), "5");
}

#[test]
fn floats() {
    let types = TypeSet::new();
    let show = |value: f64, size: u64| {
        let ty = types.intern(Type::Float { name: "f".into(), size });
        let bytes = match size {
            4 => (value as f32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        show_at(&types, ty, &ObjectBytes::new(VirtAddr(0), bytes), Radix::Decimal)
    };
    assert_eq!(show(1.5, 8), "1.5");
    assert_eq!(show(0.1, 4), "0.100000001");
    assert_eq!(show(1e100, 8), "1e+100");
    assert_eq!(show(-2.0, 8), "-2");
}

#[test]
fn a_run_that_is_not_folded_is_cut_at_the_limit_of_elements() {
    let options = TextOptions { elements: 3, repeats: u64::MAX, ..TextOptions::default() };
    assert_eq!(Value::Text(b"aaaaa".to_vec()).text(&options), "\"aaa\"...");
    assert_eq!(Value::Text(b"abbbb".to_vec()).text(&options), "\"abb\"...");
}
