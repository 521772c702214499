//! The plain ring of characters, before 3.5: `log_buf`, of which the last `logged_chars`
//! characters up to `log_end` are the log.

use super::{LogEnd, LogRecord};
use crate::error::Result;
use crate::kernel::Kernel;
use mortis_memory::{MAX_ALLOCATION, VirtAddr, VirtualMemory};

pub(super) fn walk(kernel: &Kernel, visit: &mut dyn FnMut(LogRecord) -> bool) -> Result<LogEnd> {
    let size = u64::from(kernel.read_u32(kernel.symbol("log_buf_len")?)?).clamp(1, MAX_ALLOCATION);
    let ring = Ring {
        buffer: kernel.read_pointer(kernel.symbol("log_buf")?)?,
        size,
        end: u64::from(kernel.read_u32(kernel.symbol("log_end")?)?),
        // Without a count, the ring is taken as full; what was never written is NUL.
        logged: kernel
            .symbol("logged_chars")
            .and_then(|address| Ok(kernel.read_u32(address)?))
            .map_or(size, u64::from),
    };
    Ok(ring.walk(kernel, visit))
}

/// The characters: `logged` of them, up to `end`, which counts on and is taken modulo `size`.
struct Ring {
    buffer: VirtAddr,
    size: u64,
    end: u64,
    logged: u64,
}

impl Ring {
    fn walk(&self, memory: &dyn VirtualMemory, visit: &mut dyn FnMut(LogRecord) -> bool) -> LogEnd {
        let mut end = LogEnd::default();
        let logged = self.logged.min(self.size);
        let mut text = Vec::with_capacity(logged as usize);
        // The size is a power of two, so that a counter of 32 bits may wrap.
        let start = self.end.wrapping_sub(logged) % self.size;
        let mut done = 0;
        while done < logged {
            let at = (start + done) % self.size;
            let address = self.buffer.offset(at);
            let len = (4096 - address.0 % 4096).min(self.size - at).min(logged - done);
            match memory.read_bytes(address, len) {
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
        end
    }
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
    use super::*;
    use crate::test_memory::Words;

    const BUFFER: u64 = 0xffff_ffff_81e0_1000;

    /// `emit_log_char()` of kernel/printk.c in 2.6.32, for each character of `log`.
    fn written(size: usize, log: &str) -> (Words, Ring) {
        let mut bytes = vec![0u8; size];
        let mut log_end = 0u32;
        for character in log.bytes() {
            bytes[log_end as usize & (size - 1)] = character;
            log_end += 1;
        }
        let words: Vec<u64> =
            bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let mut memory = Words::default();
        memory.put(BUFFER, &words);
        let logged = log.len().min(size) as u64;
        let end = u64::from(log_end);
        (memory, Ring { buffer: VirtAddr(BUFFER), size: size as u64, end, logged })
    }

    fn lines(memory: &Words, ring: &Ring) -> (Vec<(Option<u8>, String)>, LogEnd) {
        let mut found = Vec::new();
        let end = ring.walk(memory, &mut |record| {
            found.push((record.level, record.text));
            true
        });
        (found, end)
    }

    #[test]
    fn lines_come_with_their_levels() {
        let (memory, ring) = written(256, "<6>[    0.000000] Linux\n<4>[    0.1] two\n<0>end");
        let (found, end) = lines(&memory, &ring);
        let line = |level, text: &str| (Some(level), text.to_owned());
        assert_eq!(
            found,
            [line(6, "[    0.000000] Linux"), line(4, "[    0.1] two"), line(0, "end")]
        );
        assert_eq!(end, LogEnd::default());
    }

    #[test]
    fn a_full_ring_begins_within_a_line() {
        let log: String = (0..40).map(|line| format!("<6>line {line}\n")).collect();
        let (memory, ring) = written(64, &log);
        let (found, _) = lines(&memory, &ring);
        let expected: Vec<&str> = log[log.len() - 64..].lines().collect();
        assert_eq!(found.len(), expected.len());
        assert_eq!(found[0], (None, expected[0].to_owned()));
        assert_eq!(found.last(), Some(&(Some(6), "line 39".to_owned())));
    }

    #[test]
    fn damaged_counters_give_what_there_is() {
        let (memory, mut ring) = written(64, "<6>one\n");
        // More than the ring holds: what was never written is passed over.
        ring.logged = u64::from(u32::MAX);
        assert_eq!(lines(&memory, &ring).0, [(Some(6), "one".to_owned())]);
        // The counter has wrapped.
        ring.end = 3;
        assert!(!lines(&memory, &ring).0.is_empty());
        // A buffer that is not in the dump: both of its parts.
        ring.buffer = VirtAddr(0x1000);
        let (found, end) = lines(&memory, &ring);
        assert_eq!((found.len(), end.missing), (0, 2));
    }

    #[test]
    fn a_line_tells_its_level() {
        assert_eq!(level_prefix("<6>usb 1-1"), (Some(6), "usb 1-1"));
        assert_eq!(level_prefix("<b>x"), (None, "<b>x"));
        assert_eq!(level_prefix("plain"), (None, "plain"));
    }
}
