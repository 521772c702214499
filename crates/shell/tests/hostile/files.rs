//! Files damaged: every bit of their headers flipped, and cut off at 1,000 points.

use crate::damage::DamagedFile;
use crate::exercise::{all_lines, alone, exercise, first_look, thoroughness};
use mortis_dump::{Dump, FileSource, OpenOptions, Source};
use std::sync::Arc;

pub const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

pub fn sample() -> Arc<dyn Source> {
    Arc::new(std::fs::read(SAMPLE).expect("the sample is in the repository"))
}

pub fn open(source: Arc<dyn Source>) -> Option<Dump> {
    let options = OpenOptions { cache_bytes: 4 << 20, ..OpenOptions::default() };
    Dump::from_source(source, "damaged", options).ok()
}

fn words(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

/// The bits of some bytes: where the byte is, and which bit.
fn bits_of(bytes: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    bytes.flat_map(|offset| (0..8).map(move |bit| (offset, bit))).collect()
}

/// Flips each of `bits` and opens what comes of it; every `log`th time asks for the log, and
/// every `look`th time takes a first look.
fn flip(file: &Arc<dyn Source>, bits: &[(usize, usize)], log: usize, look: usize) {
    let (logs, looks) = (words(&["log"]), first_look());
    for (case, &(offset, bit)) in bits.iter().enumerate() {
        let damaged = DamagedFile {
            file: Arc::clone(file),
            len: file.len(),
            flip: Some((offset as u64, 1 << bit)),
        };
        let lines = match case {
            case if case.is_multiple_of(look) => looks.as_slice(),
            case if case.is_multiple_of(log) => &logs,
            _ => &[],
        };
        let what = format!("bit {bit} of byte {offset:#x} flipped");
        exercise(|| open(Arc::new(damaged)), lines, &what);
    }
}

/// Cuts the file off at `cuts`, and runs `lines`.
fn cut(file: &Arc<dyn Source>, cuts: &[u64], lines: &[String]) {
    for &cut in cuts {
        let damaged = DamagedFile { file: Arc::clone(file), len: cut, flip: None };
        exercise(|| open(Arc::new(damaged)), lines, &format!("cut at {:#x}", cut));
    }
}

fn cut_at_a_thousand_points(file: &Arc<dyn Source>) {
    let len = file.len();
    // Half of the cuts lie close together at the start, where the headers are.
    let cuts: Vec<u64> = (0..500).map(|n| n * 41).chain((0..500).map(|n| len * n / 500)).collect();
    cut(file, &cuts, &words(&["log"]));
    let few: Vec<u64> = cuts.iter().copied().step_by(20 / thoroughness().min(20)).collect();
    cut(file, &few, &first_look());
    cut(file, &[len / 4, len / 2, len - len / 8], &all_lines());
}

#[test]
fn kdump_headers_with_every_bit_flipped() {
    let _alone = alone();
    let often = thoroughness();
    // The header and the sub header.
    let header = bits_of((0..464).chain(4096..4096 + 104));
    flip(&sample(), &header, 4_usize.div_ceil(often), 64_usize.div_ceil(often));
    // Behind them the notes: registers and VMCOREINFO.
    let notes = bits_of((4096 + 104..2 * 4096).step_by(3_usize.div_ceil(often)));
    flip(&sample(), &notes, 16_usize.div_ceil(often), 512_usize.div_ceil(often));
}

#[test]
fn kdump_cut_off_at_a_thousand_points() {
    let _alone = alone();
    cut_at_a_thousand_points(&sample());
}

fn elf() -> Arc<dyn Source> {
    let path = mortis_lab::dump("6.12", "sysrq", "raw");
    Arc::new(FileSource::open(&path).expect("the dump can be read"))
}

#[test]
fn elf_headers_with_every_bit_flipped() {
    let _alone = alone();
    let often = thoroughness();
    // The header, and the program headers of the first memory.
    let memory = bits_of((0..64).chain(64 + 56..64 + 5 * 56));
    flip(&elf(), &memory, 8_usize.div_ceil(often), 128_usize.div_ceil(often));
    // Without the notes all memory is searched for VMCOREINFO, which takes its time.
    let notes: Vec<(usize, usize)> = (64..64 + 56).map(|offset| (offset, offset % 8)).collect();
    flip(&elf(), &notes, 1, 16);
}

#[test]
fn elf_cut_off_at_a_thousand_points() {
    let _alone = alone();
    cut_at_a_thousand_points(&elf());
}
