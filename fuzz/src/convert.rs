//! Dumps written in another format: whatever was read, what is written says the same of each page.

use mortis_dump::write::{PageCodec, Sink, Target, WriteOptions};
use mortis_dump::{Dump, OpenOptions};
use mortis_memory::{PhysAddr, PhysicalMemory};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// More than this is no small dump, but a hostile header.
const MAX_PAGES: u64 = 1 << 12;

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn open(bytes: Vec<u8>) -> Option<Dump> {
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    Dump::from_source(Arc::new(bytes), "input", options).ok()
}

/// The first byte chooses the format and the codec.
pub fn fuzz(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let Some(dump) = open(data.to_vec()) else { return };
    let pages = |dump: &Dump| -> u64 {
        let size = dump.page_size();
        let of = |range: &mortis_memory::PhysicalRange| (range.end.0 - range.start.0) / size + 2;
        dump.ranges().iter().map(of).fold(0, u64::saturating_add)
    };
    // Bitmaps are for every page up to the last.
    let end = dump.ranges().last().map_or(0, |range| range.end.0 / dump.page_size());
    let end = end.max(dump.max_mapnr().unwrap_or(0));
    if pages(&dump) > MAX_PAGES || end > 1 << 22 {
        return;
    }
    let codecs =
        [PageCodec::None, PageCodec::Zlib, PageCodec::Lzo, PageCodec::Snappy, PageCodec::Zstd];
    let target = if choice & 1 == 0 { Target::Flattened } else { Target::Elf };
    let codec = codecs.get(usize::from(choice >> 1) % 6).copied();
    let options = WriteOptions { codec, ..WriteOptions::new(target) };
    let pipe = Pipe::default();
    let Ok(written) = dump.write(Sink::Stream(Box::new(pipe.clone())), &options) else { return };
    let bytes = std::mem::take(&mut *pipe.0.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(bytes.len() as u64, written.len);
    if written.copied {
        return;
    }
    let again = open(bytes).expect("what was written opens");
    assert_eq!(again.page_size(), dump.page_size());
    let size = dump.page_size();
    let (mut ours, mut theirs) = (vec![0; size as usize], vec![0; size as usize]);
    for range in dump.ranges() {
        for at in (range.start.0 / size * size..range.end.0).step_by(size as usize) {
            let read = dump.read(PhysAddr(at), &mut ours).map_err(|error| error.why);
            let reread = again.read(PhysAddr(at), &mut theirs).map_err(|error| error.why);
            match (read, reread) {
                (Ok(()), Ok(())) => assert!(ours == theirs, "{at:#x} differs"),
                // A stream of ELF has zeroes there; memory may begin or end within a page.
                (Err(_), Ok(())) => {}
                (Ok(()), Err(why)) => panic!("{at:#x} is {why}"),
                (Err(_), Err(_)) => {}
            }
        }
    }
}

/// Small dumps, before each a choice.
pub fn seeds() -> Vec<Vec<u8>> {
    let inputs = [crate::kdump::seeds(), crate::elf::seeds()].concat();
    let with = |(index, input): (usize, Vec<u8>)| [vec![index as u8], input].concat();
    inputs.into_iter().enumerate().map(with).collect()
}
