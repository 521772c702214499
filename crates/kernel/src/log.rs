//! The kernel log, in each form that kernels have kept it.
//!
//! | since | form | module |
//! | --- | --- | --- |
//! | 5.10 (896fbe20b4e2) | `struct printk_ringbuffer`: descriptors, infos and text apart | `ringbuffer` |
//! | 3.5 (7ff9554bb578) | `struct printk_log` records one behind the other | `records` |
//! | ever | plain characters in a ring | `plain` |
//!
//! All of it is read through VMCOREINFO alone, so that a dump without symbols, types or tasks
//! still tells its last words. A record whose page is missing is left out and counted; the others
//! are given.

mod audit;
mod panic_message;
mod plain;
mod records;
mod ringbuffer;
mod safe_buffers;

pub use audit::AuditMessage;
pub use panic_message::PanicMessage;
pub use safe_buffers::SafeBuffer;

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;

/// One record of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number since boot, where the form keeps one.
    pub seq: Option<u64>,
    /// Nanoseconds since boot; `None` in the plain form, whose text may carry a time stamp.
    pub ts_nsec: Option<u64>,
    /// `syslog` facility.
    pub facility: u8,
    /// `syslog` level, 0 (emergency) to 7 (debug).
    pub level: Option<u8>,
    /// Who logged it (CONFIG_PRINTK_CALLER).
    pub caller: Option<Caller>,
    /// The text, without the line feed at its end. May have several lines.
    pub text: String,
    /// What the record is about: `SUBSYSTEM=` and `DEVICE=`.
    pub dictionary: Vec<(String, String)>,
}

/// Who logged a record: `printk_caller_id()` in kernel/printk/printk.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A task, by its process id.
    Task(u32),
    /// A CPU, outside of any task.
    Cpu(u32),
}

impl Caller {
    /// Decodes `caller_id`: the top bit is set for a CPU.
    fn decode(id: u32) -> Self {
        if id & 0x8000_0000 != 0 { Caller::Cpu(id & 0x7fff_ffff) } else { Caller::Task(id) }
    }
}

/// What a walk over the log gave, besides its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Records that are there and cannot be read.
    pub missing: u64,
    /// Why the first of them cannot.
    pub why: Option<KernelError>,
}

impl LogEnd {
    fn miss(&mut self, why: impl Into<KernelError>) {
        self.missing += 1;
        self.why.get_or_insert(why.into());
    }
}

impl Kernel {
    /// Hands every record of the log to `visit`, oldest first, until it says false.
    ///
    /// # Errors
    /// When the log itself cannot be found; single records that cannot be read are counted
    /// instead.
    pub fn log(&self, visit: &mut dyn FnMut(LogRecord) -> bool) -> Result<LogEnd> {
        let vmcoreinfo = self.vmcoreinfo();
        if vmcoreinfo.symbol("prb").is_some() {
            ringbuffer::walk(self, visit)
        } else if vmcoreinfo.size("printk_log").or(vmcoreinfo.size("log")).is_some()
            || self.symbol("log_first_idx").is_ok()
        {
            records::walk(self, visit)
        } else {
            plain::walk(self, visit)
        }
    }

    fn log_offset(&self, member: &'static str) -> Result<u64> {
        self.vmcoreinfo()
            .offset(member)
            .ok_or_else(|| KernelError::Unsupported(format!("VMCOREINFO lacks OFFSET({member})")))
    }

    fn log_size(&self, name: &'static str) -> Result<u64> {
        self.vmcoreinfo()
            .size(name)
            .ok_or_else(|| KernelError::Unsupported(format!("VMCOREINFO lacks SIZE({name})")))
    }
}
