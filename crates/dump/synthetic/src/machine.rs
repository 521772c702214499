//! A machine whose memory and CPUs writers put into files: made up, or a real dump's.

use mortis_memory::{
    PhysAddr, PhysicalMemory, PhysicalRange, ReadError, Unavailable, X86_64Registers,
};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

const PAGE_SIZE: u64 = 4096;

/// A CPU as a hypervisor knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedCpu {
    /// General registers, selectors and the bases of FS and GS.
    pub registers: X86_64Registers,
    /// CR0 to CR4.
    pub cr: [u64; 5],
    /// Where the interrupt descriptor table is.
    pub idt_base: u64,
    /// `MSR_KERNEL_GS_BASE`.
    pub kernel_gs_base: u64,
}

impl SavedCpu {
    /// A CPU in which every register has another value.
    pub fn numbered(number: u64) -> Self {
        let mut bytes = Vec::new();
        for register in 1..=27u64 {
            bytes.extend(((number << 32) + 0x1000 + register).to_le_bytes());
        }
        let mut registers = X86_64Registers::from_user_regs(&bytes);
        registers.orig_rax = 0;
        for (selector, value) in [
            (&mut registers.cs, 0x10),
            (&mut registers.ss, 0x18),
            (&mut registers.ds, 0x20),
            (&mut registers.es, 0x28),
            (&mut registers.fs, 0x30),
            (&mut registers.gs, 0x38),
        ] {
            *selector = value + number;
        }
        registers.rflags = 0x246;
        Self {
            registers,
            cr: [0x8005_0033, 0, 0xdead_0000 + number, 0x1000 * number, 0x6f0],
            idt_base: 0xffff_fe00_0000_0000 + number,
            kernel_gs_base: 0x7f00_0000_0000 + number,
        }
    }
}

/// A machine's memory and CPUs.
pub struct Machine<'a> {
    /// Where memory is read.
    pub memory: &'a dyn PhysicalMemory,
    /// The memory there is, ascending.
    pub ranges: Vec<Range<u64>>,
    /// The CPUs.
    pub cpus: Vec<SavedCpu>,
}

impl<'a> Machine<'a> {
    /// All memory that `memory` speaks of.
    pub fn of(memory: &'a dyn PhysicalMemory, cpus: Vec<SavedCpu>) -> Self {
        let range = |range: PhysicalRange| range.start.0..range.end.0;
        let ranges = memory.ranges().into_iter().map(range).collect();
        Self { memory, ranges, cpus }
    }

    /// Bytes of all ranges.
    pub fn size(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Writes one range, page by page; a page that cannot be read is written as zeroes.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, range: &Range<u64>, out: &mut dyn Write) -> io::Result<()> {
        let mut page = [0; PAGE_SIZE as usize];
        let mut at = range.start;
        while at < range.end {
            let len = (PAGE_SIZE - at % PAGE_SIZE).min(range.end - at);
            let bytes = &mut page[..len as usize];
            if self.memory.read_once(PhysAddr(at), bytes).is_err() {
                bytes.fill(0);
            }
            out.write_all(bytes)?;
            at += len;
        }
        Ok(())
    }

    /// Writes all ranges, one behind the other.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_all(&self, out: &mut dyn Write) -> io::Result<()> {
        self.ranges.iter().try_for_each(|range| self.write(range, out))
    }
}

/// Memory whose pages are [`page`](crate::page) of their number.
pub struct NumberedMemory {
    /// The memory there is.
    pub ranges: Vec<Range<u64>>,
}

impl PhysicalMemory for NumberedMemory {
    fn read(&self, address: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        for (byte, at) in buf.iter_mut().zip(address.0..) {
            if !self.ranges.iter().any(|range| range.contains(&at)) {
                return Err(ReadError::new(PhysAddr(at), Unavailable::Unmapped));
            }
            *byte = 0;
        }
        let mut filled = 0;
        while filled < buf.len() {
            let at = address.0 + filled as u64;
            let page = crate::page(at / PAGE_SIZE, PAGE_SIZE as usize);
            let skip = (at % PAGE_SIZE) as usize;
            let len = (page.len() - skip).min(buf.len() - filled);
            buf[filled..filled + len].copy_from_slice(&page[skip..skip + len]);
            filled += len;
        }
        Ok(())
    }

    fn page_size(&self) -> u64 {
        PAGE_SIZE
    }

    fn ranges(&self) -> Vec<PhysicalRange> {
        let range = |range: &Range<u64>| PhysicalRange {
            start: PhysAddr(range.start),
            end: PhysAddr(range.end),
        };
        self.ranges.iter().map(range).collect()
    }
}

/// A file that has holes where zeroes are written.
pub struct SparseFile {
    file: File,
    at: u64,
}

impl SparseFile {
    /// Writes `file` from its start.
    pub fn new(file: File) -> Self {
        Self { file, at: 0 }
    }

    /// Gives the file its length, as it may end in a hole.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(self) -> io::Result<File> {
        self.file.set_len(self.at)?;
        Ok(self.file)
    }
}

impl Write for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|&byte| byte == 0) {
            self.file.seek(SeekFrom::Current(bytes.len() as i64))?;
        } else {
            self.file.write_all(bytes)?;
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
