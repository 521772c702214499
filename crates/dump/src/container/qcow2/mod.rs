//! qcow2 disk images, for the states of the machine that snapshots keep in them: `savevm`,
//! `virsh snapshot-create` (QEMU docs/interop/qcow2).
//!
//! A snapshot has its own table of the disk's clusters, and the state of the machine lies behind
//! the end of the disk in it, as far behind as one entry of the upper table reaches. The disk's own
//! contents are of no interest here.

mod snapshots;
mod state;

use crate::big_endian::{be32_at, be64_at};
use crate::open::{OpenError, Opening};
use crate::source::{Source, read_up_to};
use snapshots::Snapshot;
use state::VmState;
use std::sync::Arc;

/// Incompatible features.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;
/// Version 3's header; version 2 has the first 72 bytes.
const HEADER: u64 = 112;

/// What the header says, as far as it is of use here.
#[derive(Clone, Copy, Debug)]
struct Header {
    cluster_bits: u32,
    disk_size: u64,
    encryption: u32,
    snapshot_count: u32,
    snapshots: u64,
    features: u64,
    /// Compressed clusters are zstd, not zlib.
    zstd: bool,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let version = be32_at(bytes, 4)?;
        let is_3 = version >= 3;
        Some(Self {
            cluster_bits: be32_at(bytes, 20)?,
            disk_size: be64_at(bytes, 24)?,
            encryption: be32_at(bytes, 32)?,
            snapshot_count: be32_at(bytes, 60)?,
            snapshots: be64_at(bytes, 64)?,
            features: if is_3 { be64_at(bytes, 72)? } else { 0 },
            zstd: is_3 && bytes.get(104).is_some_and(|kind| *kind == 1),
        })
    }
}

/// The state of the machine in the snapshot that was chosen, or in the only one.
pub(super) fn open(
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let bytes = read_up_to(&*source, 0, HEADER);
    let version = be32_at(&bytes, 4);
    let Some(header) = Header::parse(&bytes) else {
        return Err(opening.damaged("the qcow2 image ends within its header"));
    };
    if !matches!(version, Some(2 | 3)) || !(9..=21).contains(&header.cluster_bits) {
        return Err(opening.damaged("the qcow2 header is damaged: version or cluster size"));
    }
    let wanting = |what: String, advice: &str| OpenError::Wanting {
        path: opening.path.to_owned(),
        what,
        advice: advice.to_owned(),
    };
    if header.features & !KNOWN != 0 {
        let what = format!("a qcow2 image with unknown features {:#x}", header.features & !KNOWN);
        return Err(wanting(what, "load the snapshot in QEMU and dump the guest from there"));
    }
    if header.encryption != 0 {
        return Err(wanting(
            "the qcow2 image is encrypted".to_owned(),
            "load the snapshot in QEMU, which has the key, and dump the guest from there",
        ));
    }
    if header.features & EXTERNAL_DATA != 0 {
        return Err(wanting(
            "the qcow2 image has its data in another file".to_owned(),
            "load the snapshot in QEMU and dump the guest from there",
        ));
    }
    let all = snapshots::read(&*source, header.snapshots, header.snapshot_count);
    let chosen = choose(&all, &header, opening)?;
    let disk_size = chosen.disk_size.unwrap_or(header.disk_size);
    Ok(Arc::new(VmState::new(source, header, chosen, disk_size)))
}

/// The snapshot to open.
fn choose<'a>(
    all: &'a [Snapshot],
    header: &Header,
    opening: &Opening<'_>,
) -> Result<&'a Snapshot, OpenError> {
    const CHOOSE: &str = "name one of them with --snapshot NAME";
    let wanting = |what: String, advice: &str| OpenError::Wanting {
        path: opening.path.to_owned(),
        what,
        advice: advice.to_owned(),
    };
    let with_state: Vec<&Snapshot> = all.iter().filter(|one| one.state_size > 0).collect();
    if with_state.is_empty() {
        let what = match (header.snapshot_count, all.len()) {
            (0, _) => "a qcow2 disk image without snapshots, so without a machine's memory",
            (_, 0) => return Err(opening.damaged("the qcow2 table of snapshots is cut off")),
            _ => "the snapshots in this qcow2 disk image are of the disk alone, without memory",
        };
        return Err(wanting(what.to_owned(), "take one with QEMU's savevm, or dump the guest"));
    }
    let list = || with_state.iter().map(|one| one.to_string()).collect::<Vec<_>>().join("; ");
    match (&opening.options.snapshot, with_state.as_slice()) {
        (Some(wanted), _) => {
            let by_name = with_state.iter().find(|one| one.name == *wanted);
            let by_id = || with_state.iter().find(|one| one.id == *wanted);
            by_name.or_else(by_id).copied().ok_or_else(|| {
                wanting(format!("no snapshot {wanted:?} in it, but {}", list()), CHOOSE)
            })
        }
        (None, [only]) => Ok(only),
        (None, _) => {
            let count = with_state.len();
            Err(wanting(format!("{count} snapshots of a machine are in it: {}", list()), CHOOSE))
        }
    }
}
