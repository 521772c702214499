//! `kmem -p` and `-m`: what the `struct page` of each page frame says of it.

use super::nodes::physical_digits;
use super::page_members::PageMembers;
use super::{PHYSICAL_WIDTH, Target};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Batch, Output, Render, Stop, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::memory_map::{MemoryMap, Page};
use mortis_kernel::page_record::{PageFlagNames, PageUse};
use mortis_kernel::scan::{Progress, in_order};
use mortis_kernel::sections::{MemorySection, MemorySections};
use mortis_memory::{Pfn, PhysicalMemory, VirtAddr};
use serde::Serialize;
use std::sync::Arc;

/// Frames that one core works on at a time.
const FRAMES: u64 = 2048;

/// A page frame.
#[derive(Serialize)]
struct PageRow<'a> {
    page: Hex,
    physical: Hex,
    mapping: Known<Hex>,
    index: Known<Hex>,
    count: Known<i32>,
    flags: Known<Hex>,
    flag_names: &'a [&'a str],
    #[serde(skip)]
    physical_width: usize,
}

/// The digits of `value` in hexadecimal, each in a byte, with zeroes in front.
fn hex_digits(value: u64) -> u128 {
    let mut spread = u128::from(value);
    for (shift, kept) in [
        (32, 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff),
        (16, 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff),
        (4, EACH_BYTE * 0x0f),
    ] {
        spread = (spread | spread << shift) & kept;
    }
    let is_letter = (spread + EACH_BYTE * 6) >> 4 & EACH_BYTE;
    spread + EACH_BYTE * u128::from(b'0') + is_letter * u128::from(b'a' - b'0' - 10)
}

/// 1 in each byte.
const EACH_BYTE: u128 = u128::MAX / 0xff;

/// Digits of the largest number.
const DIGITS: usize = 16;

/// The columns of a row, made up in place and appended in one go: `format!` would take most of
/// the time when there are millions of rows.
#[derive(Default)]
struct Columns {
    bytes: [[u8; DIGITS]; 6],
    len: usize,
}

impl Columns {
    /// Appends `value` in hexadecimal, right-justified to `width`, and a blank.
    fn hex(&mut self, value: u64, width: usize) {
        let digits = (u64::BITS - value.leading_zeros()).div_ceil(4).max(1);
        let shown = width.clamp(digits as usize, DIGITS);
        let kept = u128::MAX >> (u128::BITS - digits * 8);
        let blanks = (EACH_BYTE * u128::from(b' ')) & !kept;
        let text = ((hex_digits(value) & kept) | blanks) << ((DIGITS - shown) * 8);
        // What is behind the digits shown is written over by the next.
        let rest = self.bytes.as_flattened_mut().get_mut(self.len..);
        let Some(place) = rest.and_then(|rest| rest.first_chunk_mut()) else { return };
        *place = text.to_be_bytes();
        self.len += shown;
        self.byte(b' ');
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.as_flattened_mut().get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn append_to(&self, out: &mut String) {
        let bytes = self.bytes.as_flattened().get(..self.len).unwrap_or_default();
        out.push_str(std::str::from_utf8(bytes).unwrap_or_default());
    }
}

impl Render for PageRow<'_> {
    fn render(&self, out: &mut String, _: Style) {
        let mut columns = Columns::default();
        columns.hex(self.page.0, 0);
        columns.hex(self.physical.0, self.physical_width);
        let (Some(mapping), Some(index), Some(count), Some(flags)) =
            (self.mapping.value(), self.index.value(), self.count.value(), self.flags.value())
        else {
            let why = self.mapping.clone().map(|_| "");
            columns.append_to(out);
            out.push_str(&format!("{why:>16} {:>8} {:>2} \n", "", ""));
            return;
        };
        columns.hex(mapping.0, 16);
        columns.hex(index.0, 8);
        match *count {
            // Most counts have one digit, in both number systems.
            count @ 0..=9 => columns.hex(count as u64, 2),
            count => {
                columns.append_to(out);
                out.push_str(&format!("{count:>2} "));
                columns = Columns::default();
            }
        }
        columns.hex(flags.0, 0);
        // A blank is in front of the names only.
        columns.len -= usize::from(self.flag_names.is_empty());
        columns.append_to(out);
        for (index, name) in self.flag_names.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(name);
        }
        out.push('\n');
    }
}

/// What makes rows out of `struct page`s.
struct PageRows {
    page: Arc<Page>,
    page_use: Arc<PageUse>,
    names: PageFlagNames,
    map: MemoryMap,
    physical_width: usize,
}

