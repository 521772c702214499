//! The table of snapshots.

use crate::big_endian::{be16_at, be32_at, be64_at};
use crate::source::{Source, read_up_to};
use std::fmt;

/// What every entry starts with.
const ENTRY: u64 = 40;
/// QEMU keeps no more.
const MAX_SNAPSHOTS: u32 = 65536;
/// What an entry may have beside that: QEMU's own limit.
const MAX_EXTRA: u32 = 1024;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) id: String,
    pub(super) name: String,
    /// Seconds since 1970 UTC.
    pub(super) date: u32,
    /// Bytes of the machine's state; 0 where the disk alone was kept.
    pub(super) state_size: u64,
    /// The disk's size at the time; not in old images.
    pub(super) disk_size: Option<u64>,
    pub(super) l1_table: u64,
    pub(super) l1_size: u32,
}

/// The snapshots, as far as the table can be read.
pub(super) fn read(source: &dyn Source, offset: u64, count: u32) -> Vec<Snapshot> {
    let mut all = Vec::new();
    let mut at = offset;
    for _ in 0..count.min(MAX_SNAPSHOTS) {
        let Some((snapshot, size)) = entry(source, at) else { break };
        all.push(snapshot);
        let Some(next) = at.checked_add(size) else { break };
        at = next;
    }
    all
}

/// The entry at `at`, and its size.
fn entry(source: &dyn Source, at: u64) -> Option<(Snapshot, u64)> {
    let fixed = read_up_to(source, at, ENTRY);
    let id_len = usize::from(be16_at(&fixed, 12)?);
    let name_len = usize::from(be16_at(&fixed, 14)?);
    let extra_len = be32_at(&fixed, 36)?;
    if extra_len > MAX_EXTRA {
        return None;
    }
    let extra_len = extra_len as usize;
    let rest_len = extra_len + id_len + name_len;
    let rest = read_up_to(source, at.checked_add(ENTRY)?, rest_len as u64);
    let extra = rest.get(..extra_len)?;
    let text = |from: usize, len: usize| {
        Some(String::from_utf8_lossy(rest.get(from..from + len)?).into_owned())
    };
    let snapshot = Snapshot {
        id: text(extra_len, id_len)?,
        name: text(extra_len + id_len, name_len)?,
        date: be32_at(&fixed, 16)?,
        state_size: match be64_at(extra, 0) {
            Some(size) => size,
            None => be32_at(&fixed, 32)?.into(),
        },
        disk_size: be64_at(extra, 8),
        l1_table: be64_at(&fixed, 0)?,
        l1_size: be32_at(&fixed, 8)?,
    };
    Some((snapshot, (ENTRY + rest_len as u64).next_multiple_of(8)))
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.date / 86400);
        let (hour, minute) = (self.date / 3600 % 24, self.date / 60 % 60);
        let megabytes = self.state_size.div_ceil(1 << 20);
        write!(
            f,
            "{:?} (id {}, {year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC, {megabytes} MB)",
            self.name, self.id
        )
    }
}

/// Year, month and day of a day since 1970.
fn civil(days: u32) -> (u32, u32, u32) {
    let is_leap = |year: u32| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut left = days;
    let mut year = 1970;
    while left >= 365 + u32::from(is_leap(year)) {
        left -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u32::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for len in months {
        if left < len {
            break;
        }
        left -= len;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(58), (1970, 2, 28));
        assert_eq!(civil(789), (1972, 2, 29));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
        assert_eq!(civil(u32::MAX / 86400), (2106, 2, 7));
    }
}
