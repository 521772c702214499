//! VMware's state of a suspended machine or of a snapshot.

use crate::machine::{Machine, SavedCpu};
use std::io::{self, Write};

/// Where the memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmwareMemory {
    /// Into the state.
    Inside,
    /// Into the state, compressed by zlib.
    Compressed,
    /// Into another file: [`Machine::write_all`] writes that.
    Separate,
}

/// How a state is to be written.
#[derive(Clone, Copy, Debug)]
pub struct VmwareWriter {
    /// 0xbed2bed2, 0xbed3bed3, 0xbad1bad1, 0xbad2bad2; 0xbed2bed0 has short sizes of blocks.
    pub magic: u32,
    /// Where the memory goes.
    pub memory: VmwareMemory,
    /// Whether regions are written, also where memory has no hole.
    pub with_regions: bool,
    /// Whether registers are in blocks and not in items of their own.
    pub in_blocks: bool,
    /// Items that are left out, by name.
    pub left_out: &'static [&'static str],
}

impl Default for VmwareWriter {
    fn default() -> Self {
        Self {
            magic: 0xbed2_bed2,
            memory: VmwareMemory::Inside,
            with_regions: true,
            in_blocks: false,
            left_out: &[],
        }
    }
}

/// The items of a group.
struct Items<'a> {
    writer: &'a VmwareWriter,
    bytes: Vec<u8>,
}

impl Items<'_> {
    fn tag(&mut self, name: &str, indices: &[u32], value_size: u16) -> bool {
        if self.writer.left_out.contains(&name) {
            return false;
        }
        let tag = (name.len() as u16) << 8 | (indices.len() as u16) << 6 | value_size;
        self.bytes.extend(tag.to_le_bytes());
        self.bytes.extend(name.as_bytes());
        for index in indices {
            self.bytes.extend(index.to_le_bytes());
        }
        true
    }

    fn short(&mut self, name: &str, indices: &[u32], value: u64) {
        if self.tag(name, indices, 4) {
            self.bytes.extend((value as u32).to_le_bytes());
        }
    }

    fn long(&mut self, name: &str, indices: &[u32], value: u64) {
        if self.tag(name, indices, 8) {
            self.bytes.extend(value.to_le_bytes());
        }
    }

    /// The head of a block; its data follow.
    fn block(&mut self, name: &str, indices: &[u32], compressed: bool, len: u64, memory_len: u64) {
        if self.tag(name, indices, if compressed { 62 } else { 63 }) {
            match self.writer.magic & 0xf {
                0 => {
                    self.bytes.extend((len as u32).to_le_bytes());
                    self.bytes.extend((memory_len as u32).to_le_bytes());
                }
                _ => {
                    self.bytes.extend(len.to_le_bytes());
                    self.bytes.extend(memory_len.to_le_bytes());
                }
            }
            let padding = if name == "Memory" { 7u16 } else { 0 };
            self.bytes.extend(padding.to_le_bytes());
            self.bytes.extend(vec![0xee; padding.into()]);
        }
    }

    fn small_block(&mut self, name: &str, indices: &[u32], data: &[u8]) {
        let before = self.bytes.len();
        self.block(name, indices, false, data.len() as u64, data.len() as u64);
        if self.bytes.len() > before {
            self.bytes.extend(data);
        }
    }

    fn cpu(&mut self, number: u32, cpu: &SavedCpu) {
        let SavedCpu { registers, cr, idt_base, .. } = cpu;
        let general = [
            ("rax", registers.rax),
            ("rcx", registers.rcx),
            ("rdx", registers.rdx),
            ("rbx", registers.rbx),
            ("rbp", registers.rbp),
            ("rsp", registers.rsp),
            ("rsi", registers.rsi),
            ("rdi", registers.rdi),
            ("r8", registers.r8),
            ("r9", registers.r9),
            ("r10", registers.r10),
            ("r11", registers.r11),
            ("r12", registers.r12),
            ("r13", registers.r13),
            ("r14", registers.r14),
            ("r15", registers.r15),
        ];
        if self.writer.in_blocks {
            let all: Vec<u8> = general.iter().flat_map(|(_, value)| value.to_le_bytes()).collect();
            self.small_block("gpregs", &[number], &all);
            let control: Vec<u8> =
                cr.iter().chain(&[0; 4]).flat_map(|value| value.to_le_bytes()).collect();
            self.small_block("CR64", &[number], &control);
            let mut table = 0xfff_u16.to_le_bytes().to_vec();
            table.extend(idt_base.to_le_bytes());
            self.small_block("IDTR", &[number], &table);
        } else {
            for (name, value) in general {
                self.long(name, &[number], value);
            }
            for (index, value) in (0..).zip(cr) {
                self.long("CR64", &[number, index], *value);
            }
            self.short("IDTR", &[number, 0], 0xfff);
            self.short("IDTR", &[number, 1], *idt_base);
            self.short("IDTR", &[number, 2], idt_base >> 32);
        }
        self.long("rip", &[number], registers.rip);
        self.short("eflags", &[number], registers.rflags & 0xff);
        self.short("EFLAGS", &[number], registers.rflags & !0xff);
        let selectors = [
            registers.es,
            registers.cs,
            registers.ss,
            registers.ds,
            registers.fs,
            registers.gs,
            0,
            0x40,
        ];
        for (index, selector) in (0..).zip(selectors) {
            self.short("S", &[number, index], selector);
        }
        self.long("S.base64", &[number, 4], registers.fs_base);
        self.long("S.base64", &[number, 5], registers.gs_base);
    }
}

