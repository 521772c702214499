//! `struct printk_log` records (kernel/printk/printk.c), 3.5 to 5.9. `struct log` until 3.11
//! (62e32ac3505a).
//!
//! Records of any length lie one behind the other in `log_buf`, from `log_first_idx` to before
//! `log_next_idx`. Where the next one does not fit before the end, a length of zero says that the
//! log goes on at the start. VMCOREINFO tells the offsets; a vmlinux would, too.

use super::{Caller, LogEnd, LogRecord};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A record's head: kernel/printk/printk.c.
    pub struct PrintkLog = "printk_log" | "log" {
        ts_nsec: "ts_nsec",
        len: "len",
        text_len: "text_len",
        dict_len: "dict_len",
    }
}

/// More than any kernel's log buffer (`LOG_BUF_LEN_MAX`).
const MAX_LOG: u64 = 1 << 31;
/// A record without text: the time, three lengths, facility and level.
const MIN_RECORD: u64 = 16;
/// With CONFIG_PRINTK_CALLER (5.1, 15ff2069cb7f) a word more.
const WITH_CALLER: u64 = 20;

pub(super) fn walk(kernel: &Kernel, visit: &mut dyn FnMut(LogRecord) -> bool) -> Result<LogEnd> {
    let form = Form::of(kernel)?;
    let ring = Ring {
        buffer: kernel.read_pointer(kernel.symbol("log_buf")?)?,
        size: u64::from(kernel.read_u32(kernel.symbol("log_buf_len")?)?).min(MAX_LOG),
        first: u64::from(kernel.read_u32(kernel.symbol("log_first_idx")?)?),
        next: u64::from(kernel.read_u32(kernel.symbol("log_next_idx")?)?),
    };
    Ok(ring.walk(kernel, &form, visit))
}

/// Bytes of a record's head, and where in it its members lie.
struct Form {
    header: u64,
    ts_nsec: u64,
    len: u64,
    text_len: u64,
    dict_len: u64,
}

impl Form {
    fn of(kernel: &Kernel) -> Result<Self> {
        let vmcoreinfo = kernel.vmcoreinfo();
        let layout = kernel.layout::<PrintkLog>();
        let member = |name: &str, field: fn(&PrintkLog) -> Result<u64>| {
            let told = vmcoreinfo
                .offset(&format!("printk_log.{name}"))
                .or_else(|| vmcoreinfo.offset(&format!("log.{name}")));
            told.or_else(|| field(layout.as_ref().ok()?).ok()).ok_or_else(|| {
                KernelError::Unsupported(format!("VMCOREINFO lacks OFFSET(printk_log.{name})"))
            })
        };
        let text_len = member("text_len", |layout| layout.text_len.offset())?;
        let size = vmcoreinfo.size("printk_log").or(vmcoreinfo.size("log"));
        Ok(Self {
            header: size.or_else(|| Some(layout.as_ref().ok()?.size_of)).unwrap_or(MIN_RECORD),
            ts_nsec: member("ts_nsec", |layout| layout.ts_nsec.offset())?,
            len: member("len", |layout| layout.len.offset())?,
            text_len,
            dict_len: member("dict_len", |layout| layout.dict_len.offset()).unwrap_or(text_len + 2),
        })
    }
}

/// Where the records are.
struct Ring {
    buffer: VirtAddr,
    size: u64,
    first: u64,
    next: u64,
}

