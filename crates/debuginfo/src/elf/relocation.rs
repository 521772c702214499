//! Relocations of the debug sections of a relocatable file.
//!
//! The debug sections of a `.ko` refer to each other and to code through relocations, and hold
//! zeros where those apply. A vmlinux may carry `.rela.debug_*` too, when it was linked with
//! `--emit-relocs` for KASLR (Debian's 6.1 does): there the linker already applied them, and doing
//! it again would spoil what they point at. So only relocatable files are relocated.

use super::layout::{u32_at, u64_at};
use super::{ElfError, ElfFile, ElfKind, ElfSection, abi};

const RELA_SIZE: usize = 24;

/// How a relocation changes its place.
#[derive(Clone, Copy)]
struct Rule {
    width: usize,
    pc_relative: bool,
}

/// `None` for relocations that leave their place alone or that debug sections do not have.
fn rule(machine: u16, relocation: u32) -> Option<Rule> {
    let (width, pc_relative) = match (machine, relocation) {
        (abi::EM_X86_64, abi::R_X86_64_64) => (8, false),
        (abi::EM_X86_64, abi::R_X86_64_32 | abi::R_X86_64_32S) => (4, false),
        (abi::EM_X86_64, abi::R_X86_64_PC32) => (4, true),
        (abi::EM_X86_64, abi::R_X86_64_PC64) => (8, true),
        (abi::EM_AARCH64, abi::R_AARCH64_ABS64) => (8, false),
        (abi::EM_AARCH64, abi::R_AARCH64_ABS32) => (4, false),
        (abi::EM_AARCH64, abi::R_AARCH64_PREL64) => (8, true),
        (abi::EM_AARCH64, abi::R_AARCH64_PREL32) => (4, true),
        _ => return None,
    };
    Some(Rule { width, pc_relative })
}

impl ElfFile {
    /// The section with the relocations of section `index`, where they have to be applied.
    pub(super) fn debug_relocations(&self, index: usize) -> Option<&ElfSection> {
        if self.kind() != ElfKind::Relocatable {
            return None;
        }
        let section = self.sections().get(index)?;
        // `.eh_frame` and `.orc_unwind_ip` are relocated by the kernel in memory; from the file
        // they are wanted relocated too.
        self.sections().iter().find(|relocations| {
            relocations.sh_type == abi::SHT_RELA
                && relocations.sh_info as usize == index
                && (!section.allocated || RELOCATED_TABLES.contains(&&*section.name))
        })
    }

    /// Applies `relocations` to `bytes`, the content of `section`. One that cannot be applied is
    /// left out: it spoils one value, not the section.
    pub(super) fn relocate(
        &self,
        section: &ElfSection,
        relocations: &ElfSection,
        bytes: &mut [u8],
    ) -> Result<(), ElfError> {
        let symbols = self.symbol_table_bytes()?;
        for relocation in self.raw_section_data(relocations)?.chunks_exact(RELA_SIZE) {
            let _ = self.relocate_one(symbols, section, relocation, bytes);
        }
        Ok(())
    }

    fn relocate_one(
        &self,
        symbols: &[u8],
        section: &ElfSection,
        relocation: &[u8],
        bytes: &mut [u8],
    ) -> Option<()> {
        let offset = u64_at(relocation, 0)?;
        let Rule { width, pc_relative } = rule(self.machine(), u32_at(relocation, 8)?)?;
        let symbol = self.symbol_value(symbols, u32_at(relocation, 12)?)?;
        let mut value = symbol.wrapping_add(u64_at(relocation, 16)?);
        if pc_relative {
            value = value.wrapping_sub(section.address.0.wrapping_add(offset));
        }
        let place = bytes.get_mut(usize::try_from(offset).ok()?..)?.get_mut(..width)?;
        place.copy_from_slice(value.to_le_bytes().get(..width)?);
        Some(())
    }
}

/// Tables that take memory and are read from the file as well.
const RELOCATED_TABLES: [&str; 3] = [".eh_frame", ".orc_unwind_ip", ".orc_unwind"];
