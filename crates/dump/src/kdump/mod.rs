//! kdump-compressed dumps: makedumpfile's own format (its diskdump_mod.h), also written by QEMU.
//!
//! A header block, a sub header with the notes, bitmap 1 (pages the machine had), bitmap 2 (pages
//! in the dump), an array of page descriptors, one for each set bit of bitmap 2, and page data.
//! Finding a page is: its bit, its rank among the set bits, its descriptor, its data.

mod bitmap;
mod header;
mod memory;
mod scan;

pub use header::HeaderError;
pub(crate) use header::SIGNATURE;

use crate::contents::{Contents, KdumpFacts};
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
    let mut header = Header::parse(&*source)
        .map_err(|source| OpenError::Kdump { path: opening.path.to_owned(), source })?;
    let notes = std::mem::take(&mut header.notes);
    // Version 3 has no notes but VMCOREINFO; from 4 on the header points into the notes.
    let vmcoreinfo = Some(&*header.vmcoreinfo)
        .filter(|text| !text.is_empty())
        .or_else(|| notes::vmcoreinfo_text(Notes::new(&notes)))
        .map(Vmcoreinfo::parse);
    let format = Format::Kdump { version: header.version, compression: header.compression };
    let machine = Machine::from_utsname(&header.utsname.machine);
    let memory = KdumpMemory::new(source, &header, opening.options.cache_bytes);
    let contents = Contents {
        vmcoreinfo,
        incomplete: header.incomplete,
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
        ..Contents::of(format, Arc::new(memory))
    };
    Ok(contents.with_notes(machine, notes))
}