impl Ring {
    fn walk(
        &self,
        memory: &dyn VirtualMemory,
        form: &Form,
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> LogEnd {
        let mut end = LogEnd::default();
        let mut at = self.first;
        // Once around: behind its wrap a sound log ends before where it began.
        let mut wrapped = false;
        while at != self.next && at < self.size && !(wrapped && at >= self.first) {
            let record = self.buffer.offset(at);
            let total = match memory.read_u16(record.offset(form.len)) {
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
            match form.read(memory, record) {
                Ok(record) => {
                    if !visit(record) {
                        break;
                    }
                }
                Err(error) => end.miss(error),
            }
            at += total;
        }
        end
    }
}

impl Form {
    fn read(&self, memory: &dyn VirtualMemory, at: VirtAddr) -> Result<LogRecord> {
        let text_bytes = u64::from(memory.read_u16(at.offset(self.text_len))?);
        let dict_bytes = u64::from(memory.read_u16(at.offset(self.dict_len))?);
        let text = memory.read_bytes(at.offset(self.header), text_bytes)?;
        let dict = memory.read_bytes(at.offset(self.header + text_bytes), dict_bytes)?;
        // `facility` and the byte of 5 flag and 3 level bits stand behind `dict_len`.
        let facility = memory.read_u8(at.offset(self.dict_len + 2))?;
        let level = memory.read_u8(at.offset(self.dict_len + 3))? >> 5;
        let caller = if self.header >= WITH_CALLER {
            Some(Caller::decode(memory.read_u32(at.offset(self.dict_len + 4))?))
        } else {
            None
        };
        let dictionary = dict
            .split(|&byte| byte == 0)
            .filter_map(|entry| String::from_utf8_lossy(entry).split_once('=').map(owned))
            .collect();
        Ok(LogRecord {
            seq: None,
            ts_nsec: Some(memory.read_u64(at.offset(self.ts_nsec))?),
            facility,
            level: Some(level),
            caller,
            text: String::from_utf8_lossy(&text).into_owned(),
            dictionary,
        })
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_memory::Words;

    const BUFFER: u64 = 0xffff_ffff_8200_0000;
    const FORM: Form = Form { header: 16, ts_nsec: 0, len: 8, text_len: 10, dict_len: 12 };

    /// `log_store()` of kernel/printk/printk.c: a head, the text, the dictionary, and zeroes up to
    /// a multiple of four bytes.
    fn record(ts_nsec: u64, facility: u8, level: u8, text: &str, dict: &str) -> Vec<u8> {
        let len = (16 + text.len() + dict.len()).next_multiple_of(4);
        let mut bytes = ts_nsec.to_le_bytes().to_vec();
        for number in [len, text.len(), dict.len()] {
            bytes.extend((number as u16).to_le_bytes());
        }
        bytes.extend([facility, level << 5 | 0x2]);
        bytes.extend(text.bytes().chain(dict.bytes()));
        bytes.resize(len, 0);
        bytes
    }

    fn texts(buffer: &[u8], first: u64, next: u64) -> (Vec<String>, LogEnd) {
        let mut bytes = buffer.to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let words: Vec<u64> =
            bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let mut memory = Words::default();
        memory.put(BUFFER, &words);
        let ring = Ring { buffer: VirtAddr(BUFFER), size: buffer.len() as u64, first, next };
        let mut found = Vec::new();
        let end = ring.walk(&memory, &FORM, &mut |record| {
            found.push(record.text);
            true
        });
        (found, end)
    }

    #[test]
    fn a_record_tells_time_level_and_dictionary() {
        let bytes = record(1_500_000_000, 3, 6, "usb 1-1: new", "SUBSYSTEM=usb\0DEVICE=+usb:1-1");
        let mut memory = Words::default();
        for (at, word) in (BUFFER..).step_by(8).zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            memory.put(at, &[u64::from_le_bytes(padded)]);
        }
        let record = FORM.read(&memory, VirtAddr(BUFFER)).expect("a record");
        assert_eq!(record.ts_nsec, Some(1_500_000_000));
        assert_eq!((record.facility, record.level, record.caller), (3, Some(6), None));
        assert_eq!(record.text, "usb 1-1: new");
        let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(record.dictionary, [of("SUBSYSTEM", "usb"), of("DEVICE", "+usb:1-1")]);
    }

    #[test]
    fn the_log_goes_on_at_the_start_of_the_buffer() {
        // Newer records have taken the place of the oldest ones.
        let mut buffer = record(3, 0, 6, "third", "");
        let next = buffer.len() as u64;
        buffer.extend(record(0, 0, 6, "overwritten in part", "").split_off(8));
        buffer.resize(96, 0xee);
        let first = buffer.len() as u64;
        buffer.extend(record(1, 0, 6, "first", ""));
        buffer.extend(record(2, 0, 4, "second", ""));
        buffer.extend([0; 20]);
        let (found, end) = texts(&buffer, first, next);
        assert_eq!(found, ["first", "second", "third"]);
        assert_eq!(end, LogEnd::default());
    }

    #[test]
    fn damage_ends_the_log_and_what_was_before_stays() {
        let mut buffer = record(1, 0, 6, "first", "");
        let second = buffer.len();
        buffer.extend(record(2, 0, 6, "second", ""));
        let next = buffer.len() as u64;
        // A length that no record has, one that leads around for ever, and one that leads out.
        for (len, expected) in [(4u16, 1), (0, 1), (0xffff, 2)] {
            let mut damaged = buffer.clone();
            damaged[second + 8..second + 10].copy_from_slice(&len.to_le_bytes());
            assert_eq!(texts(&damaged, 0, next).0.len(), expected, "{len}");
        }
        let mut long = buffer.clone();
        long[10..12].copy_from_slice(&0xffffu16.to_le_bytes());
        let (found, end) = texts(&long, 0, next);
        assert_eq!((found.len(), end.missing), (1, 1));
        // Indices out of the buffer.
        assert_eq!(texts(&buffer, 0x7fff_fff0, next).0.len(), 0);
        assert_eq!(texts(&buffer, 0, 0x7fff_fff0).0.len(), 2);
    }
}
