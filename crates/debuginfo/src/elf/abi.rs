//! The constants of the System V gABI, and of the psABIs, that are looked at here.

pub(super) const ELFMAG: &[u8] = b"\x7fELF";
pub(super) const ELFCLASS64: u8 = 2;
pub(super) const ELFDATA2LSB: u8 = 1;

pub(super) const ET_REL: u16 = 1;
pub(super) const ET_EXEC: u16 = 2;
pub(super) const ET_DYN: u16 = 3;
pub(super) const ET_CORE: u16 = 4;

pub(super) const EM_X86_64: u16 = 62;
pub(super) const EM_AARCH64: u16 = 183;

pub(super) const SHT_NULL: u32 = 0;
pub(super) const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_RELA: u32 = 4;
pub(super) const SHT_NOTE: u32 = 7;
pub(super) const SHT_NOBITS: u32 = 8;

pub(super) const SHF_WRITE: u64 = 1;
pub(super) const SHF_ALLOC: u64 = 1 << 1;
pub(super) const SHF_EXECINSTR: u64 = 1 << 2;
pub(super) const SHF_COMPRESSED: u64 = 1 << 11;

pub(super) const ELFCOMPRESS_ZLIB: u32 = 1;
pub(super) const ELFCOMPRESS_ZSTD: u32 = 2;

pub(super) const SHN_UNDEF: u16 = 0;
pub(super) const SHN_LORESERVE: u16 = 0xff00;
pub(super) const SHN_XINDEX: u16 = 0xffff;

pub(super) const STT_NOTYPE: u8 = 0;
pub(super) const STT_OBJECT: u8 = 1;
pub(super) const STT_FUNC: u8 = 2;

pub(super) const STB_LOCAL: u8 = 0;
pub(super) const STB_WEAK: u8 = 2;

pub(super) const NT_GNU_BUILD_ID: u32 = 3;

pub(super) const R_X86_64_64: u32 = 1;
pub(super) const R_X86_64_PC32: u32 = 2;
pub(super) const R_X86_64_32: u32 = 10;
pub(super) const R_X86_64_32S: u32 = 11;
pub(super) const R_X86_64_PC64: u32 = 24;

pub(super) const R_AARCH64_ABS64: u32 = 257;
pub(super) const R_AARCH64_ABS32: u32 = 258;
pub(super) const R_AARCH64_PREL64: u32 = 260;
pub(super) const R_AARCH64_PREL32: u32 = 261;
