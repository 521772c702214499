//! BTF, whole and split, and everything that is asked of types.

use mortis_debuginfo::btf::Btf;
use mortis_debuginfo::types::{
    Namespace, Offsets, TypeId, TypeSet, TypeSource, declaration, find_member, parse_type, size_of,
    type_name,
};
use mortis_debuginfo::value::{NoContext, ObjectBytes, TextOptions, ValueLimits, decode_value};
use mortis_memory::VirtAddr;
use std::sync::Arc;

/// Types that are asked about; a section that is all types has as many as it has bytes / 12.
const MAX_TYPES: u32 = 200;

/// Opens the section, and once more as one that goes on behind itself.
pub fn fuzz(data: &[u8]) {
    let Ok(btf) = Btf::new("BTF", Arc::new(data.to_vec())) else { return };
    let btf = Arc::new(btf);
    let types = TypeSet::with(btf.clone());
    if let Ok(split) = Btf::split("module", Arc::new(data.to_vec()), btf.clone()) {
        types.add_split(Arc::new(split), u64::from(btf.end_id()));
    }
    let object = ObjectBytes::new(VirtAddr(0), vec![0x5a; 256]);
    let limits = ValueLimits { elements: 16, depth: 4, ..ValueLimits::default() };
    for id in (0..btf.end_id().min(MAX_TYPES)).map(|id| TypeId(u64::from(id))) {
        let _ = size_of(&types, id);
        let _ = type_name(&types, id);
        let _ = declaration(&types, id, Offsets::Decimal);
        let _ = find_member(&types, id, "next[1].prev");
        let value = decode_value(&types, id, &object, &NoContext, &limits);
        let _ = value.text(&TextOptions::default());
    }
    let _ = (types.lookup(Namespace::Struct, "list"), types.enumerator("E"), types.function("f"));
    let _ = parse_type(&types, "struct list *(*[2])(int)");
}

/// `struct list { struct list *next, *prev; unsigned bits : 3; int numbers[4]; }`, an
/// enumeration, a typedef of it, and a function.
pub fn seeds() -> Vec<Vec<u8>> {
    let strings = b"\0int\0list\0next\0prev\0bits\0E\0e\0t\0f\0";
    let name = |name: &str| {
        let wanted = format!("\0{name}\0");
        let at = strings.windows(wanted.len()).position(|window| window == wanted.as_bytes());
        at.map_or(0, |at| at as u32 + 1)
    };
    let types = [
        // 1: int
        vec![name("int"), 1 << 24, 4, 1 << 24 | 32],
        // 2: struct list
        vec![
            name("list"),
            1 << 31 | 4 << 24 | 4,
            40,
            name("next"),
            3,
            0,
            name("prev"),
            3,
            64,
            name("bits"),
            1,
            3 << 24 | 128,
            0,
            4,
            192,
        ],
        // 3: struct list *, 4: int [4]
        vec![0, 2 << 24, 2],
        vec![0, 3 << 24, 0, 1, 1, 4],
        // 5: enum e { E = 1 }, 6: typedef enum e t
        vec![name("e"), 6 << 24 | 1, 4, name("E"), 1],
        vec![name("t"), 8 << 24, 5],
        // 7: int (struct list *), 8: f
        vec![0, 13 << 24 | 1, 1, 0, 3],
        vec![name("f"), 12 << 24, 7],
    ]
    .concat();
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
    let header = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
    let mut section = vec![0x9f, 0xeb, 1, 0];
    section.extend(header.iter().flat_map(|word| word.to_le_bytes()));
    section.extend(types);
    section.extend(strings);
    vec![section]
}
