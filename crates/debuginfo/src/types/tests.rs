#![allow(clippy::unwrap_used)]

use super::*;
use crate::btf::Btf;
use crate::btf::written::{Section, kernel};

fn set(section: &Section) -> TypeSet {
    TypeSet::with(Arc::new(Btf::new("BTF", Arc::new(section.bytes())).unwrap()))
}

fn named(set: &TypeSet, name: &str) -> TypeId {
    parse_type(set, name).unwrap()
}

#[test]
fn members_are_found_by_their_path() {
    let set = set(&kernel());
    let page = named(&set, "struct page");
    let at =
        |path: &str| find_member(&set, page, path).map(|found| (found.bit_offset, found.bit_size));
    assert_eq!(at("flags"), Ok((0, None)));
    assert_eq!(at("_refcount.counter"), Ok((192, None)));
    assert_eq!(at("lru.prev"), Ok((128, None)));
    assert_eq!(at("rest"), Ok((67, Some(29))));
    assert_eq!(at("comm[3]"), Ok((248, None)));
    assert_eq!(at(" comm [0x3] "), Ok((248, None)));
    assert!(matches!(at("nothing"), Err(MemberError::NoMember { .. })));
    assert!(matches!(at("flags.x"), Err(MemberError::WrongKind { .. })));
    assert!(matches!(at("flags[0]"), Err(MemberError::WrongKind { .. })));
    for path in ["", ".", "lru.", "comm[", "comm[x]", "comm]0[", "a-b"] {
        assert!(matches!(at(path), Err(MemberError::Path(_))), "{path:?}");
    }
}

#[test]
fn names_are_parsed_and_spelled_as_c_does() {
    let set = set(&kernel());
    let round = |text: &str| parse_type(&set, text).map(|id| type_name(&set, id));
    for text in [
        "struct list_head *",
        "unsigned long",
        "char [16]",
        "int (*)(void)",
        "int (*)(struct page *, unsigned long, ...)",
        "int (*(*)(int))(char)",
        "int (*[2])(void)",
        "int [3][4]",
        "int (*)[4]",
        "const char * const [2]",
        "const volatile int * const volatile",
        "void *",
        "void",
        "atomic_t **",
        "enum zone_type",
        "unsigned __int128",
    ] {
        // gdb leaves the space out between a qualified pointer and brackets.
        assert_eq!(round(text), Ok(text.replace("const [", "const[")));
    }
    assert_eq!(round("long unsigned int*"), Ok("unsigned long *".into()));
    assert_eq!(round("unsigned"), Ok("unsigned int".into()));
    assert_eq!(round("char const *argv[]"), Ok("const char *[]".into()));
    assert_eq!(round("struct nothing"), Err(ParseTypeError::Unknown("struct nothing".into())));
    assert_eq!(round("pid_t"), Err(ParseTypeError::Unknown("pid_t".into())));
    for text in ["", "*", "struct", "int (", "int [4", "int )", "int; x", "long char"] {
        assert!(round(text).is_err(), "{text:?}");
    }
    assert!(round(&"(".repeat(100_000)).is_err());
    assert!(round(&format!("int {}", "*".repeat(100_000))).is_err());
    assert!(round(&format!("int {}", "(*".repeat(100_000))).is_err());
    assert_eq!(parse_type(&set, "struct list_head *"), parse_type(&set, "struct list_head*"));
}

#[test]
fn sizes_are_those_of_c() {
    let set = set(&kernel());
    let size = |text| size_of(&set, named(&set, text));
    assert_eq!(size("struct page"), Ok(72));
    assert_eq!(size("struct page [3]"), Ok(216));
    assert_eq!(size("int (*)(void)"), Ok(8));
    assert_eq!(size("char [16]"), Ok(16));
    assert_eq!(size("enum wide_enum"), Ok(8));
    assert_eq!(size("struct elsewhere"), Err(TypeError::NoSize("struct elsewhere".into())));
}