impl VmwareWriter {
    /// Writes the state.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, machine: &Machine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut other = Items { writer: self, bytes: Vec::new() };
        other.short("something", &[], 7);
        other.small_block("thumbnail", &[1, 2, 3], &[0x89; 100]);
        other.bytes.extend([0, 0]);

        let mut cpu = Items { writer: self, bytes: Vec::new() };
        cpu.short("cpu:numVCPUs", &[], machine.cpus.len() as u64);
        for (number, saved) in (0..).zip(&machine.cpus) {
            cpu.cpu(number, saved);
        }
        cpu.bytes.extend([0, 0]);

        let mut memory = Items { writer: self, bytes: Vec::new() };
        memory.short("align_mask", &[], 0xffff);
        if self.with_regions {
            memory.short("regionsCount", &[], machine.ranges.len() as u64);
            let mut page = 0;
            for (index, range) in (0..).zip(&machine.ranges) {
                let pages = (range.end - range.start) / 4096;
                memory.short("regionPageNum", &[index], page);
                memory.short("regionPPN", &[index], range.start / 4096);
                memory.short("regionSize", &[index], pages);
                page += pages;
            }
        }
        let size = machine.size();
        let compressed = match self.memory {
            VmwareMemory::Compressed => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                machine.write_all(&mut encoder)?;
                Some(encoder.finish()?)
            }
            VmwareMemory::Inside | VmwareMemory::Separate => None,
        };
        match (&compressed, self.memory) {
            (Some(data), _) => {
                memory.block("Memory", &[0, 0], true, data.len() as u64, size);
            }
            (None, VmwareMemory::Inside) => memory.block("Memory", &[0, 0], false, size, size),
            (None, _) => {}
        }
        let inside = match (&compressed, self.memory) {
            (Some(data), _) => data.len() as u64,
            (None, VmwareMemory::Inside) => size,
            (None, _) => 0,
        };

        // Groups in the order of the table; the memory's data are the last of its group but one.
        let groups: [(&str, u64); 3] = [
            ("Checkpoint", other.bytes.len() as u64),
            ("cpu", cpu.bytes.len() as u64),
            ("memory", memory.bytes.len() as u64 + inside + 2),
        ];
        out.write_all(&self.magic.to_le_bytes())?;
        out.write_all(&8u32.to_le_bytes())?;
        out.write_all(&(groups.len() as u32).to_le_bytes())?;
        let mut position = 12 + 80 * groups.len() as u64;
        for (name, len) in groups {
            let mut padded = [0; 64];
            padded[..name.len()].copy_from_slice(name.as_bytes());
            out.write_all(&padded)?;
            out.write_all(&position.to_le_bytes())?;
            out.write_all(&len.to_le_bytes())?;
            position += len;
        }
        out.write_all(&other.bytes)?;
        out.write_all(&cpu.bytes)?;
        out.write_all(&memory.bytes)?;
        match (&compressed, self.memory) {
            (Some(data), _) => out.write_all(data)?,
            (None, VmwareMemory::Inside) => machine.write_all(out)?,
            (None, _) => {}
        }
        out.write_all(&[0, 0])
    }

    /// The state in memory.
    pub fn bytes(&self, machine: &Machine<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = self.write(machine, &mut bytes);
        bytes
    }
}
