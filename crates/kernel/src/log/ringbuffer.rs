//! `struct printk_ringbuffer` (kernel/printk/printk_ringbuffer.h), since 5.10.
//!
//! Three arrays: a descriptor for each record, which says its state and where in the text ring its
//! block lies; an info for each, which says time, length and level; and the ring of text blocks,
//! each behind the id of its owner. Descriptor ids count up for ever; an id's place is its low
//! bits. What the states and the position arithmetic mean is in printk_ringbuffer.c.

use super::{Caller, LogEnd, LogRecord};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_memory::{VirtAddr, VirtualMemory};

/// The top two bits of `state_var` are the state (`DESC_FLAGS_SHIFT`), the rest is the id.
const STATE_SHIFT: u32 = 62;
const ID_MASK: u64 = (1 << STATE_SHIFT) - 1;
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

/// A ring of 2^30 records or bytes is more than any kernel allocates.
const MAX_BITS: u64 = 30;

/// With this many records missing in a row, the ring is not where its pointer says.
const MAX_MISSED: u64 = 1 << 18;

/// Both positions of a block are odd when it has no text (`NO_LPOS`, `FAILED_LPOS`).
const DATALESS: u64 = 1;

struct Ringbuffer<'a> {
    kernel: &'a Kernel,
    descs: VirtAddr,
    desc_size: u64,
    state_var: u64,
    begin: u64,
    next: u64,
    infos: VirtAddr,
    info_size: u64,
    count: u64,
    data: VirtAddr,
    size_bits: u64,
    info: InfoOffsets,
    dev_info: Option<DevInfo>,
}

/// Where the members of `struct printk_info` lie, looked up once for all records.
struct InfoOffsets {
    seq: u64,
    ts_nsec: u64,
    text_len: u64,
    /// Who logged it; always there so far.
    caller_id: Option<u64>,
}

struct DevInfo {
    subsystem: u64,
    subsystem_len: u64,
    device: u64,
    device_len: u64,
}

pub(super) fn walk(kernel: &Kernel, visit: &mut dyn FnMut(LogRecord) -> bool) -> Result<LogEnd> {
    let prb = kernel.read_pointer(kernel.symbol("prb")?)?;
    let descs = prb.offset(kernel.log_offset("printk_ringbuffer.desc_ring")?);
    let texts = prb.offset(kernel.log_offset("printk_ringbuffer.text_data_ring")?);
    let offset = |member| kernel.log_offset(member);
    let count_bits = u64::from(kernel.read_u32(descs.offset(offset("prb_desc_ring.count_bits")?))?);
    let size_bits = u64::from(kernel.read_u32(texts.offset(offset("prb_data_ring.size_bits")?))?);
    if count_bits > MAX_BITS || size_bits > MAX_BITS {
        return Err(KernelError::Unsupported(format!(
            "the printk ringbuffer at {prb:x} is damaged: 2^{count_bits} records, 2^{size_bits} bytes"
        )));
    }
    let block = offset("prb_desc.text_blk_lpos")?;
    let ring = Ringbuffer {
        kernel,
        descs: kernel.read_pointer(descs.offset(offset("prb_desc_ring.descs")?))?,
        desc_size: kernel.log_size("prb_desc")?,
        state_var: offset("prb_desc.state_var")?,
        begin: block + offset("prb_data_blk_lpos.begin")?,
        next: block + offset("prb_data_blk_lpos.next")?,
        infos: kernel.read_pointer(descs.offset(offset("prb_desc_ring.infos")?))?,
        info_size: kernel.log_size("printk_info")?,
        count: 1 << count_bits,
        data: kernel.read_pointer(texts.offset(offset("prb_data_ring.data")?))?,
        size_bits,
        info: InfoOffsets {
            seq: offset("printk_info.seq")?,
            ts_nsec: offset("printk_info.ts_nsec")?,
            text_len: offset("printk_info.text_len")?,
            caller_id: offset("printk_info.caller_id").ok(),
        },
        dev_info: DevInfo::find(kernel),
    };
    let head = kernel.read_u64(descs.offset(offset("prb_desc_ring.head_id")?))? & ID_MASK;
    let tail = kernel.read_u64(descs.offset(offset("prb_desc_ring.tail_id")?))? & ID_MASK;
    // A damaged head must not make the walk go round the ring for ever.
    let records = (head.wrapping_sub(tail) & ID_MASK).saturating_add(1).min(ring.count);
    let mut end = LogEnd::default();
    let mut missed_in_a_row = 0;
    for index in 0..records {
        match ring.record(tail.wrapping_add(index) & ID_MASK) {
            Ok(Some(record)) => {
                if !visit(record) {
                    break;
                }
            }
            Ok(None) => {}
            Err(error) => {
                end.miss(error);
                missed_in_a_row += 1;
                if missed_in_a_row > MAX_MISSED {
                    end.missing += records - index - 1;
                    break;
                }
                continue;
            }
        }
        missed_in_a_row = 0;
    }
    Ok(end)
}

