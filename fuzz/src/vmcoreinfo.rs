//! VMCOREINFO text.

use mortis_dump::Vmcoreinfo;

/// Parses, and looks every key up again by its own name.
pub fn fuzz(data: &[u8]) {
    let info = Vmcoreinfo::parse(data);
    let mut previous = None;
    for (key, value) in info.iter() {
        assert!(previous < Some(key), "keys are sorted and unique");
        previous = Some(key);
        assert_eq!(info.get(key), Some(value));
        let Some((_, name)) = key.strip_suffix(')').and_then(|key| key.split_once('(')) else {
            continue;
        };
        let _ = (info.symbol(name), info.number(name), info.offset(name));
        let _ = (info.size(name), info.length(name));
    }
    let _ = (info.osrelease(), info.build_id(), info.page_size());
    let _ = (info.kerneloffset(), info.crashtime());
}

/// Lines of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let text = "OSRELEASE=6.12.1\nBUILD-ID=00112233445566778899aabbccddeeff00112233\n\
        PAGESIZE=4096\nSYMBOL(prb)=ffffffff82a5c040\nNUMBER(phys_base)=-882900992\n\
        NUMBER(VMALLOC_START)=0xff6c425080000000\nOFFSET(printk_ringbuffer.desc_ring)=16\n\
        SIZE(page)=64\nLENGTH(zone.free_area)=11\nKERNELOFFSET=39600000\nCRASHTIME=1795458479\n";
    vec![text.into(), b"A=1\nA=2\n=\n(=)\nSYMBOL()=\n".to_vec()]
}
