//! The plain ring of characters, before 3.5: `log_buf`, of which the last `logged_chars`
//! characters up to `log_end` are the log.

use super::{LogEnd, LogRecord};
use crate::error::Result;
use crate::kernel::Kernel;
use mortis_memory::{MAX_ALLOCATION, VirtualMemory};

pub(super) fn walk(kernel: &Kernel, visit: &mut dyn FnMut(LogRecord) -> bool) -> Result<LogEnd> {
    let buffer = kernel.read_pointer(kernel.symbol("log_buf")?)?;
    let size = u64::from(kernel.read_u32(kernel.symbol("log_buf_len")?)?).clamp(1, MAX_ALLOCATION);
    let log_end = u64::from(kernel.read_u32(kernel.symbol("log_end")?)?);
    // Without a count, the ring is taken as full; what was never written is NUL.
    let logged = kernel
        .symbol("logged_chars")
        .and_then(|address| Ok(kernel.read_u32(address)?))
        .map_or(size, u64::from)
        .min(size);
    let mut end = LogEnd::default();
    let mut text = Vec::with_capacity(logged as usize);
    let start = log_end.wrapping_sub(logged) % size;
    let mut done = 0;
    while done < logged {
        let at = (start + done) % size;
        let len = (4096 - buffer.offset(at).0 % 4096).min(size - at).min(logged - done);
        match kernel.read_bytes(buffer.offset(at), len) {
            Ok(bytes) => text.extend(bytes.into_iter().filter(|&byte| byte != 0)),
            Err(error) => end.miss(error),
        }
        done += len;
    }
    for line in String::from_utf8_lossy(&text).lines() {
        let (level, rest) = level_prefix(line);
        let record = LogRecord { level, text: rest.to_owned(), ..LogRecord::default() };
        if !visit(record) {
            break;
        }
    }
    Ok(end)
}

/// Splits off `<6>`.
fn level_prefix(line: &str) -> (Option<u8>, &str) {
    line.strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .and_then(|(level, rest)| Some((Some(level.parse::<u8>().ok()? & 7), rest)))
        .unwrap_or((None, line))
}

#[cfg(test)]
mod tests {
    use super::level_prefix;

    #[test]
    fn a_line_tells_its_level() {
        assert_eq!(level_prefix("<6>usb 1-1"), (Some(6), "usb 1-1"));
        assert_eq!(level_prefix("<b>x"), (None, "<b>x"));
        assert_eq!(level_prefix("plain"), (None, "plain"));
    }
}
