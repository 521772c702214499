//! The kernel log in its three forms: what VMCOREINFO says of it up to a NUL, then the memory that
//! it lies in.

use mortis_dump::{Dump, OpenOptions};
use mortis_dump_synthetic::{ElfWriter, Load, note};
use mortis_kernel::{Kernel, Options};
use std::fmt::Write;
use std::sync::Arc;

/// Where the memory lies: the kernel's image from `BASE` on.
const BASE: u64 = 0xffff_ffff_8100_0000;
const PHYSICAL: u64 = 0x100_0000;

/// Reads the whole log, and what else is made of it.
pub fn fuzz(data: &[u8]) {
    records(data);
}

/// How many records the log has.
fn records(data: &[u8]) -> usize {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (text, memory) = data.split_at(end);
    let info = [b"NUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)=ffffffff81000000\n", text].concat();
    let core = ElfWriter {
        notes: note("VMCOREINFO", 0, &info),
        loads: vec![Load {
            address: PHYSICAL,
            memory_size: memory.len() as u64,
            bytes: memory.to_vec(),
        }],
        ..ElfWriter::default()
    };
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    let Ok(dump) = Dump::from_source(Arc::new(core.write()), "input", options) else { return 0 };
    let Ok(kernel) = Kernel::open(Arc::new(dump), None, Options::default()) else { return 0 };
    let mut records = 0;
    let _ = kernel.log(&mut |_| {
        records += 1;
        true
    });
    let _ = (kernel.panic_message(), kernel.safe_buffers(), kernel.audit_messages());
    records
}

/// VMCOREINFO and memory, put together piece by piece.
#[derive(Default)]
struct Image {
    info: String,
    memory: Vec<u8>,
}

impl Image {
    fn symbol(&mut self, name: &str, at: u64) {
        let _ = writeln!(self.info, "SYMBOL({name})={:x}", BASE + at);
    }

    fn line(&mut self, kind: &str, name: &str, number: u64) {
        let _ = writeln!(self.info, "{kind}({name})={number}");
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        self.memory.resize(self.memory.len().max(at + bytes.len()), 0);
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn seed(mut self) -> Vec<u8> {
        // The first byte is the NUL that ends VMCOREINFO.
        self.memory.resize(self.memory.len().next_multiple_of(4096), 0);
        [self.info.into_bytes(), self.memory].concat()
    }
}

/// A few records each; the last two are damaged so that they seem to go on for ever.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut endless = records_of_their_own();
    endless.put(16, &0x8000_0000_u32.to_le_bytes());
    endless.put(24, &0x4000_0000_u32.to_le_bytes());
    let mut elsewhere = ringbuffer();
    elsewhere.put(RING, &30_u32.to_le_bytes());
    elsewhere.put(RING + 24, &(1_u64 << 29).to_le_bytes());
    let images = [ringbuffer(), records_of_their_own(), characters(), endless, elsewhere];
    images.into_iter().map(Image::seed).collect()
}

/// Where the ringbuffer lies in its image.
const RING: u64 = 0x100;