#[test]
fn definitions_are_laid_out_as_gdb_does() {
    let set = set(&kernel());
    let ptype = |text, offsets| declaration(&set, named(&set, text), offsets).unwrap();
    assert_eq!(
        ptype("struct list_head", Offsets::None),
        "struct list_head {\n    struct list_head *next;\n    struct list_head *prev;\n}"
    );
    assert_eq!(
        ptype("struct page", Offsets::None),
        "\
struct page {
    unsigned long flags;
    union {
        struct {
            struct list_head lru;
        };
        struct {
            unsigned int order : 3;
            unsigned int rest : 29;
        };
    };
    atomic_t _refcount;
    char comm[16];
    unsigned int locked : 1;
    int (*callback)(struct list_head *, unsigned long);
    unsigned long none[0];
    struct elsewhere *owner;
    unsigned long tail[];
}"
    );
    assert_eq!(ptype("atomic_t *", Offsets::None), "struct {\n    int counter;\n} *");
    assert_eq!(ptype("enum zone_type", Offsets::None), "enum zone_type {ZONE_DMA, ZONE_LAST = 5}");
    assert_eq!(ptype("enum signed_enum", Offsets::None), "enum signed_enum {MINUS = -1}");
}

#[test]
fn offsets_stand_where_crash_puts_them() {
    let set = set(&kernel());
    let page = named(&set, "struct page");
    assert_eq!(
        declaration(&set, page, Offsets::Decimal).unwrap(),
        "\
struct page {
   [0] unsigned long flags;
       union {
           struct {
   [8]         struct list_head lru;
           };
           struct {
   [8]         unsigned int order : 3;
   [8]         unsigned int rest : 29;
           };
       };
  [24] atomic_t _refcount;
  [28] char comm[16];
  [44] unsigned int locked : 1;
  [48] int (*callback)(struct list_head *, unsigned long);
  [56] unsigned long none[0];
  [56] struct elsewhere *owner;
  [64] unsigned long tail[];
}"
    );
    let list = named(&set, "struct list_head");
    let told = declaration(&set, list, Offsets::Addresses(0xffff_8880_0000_1000)).unwrap();
    assert!(told.contains("  [ffff888000001008] struct list_head *prev;\n"), "{told}");
    let told = declaration(&set, list, Offsets::Hexadecimal).unwrap();
    assert!(told.contains("   [0x8] struct list_head *prev;\n"), "{told}");
}

#[test]
fn a_set_joins_a_kernel_and_its_modules() {
    let base_section = kernel();
    let base = Arc::new(Btf::new("BTF", Arc::new(base_section.bytes())).unwrap());
    let page = base.lookup(Namespace::Struct, "page").unwrap();
    let set = TypeSet::with(base.clone());
    let owner = find_member(&set, page, "owner").unwrap().ty;
    let elsewhere = element_type(&set, owner).unwrap().unwrap();
    assert!(size_of(&set, elsewhere).is_err());
    for module in ["one", "two"] {
        let mut section = Section::split(&base_section);
        let pointer = section.pointer(page.0);
        section.structure(4, "elsewhere", 8, &[("page", pointer, 0, 0)]);
        section.structure(4, module, 8, &[(module, pointer, 0, 0)]);
        let split = Btf::split(module, Arc::new(section.bytes()), base.clone()).unwrap();
        set.add_split(Arc::new(split), u64::from(base.end_id()));
    }
    let two = named(&set, "struct two");
    assert_eq!(set.origin_of(two).as_deref(), Some("two"));
    let member = find_member(&set, two, "two").unwrap().ty;
    assert_eq!(type_name(&set, member), "struct page *");
    assert_eq!(element_type(&set, member), Ok(Some(page)));
    // What the kernel only declares, a module defines.
    assert_eq!(size_of(&set, elsewhere), Ok(8));
    let mut names = Vec::new();
    set.for_each_name(&mut |_, name, _| names.push(name.to_owned()));
    assert_eq!(names.iter().filter(|name| *name == "page").count(), 1);
    assert_eq!(set.get(TypeId(u64::MAX)).ok(), None);
}

#[test]
fn types_without_an_end_are_errors() {
    let mut section = Section::new();
    section.typedef("loop", 1);
    let array = u64::from(section.add("", 3 << 24, 0, &[2, 2, 7]) as u32);
    section.structure(4, "inside_itself", 8, &[("", 3, 0, 0), ("x", array, 0, 0)]);
    section.function(4, &[4, 4, 4]);
    let set = set(&section);
    assert_eq!(size_of(&set, TypeId(1)), Err(TypeError::Endless(1)));
    assert_eq!(size_of(&set, TypeId(array)), Err(TypeError::Endless(array)));
    assert!(find_member(&set, TypeId(3), "y").is_err());
    let _ = (type_name(&set, TypeId(4)), type_name(&set, TypeId(1)));
    assert!(declaration(&set, TypeId(3), Offsets::None).unwrap().len() < 10_000);
}
