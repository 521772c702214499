//! The ELF header and the section headers: decoding, and places for relocatable sections.

use mortis_memory::LinkAddr;

use super::{ElfError, ElfKind, ElfSection, abi};

/// Where the first section of a relocatable file is put. Zero stays free: it marks what the
/// linker threw away.
const FIRST_RELOCATABLE_ADDRESS: u64 = 0x1_0000;
const RELOCATABLE_ALIGNMENT: u64 = 0x1000;

const SECTION_HEADER_SIZE: u64 = 64;
/// `SHN_LORESERVE` is 0xff00 sections; larger numbers go through section 0. No kernel comes near.
const MAX_SECTIONS: u64 = 1 << 20;

pub(super) struct Headers {
    pub kind: ElfKind,
    pub machine: u16,
    pub entry: u64,
    pub sections: Vec<ElfSection>,
}

/// `len` bytes from `offset` on, if `bytes` has them.
pub(super) fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(start..end)
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..)?.get(..2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..)?.get(..4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..)?.get(..8)?.try_into().ok()?))
}

/// The string at `offset` of a string table.
pub(super) fn string_at(table: &[u8], offset: u32) -> Option<&[u8]> {
    let rest = table.get(offset as usize..)?;
    rest.get(..memchr::memchr(0, rest)?)
}

pub(super) fn read_headers(bytes: &[u8]) -> Result<Headers, ElfError> {
    let header = slice(bytes, 0, 64).ok_or(ElfError::NotElf)?;
    if !header.starts_with(abi::ELFMAG) {
        return Err(ElfError::NotElf);
    }
    if header.get(4) != Some(&abi::ELFCLASS64) {
        return Err(ElfError::Unsupported("not 64-bit"));
    }
    if header.get(5) != Some(&abi::ELFDATA2LSB) {
        return Err(ElfError::Unsupported("not little endian"));
    }
    let damaged = ElfError::OutOfFile { what: "header", offset: 0 };
    let kind = match u16_at(header, 16) {
        Some(abi::ET_EXEC | abi::ET_DYN) => ElfKind::Linked,
        Some(abi::ET_REL) => ElfKind::Relocatable,
        Some(abi::ET_CORE) => return Err(ElfError::Unsupported("a core dump")),
        _ => return Err(ElfError::Unsupported("neither an executable nor a module")),
    };
    let machine = u16_at(header, 18).ok_or_else(|| damaged.clone())?;
    let entry = u64_at(header, 24).ok_or_else(|| damaged.clone())?;
    let mut sections = read_section_headers(bytes, header)?;
    if kind == ElfKind::Relocatable {
        place_sections(&mut sections)?;
    }
    Ok(Headers { kind, machine, entry, sections })
}

fn read_section_headers(bytes: &[u8], header: &[u8]) -> Result<Vec<ElfSection>, ElfError> {
    let offset = u64_at(header, 40).unwrap_or(0);
    let out_of_file = ElfError::OutOfFile { what: "section headers", offset };
    if offset == 0 {
        return Ok(Vec::new());
    }
    if u16_at(header, 58).map(u64::from) != Some(SECTION_HEADER_SIZE) {
        return Err(ElfError::Unsupported("section headers of unknown size"));
    }
    let first = slice(bytes, offset, SECTION_HEADER_SIZE).ok_or_else(|| out_of_file.clone())?;
    let count = match u16_at(header, 60) {
        // gABI: with 0xff00 sections or more the number is in sh_size of section 0.
        Some(0) | None => u64_at(first, 32).unwrap_or(0),
        Some(count) => u64::from(count),
    };
    let names_index = match u16_at(header, 62) {
        Some(abi::SHN_XINDEX) => u32_at(first, 40).unwrap_or(0),
        index => u32::from(index.unwrap_or(0)),
    };
    if count > MAX_SECTIONS {
        return Err(out_of_file);
    }
    let table = slice(bytes, offset, count * SECTION_HEADER_SIZE).ok_or(out_of_file)?;
    let header_at = |index: usize| {
        let start = index.checked_mul(SECTION_HEADER_SIZE as usize)?;
        table.get(start..)?.get(..SECTION_HEADER_SIZE as usize)
    };
    let names = header_at(names_index as usize)
        .and_then(|header| slice(bytes, u64_at(header, 24)?, u64_at(header, 32)?))
        .unwrap_or_default();
    Ok((0..count as usize)
        .filter_map(header_at)
        .filter_map(|header| decode_section_header(header, names))
        .collect())
}

fn decode_section_header(header: &[u8], names: &[u8]) -> Option<ElfSection> {
    let name = string_at(names, u32_at(header, 0)?).unwrap_or_default();
    let sh_flags = u64_at(header, 8)?;
    Some(ElfSection {
        name: String::from_utf8_lossy(name).into(),
        address: LinkAddr(u64_at(header, 16)?),
        size: u64_at(header, 32)?,
        allocated: sh_flags & abi::SHF_ALLOC != 0,
        executable: sh_flags & abi::SHF_EXECINSTR != 0,
        sh_type: u32_at(header, 4)?,
        sh_flags,
        sh_offset: u64_at(header, 24)?,
        sh_link: u32_at(header, 40)?,
        sh_info: u32_at(header, 44)?,
        sh_addralign: u64_at(header, 48)?,
    })
}

/// Puts the sections of a relocatable file one behind the other, with a free page between them
/// so that the end of one is not the start of the next.
fn place_sections(sections: &mut [ElfSection]) -> Result<(), ElfError> {
    let too_large = ElfError::Unsupported("sections larger than the address space");
    let mut next = FIRST_RELOCATABLE_ADDRESS;
    for section in sections.iter_mut().filter(|section| section.allocated) {
        let alignment = section.sh_addralign.max(RELOCATABLE_ALIGNMENT);
        next = next.checked_next_multiple_of(alignment).ok_or_else(|| too_large.clone())?;
        section.address = LinkAddr(next);
        next = next
            .checked_add(section.size)
            .and_then(|end| end.checked_add(RELOCATABLE_ALIGNMENT))
            .ok_or_else(|| too_large.clone())?;
    }
    Ok(())
}
