//! What every dump is asked, whatever its format.

use mortis_dump::{Dump, FileKind, OpenOptions, Vmcoreinfo, sniff_source};
use mortis_memory::{PhysAddr, PhysicalMemory};
use std::sync::Arc;

/// Opens `data` as a dump if it looks like `kind`, and asks for everything.
pub(crate) fn ask_everything(data: &[u8], kind: FileKind) {
    let source = Arc::new(data.to_vec());
    if sniff_source(&*source) != kind {
        return;
    }
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    let dump = match Dump::from_source(source, "input", options) {
        Ok(dump) => dump,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let page_size = dump.page_size();
    assert!(page_size.is_power_of_two() && (4096..=65536).contains(&page_size));
    let mut page = vec![0; page_size as usize];
    let ranges = dump.ranges();
    assert!(ranges.iter().all(|range| range.start < range.end));
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
    for range in ranges.iter().take(4) {
        for at in (range.start.0..range.end.0).step_by(page_size as usize).take(16) {
            let probed = dump.probe(PhysAddr(at));
            let read = dump.read(PhysAddr(at), &mut page[..8]);
            assert!(probed.is_ok() || read.is_err(), "{at:#x} reads but does not probe");
            let _ = dump.read(PhysAddr(at + 1), &mut page);
        }
        let _ = dump.read(range.end.back(3), &mut page[..6]);
    }
    let _ = dump.read(PhysAddr(u64::MAX - 5), &mut page[..12]);
    let mut scan = vec![0; 20 * page_size as usize];
    let _ = dump.read(ranges.first().map_or(PhysAddr(0), |range| range.start), &mut scan);

    let counts = dump.page_counts();
    let _ = (dump.is_truncated(), dump.is_incomplete(), counts, dump.format().to_string());
    let _ = (dump.cpu_states().len(), dump.cpu_registers().len(), dump.notes().count());
    if let Some(info) = dump.vmcoreinfo() {
        let _ = (info.osrelease(), info.build_id(), info.iter().count());
    }
    // A hostile header may speak of petabytes.
    let mut stretches = 0..4;
    let _ = Vmcoreinfo::find_in_memory(&dump, |_| stretches.next().is_some(), |_| false);
}
