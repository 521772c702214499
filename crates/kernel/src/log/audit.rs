//! Audit messages that no daemon had fetched yet.

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A queue of socket buffers: include/linux/skbuff.h.
    pub struct SkBuffHead = "sk_buff_head" {
        next: "next",
        qlen: "qlen",
    }
}

layout! {
    /// A socket buffer: include/linux/skbuff.h.
    pub struct SkBuff = "sk_buff" {
        next: "next",
        len: "len",
        data: "data",
    }
}

/// One audit message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditMessage {
    /// `AUDIT_…` of include/uapi/linux/audit.h.
    pub kind: u16,
    /// The text.
    pub text: String,
}

/// `sizeof(struct nlmsghdr)`, a part of the user ABI; its `nlmsg_type` lies at 4.
const NLMSGHDR: u64 = 16;
const NLMSG_TYPE: u64 = 4;

/// `MAX_AUDIT_MESSAGE_LENGTH` is 8970.
const MAX_MESSAGE: u64 = 64 << 10;

/// The queues in the order they are sent: of 4.10 and later, and of kernels before.
const QUEUES: &[&str] = &[
    "audit_hold_queue",
    "audit_retry_queue",
    "audit_queue",
    "audit_skb_hold_queue",
    "audit_skb_queue",
];

impl Kernel {
    /// The audit messages that were waiting to be fetched, oldest first.
    ///
    /// # Errors
    /// When the kernel has no audit queue, or one cannot be read.
    pub fn audit_messages(&self) -> Result<Vec<AuditMessage>> {
        let mut messages = Vec::new();
        let mut missing = None;
        let mut found = false;
        for name in QUEUES {
            match self.symbol(name) {
                Ok(queue) => {
                    found = true;
                    self.read_audit_queue(queue, &mut messages)?;
                }
                Err(error) => missing = Some(error),
            }
        }
        match missing {
            Some(error) if !found => Err(error),
            _ => Ok(messages),
        }
    }

    fn read_audit_queue(&self, queue: VirtAddr, messages: &mut Vec<AuditMessage>) -> Result<()> {
        let head = self.layout::<SkBuffHead>()?;
        let layout = self.layout::<SkBuff>()?;
        let count = head.qlen.u64(self, queue)?;
        let mut buffer = head.next.pointer(self, queue)?;
        for _ in 0..count {
            if buffer == queue || buffer.is_null() {
                break;
            }
            let len = layout.len.u64(self, buffer)?.saturating_sub(NLMSGHDR).min(MAX_MESSAGE);
            let data = layout.data.pointer(self, buffer)?;
            let text = self.read_bytes(data.offset(NLMSGHDR), len)?;
            let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
            messages.push(AuditMessage {
                kind: self.read_u16(data.offset(NLMSG_TYPE))?,
                text: String::from_utf8_lossy(text).into_owned(),
            });
            buffer = layout.next.pointer(self, buffer)?;
        }
        Ok(())
    }
}
