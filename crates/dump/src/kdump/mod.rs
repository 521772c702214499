//! kdump-compressed dumps: makedumpfile's own format (its diskdump_mod.h), also written by QEMU.
//!
//! A header block, a sub header with the notes, bitmap 1 (pages the machine had), bitmap 2 (pages
//! in the dump), an array of page descriptors, one for each set bit of bitmap 2, and page data.
//! Finding a page is: its bit, its rank among the set bits, its descriptor, its data.

mod bitmap;
mod header;
mod memory;
mod scan;
pub(crate) mod set;

pub(crate) use bitmap::MAX_BYTES as MAX_BITMAP_BYTES;
pub use header::HeaderError;
pub(crate) use header::{SIGNATURE, STATUS_EXCLUDED_VMEMMAP, STATUS_INCOMPLETE};

use crate::contents::{Contents, DumpMemory, KdumpFacts};
use crate::format::{Format, Machine};
use crate::notes::{self, Notes};
use crate::open::{OpenError, Opening};
use crate::source::Source;
use crate::vmcoreinfo::Vmcoreinfo;
use header::Header;
use memory::KdumpMemory;
use std::sync::Arc;

/// Opens a kdump-compressed dump.
pub(crate) fn open(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Contents, OpenError> {
    let header = parse(&*source, opening)?;
    let memory = KdumpMemory::new(source, &header, opening.options.cache_bytes);
    if let Some((start, end)) = header.split {
        let others = memory
            .pages_between(0, start)
            .saturating_add(memory.pages_between(end.min(header.max_mapnr), header.max_mapnr));
        if others > 0 {
            opening.warn(format!(
                "this is one file of a split dump (makedumpfile --split): {others} pages are in \
                 others; name them as well: mortis FILE FILE..."
            ));
        }
    }
    let files = usize::from(header.split.is_some());
    Ok(contents_of(header, Arc::new(memory), files))
}

fn parse(source: &dyn Source, opening: &Opening<'_>) -> Result<Header, OpenError> {
    Header::parse(source)
        .map_err(|source| OpenError::Kdump { path: opening.path.to_owned(), source })
}

/// What a header says, over `memory`, which is that of `split_files` files of a split dump.
fn contents_of(mut header: Header, memory: Arc<dyn DumpMemory>, split_files: usize) -> Contents {
    let notes = std::mem::take(&mut header.notes);
    // Version 3 has no notes but VMCOREINFO; from 4 on the header points into the notes.
    let vmcoreinfo = Some(&*header.vmcoreinfo)
        .filter(|text| !text.is_empty())
        .or_else(|| notes::vmcoreinfo_text(Notes::new(&notes)))
        .map(Vmcoreinfo::parse);
    let (version, compression) = (header.version, header.compression);
    let format = Format::Kdump { version, compression, split_files };
    let machine = match Machine::from_utsname(&header.utsname.machine) {
        // QEMU 10 writes "Unknown" for x86_64. The form of its notes is x86's alone.
        Machine::Other(_) if !notes::qemu_cpus(Notes::new(&notes)).is_empty() => Machine::X86_64,
        machine => machine,
    };
    let contents = Contents {
        vmcoreinfo,
        incomplete: header.incomplete,
        erase_info: header.erase_info,
        kdump: Some(KdumpFacts {
            utsname: header.utsname,
            timestamp: header.timestamp,
            dump_level: header.dump_level,
            nr_cpus: header.nr_cpus,
            max_mapnr: header.max_mapnr,
            phys_base: header.phys_base,
            vmemmap_excluded: header.vmemmap_excluded,
            split: header.split,
        }),
        ..Contents::of(format, memory)
    };
    contents.with_notes(machine, notes)
}
