//! A dump of a terabyte: found in constant time, counted once, with little memory.

use mortis_dump::{Dump, PageCounts};
use mortis_dump_synthetic::{page, sparse_terabyte};
use mortis_memory::{PhysAddr, PhysicalMemory, Unavailable};

#[test]
fn a_terabyte_is_read_where_it_is_asked() {
    let path = std::env::temp_dir().join(format!("mortis-terabyte-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("a temporary file");
    let pfns = sparse_terabyte(&mut file).expect("the dump is written");
    let dump = Dump::open(&path);
    std::fs::remove_file(&path).expect("the file is there");
    let dump = dump.expect("it opens");

    let mut bytes = vec![0; 4096];
    for &pfn in pfns.iter().rev() {
        dump.read(PhysAddr(pfn * 4096), &mut bytes).expect("the page was written");
        assert_eq!(bytes, page(pfn, 4096), "page {pfn:#x}");
    }
    let why = |pfn: u64| dump.probe(PhysAddr(pfn * 4096)).map_err(|error| error.why);
    assert_eq!(why((1 << 28) - 1), Err(Unavailable::Excluded));
    assert_eq!(why(32), Err(Unavailable::Truncated));
    assert_eq!(why(1 << 28), Err(Unavailable::Unmapped));
    assert_eq!(dump.page_counts(), PageCounts { total: 1 << 28, present: 1 << 23 });
    assert_eq!(dump.ranges().len(), 1);
}
