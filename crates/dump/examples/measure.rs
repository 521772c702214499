//! Measures reading: `measure DUMP…`, or `measure --terabyte` for a synthetic one.
//!
//! Times are of this process, so files should be in the page cache: run it twice.

use mortis_dump::{Dump, OpenOptions};
use mortis_memory::{PhysAddr, PhysicalMemory};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    for argument in std::env::args().skip(1) {
        if argument == "--terabyte" {
            terabyte();
        } else {
            measure(Path::new(&argument));
        }
    }
}

fn measure(path: &Path) {
    let start = Instant::now();
    let dump = match Dump::open(path) {
        Ok(dump) => dump,
        Err(error) => return eprintln!("{error}"),
    };
    let opened = start.elapsed();
    println!("{}: {}", path.display(), dump.format());
    println!("  open                 {opened:?}");

    let end = dump.ranges().last().map_or(0, |range| range.end.0);
    let pages: Vec<PhysAddr> = (0..end)
        .step_by(4096)
        .map(PhysAddr)
        .filter(|address| dump.probe(*address).is_ok())
        .collect();
    let probed = end / 4096;
    let start = Instant::now();
    for address in (0..end).step_by(4096) {
        let _ = black_box(dump.probe(PhysAddr(address)));
    }
    per("probe", start.elapsed(), probed);

    let start = Instant::now();
    for address in &pages {
        let _ = black_box(dump.read(*address, &mut [0; 8]));
    }
    per("first read of a page", start.elapsed(), pages.len() as u64);

    let hot = &pages[pages.len() / 2..][..64.min(pages.len() / 2)];
    let start = Instant::now();
    for round in 0..10_000u64 {
        let address = hot[round as usize % hot.len()].offset(round % 500 * 8);
        let _ = black_box(dump.read(address, &mut [0; 8]));
    }
    per("read again, 8 bytes", start.elapsed(), 10_000);

    for threads in [1, 2, 4] {
        let options = OpenOptions::default();
        let Ok(dump) = Dump::open_with(path, options) else { return };
        let start = Instant::now();
        std::thread::scope(|scope| {
            for chunk in pages.chunks(pages.len().div_ceil(threads).max(1)) {
                let dump = &dump;
                scope.spawn(move || {
                    let mut page = [0; 4096];
                    for address in chunk {
                        let _ = black_box(dump.read(*address, &mut page));
                    }
                });
            }
        });
        per(&format!("all pages, {threads} threads"), start.elapsed(), pages.len() as u64);
    }
    println!("  peak memory          {}", peak_memory().unwrap_or_default());
}

fn terabyte() {
    let path = std::env::temp_dir().join("mortis-measure-terabyte");
    let written = std::fs::File::create(&path)
        .and_then(|mut file| mortis_dump_synthetic::sparse_terabyte(&mut file));
    let pages = match written {
        Ok(pages) => pages,
        Err(error) => return eprintln!("{}: {error}", path.display()),
    };
    for _ in 0..2 {
        let start = Instant::now();
        let dump = match Dump::open(&path) {
            Ok(dump) => dump,
            Err(error) => return eprintln!("{error}"),
        };
        println!("1 TiB, sparse: {}", dump.format());
        println!("  open                 {:?}", start.elapsed());
        let start = Instant::now();
        let _ = black_box(dump.read(PhysAddr(pages[0] * 4096), &mut [0; 8]));
        println!("  first page           {:?}", start.elapsed());
        let start = Instant::now();
        for pfn in &pages {
            let _ = black_box(dump.read(PhysAddr(pfn * 4096), &mut [0; 8]));
        }
        per("a page anywhere", start.elapsed(), pages.len() as u64);
    }
    println!("  peak memory          {}", peak_memory().unwrap_or_default());
    let _ = std::fs::remove_file(path);
}

fn per(what: &str, time: Duration, count: u64) {
    let each = time.as_nanos() as u64 / count.max(1);
    println!("  {what:<20} {each} ns each, {count} in {time:?}");
}

fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().to_owned())
}
