//! QEMU's migration stream: `migrate`, `virsh dump` without `--memory-only`, `virsh save`, and the
//! state that `savevm` puts in a qcow2 image.
//!
//! The stream is made for a machine that reads it once, from front to back, and runs on from there
//! (migration/savevm.c). Sections follow each other: first what the machine is, then RAM in as many
//! parts as it took, then a section for each device. RAM is a page at a time in the order in which
//! pages were sent. A guest that ran meanwhile has pages in the stream several times; the last
//! counts, and it may be no more than the difference to the one before (XBZRLE).
//!
//! * [`stream`] reads it in order, once ([`sections`], [`ram`]), and notes where each page is
//!   ([`page_index`]: less than half a byte a page for a guest that stood still, eight bytes for
//!   the others). The index is kept; the next time the file opens at once.
//! * With the `mapped-ram` capability pages have fixed places and a bitmap ([`mapped_ram`]), and
//!   there is nothing to note.
//! * Sections of devices have no length. The stream ends with a JSON text that gives the size of
//!   each field ([`description`]); without it (cut off, or a machine type of 2.2 and before) the
//!   next section is looked for by the mark that ends this one.
//! * Where RAM is in the guest's physical memory is nowhere in the stream. A PC has a hole below
//!   4 GiB whose start is in the clock's CMOS, and by the machine's type otherwise ([`machine`]).
//! * [`cpu`] are the registers.
//!
//! What was never sent: a page that is zero is sent as such, so in a stream with its end a page
//! that is missing was left out on purpose (a balloon's free pages, blocks that are shared with
//! the destination), and is excluded; in a stream that was cut off it is truncated.

mod cpu;
mod description;
mod machine;
mod mapped_ram;
mod memory;
mod page_index;
mod ram;
mod saved;
mod sections;
mod stream;
mod xbzrle;

use crate::contents::Contents;
use crate::format::{Format, Machine};
use crate::index_file::IndexFile;
use crate::open::{OpenError, Opening};
use crate::source::Source;
use memory::QemuMemory;
use sections::Walk;
use std::io::Write;
use std::sync::Arc;

/// The first four bytes.
pub(crate) const MAGIC: &[u8] = b"QEVM";
/// Files below this are indexed anew each time, which takes a tenth of a second.
const KEPT_FROM: u64 = 64 << 20;

/// Opens a migration stream.
pub(crate) fn open(source: Arc<dyn Source>, opening: &Opening<'_>) -> Result<Contents, OpenError> {
    let kept = match source.len() {
        KEPT_FROM.. => IndexFile::of(opening, &*source, saved::WHAT),
        _ => None,
    };
    let walk = match kept.as_ref().and_then(IndexFile::read).and_then(|bytes| Walk::load(&bytes)) {
        Some(walk) => walk,
        None => {
            let walk = Walk::over(&*source, opening)?;
            if let Some(kept) = &kept {
                // Without it the next opening takes another pass, and that is all.
                let _ = kept.write(|file| file.write_all(&walk.save()));
            }
            walk
        }
    };
    contents(source, walk, opening)
}

fn contents(
    source: Arc<dyn Source>,
    walk: Walk,
    opening: &Opening<'_>,
) -> Result<Contents, OpenError> {
    let no_memory = || OpenError::NoMemory { path: opening.path.to_owned() };
    if walk.ram.blocks.is_empty() {
        return Err(match &walk.damage {
            Some(what) => opening.damaged(what),
            None => no_memory(),
        });
    }
    let mapped_ram = walk.ram.blocks.iter().any(|block| block.mapped.is_some());
    let nothing_sent = walk.ram.blocks.iter().all(|block| block.pages.is_empty());
    if nothing_sent && !mapped_ram {
        return Err(match &walk.damage {
            Some(what) => opening.damaged(what),
            None if walk.ram.complete => opening
                .damaged("the stream holds no page: they went other ways (multifd, shared memory)"),
            None => no_memory(),
        });
    }
    let machine = machine::of(&walk);
    let extents = machine::extents(&walk, &machine, machine::CmosSizes::of(&walk, &*source));
    let cpu_states = match machine {
        Machine::X86_64 => cpu::states(&walk, &*source),
        _ => Vec::new(),
    };
    let memory = QemuMemory::new(source, walk, extents, opening.options.cache_bytes);
    let format = Format::QemuStream { mapped_ram };
    let contents = Contents { machine, ..Contents::of(format, Arc::new(memory)) };
    Ok(contents.with_cpu_states(cpu_states))
}
