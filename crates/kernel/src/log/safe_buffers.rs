//! Messages that could not be logged where they arose: the per-CPU buffers of printk_safe.
//!
//! From 4.11 to 5.14, messages from NMI and from within printk itself waited in them to be
//! flushed; 93d102f094be (5.15) took them away, for the lockless log needs none.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A CPU's buffer: kernel/printk/printk_safe.c.
    pub struct PrintkSafeSeqBuf = "printk_safe_seq_buf" {
        len: "len",
        message_lost: "message_lost",
        buffer: "buffer",
    }
}

/// What waits in one CPU's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeBuffer {
    /// `nmi_print_seq` or `safe_print_seq`.
    pub name: &'static str,
    /// The CPU.
    pub cpu: u32,
    /// Where the buffer is.
    pub address: VirtAddr,
    /// Messages that found no room.
    pub lost: u32,
    /// What is in it; each message begins with a byte 1 and its level.
    pub bytes: Vec<u8>,
}

/// More than a page, which is what the buffers take.
const MAX_BUFFER: u64 = 64 << 10;

impl Kernel {
    /// Every CPU's buffers; none where the kernel has no such buffers.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn safe_buffers(&self) -> Result<Vec<SafeBuffer>> {
        let Ok(layout) = self.layout::<PrintkSafeSeqBuf>() else { return Ok(Vec::new()) };
        let mut buffers = Vec::new();
        for name in ["nmi_print_seq", "safe_print_seq"] {
            if self.symbol(name).is_err() {
                continue;
            }
            for &cpu in &self.cpus()?.possible {
                let address = self.per_cpu(name, cpu)?;
                let len = layout.len.u64(self, address)?;
                let len = len.min(layout.buffer.size()?).min(MAX_BUFFER);
                buffers.push(SafeBuffer {
                    name,
                    cpu,
                    address,
                    lost: layout.message_lost.u64(self, address)? as u32,
                    bytes: self.read_bytes(layout.buffer.address(address)?, len)?,
                });
            }
        }
        Ok(buffers)
    }
}
