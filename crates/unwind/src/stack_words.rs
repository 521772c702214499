//! Words of a stack, read a page at a time: neighbouring words are wanted next.

use mortis_memory::{ReadError, VirtAddr, VirtualMemory};

const PAGE: u64 = 4096;

/// Reads words through one cached page.
pub(crate) struct StackWords<'a> {
    memory: &'a dyn VirtualMemory,
    bytes: Box<[u8; PAGE as usize]>,
    page: Option<u64>,
}

impl<'a> StackWords<'a> {
    pub(crate) fn new(memory: &'a dyn VirtualMemory) -> Self {
        Self { memory, bytes: Box::new([0; PAGE as usize]), page: None }
    }

    pub(crate) fn memory(&self) -> &'a dyn VirtualMemory {
        self.memory
    }

    /// Reads the 64-bit word at `address`.
    pub(crate) fn word(&mut self, address: VirtAddr) -> Result<u64, ReadError> {
        let page = address.align_down(PAGE).0;
        let within = (address.0 - page) as usize;
        if within + 8 > PAGE as usize {
            return self.memory.read_u64(address);
        }
        if self.page != Some(page) {
            self.page = None;
            if self.memory.read(VirtAddr(page), &mut *self.bytes).is_err() {
                return self.memory.read_u64(address);
            }
            self.page = Some(page);
        }
        let word = self.bytes.get(within..within + 8).and_then(|bytes| bytes.try_into().ok());
        Ok(u64::from_le_bytes(word.unwrap_or_default()))
    }
}
