//! ELF64 cores.

use crate::notes::pad;

/// One PT_LOAD.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// `p_paddr`.
    pub address: u64,
    /// `p_memsz`.
    pub memory_size: u64,
    /// What the file holds of it.
    pub bytes: Vec<u8>,
}

/// What an ELF core is to contain.
#[derive(Clone, Debug)]
pub struct ElfWriter {
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`; 1 is makedumpfile's mark of an incomplete dump.
    pub flags: u32,
    /// The content of PT_NOTE.
    pub notes: Vec<u8>,
    /// Memory.
    pub loads: Vec<Load>,
    /// Program headers behind the others that were never written.
    pub lost: usize,
    /// Whether the number of segments is written in section header 0, as for 65535 and more.
    pub extended_numbering: bool,
}

impl Default for ElfWriter {
    fn default() -> Self {
        Self {
            machine: 62,
            flags: 0,
            notes: Vec::new(),
            loads: Vec::new(),
            lost: 0,
            extended_numbering: false,
        }
    }
}

impl ElfWriter {
    /// The file.
    pub fn write(&self) -> Vec<u8> {
        let count = self.loads.len() + 1 + self.lost;
        let section_headers = if self.extended_numbering { 64 } else { 0 };
        let mut offset = (64 + 56 * count + section_headers) as u64;

        let mut file = Vec::new();
        file.extend(b"\x7fELF");
        file.extend([2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(4u16.to_le_bytes()); // e_type: ET_CORE
        file.extend(self.machine.to_le_bytes());
        file.extend(1u32.to_le_bytes()); // e_version
        file.extend(0u64.to_le_bytes()); // e_entry
        file.extend(64u64.to_le_bytes()); // e_phoff
        let shoff = if self.extended_numbering { 64 + 56 * count as u64 } else { 0 };
        file.extend(shoff.to_le_bytes());
        file.extend(self.flags.to_le_bytes());
        file.extend(64u16.to_le_bytes()); // e_ehsize
        file.extend(56u16.to_le_bytes()); // e_phentsize
        let phnum = if self.extended_numbering { 0xffff } else { count as u16 };
        file.extend(phnum.to_le_bytes());
        file.extend(64u16.to_le_bytes()); // e_shentsize
        file.extend(u16::from(self.extended_numbering).to_le_bytes()); // e_shnum
        file.extend(0u16.to_le_bytes()); // e_shstrndx
        assert_eq!(file.len(), 64);

        let notes = Load { address: 0, memory_size: 0, bytes: self.notes.clone() };
        for (index, segment) in std::iter::once(&notes).chain(&self.loads).enumerate() {
            let len = segment.bytes.len() as u64;
            file.extend(if index == 0 { 4u32 } else { 1u32 }.to_le_bytes()); // p_type
            file.extend(0u32.to_le_bytes()); // p_flags
            file.extend(if len == 0 { 0 } else { offset }.to_le_bytes());
            file.extend(0xffff_8880_0000_0000_u64.wrapping_add(segment.address).to_le_bytes());
            file.extend(segment.address.to_le_bytes());
            file.extend(len.to_le_bytes());
            file.extend(segment.memory_size.to_le_bytes());
            file.extend(0u64.to_le_bytes()); // p_align
            offset += len;
        }
        file.extend(vec![0; 56 * self.lost]);
        if self.extended_numbering {
            let mut section = vec![0; 44];
            section.extend((count as u32).to_le_bytes()); // sh_info
            pad(&mut section, 64);
            file.extend(section);
        }
        for segment in std::iter::once(&notes).chain(&self.loads) {
            file.extend(&segment.bytes);
        }
        file
    }
}
