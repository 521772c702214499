//! Writes BTF sections for tests, by include/uapi/linux/btf.h.

/// A section in the making.
pub(crate) struct Section {
    strings: Vec<u8>,
    types: Vec<u32>,
    first_string: u32,
    next_id: u32,
    layout: Vec<u8>,
}

impl Section {
    pub(crate) fn new() -> Self {
        Self { strings: vec![0], types: vec![], first_string: 0, next_id: 1, layout: vec![] }
    }

    /// A section that goes on where `base` ends.
    pub(crate) fn split(base: &Section) -> Self {
        Self {
            strings: vec![],
            first_string: base.first_string + base.strings.len() as u32,
            next_id: base.next_id,
            ..Self::new()
        }
    }

    pub(crate) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.first_string + self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        offset
    }

    /// Adds a type of a numbered kind, and the words behind it.
    pub(crate) fn add(&mut self, name: &str, info: u32, size_or_type: u32, rest: &[u32]) -> u64 {
        let name = self.name(name);
        self.types.extend([name, info, size_or_type]);
        self.types.extend(rest);
        self.next_id += 1;
        u64::from(self.next_id - 1)
    }

    pub(crate) fn int(&mut self, name: &str, size: u32, flags: u32) -> u64 {
        self.add(name, 1 << 24, size, &[(flags << 24) | (size * 8)])
    }

    pub(crate) fn pointer(&mut self, target: u64) -> u64 {
        self.add("", 2 << 24, target as u32, &[])
    }

    pub(crate) fn array(&mut self, element: u64, count: u32) -> u64 {
        self.add("", 3 << 24, 0, &[element as u32, element as u32, count])
    }

    /// Members are name, type, bit offset and width (0 for none).
    pub(crate) fn structure(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, u64, u32, u32)],
    ) -> u64 {
        let words: Vec<u32> = members
            .iter()
            .flat_map(|(name, ty, offset, bits)| {
                [self.name(name), *ty as u32, offset | (bits << 24)]
            })
            .collect();
        self.add(name, (1 << 31) | (kind << 24) | members.len() as u32, size, &words)
    }

    pub(crate) fn typedef(&mut self, name: &str, target: u64) -> u64 {
        self.add(name, 8 << 24, target as u32, &[])
    }

    pub(crate) fn function(&mut self, result: u64, parameters: &[u64]) -> u64 {
        let words: Vec<u32> = parameters.iter().flat_map(|ty| [0, *ty as u32]).collect();
        self.add("", (13 << 24) | parameters.len() as u32, result as u32, &words)
    }

    /// Says how long types of `kind` are, in the section itself.
    pub(crate) fn describe(&mut self, kind: u8, fixed: u8, each: u8) {
        self.layout.resize((usize::from(kind) + 1) * 4, 0);
        self.layout[usize::from(kind) * 4] = fixed;
        self.layout[usize::from(kind) * 4 + 1] = each;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let types: Vec<u8> = self.types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (types_len, strings_len) = (types.len() as u32, self.strings.len() as u32);
        let mut header = vec![24, 0, types_len, types_len, strings_len];
        if !self.layout.is_empty() {
            header[0] = 32;
            header.extend([types_len + strings_len, self.layout.len() as u32]);
        }
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend(header.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(types);
        bytes.extend(&self.strings);
        bytes.extend(&self.layout);
        bytes
    }
}

/// A few types as a kernel has them: `list_head`, `page` with anonymous unions, flags, a table
/// of functions.
pub(crate) fn kernel() -> Section {
    let mut section = Section::new();
    let long = section.int("long unsigned int", 8, 0);
    let int = section.int("int", 4, 1);
    let char = section.int("char", 1, 1);
    let uint = section.int("unsigned int", 4, 0);
    let list = u64::from(section.next_id);
    let next = list + 1;
    section.structure(4, "list_head", 16, &[("next", next, 0, 0), ("prev", next, 64, 0)]);
    section.pointer(list);
    let atomic = section.structure(4, "", 4, &[("counter", int, 0, 0)]);
    let atomic_t = section.typedef("atomic_t", atomic);
    let lru = section.structure(4, "", 16, &[("lru", list, 0, 0)]);
    let order = section.structure(4, "", 8, &[("order", uint, 0, 3), ("rest", uint, 3, 29)]);
    let union = section.structure(5, "", 16, &[("", lru, 0, 0), ("", order, 0, 0)]);
    let comm = section.array(char, 16);
    let flexible = section.array(long, 0);
    let function = section.function(int, &[next, long]);
    let callback = section.pointer(function);
    section.structure(
        4,
        "page",
        72,
        &[
            ("flags", long, 0, 0),
            ("", union, 64, 0),
            ("_refcount", atomic_t, 192, 0),
            ("comm", comm, 224, 0),
            ("locked", uint, 352, 1),
            ("callback", callback, 384, 0),
            ("none", flexible, 448, 0),
            ("owner", next + 20, 448, 0),
            ("tail", flexible, 512, 0),
        ],
    );
    let words = [section.name("ZONE_DMA"), 0, section.name("ZONE_LAST"), 5];
    section.add("zone_type", 6 << 24 | 2, 4, &words);
    let words = [section.name("MINUS"), u32::MAX];
    section.add("signed_enum", 1 << 31 | 6 << 24 | 1, 4, &words);
    let words = [section.name("HUGE"), 1, 1 << 31];
    section.add("wide_enum", 19 << 24 | 1, 8, &words);
    section.add("elsewhere", 7 << 24, 0, &[]);
    let elsewhere = u64::from(section.next_id) - 1;
    while u64::from(section.next_id) != next + 20 {
        section.pointer(0);
    }
    section.pointer(elsewhere);
    section.add("vfs_read", 12 << 24 | 1, function as u32, &[]);
    section.add("runqueues", 14 << 24, int as u32, &[1]);
    section
}
