//! ELF64 cores: a segment for each run of pages that are there, and for each of those that are not:
//! `p_filesz` and `p_offset` are 0 there, as makedumpfile writes it for memory that it left out as a
//! whole. (It maps the file as far as `p_memsz` reaches, and dies where that is beyond the end.)
//!
//! Addresses are physical alone (`p_vaddr` is 0, as QEMU writes it): where the kernel had its
//! direct map is for a kernel's reader to find, and no format but ELF keeps it.

use super::fields::Fields;
use super::notes::WrittenNotes;
use super::page_map::{PageMap, PageState, Run};
use super::pipeline::{Pages, each_run};
use super::sink::Output;
use super::{Step, WriteError};
use crate::dump::Dump;
use crate::elf::{ET_CORE, INCOMPLETE, PT_LOAD, PT_NOTE};
use crate::format::Machine;

const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;
/// `e_phnum` when there are too many to fit: the number is in section header 0's `sh_info`.
const PN_XNUM: u64 = 0xffff;
const ALIGNMENT: u64 = 4096;
/// `p_align` of segments, as /proc/vmcore has it. crash takes anything else for a netdump, in which it
/// does not look for KASLR's offset (netdump.c: `is_netdump`).
const UNALIGNED: u64 = 0;
/// Headers are written in pieces of about this size.
const PIECE: usize = 1 << 16;

/// Neighbouring pages that are all there, or all not.
struct Segment {
    pfn: u64,
    pages: u64,
    present: bool,
}

/// The segments of a dump, in order.
fn segments(map: &PageMap) -> impl Iterator<Item = Segment> {
    let mut runs = map.runs().peekable();
    std::iter::from_fn(move || {
        let first: Run = runs.next()?;
        let is_present = |run: &Run| run.state == PageState::Present;
        let mut end = first.end();
        while let Some(run) =
            runs.next_if(|run| run.pfn == end && is_present(run) == is_present(&first))
        {
            end = run.end();
        }
        Some(Segment { pfn: first.pfn, pages: end - first.pfn, present: is_present(&first) })
    })
}

/// Writes `dump` and says how long the file is and which pages could not be read.
pub(super) fn write(
    dump: &Dump,
    map: &PageMap,
    notes: &WrittenNotes,
    output: &mut dyn Output,
    step: &Step<'_>,
) -> Result<(u64, Vec<u64>), WriteError> {
    let count = segments(map).count() as u64 + 1;
    let many = count >= PN_XNUM;
    let section_table = if many { ELF_HEADER + count * PROGRAM_HEADER } else { 0 };
    let notes_at = ELF_HEADER + count * PROGRAM_HEADER + if many { SECTION_HEADER } else { 0 };
    let data = (notes_at + notes.bytes.len() as u64).next_multiple_of(ALIGNMENT);

    let mut headers = Fields::default();
    headers.bytes(b"\x7fELF\x02\x01\x01").pad_to(16);
    headers.u16(ET_CORE).u16(machine(dump.machine())?).u32(1);
    headers.u64(0).u64(ELF_HEADER).u64(section_table);
    headers.u32(if dump.is_incomplete() || map.lost > 0 { INCOMPLETE } else { 0 });
    headers.u16(ELF_HEADER as u16).u16(PROGRAM_HEADER as u16).u16(count.min(PN_XNUM) as u16);
    headers.u16(if many { SECTION_HEADER as u16 } else { 0 }).u16(many.into()).u16(0);
    let notes_len = notes.bytes.len() as u64;
    headers.u32(PT_NOTE).u32(0).u64(notes_at).u64(0).u64(0).u64(notes_len).u64(notes_len).u64(4);
    let mut written = 0;
    let mut offset = data;
    for segment in segments(map) {
        let size = segment.pages * map.page_size;
        let (at, file_size) = if segment.present { (offset, size) } else { (0, 0) };
        headers.u32(PT_LOAD).u32(7).u64(at).u64(0).u64(segment.pfn * map.page_size);
        headers.u64(file_size).u64(size).u64(UNALIGNED);
        offset += file_size;
        if headers.as_bytes().len() >= PIECE {
            output.write_at(written, headers.as_bytes())?;
            written += headers.as_bytes().len() as u64;
            headers = Fields::default();
        }
    }
    if many {
        // Section header 0, of no section, whose sh_info counts program headers.
        headers.u32(0).u32(0).u64(0).u64(0).u64(0).u64(0).u32(0).u32(count as u32).u64(0).u64(0);
    }
    headers.bytes(&notes.bytes);
    output.write_at(written, headers.as_bytes())?;

    let mut at = data;
    let copy = |pages: &Pages<'_>| pages.bytes.to_vec();
    let unreadable = each_run(&*dump.memory(), map, false, step, copy, |bytes| {
        output.write_at(at, &bytes)?;
        at += bytes.len() as u64;
        Ok(())
    })?;
    Ok((at, unreadable))
}

fn machine(machine: &Machine) -> Result<u16, WriteError> {
    match machine {
        Machine::X86_64 => Ok(62),
        Machine::Aarch64 => Ok(183),
        Machine::Other(name) => {
            let number = name.strip_prefix("ELF machine ").and_then(|number| number.parse().ok());
            number.ok_or_else(|| WriteError::Machine(name.clone()))
        }
    }
}