impl PageRows {
    fn new(kernel: &Kernel) -> Result<Self, KernelError> {
        Ok(Self {
            page: kernel.layout()?,
            page_use: kernel.layout()?,
            names: PageFlagNames::read(kernel),
            map: kernel.memory_map()?,
            physical_width: physical_digits(kernel).max(PHYSICAL_WIDTH),
        })
    }

    /// The row of each `struct page` of `pages`.
    fn push(&self, kernel: &Kernel, pages: &Pages, batch: &mut Batch) -> Result<(), Stop> {
        let size = self.map.page_struct_size;
        let mut bytes = vec![0; (pages.count * size) as usize];
        let missing = kernel.page_structs(pages.page, &mut bytes);
        let mut last_flags = None;
        let mut names = Vec::new();
        for (index, page) in (0..).zip(bytes.chunks_exact(size as usize)) {
            let missing = missing.at(index * size, size);
            let known = |value: Result<u64, KernelError>| match missing {
                Some(error) => Known::Unavailable(error.why.code()),
                None => Known::from(value),
            };
            let flags = known(self.page.flags.u64_in(page));
            // Neighbours mostly have the same flags.
            if flags.value().copied() != last_flags {
                last_flags = flags.value().copied();
                names.clear();
                names.extend(self.names.of(last_flags.unwrap_or(0)));
            }
            batch.push(&PageRow {
                page: Hex(pages.page.0.wrapping_add(index * size)),
                physical: Hex(self.map.physical(Pfn(pages.start.0 + index)).0),
                mapping: known(self.page_use.mapping.u64_in(page)).map(Hex),
                index: known(self.page_use.index.u64_in(page)).map(Hex),
                count: known(self.page.refcount.u64_in(page)).map(|count| count as u32 as i32),
                flags: flags.map(Hex),
                flag_names: &names,
                physical_width: self.physical_width,
            })?;
        }
        Ok(())
    }

    fn heading(&self) -> String {
        let width = self.physical_width;
        format!("      PAGE       {:>width$}      MAPPING       INDEX CNT FLAGS\n", "PHYSICAL")
    }
}

/// `struct page`s of frames that follow each other.
struct Pages {
    page: VirtAddr,
    start: Pfn,
    count: u64,
}

/// The `struct page`s of all sections, in parts.
fn parts<'a>(sections: &'a MemorySections, map: &'a MemoryMap) -> impl Iterator<Item = Pages> + 'a {
    let of_section = move |section: &'a MemorySection| {
        let frames = sections.frames_per_section;
        (0..frames).step_by(FRAMES as usize).map(move |first| Pages {
            page: section.mem_map.offset(first.wrapping_mul(map.page_struct_size)),
            start: Pfn(section.start.0.wrapping_add(first)),
            count: FRAMES.min(frames - first),
        })
    };
    sections.sections.iter().filter(|section| section.has_mem_map).flat_map(of_section)
}

/// Shows every page.
fn scan(
    sections: &MemorySections,
    map: &MemoryMap,
    out: &mut Output,
    push: impl Fn(&Pages, &mut Batch) -> Result<(), Stop> + Sync,
) -> Result<(), CommandError> {
    let line = out.progress("pages");
    let progress: &Progress = &line;
    progress.expect(sections.sections.len() as u64 * sections.frames_per_section);
    let empty = out.batch();
    in_order(
        parts(sections, map),
        |pages| {
            let mut batch = empty.clone();
            progress.advance(pages.count).map_err(|_| Stop::Interrupted)?;
            push(&pages, &mut batch)?;
            Ok::<_, Stop>(batch)
        },
        |batch| out.emit_batch(&batch?),
    )?;
    Ok(())
}

/// The `struct page` that `target` is, or that stands for the frame it lies in.
fn page_of(
    kernel: &Kernel,
    sections: &MemorySections,
    map: &MemoryMap,
    target: Target,
) -> Option<Pages> {
    let page_size = kernel.memory().physical().page_size().max(1);
    let start = match target {
        Target::Virtual(address) => match sections.pfn(map, address) {
            Some(pfn) => pfn,
            None => Pfn(kernel.memory().translate(address).ok()?.0 / page_size),
        },
        Target::Physical(address) => Pfn(address.0 / page_size),
    };
    Some(Pages { page: sections.page(map, start)?, start, count: 1 })
}

fn warn_of_damage(sections: &MemorySections, out: &mut Output) {
    if let Some(damage) = &sections.damage {
        out.warn(format_args!("there may be more memory sections: {damage}"));
    }
}

