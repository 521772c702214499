//! Writes ELF files for tests. Shares no layout with the reader.

/// A section of an ELF file to be written.
#[derive(Clone, Default)]
pub struct TestSection {
    pub name: &'static str,
    pub sh_type: u32,
    pub flags: u64,
    pub address: u64,
    pub link: u32,
    pub info: u32,
    pub bytes: Vec<u8>,
}

pub const PROGBITS: u32 = 1;
pub const SYMTAB: u32 = 2;
pub const STRTAB: u32 = 3;
pub const RELA: u32 = 4;
pub const NOTE: u32 = 7;
pub const NOBITS: u32 = 8;

pub const ALLOC: u64 = 2;
pub const EXEC: u64 = 4;
pub const COMPRESSED: u64 = 0x800;

pub const ET_REL: u16 = 1;
pub const ET_EXEC: u16 = 2;

impl TestSection {
    pub fn new(name: &'static str, sh_type: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, sh_type, bytes: bytes.into(), ..Self::default() }
    }

    pub fn at(mut self, address: u64, flags: u64) -> Self {
        (self.address, self.flags) = (address, flags);
        self
    }
}

/// The file: header, contents, section names, section headers. Section 1 is the first given.
pub fn write(file_type: u16, sections: &[TestSection]) -> Vec<u8> {
    let mut all = vec![TestSection::default()];
    all.extend_from_slice(sections);
    let mut names = vec![0];
    let mut name_offsets: Vec<usize> = Vec::new();
    let mut push_name = |name: &str| {
        let offset = names.len();
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        offset
    };
    name_offsets.extend(all.iter().map(|section| push_name(section.name)));
    name_offsets.push(push_name(".shstrtab"));
    all.push(TestSection::new(".shstrtab", STRTAB, names));

    let mut file = vec![0; 64];
    let mut headers = Vec::new();
    for (section, name) in all.iter().zip(name_offsets) {
        file.resize(file.len().next_multiple_of(16), 0);
        let mut header = Vec::new();
        header.extend((name as u32).to_le_bytes());
        header.extend(section.sh_type.to_le_bytes());
        header.extend(section.flags.to_le_bytes());
        header.extend(section.address.to_le_bytes());
        header.extend((file.len() as u64).to_le_bytes());
        header.extend((section.bytes.len() as u64).to_le_bytes());
        header.extend(section.link.to_le_bytes());
        header.extend(section.info.to_le_bytes());
        header.extend(1u64.to_le_bytes());
        header.extend(0u64.to_le_bytes());
        headers.extend(header);
        if section.sh_type != NOBITS {
            file.extend_from_slice(&section.bytes);
        }
    }
    file.resize(file.len().next_multiple_of(16), 0);
    let headers_at = file.len() as u64;
    file.extend(headers);

    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend(file_type.to_le_bytes());
    header.extend(62u16.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend(0x100_0000u64.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(headers_at.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    for half in [64u16, 0, 0, 64, all.len() as u16, all.len() as u16 - 1] {
        header.extend(half.to_le_bytes());
    }
    file[..64].copy_from_slice(&header);
    file
}

/// One entry of a symbol table.
pub fn symbol(name: u32, info: u8, section: u16, value: u64, size: u64) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend([info, 0]);
    bytes.extend(section.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

/// `SHF_COMPRESSED` bytes: kind 1 is zlib, 2 is zstd.
pub fn compressed(kind: u32, size: u64, data: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}
