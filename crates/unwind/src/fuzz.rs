//! One entry for fuzzing: everything that a hostile dump controls, as plain bytes.

use crate::{
    Functions, KnownRegisters, Options, OrcFormat, OrcTable, Register, Stack, StackKind, Start,
    Tables, TaskAndCpuStacks, Trace, Unwinder,
};
use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};

const TEXT: u64 = 0xffff_ffff_8100_0000;
const IPS: u64 = 0xffff_ffff_8200_0000;
const ENTRIES: u64 = 0xffff_ffff_8300_0000;
const STACK: u64 = 0xffff_c900_0000_0000;
const REGISTERS: usize = Register::COUNT * 8;
const MAX_FRAMES: usize = 256;

struct Pieces<'a>([(u64, &'a [u8]); 4]);

impl VirtualMemory for Pieces<'_> {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        for (start, bytes) in self.0 {
            let from = address.0.wrapping_sub(start) as usize;
            if address.0 >= start
                && let Some(found) = from.checked_add(buf.len()).and_then(|to| bytes.get(from..to))
            {
                buf.copy_from_slice(found);
                return Ok(());
            }
        }
        Err(ReadError::new(address, Unavailable::Unmapped))
    }
}

impl Functions for Pieces<'_> {
    fn function_start(&self, ip: VirtAddr) -> Option<VirtAddr> {
        Some(ip.align_down(64))
    }
}

/// Walks a stack by an ORC table, both made of `input`: its first byte chooses the format and how
/// the rest is shared out, then come the registers to start from, and what remains is the table's
/// two arrays, text and stack.
///
/// Whatever the bytes are, this returns, and soon.
pub fn walk(input: &[u8]) -> Option<Trace> {
    let (&[choice], rest) = input.split_first_chunk::<1>()?;
    let (registers, rest) = rest.split_at_checked(REGISTERS)?;
    let quarter = rest.len() / 4;
    let (ips, rest) = rest.split_at_checked(quarter)?;
    let (entries, rest) = rest.split_at_checked(quarter)?;
    let (text, stack) = rest.split_at_checked(quarter)?;
    let memory = Pieces([(IPS, ips), (ENTRIES, entries), (TEXT, text), (STACK, stack)]);

    let mut known = KnownRegisters::new();
    for (register, value) in Register::ALL.into_iter().zip(registers.as_chunks::<8>().0) {
        known.set(register, u64::from_le_bytes(*value));
    }
    if choice & 0x80 == 0 {
        // Most inputs should get past the first step.
        let within = |value: u64, base: u64, len: usize| base + value % (len as u64).max(1);
        known.set(Register::Rip, within(known.ip().0, TEXT, text.len()));
        known.set(Register::Rsp, within(known.sp().0, STACK, stack.len()) & !7);
    }
    let format = match choice & 3 {
        0 => OrcFormat::Original,
        1 => OrcFormat::Signal,
        2 => OrcFormat::WideType,
        _ => OrcFormat::Reordered,
    };
    let count = (ips.len() / 4) as u64;
    let mut tables = Tables::new();
    let range = VirtAddr(TEXT)..VirtAddr(TEXT + text.len() as u64);
    match OrcTable::in_memory(VirtAddr(IPS), VirtAddr(ENTRIES), count, format) {
        Ok(table) if choice & 0x40 == 0 => tables.add_orc([range], table),
        _ => tables.add_text(range),
    }
    let middle = STACK + ((stack.len() as u64 / 2) & !7);
    let part =
        |kind, low, high| Stack { kind, cpu: None, low: VirtAddr(low), high: VirtAddr(high) };
    let cpus = [part(StackKind::Nmi, STACK, middle)];
    let stacks = TaskAndCpuStacks {
        task: Some(part(StackKind::Task, middle, STACK + stack.len() as u64)),
        cpus: &cpus,
    };
    let start = Start {
        registers: known,
        exact_ip: choice & 0x20 != 0,
        ip_slot: None,
        how: crate::Trust::Registers,
        pt_regs: None,
    };
    let options = Options {
        max_frames: MAX_FRAMES,
        scan: choice & 0x10 == 0,
        callee_saved: true,
        ..Options::default()
    };
    Some(
        Unwinder::new(&memory, &tables)
            .with_functions(&memory)
            .with_options(options)
            .trace(&stacks, start),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A xorshift generator: the same bytes on every run.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        /// Nearly a table, nearly text and nearly a stack, with noise in each.
        fn input(&mut self) -> Vec<u8> {
            const PART: usize = 1024;
            let mut input: Vec<u8> = (0..=REGISTERS).map(|_| self.next() as u8).collect();
            for (index, place) in (IPS..).step_by(4).take(PART / 4).enumerate() {
                let ip = TEXT + 6 * index as u64;
                let offset = ip.wrapping_sub(place) as u32 ^ self.rarely() as u32;
                input.extend(offset.to_le_bytes());
            }
            for _ in 0..PART / 6 {
                let offset = (8 + 8 * (self.next() % 6)) as u8;
                let [a, b, c, d, ..] = self.rarely().to_le_bytes();
                let kind = [0, 1, 2, 2, 2, 3, 4, 8][self.next() as usize % 8];
                input.extend([
                    offset,
                    a,
                    b,
                    c,
                    [0x05, 0x13, 0x14, d][self.next() as usize % 4],
                    kind,
                ]);
            }
            input.resize(1 + REGISTERS + 2 * PART, 0);
            input.extend(
                (0..PART)
                    .map(|_| if self.next().is_multiple_of(3) { 0xe8 } else { self.next() as u8 }),
            );
            for _ in 0..PART / 8 {
                let word = match self.next() % 8 {
                    0 => self.next(),
                    1 => STACK + ((self.next() % PART as u64) & !7),
                    2 => 0x10,
                    3 => 0x246,
                    _ => TEXT + self.next() % PART as u64,
                };
                input.extend(word.to_le_bytes());
            }
            input
        }

        fn rarely(&mut self) -> u64 {
            if self.next().is_multiple_of(16) { self.next() } else { 0 }
        }
    }

    #[test]
    fn noise_is_walked_to_an_end() {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let mut deepest = 0;
        for _ in 0..3000 {
            let input = noise.input();
            let trace = walk(&input).expect("an input that is long enough");
            assert!(trace.frames.len() <= MAX_FRAMES);
            deepest = deepest.max(trace.frames.len());
        }
        assert!(deepest > 10, "the noise should lead somewhere: {deepest}");
        assert_eq!(walk(&[0; REGISTERS]), None);
    }
}