/// `kmem -p`.
pub(super) fn run(
    kernel: &Kernel,
    targets: &[Target],
    out: &mut Output,
) -> Result<(), CommandError> {
    let sections = kernel.memory_sections()?;
    let rows = PageRows::new(kernel)?;
    if targets.is_empty() {
        if sections.sections.iter().any(|section| section.has_mem_map) {
            out.layout(&rows.heading())?;
        }
        scan(&sections, &rows.map, out, |pages, batch| rows.push(kernel, pages, batch))?;
        warn_of_damage(&sections, out);
        return Ok(());
    }
    let mut heading_shown = false;
    for &target in targets {
        show_one(kernel, &sections, &rows, target, &mut heading_shown, out)?;
    }
    Ok(())
}

fn show_one(
    kernel: &Kernel,
    sections: &MemorySections,
    rows: &PageRows,
    target: Target,
    heading_shown: &mut bool,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let Some(pages) = page_of(kernel, sections, &rows.map, target) else { return Ok(false) };
    if !*heading_shown {
        out.layout(&rows.heading())?;
        *heading_shown = true;
    }
    let mut batch = out.batch();
    rows.push(kernel, &pages, &mut batch)?;
    out.emit_batch(&batch)?;
    Ok(true)
}

/// The page that `target` lies in, with its heading; false where there is none.
pub(super) fn show(
    kernel: &Kernel,
    sections: &MemorySections,
    target: Target,
    out: &mut Output,
) -> Result<bool, CommandError> {
    show_one(kernel, sections, &PageRows::new(kernel)?, target, &mut false, out)
}

/// `kmem -m member,…`.
pub(super) fn run_members(
    session: &Session,
    list: &str,
    targets: &[Target],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let members = PageMembers::parse(kernel, list, session.settings.radix)?;
    let sections = kernel.memory_sections()?;
    let map = kernel.memory_map()?;
    let push = |pages: &Pages, batch: &mut Batch| {
        let size = map.page_struct_size;
        let mut bytes = vec![0; (pages.count * size) as usize];
        let missing = kernel.page_structs(pages.page, &mut bytes);
        for (index, page) in (0..).zip(bytes.chunks_exact(size as usize)) {
            let address = VirtAddr(pages.page.0.wrapping_add(index * size));
            batch.push(&members.row(address, page, missing.at(index * size, size)))?;
        }
        Ok(())
    };
    if targets.is_empty() {
        out.layout(&members.heading())?;
        scan(&sections, &map, out, push)?;
        warn_of_damage(&sections, out);
        return Ok(());
    }
    let mut heading_shown = false;
    for &target in targets {
        let Some(pages) = page_of(kernel, &sections, &map, target) else { continue };
        if !heading_shown {
            out.layout(&members.heading())?;
            heading_shown = true;
        }
        let mut batch = out.batch();
        push(&pages, &mut batch)?;
        out.emit_batch(&batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(count: i32, flags: u64, flag_names: &'a [&'a str]) -> PageRow<'a> {
        PageRow {
            page: Hex(0xffdf_d1bb_4000_0040),
            physical: Hex(0x1000),
            mapping: Known::Value(Hex(0)),
            index: Known::Value(Hex(0x12)),
            count: Known::Value(count),
            flags: Known::Value(Hex(flags)),
            flag_names,
            physical_width: 8,
        }
    }

    #[test]
    fn rows_are_laid_out_as_crash_does() {
        let text = |row: &PageRow| {
            let mut text = String::new();
            row.render(&mut text, Style::default());
            text
        };
        assert_eq!(
            text(&row(1, 0x7_ffff_c000_2000, &["reserved", "dirty"])),
            "ffdfd1bb40000040     1000                0       12  1 7ffffc0002000 reserved,dirty\n"
        );
        assert_eq!(
            text(&row(-128, 0, &[])),
            "ffdfd1bb40000040     1000                0       12 -128 0\n"
        );
        let missing = PageRow { flags: Known::Unavailable("excluded"), ..row(0, 0, &[]) };
        let missing = PageRow { mapping: Known::Unavailable("excluded"), ..missing };
        assert_eq!(text(&missing), "ffdfd1bb40000040     1000       <excluded>             \n");
    }

    #[test]
    fn numbers_are_spelled_as_format_does() {
        for value in [0, 1, 0xf, 0x10, 0xdead_beef, u64::MAX] {
            for width in [0, 8, 16] {
                let (mut text, mut columns) = (String::new(), Columns::default());
                columns.hex(value, width);
                columns.append_to(&mut text);
                assert_eq!(text, format!("{value:>width$x} "));
            }
        }
    }
}