fn ringbuffer() -> Image {
    const DESCS: u64 = 0x200;
    const INFOS: u64 = 0x300;
    const DATA: u64 = 0x500;
    const INFO_SIZE: u64 = 88;
    let mut image = Image::default();
    image.symbol("prb", 8);
    for (member, offset) in [
        ("printk_ringbuffer.desc_ring", 0),
        ("printk_ringbuffer.text_data_ring", 64),
        ("prb_desc_ring.count_bits", 0),
        ("prb_desc_ring.descs", 8),
        ("prb_desc_ring.infos", 16),
        ("prb_desc_ring.head_id", 24),
        ("prb_desc_ring.tail_id", 32),
        ("prb_desc.state_var", 0),
        ("prb_desc.text_blk_lpos", 8),
        ("prb_data_blk_lpos.begin", 0),
        ("prb_data_blk_lpos.next", 8),
        ("printk_info.seq", 0),
        ("printk_info.ts_nsec", 8),
        ("printk_info.text_len", 16),
        ("printk_info.caller_id", 20),
        ("printk_info.dev_info", 24),
        ("dev_printk_info.subsystem", 0),
        ("dev_printk_info.device", 16),
        ("prb_data_ring.size_bits", 0),
        ("prb_data_ring.data", 8),
        ("atomic_long_t.counter", 0),
    ] {
        image.line("OFFSET", member, offset);
    }
    for (name, size) in [("prb_desc", 24), ("printk_info", INFO_SIZE), ("printk_ringbuffer", 128)] {
        image.line("SIZE", name, size);
    }
    image.line("LENGTH", "printk_info_subsystem", 16);
    image.line("LENGTH", "printk_info_device", 48);
    image.put(8, &(BASE + RING).to_le_bytes());
    image.put(RING, &2u32.to_le_bytes());
    for (at, word) in [(8, BASE + DESCS), (16, BASE + INFOS), (24, 3), (32, 0)] {
        image.put(RING + at, &word.to_le_bytes());
    }
    image.put(RING + 64, &7u32.to_le_bytes());
    image.put(RING + 72, &(BASE + DATA).to_le_bytes());
    for id in 0..4u64 {
        for (at, word) in [(0, 2 << 62 | id), (8, 32 * id), (16, 32 * (id + 1))] {
            image.put(DESCS + 24 * id + at, &word.to_le_bytes());
        }
        let info = INFOS + INFO_SIZE * id;
        for (at, word) in [(0, id), (8, id * 1_000_000), (16, 0xc0_00_00_06)] {
            image.put(info + at, &word.to_le_bytes());
        }
        image.put(info + 24, b"pci");
        image.put(info + 40, b"+pci:0000:00:01.0");
        image.put(DATA + 32 * id, &id.to_le_bytes());
        image.put(DATA + 32 * id + 8, b"panic!");
    }
    image
}

fn records_of_their_own() -> Image {
    const BUFFER: u64 = 0x100;
    let mut image = Image::default();
    for (name, at) in
        [("log_buf", 8), ("log_buf_len", 16), ("log_first_idx", 20), ("log_next_idx", 24)]
    {
        image.symbol(name, at);
    }
    image.line("SIZE", "printk_log", 16);
    for (member, offset) in [("ts_nsec", 0), ("len", 8), ("text_len", 10), ("dict_len", 12)] {
        image.line("OFFSET", &format!("printk_log.{member}"), offset);
    }
    image.put(8, &(BASE + BUFFER).to_le_bytes());
    for (at, word) in [(16, 256u32), (20, 0), (24, 4 * 32)] {
        image.put(at, &word.to_le_bytes());
    }
    for index in 0..4 {
        let record = BUFFER + 32 * index;
        image.put(record, &(index * 1_000_000).to_le_bytes());
        for (at, number) in [(8, 32u16), (10, 6), (12, 5)] {
            image.put(record + at, &number.to_le_bytes());
        }
        image.put(record + 15, &[6 << 5]);
        image.put(record + 16, b"panic!KEY=1");
    }
    image
}

fn characters() -> Image {
    let mut image = Image::default();
    for (name, at) in [("log_buf", 8), ("log_buf_len", 16), ("log_end", 20), ("logged_chars", 24)] {
        image.symbol(name, at);
    }
    image.put(8, &(BASE + 0x100).to_le_bytes());
    for (at, word) in [(16, 64u32), (20, 40), (24, 40)] {
        image.put(at, &word.to_le_bytes());
    }
    image.put(0x100, b"<6>one\n<4>two\n<0>panic!\n[1.0] four\n   ");
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_a_log() {
        let counts: Vec<usize> = seeds().iter().map(|seed| records(seed)).collect();
        assert_eq!(counts, [4, 4, 5, 4, 4]);
    }
}
