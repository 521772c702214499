//! What a file holds, as far as it is in memory.

use super::path_of;
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::vfs::page_cache::CacheEntry;
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A file, or what was written of it.
#[derive(Serialize)]
struct ContentsReport {
    inode: Hex,
    path: Option<String>,
    /// Its length in bytes.
    size: u64,
    /// What the kernel counts.
    pages: Known<u64>,
    /// Stretches in memory and in the dump, in pages: first and last.
    present: Vec<(u64, u64)>,
    /// Stretches that are in memory, but not in the dump.
    excluded: Vec<(u64, u64)>,
    /// Stretches that are not in memory.
    absent: Vec<(u64, u64)>,
    /// Where it was written to.
    written: Option<String>,
}

impl Render for ContentsReport {
    fn render(&self, out: &mut String, _: Style) {
        let path = self.path.as_deref().unwrap_or("(no name)");
        let size = self.size;
        let count = length(&self.present);
        out.push_str(&format!("INODE: {:x}  SIZE: {size}  PATH: {path}\n", self.inode.0));
        if let Some(file) = &self.written {
            out.push_str(&format!("{count} pages written to {file}\n"));
            return;
        }
        for (what, stretches) in [
            ("PAGES", &self.present),
            ("NOT IN THE DUMP", &self.excluded),
            ("NOT IN MEMORY", &self.absent),
        ] {
            if !stretches.is_empty() {
                let (count, list) = (length(stretches), list(stretches));
                out.push_str(&format!("{what}: {count}  [{list}]\n"));
            }
        }
    }
}

/// Stretches that are listed before the rest is only counted.
const MAX_LISTED: usize = 16;

fn length(stretches: &[(u64, u64)]) -> u64 {
    stretches.iter().fold(0u64, |sum, (first, last)| sum.saturating_add(last - first + 1))
}

/// `0-7,9`, with `...` behind many.
fn list(stretches: &[(u64, u64)]) -> String {
    let one = |(first, last): &(u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let mut parts: Vec<String> = stretches.iter().take(MAX_LISTED).map(one).collect();
    if stretches.len() > MAX_LISTED {
        parts.push("...".to_owned());
    }
    parts.join(",")
}

/// Adds a page to stretches that come in order.
fn add(stretches: &mut Vec<(u64, u64)>, page: u64) {
    match stretches.last_mut() {
        Some((_, last)) if last.checked_add(1) == Some(page) => *last = page,
        _ => stretches.push((page, page)),
    }
}

/// What lies between the stretches of `held`, up to the page before `end`.
fn gaps(held: &[(u64, u64)], end: u64) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for (first, last) in held {
        if next < *first && next < end {
            gaps.push((next, (*first).min(end) - 1));
        }
        next = next.max(last.saturating_add(1));
    }
    if next < end {
        gaps.push((next, end - 1));
    }
    gaps
}

/// Where a file's pages are in memory.
struct Pages {
    /// By place in the file, and where in physical memory.
    frames: Vec<(u64, PhysAddr)>,
    /// Pages whose record says that they are another's, or none.
    wild: u64,
    damage: Option<KernelError>,
}

fn pages(kernel: &Kernel, mapping: VirtAddr, out: &Output) -> Result<Pages, CommandError> {
    let page_size = kernel.memory().physical().page_size();
    let mut pages = Pages { frames: Vec::new(), wild: 0, damage: None };
    let machine = kernel.memory_map()?.end.0;
    for entry in kernel.page_cache(mapping)? {
        out.check()?;
        match entry {
            Ok(CacheEntry::Pages(_)) if pages.frames.len() as u64 > machine => {
                let problem = "more pages than the machine has";
                let list = "page cache";
                pages.damage = Some(KernelError::DamagedList { list, problem, at: mapping });
                break;
            }
            Ok(CacheEntry::Pages(cached)) => {
                for (index, frame) in cached.frames(page_size) {
                    match frame {
                        Some(frame) => pages.frames.push((index, frame)),
                        None => pages.wild += 1,
                    }
                }
            }
            Ok(CacheEntry::Gone { .. }) => {}
            Err(error) => pages.damage = Some(error),
        }
    }
    Ok(pages)
}

pub(super) fn run(
    kernel: &Kernel,
    address: VirtAddr,
    path: Option<String>,
    target: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let inode = kernel.inode(address)?;
    let page_size = kernel.memory().physical().page_size().max(1);
    let pages = pages(kernel, inode.mapping, out)?;
    let cannot = |error: io::Error| {
        CommandError::Message(format!("cannot write {}: {error}", target.unwrap_or_default()))
    };
    let file = target.map(File::create).transpose().map_err(cannot)?;
    let (mut present, mut excluded) = (Vec::new(), Vec::new());
    let mut page = vec![0; usize::try_from(page_size).unwrap_or(0)];
    let physical = kernel.memory().physical();
    let mut end = 0;
    for (index, frame) in &pages.frames {
        out.check()?;
        let start = index.saturating_mul(page_size);
        if physical.read(*frame, &mut page).is_err() {
            add(&mut excluded, *index);
            continue;
        }
        add(&mut present, *index);
        // The last page goes on with zeroes behind the end of the file.
        let len = inode.size.saturating_sub(start).min(page_size);
        if let (Some(file), Some(bytes)) = (&file, page.get(..len as usize))
            && len > 0
        {
            file.write_all_at(bytes, start).map_err(cannot)?;
            end = end.max(start + len);
        }
    }
    if let Some(file) = &file {
        // A damaged length may be more than a file can have; then it ends with what is there.
        file.set_len(inode.size).or_else(|_| file.set_len(end)).map_err(cannot)?;
    }
    let mut held = [present.as_slice(), &excluded].concat();
    held.sort_unstable();
    let absent = gaps(&held, inode.size.div_ceil(page_size));
    if target.is_some() {
        for (stretches, where_from) in [(&absent, "memory"), (&excluded, "the dump")] {
            if !stretches.is_empty() {
                let (count, list) = (length(stretches), list(stretches));
                out.warn(format!("zeroes stand for {count} pages not in {where_from}: {list}"));
            }
        }
    }
    out.emit(&ContentsReport {
        inode: Hex(address.0),
        path: path.or_else(|| path_of(kernel, address)),
        size: inode.size,
        pages: kernel.cached_page_count(inode.mapping).into(),
        present,
        excluded,
        absent,
        written: target.map(str::to_owned),
    })?;
    if pages.wild > 0 {
        out.warn(format!("{} pages in the cache are not this file's", pages.wild));
    }
    if let Some(damage) = pages.damage {
        out.warn(format!("there may be more pages: {damage}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_grow_and_leave_gaps() {
        let mut held = Vec::new();
        for page in [0, 1, 2, 5, 9] {
            add(&mut held, page);
        }
        assert_eq!(held, [(0, 2), (5, 5), (9, 9)]);
        assert_eq!(gaps(&held, 12), [(3, 4), (6, 8), (10, 11)]);
        // What is behind the end of the file is no gap.
        assert_eq!(gaps(&held, 4), [(3, 3)]);
        assert_eq!(gaps(&[], 3), [(0, 2)]);
        assert_eq!(gaps(&[(0, u64::MAX)], 3), []);
        assert_eq!((list(&held), length(&held)), ("0-2,5,9".to_owned(), 5));
    }
}
