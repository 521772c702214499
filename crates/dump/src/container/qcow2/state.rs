//! The state of the machine in a snapshot, through the snapshot's own tables.

use super::snapshots::Snapshot;
use super::{EXTENDED_L2, Header};
use crate::big_endian::be64_at;
use crate::cache::{BlockCache, CachedSource};
use crate::source::{Source, read_exact, read_up_to};
use std::io::{self, Read};
use std::sync::Arc;

/// Of an entry in either table: where in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeroes, whatever is allocated for it.
const ZERO: u64 = 1;
/// Parts of a cluster that extended entries know of.
const SUBCLUSTERS: u64 = 32;
const SECTOR: u64 = 512;
/// The most entries that an upper table has, by QEMU's own limit.
const MAX_L1: u64 = 4 << 20;
/// Bytes of lower tables that stay in memory, and of decompressed clusters.
const TABLE_CACHE: usize = 1 << 20;
const CLUSTER_CACHE: usize = 1 << 20;

/// The state of one snapshot.
pub(super) struct VmState {
    file: CachedSource,
    header: Header,
    /// The upper table, from the entry on that the state starts with.
    l1: Vec<u8>,
    len: u64,
    /// What tells it from other snapshots.
    name: String,
    clusters: BlockCache,
}

/// Where a piece of the state is.
enum Place {
    Zeroes,
    At(u64),
    /// A compressed cluster: where, and the most bytes that it can have.
    Compressed(u64, u64),
}

impl VmState {
    pub(super) fn new(
        source: Arc<dyn Source>,
        header: Header,
        snapshot: &Snapshot,
        disk_size: u64,
    ) -> Self {
        // QEMU's `qcow2_vm_state_offset`: behind the entry that the disk's last byte is in.
        let first = disk_size.div_ceil(header.per_l1_entry());
        let entries = u64::from(snapshot.l1_size).min(MAX_L1).saturating_sub(first);
        let table = snapshot.l1_table.saturating_add(first.saturating_mul(8));
        let l1 = read_up_to(&*source, table, entries * 8);
        let room = (l1.len() as u64 / 8).saturating_mul(header.per_l1_entry());
        let name = format!("snapshot {} {:#x}", snapshot.id, snapshot.l1_table);
        Self {
            file: CachedSource::new(source, TABLE_CACHE),
            len: snapshot.state_size.min(room),
            header,
            l1,
            name,
            clusters: BlockCache::new(CLUSTER_CACHE, header.cluster_size() as usize),
        }
    }

    /// Where the byte at `offset` is, and how many follow it there.
    fn place(&self, offset: u64) -> io::Result<(Place, u64)> {
        let header = &self.header;
        let cluster = header.cluster_size();
        let within = offset % cluster;
        let zeroes = Ok((Place::Zeroes, cluster - within));
        let l1_index = (offset / header.per_l1_entry()) as usize;
        let table = be64_at(&self.l1, l1_index * 8).unwrap_or(0) & OFFSET;
        if table == 0 {
            return zeroes;
        }
        let number = offset % header.per_l1_entry() / cluster;
        let mut entry = [0; 16];
        let size = header.entry_size() as usize;
        let entry = entry.get_mut(..size).unwrap_or_default();
        self.file
            .read(table + number * header.entry_size(), entry)
            .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let descriptor = be64_at(entry, 0).unwrap_or(0);
        if descriptor & COMPRESSED != 0 {
            let offset_bits = 62 - (header.cluster_bits - 8);
            let at = descriptor & ((1 << offset_bits) - 1);
            let sectors = (descriptor & (COMPRESSED - 1)) >> offset_bits;
            let len = (sectors + 1) * SECTOR - at % SECTOR;
            return Ok((Place::Compressed(at, len), cluster - within));
        }
        let at = descriptor & OFFSET;
        let Some(bitmap) = be64_at(entry, 8) else {
            return match at == 0 || descriptor & ZERO != 0 {
                true => zeroes,
                false => Ok((Place::At(at + within), cluster - within)),
            };
        };
        let part = cluster / SUBCLUSTERS;
        let rest = part - within % part;
        match bitmap >> (within / part) & 1 {
            1 if at != 0 => Ok((Place::At(at + within), rest)),
            _ => Ok((Place::Zeroes, rest)),
        }
    }

    /// Reads within a compressed cluster that starts at `start` of the state.
    fn decompressed(
        &self,
        start: u64,
        (at, len): (u64, u64),
        skip: usize,
        piece: &mut [u8],
    ) -> io::Result<()> {
        let copy = |cluster: &[u8], piece: &mut [u8]| {
            let there = cluster.get(skip..).and_then(|rest| rest.get(..piece.len()));
            there.map(|bytes| piece.copy_from_slice(bytes)).is_some()
        };
        if self.clusters.with(start, |cluster| copy(cluster, piece)) == Some(true) {
            return Ok(());
        }
        let data = read_up_to(self.file.source(), at, len);
        let mut cluster = vec![0; self.header.cluster_size() as usize];
        if self.header.zstd {
            ruzstd::decoding::StreamingDecoder::new(&data[..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?
                .read_exact(&mut cluster)?;
        } else {
            flate2::read::DeflateDecoder::new(&data[..]).read_exact(&mut cluster)?;
        }
        copy(&cluster, piece);
        self.clusters.insert(start, cluster);
        Ok(())
    }
}

impl Header {
    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an entry in a lower table.
    fn entry_size(&self) -> u64 {
        if self.features & EXTENDED_L2 != 0 { 16 } else { 8 }
    }

    /// Bytes of the disk that one entry of the upper table is for.
    fn per_l1_entry(&self) -> u64 {
        self.cluster_size() / self.entry_size() * self.cluster_size()
    }
}

impl Source for VmState {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.len.saturating_sub(offset);
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        if wanted == 0 {
            return Ok(0);
        }
        let (place, there) = self.place(offset)?;
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(wanted);
        let Some(piece) = buf.get_mut(..len) else { return Ok(0) };
        match place {
            Place::Zeroes => piece.fill(0),
            Place::At(at) => {
                return match read_exact(self.file.source(), at, piece) {
                    Ok(()) => Ok(len),
                    Err(short) => Ok(short.filled),
                };
            }
            Place::Compressed(at, size) => {
                let skip = offset % self.header.cluster_size();
                self.decompressed(offset - skip, (at, size), skip as usize, piece)?;
            }
        }
        Ok(len)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{} {}", self.file.source().identity()?, self.name))
    }
}
