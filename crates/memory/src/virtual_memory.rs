//! Virtual memory: the kernel's own view, and little-endian reads over it.

use crate::{ReadError, Unavailable, VirtAddr};

/// The most that one read allocates. Lengths come out of dumps and may be anything.
pub const MAX_ALLOCATION: u64 = 64 << 20;

/// The kernel's virtual address space.
///
/// Numbers are little endian: every architecture that Mortis reads today is.
pub trait VirtualMemory: Send + Sync {
    /// Fills `buf` from `address` on. On an error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// [`ReadError`] with the first virtual address that cannot be had.
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError>;

    /// Reads one byte.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`].
    fn read_u8(&self, address: VirtAddr) -> Result<u8, ReadError> {
        let mut bytes = [0; 1];
        self.read(address, &mut bytes)?;
        Ok(bytes[0])
    }

    /// Reads a 16-bit number.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`].
    fn read_u16(&self, address: VirtAddr) -> Result<u16, ReadError> {
        let mut bytes = [0; 2];
        self.read(address, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Reads a 32-bit number.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`].
    fn read_u32(&self, address: VirtAddr) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a 64-bit number.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`].
    fn read_u64(&self, address: VirtAddr) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a pointer.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`].
    fn read_pointer(&self, address: VirtAddr) -> Result<VirtAddr, ReadError> {
        self.read_u64(address).map(VirtAddr)
    }

    /// Reads `len` bytes. A length above [`MAX_ALLOCATION`] is refused as unreadable: no kernel
    /// object is that large, so the length itself is damaged.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`].
    fn read_bytes(&self, address: VirtAddr, len: u64) -> Result<Vec<u8>, ReadError> {
        if len > MAX_ALLOCATION {
            return Err(ReadError::new(address, Unavailable::Unreadable));
        }
        let mut bytes = vec![0; len as usize];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads up to the first NUL, or `max` bytes where there is none. Bytes that are there are
    /// returned even when the page behind them is not.
    ///
    /// # Errors
    /// As [`VirtualMemory::read`], when not even the first byte can be read.
    fn read_c_string(&self, address: VirtAddr, max: usize) -> Result<Vec<u8>, ReadError> {
        const CHUNK: u64 = 64;
        let mut string = Vec::new();
        let mut at = address;
        while string.len() < max {
            let len = (CHUNK - at.0 % CHUNK).min((max - string.len()) as u64) as usize;
            let mut chunk = [0; CHUNK as usize];
            match self.read(at, &mut chunk[..len]) {
                Ok(()) => {}
                Err(error) if string.is_empty() => return Err(error),
                Err(_) => break,
            }
            if let Some(end) = chunk[..len].iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&chunk[..end]);
                break;
            }
            string.extend_from_slice(&chunk[..len]);
            at = at.offset(len as u64);
        }
        Ok(string)
    }
}

impl<M: VirtualMemory + ?Sized> VirtualMemory for std::sync::Arc<M> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read(address, buf)
    }
}
