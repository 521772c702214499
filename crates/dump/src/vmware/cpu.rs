//! The CPUs of a checkpoint: items of its group `cpu`.
//!
//! Products differ in what they write: each register of its own, or all general registers in a
//! block; control registers one by one or in a block; some leave items out. What is there is
//! taken, whatever its form.

use super::tags::{Block, Item, Value};
use crate::cpu_state::{CpuState, Segment};
use crate::field::{u16_at, u64_at};
use crate::source::{Source, read_up_to};
use std::collections::BTreeMap;

/// More virtual CPUs than any product allows (768).
const MAX_CPUS: u32 = 4096;

/// Reads the CPUs, in order. `source` is where blocks are.
pub(super) fn cpus(source: &dyn Source, items: impl Iterator<Item = Item>) -> Vec<CpuState> {
    let mut cpus: BTreeMap<u32, CpuState> = BTreeMap::new();
    let mut count = None;
    for item in items {
        if item.name == "cpu:numVCPUs" {
            count = item.value.number().map(|count| count.min(MAX_CPUS.into()) as u32);
        } else if let Some(number) = item.index(0).filter(|number| *number < MAX_CPUS) {
            let mut cpu = cpus.get(&number).copied().unwrap_or_default();
            if take(source, &item, &mut cpu).is_some() {
                cpus.insert(number, cpu);
            }
        }
    }
    // Registers are told apart by their order: a CPU without any keeps its place.
    let last = cpus.last_key_value().map(|(number, _)| number + 1);
    let count = count.or(last).unwrap_or_default();
    if cpus.is_empty() {
        return Vec::new();
    }
    (0..count).map(|number| cpus.get(&number).copied().unwrap_or_default()).collect()
}

/// Takes what one item says. `None` if it is about something else.
fn take(source: &dyn Source, item: &Item, cpu: &mut CpuState) -> Option<()> {
    match &item.value {
        Value::Block(block) => take_block(source, &item.name, *block, cpu),
        small => take_number(item, small.number()?, cpu),
    }
}

fn take_number(item: &Item, number: u64, cpu: &mut CpuState) -> Option<()> {
    let registers = &mut cpu.registers;
    let register = match &*item.name {
        "rax" => &mut registers.rax,
        "rbx" => &mut registers.rbx,
        "rcx" => &mut registers.rcx,
        "rdx" => &mut registers.rdx,
        "rsi" => &mut registers.rsi,
        "rdi" => &mut registers.rdi,
        "rbp" => &mut registers.rbp,
        "rsp" => &mut registers.rsp,
        "r8" => &mut registers.r8,
        "r9" => &mut registers.r9,
        "r10" => &mut registers.r10,
        "r11" => &mut registers.r11,
        "r12" => &mut registers.r12,
        "r13" => &mut registers.r13,
        "r14" => &mut registers.r14,
        "r15" => &mut registers.r15,
        "rip" => &mut registers.rip,
        // Two items hold parts of the flags.
        "eflags" | "EFLAGS" => {
            registers.rflags |= number;
            return Some(());
        }
        "CR64" => cpu.cr.get_mut(item.index(1)? as usize)?,
        "IDTR" => return take_table(&mut cpu.idt, item.index(1)?, number),
        "GDTR" => return take_table(&mut cpu.gdt, item.index(1)?, number),
        "S" => match item.index(1)? {
            0 => &mut registers.es,
            1 => &mut registers.cs,
            2 => &mut registers.ss,
            3 => &mut registers.ds,
            4 => &mut registers.fs,
            5 => &mut registers.gs,
            _ => return None,
        },
        "S.base64" => match item.index(1)? {
            4 => &mut registers.fs_base,
            5 => &mut registers.gs_base,
            _ => return None,
        },
        _ => return None,
    };
    *register = number;
    Some(())
}

/// A descriptor table in three items: its limit, and the two halves of its base.
fn take_table(table: &mut Segment, part: u32, number: u64) -> Option<()> {
    match part {
        0 => table.limit = number as u32,
        1 => table.base = table.base & !0xffff_ffff | number & 0xffff_ffff,
        2 => table.base = table.base & 0xffff_ffff | number << 32,
        _ => return None,
    }
    Some(())
}

fn take_block(source: &dyn Source, name: &str, block: Block, cpu: &mut CpuState) -> Option<()> {
    const GENERAL: u64 = 128;
    const CONTROL: u64 = 72;
    const TABLE: u64 = 10;
    if block.compressed {
        return None;
    }
    let bytes = |len: u64| read_up_to(source, block.offset, len);
    match (name, block.len) {
        ("gpregs", GENERAL) => {
            let bytes = bytes(GENERAL);
            let registers = &mut cpu.registers;
            // Not the processor's order: rbp comes before rsp.
            let places = [
                &mut registers.rax,
                &mut registers.rcx,
                &mut registers.rdx,
                &mut registers.rbx,
                &mut registers.rbp,
                &mut registers.rsp,
                &mut registers.rsi,
                &mut registers.rdi,
                &mut registers.r8,
                &mut registers.r9,
                &mut registers.r10,
                &mut registers.r11,
                &mut registers.r12,
                &mut registers.r13,
                &mut registers.r14,
                &mut registers.r15,
            ];
            for (index, place) in places.into_iter().enumerate() {
                *place = u64_at(&bytes, index * 8)?;
            }
        }
        ("CR64", CONTROL) => {
            let bytes = bytes(CONTROL);
            for (index, place) in cpu.cr.iter_mut().enumerate() {
                *place = u64_at(&bytes, index * 8)?;
            }
        }
        ("IDTR" | "GDTR", TABLE) => {
            let bytes = bytes(TABLE);
            let table = if name == "IDTR" { &mut cpu.idt } else { &mut cpu.gdt };
            table.limit = u16_at(&bytes, 0)?.into();
            table.base = u64_at(&bytes, 2)?;
        }
        _ => return None,
    }
    Some(())
}
