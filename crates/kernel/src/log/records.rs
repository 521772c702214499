//! `struct printk_log` records (kernel/printk/printk.c), 3.5 to 5.9. `struct log` until 3.11
//! (62e32ac3505a).

use super::{LogEnd, LogRecord};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_memory::VirtualMemory;

/// More than any kernel's log buffer (`LOG_BUF_LEN_MAX`).
const MAX_LOG: u64 = 1 << 31;
/// A record without text: the time, three lengths, facility and level.
const MIN_RECORD: u64 = 16;

pub(super) fn walk(kernel: &Kernel, visit: &mut dyn FnMut(LogRecord) -> bool) -> Result<LogEnd> {
    let vmcoreinfo = kernel.vmcoreinfo();
    let member = |name: &str| {
        vmcoreinfo
            .offset(&format!("printk_log.{name}"))
            .or_else(|| vmcoreinfo.offset(&format!("log.{name}")))
            .ok_or_else(|| {
                KernelError::Unsupported(format!("VMCOREINFO lacks OFFSET(printk_log.{name})"))
            })
    };
    let header = vmcoreinfo.size("printk_log").or(vmcoreinfo.size("log")).unwrap_or(16);
    let (ts_nsec, len, text_len) = (member("ts_nsec")?, member("len")?, member("text_len")?);
    let dict_len = member("dict_len").unwrap_or(text_len + 2);
    let buffer = kernel.read_pointer(kernel.symbol("log_buf")?)?;
    let size = u64::from(kernel.read_u32(kernel.symbol("log_buf_len")?)?).min(MAX_LOG);
    let first = u64::from(kernel.read_u32(kernel.symbol("log_first_idx")?)?);
    let next = u64::from(kernel.read_u32(kernel.symbol("log_next_idx")?)?);
    let mut end = LogEnd::default();
    let mut at = first;
    // Once around: behind its wrap a sound log ends before where it began.
    let mut wrapped = false;
    while at != next && at < size && !(wrapped && at >= first) {
        let record = buffer.offset(at);
        let total = match kernel.read_u16(record.offset(len)) {
            // A length of zero says that the rest of the buffer is unused.
            Ok(0) if wrapped => break,
            Ok(0) => {
                wrapped = true;
                at = 0;
                continue;
            }
            Ok(total) if u64::from(total) < MIN_RECORD => break,
            Ok(total) => u64::from(total),
            Err(error) => {
                end.miss(error);
                break;
            }
        };
        match read_record(kernel, record, header, ts_nsec, text_len, dict_len) {
            Ok(record) => {
                if !visit(record) {
                    break;
                }
            }
            Err(error) => end.miss(error),
        }
        at += total;
    }
    Ok(end)
}

fn read_record(
    kernel: &Kernel,
    at: mortis_memory::VirtAddr,
    header: u64,
    ts_nsec: u64,
    text_len: u64,
    dict_len: u64,
) -> Result<LogRecord> {
    let text_bytes = u64::from(kernel.read_u16(at.offset(text_len))?);
    let dict_bytes = u64::from(kernel.read_u16(at.offset(dict_len))?);
    let text = kernel.read_bytes(at.offset(header), text_bytes)?;
    let dict = kernel.read_bytes(at.offset(header + text_bytes), dict_bytes)?;
    // `facility` and the byte of 5 flag and 3 level bits stand behind `dict_len`.
    let facility = kernel.read_u8(at.offset(dict_len + 2))?;
    let level = kernel.read_u8(at.offset(dict_len + 3))? >> 5;
    let dictionary = dict
        .split(|&byte| byte == 0)
        .filter_map(|entry| String::from_utf8_lossy(entry).split_once('=').map(owned))
        .collect();
    Ok(LogRecord {
        seq: None,
        ts_nsec: Some(kernel.read_u64(at.offset(ts_nsec))?),
        facility,
        level: Some(level),
        caller: None,
        text: String::from_utf8_lossy(&text).into_owned(),
        dictionary,
    })
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}
