//! ELF notes, of which the build-id matters.

use std::fmt;

use super::layout::u32_at;
use super::{ElfError, ElfFile, abi};

/// A GNU build-id: the linker's hash over what it linked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(pub Vec<u8>);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

impl BuildId {
    /// Finds the build-id in the bytes of a note section, such as the kernel's `.notes`, a
    /// module's `.note.gnu.build-id`, or `VMCOREINFO`'s neighbours in memory.
    pub fn find_in_notes(mut notes: &[u8]) -> Option<Self> {
        const HEADER_SIZE: usize = 12;
        let padded = |size: u32| (size as usize).checked_next_multiple_of(4);
        loop {
            let name_size = u32_at(notes, 0)?;
            let desc_size = u32_at(notes, 4)?;
            let note_type = u32_at(notes, 8)?;
            let after_header = notes.get(HEADER_SIZE..)?;
            let name = after_header.get(..name_size as usize)?;
            let after_name = after_header.get(padded(name_size)?..)?;
            let desc = after_name.get(..desc_size as usize)?;
            if note_type == abi::NT_GNU_BUILD_ID && name == b"GNU\0" {
                return Some(Self(desc.to_vec()));
            }
            notes = after_name.get(padded(desc_size)?..)?;
        }
    }
}

impl ElfFile {
    /// The build-id, where the file has one.
    ///
    /// # Errors
    /// [`ElfError`] when a note section lies outside the file.
    pub fn build_id(&self) -> Result<Option<BuildId>, ElfError> {
        for section in self.sections().iter().filter(|section| section.sh_type == abi::SHT_NOTE) {
            if let Some(id) = BuildId::find_in_notes(self.raw_section_data(section)?) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