impl Ringbuffer<'_> {
    /// The record with that id; `None` where it is not finished or was taken over by another.
    fn record(&self, id: u64) -> Result<Option<LogRecord>> {
        let place = id & (self.count - 1);
        let desc = self.descs.offset(place * self.desc_size);
        let state_var = self.kernel.read_u64(desc.offset(self.state_var))?;
        if state_var & ID_MASK != id || !matches!(state_var >> STATE_SHIFT, COMMITTED | FINALIZED) {
            return Ok(None);
        }
        let info = self.infos.offset(place * self.info_size);
        let bytes = self.kernel.read_bytes(info, self.info_size)?;
        let seq = number(&bytes, self.info.seq, 8);
        let text_len_at = self.info.text_len;
        let text_len = number(&bytes, text_len_at, 2);
        let caller = self.info.caller_id.map(|at| number(&bytes, at, 4) as u32);
        // `facility` is the byte behind `text_len`, then 5 bits of flags and 3 of level:
        // VMCOREINFO does not say, and they have not moved.
        let facility = number(&bytes, text_len_at + 2, 1) as u8;
        let level = (number(&bytes, text_len_at + 3, 1) >> 5) as u8;
        Ok(Some(LogRecord {
            seq: Some(seq),
            ts_nsec: Some(number(&bytes, self.info.ts_nsec, 8)),
            facility,
            level: Some(level),
            caller: caller.map(Caller::decode),
            text: self.text(desc, text_len)?,
            dictionary: self.dictionary(&bytes),
        }))
    }

    fn text(&self, desc: VirtAddr, text_len: u64) -> Result<String> {
        let begin = self.kernel.read_u64(desc.offset(self.begin))?;
        let next = self.kernel.read_u64(desc.offset(self.next))?;
        if begin & DATALESS != 0 && next & DATALESS != 0 {
            return Ok(String::new());
        }
        let mask = (1u64 << self.size_bits) - 1;
        // A block that would wrap stands at the start of the ring instead.
        let (start, end) = if begin >> self.size_bits == next >> self.size_bits {
            (begin & mask, next & mask)
        } else if next & mask == 0 {
            (begin & mask, mask + 1)
        } else {
            (0, next & mask)
        };
        // The block's first word is its owner's id.
        let room = end.saturating_sub(start).saturating_sub(8);
        let bytes = self.kernel.read_bytes(self.data.offset(start + 8), text_len.min(room))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn dictionary(&self, info: &[u8]) -> Vec<(String, String)> {
        let Some(at) = &self.dev_info else { return Vec::new() };
        let text = |start: u64, len: u64| {
            let bytes = info.get(start as usize..(start + len) as usize).unwrap_or_default();
            let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let entries = [
            ("SUBSYSTEM", text(at.subsystem, at.subsystem_len)),
            ("DEVICE", text(at.device, at.device_len)),
        ];
        let given = entries.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

impl DevInfo {
    fn find(kernel: &Kernel) -> Option<Self> {
        let vmcoreinfo = kernel.vmcoreinfo();
        let start = vmcoreinfo.offset("printk_info.dev_info")?;
        Some(Self {
            subsystem: start + vmcoreinfo.offset("dev_printk_info.subsystem")?,
            subsystem_len: vmcoreinfo.length("printk_info_subsystem")?.min(4096),
            device: start + vmcoreinfo.offset("dev_printk_info.device")?,
            device_len: vmcoreinfo.length("printk_info_device")?.min(4096),
        })
    }
}

/// The little-endian number of `len` bytes at `at`, 0 where `bytes` is too short.
fn number(bytes: &[u8], at: u64, len: usize) -> u64 {
    let at = at as usize;
    let found = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
    found.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
