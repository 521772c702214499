//! The sample's file, damaged: every bit of its headers flipped, and cut off at 1,000 points.

use crate::damage::DamagedFile;
use crate::exercise::{all_lines, exercise, first_look, on_all_cores, thoroughness};
use mortis_dump::{Dump, OpenOptions, Source};
use std::sync::Arc;

pub const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

pub fn sample() -> Arc<Vec<u8>> {
    Arc::new(std::fs::read(SAMPLE).expect("the sample is in the repository"))
}

pub fn open(source: impl Source + 'static) -> Option<Dump> {
    let options = OpenOptions { cache_bytes: 4 << 20 };
    Dump::from_source(Arc::new(source), "damaged", options).ok()
}

fn words(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

/// Flips each bit of `bytes`, and runs the log; every `more`th time, a first look.
fn flip_bits(file: &Arc<Vec<u8>>, bytes: &[usize], more: usize) {
    let (log, look) = (words(&["log"]), first_look());
    on_all_cores(bytes.len() * 8, |case| {
        let (offset, bit) = (bytes[case / 8], case % 8);
        let damaged = DamagedFile {
            file: Arc::clone(file),
            len: file.len() as u64,
            flip: Some((offset as u64, 1 << bit)),
        };
        let lines = if case.is_multiple_of(more) { &look } else { &log };
        exercise(|| open(damaged), lines, &format!("bit {bit} of byte {offset:#x} flipped"));
    });
}

/// Cuts the file off at `cuts`, and runs a first look.
fn cut(file: &Arc<Vec<u8>>, cuts: &[u64], lines: &[String]) {
    on_all_cores(cuts.len(), |case| {
        let damaged = DamagedFile { file: Arc::clone(file), len: cuts[case], flip: None };
        exercise(|| open(damaged), lines, &format!("cut at {:#x}", cuts[case]));
    });
}

#[test]
fn kdump_headers_with_every_bit_flipped() {
    let file = sample();
    // The header, the sub header, and behind it the notes: registers and VMCOREINFO.
    let header: Vec<usize> = (0..464).chain(4096..4096 + 104).collect();
    flip_bits(&file, &header, 64);
    let notes: Vec<usize> =
        (4096 + 104..4096 + 4096).step_by(if thoroughness() > 1 { 1 } else { 7 }).collect();
    flip_bits(&file, &notes, 128 / thoroughness().min(128));
}

#[test]
fn kdump_cut_off_at_a_thousand_points() {
    let file = sample();
    let len = file.len() as u64;
    // Half of the cuts lie close together at the start, where the headers are.
    let cuts: Vec<u64> = (0..500).map(|n| n * 41).chain((0..500).map(|n| len * n / 500)).collect();
    cut(&file, &cuts, &words(&["log"]));
    let few: Vec<u64> = cuts.iter().copied().step_by(20 / thoroughness().min(20)).collect();
    cut(&file, &few, &first_look());
    cut(&file, &[len / 4, len / 2, len - len / 8], &all_lines());
}
