//! Memory and nothing else: raw images, and LiME's ranges. Notes and registers are lost in them.

use super::fields::Fields;
use super::page_map::PageMap;
use super::pipeline::{Pages, each_run};
use super::sink::Output;
use super::{Step, WriteError};
use crate::dump::Dump;
use crate::write::page_map::PageState;

/// Writes an image in which a byte's position is its physical address; what is missing is a hole.
/// Says how long the file is and which pages could not be read.
pub(super) fn raw(
    dump: &Dump,
    map: &PageMap,
    output: &mut dyn Output,
    step: &Step<'_>,
) -> Result<(u64, Vec<u64>), WriteError> {
    let copy = |pages: &Pages<'_>| {
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        for (index, page) in pages.each().enumerate() {
            // Pages of zeroes are holes, too: they read the same.
            let Some(page) = page.filter(|page| !is_zero(page)) else { continue };
            let at = (pages.pfn + index as u64) * pages.page_size as u64;
            match pieces.last_mut() {
                Some((start, bytes)) if *start + bytes.len() as u64 == at => {
                    bytes.extend_from_slice(page);
                }
                _ => pieces.push((at, page.to_vec())),
            }
        }
        pieces
    };
    let unreadable = each_run(&*dump.memory(), map, false, step, copy, |pieces| {
        pieces.iter().try_for_each(|(at, bytes)| output.write_at(*at, bytes))?;
        Ok(())
    })?;
    Ok((map.end() * map.page_size, unreadable))
}

/// Whether there is nothing but zeroes.
pub(super) fn is_zero(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Writes LiME's format, version 1 (LiME doc/README.md): before each run of pages a header of 32
/// bytes. Says how long the file is and which pages could not be read.
pub(super) fn lime(
    dump: &Dump,
    map: &PageMap,
    output: &mut dyn Output,
    step: &Step<'_>,
) -> Result<(u64, Vec<u64>), WriteError> {
    const MAGIC: u32 = 0x4c69_4d45;
    const VERSION: u32 = 1;
    let mut at = 0;
    let mut runs = map.runs().filter(|run| run.state == PageState::Present);
    let mut end_of_run = 0;
    let copy = |pages: &Pages<'_>| (pages.pfn, pages.bytes.to_vec());
    let unreadable = each_run(&*dump.memory(), map, false, step, copy, |(pfn, bytes)| {
        if pfn >= end_of_run {
            let Some(run) = runs.next() else { return Ok(()) };
            end_of_run = run.end();
            let mut header = Fields::default();
            header.u32(MAGIC).u32(VERSION).u64(run.pfn * map.page_size);
            header.u64(run.end() * map.page_size - 1).u64(0);
            output.write_at(at, header.as_bytes())?;
            at += header.as_bytes().len() as u64;
        }
        output.write_at(at, &bytes)?;
        at += bytes.len() as u64;
        Ok(())
    })?;
    Ok((at, unreadable))
}
