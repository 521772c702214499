#![allow(clippy::unwrap_used)]

use super::written::{Section, kernel};
use super::*;
use crate::types::{Compound, Enum, Member};

fn open(section: &Section) -> Btf {
    Btf::new("BTF", Arc::new(section.bytes())).unwrap()
}

fn compound(btf: &dyn TypeSource, namespace: Namespace, name: &str) -> Compound {
    match &*btf.get(btf.lookup(namespace, name).unwrap()).unwrap() {
        Type::Compound(compound) => compound.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_and_bit_fields_are_where_they_were_written() {
    let btf = open(&kernel());
    let page = compound(&btf, Namespace::Struct, "page");
    assert_eq!(page.size, 72);
    let locked = page.members.iter().find(|member| member.name.as_deref() == Some("locked"));
    assert!(matches!(locked, Some(Member { bit_offset: 352, bit_size: Some(1), .. })));
    assert!(matches!(page.members[1], Member { name: None, bit_offset: 64, bit_size: None, .. }));
}

#[test]
fn enumerations_know_their_sign_and_width() {
    let btf = open(&kernel());
    assert_eq!(btf.enumerator("ZONE_LAST").map(|(_, value)| value), Some(5));
    assert_eq!(btf.enumerator("MINUS").map(|(_, value)| value), Some(-1));
    assert_eq!(btf.enumerator("HUGE").map(|(_, value)| value as u64), Some(1 << 63 | 1));
    assert_eq!(btf.enumerator("ZONE"), None);
    let wide = btf.get(btf.lookup(Namespace::Enum, "wide_enum").unwrap()).unwrap();
    assert!(matches!(&*wide, Type::Enum(Enum { size: 8, signed: false, .. })));
}

#[test]
fn without_marks_enumerations_are_signed() {
    let mut old = Section::new();
    let words = [old.name("E"), u32::MAX];
    old.add("e", 6 << 24 | 1, 4, &words);
    assert_eq!(open(&old).enumerator("E").map(|(_, value)| value), Some(-1));
    let words = [old.name("S"), 1];
    old.add("s", 1 << 31 | 6 << 24 | 1, 4, &words);
    assert_eq!(open(&old).enumerator("E").map(|(_, value)| value), Some(0xffff_ffff));
}

#[test]
fn functions_and_variables_have_types() {
    let btf = open(&kernel());
    let function = btf.get(btf.function("vfs_read").unwrap()).unwrap();
    assert!(matches!(&*function, Type::Function(function) if function.parameters.len() == 2));
    let variable = btf.get(btf.variable("runqueues").unwrap()).unwrap();
    assert!(matches!(&*variable, Type::Int { signed: true, size: 4, .. }));
    assert_eq!(btf.function("runqueues"), None);
}

#[test]
fn a_module_goes_on_where_the_kernel_ends() {
    let base_section = kernel();
    let base = Arc::new(open(&base_section));
    let mut section = Section::split(&base_section);
    let page = base.lookup(Namespace::Struct, "page").unwrap();
    section.structure(4, "elsewhere", 8, &[("page", page.0, 0, 0)]);
    section.structure(4, "of_module", 72, &[("first", page.0, 0, 0)]);
    let module = Btf::split("module", Arc::new(section.bytes()), base.clone()).unwrap();
    // Declared by the kernel, defined by the module.
    assert!(compound(&*base, Namespace::Struct, "elsewhere").incomplete);
    let defined = compound(&module, Namespace::Struct, "elsewhere");
    assert_eq!(defined.members[0].name.as_deref(), Some("page"));
    assert_eq!(module.lookup(Namespace::Struct, "page"), Some(page));
    assert_eq!(module.get(page), base.get(page));
    let own = module.lookup(Namespace::Struct, "of_module").unwrap();
    assert_eq!(own.0, u64::from(base.end_id()) + 1);
    assert_eq!(base.get(own), Err(TypeError::UnknownId(own.0)));
}

#[test]
fn kinds_of_the_future_are_stepped_over() {
    let mut section = Section::new();
    section.add("", 42 << 24 | 3, 0, &[1, 2, 3, 4]);
    section.int("int", 4, 1);
    assert_eq!(
        Btf::new("BTF", Arc::new(section.bytes())).err(),
        Some(BtfError::Kind { kind: 42, offset: 24 })
    );
    section.describe(42, 4, 4);
    let btf = Btf::new("BTF", Arc::new(section.bytes())).unwrap();
    assert_eq!(btf.lookup(Namespace::Base, "int"), Some(TypeId(2)));
    assert!(btf.get(TypeId(1)).is_err());
}

/// Everything that can be asked, asked; what matters is that it returns.
fn ask_everything(bytes: Vec<u8>) {
    let Ok(btf) = Btf::new("BTF", Arc::new(bytes)) else { return };
    for id in 0..btf.end_id() {
        let _ = btf.get(TypeId(u64::from(id)));
        let _ = crate::types::size_of(&btf, TypeId(u64::from(id)));
        let _ = crate::types::type_name(&btf, TypeId(u64::from(id)));
    }
    btf.for_each_name(&mut |_, _, _| {});
    let _ = (btf.lookup(Namespace::Struct, "page"), btf.enumerator("MINUS"), btf.function("f"));
}

#[test]
fn damage_is_survived() {
    let whole = kernel().bytes();
    for len in 0..whole.len() {
        ask_everything(whole[..len].to_vec());
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            ask_everything(bytes);
        }
    }
}
