//! A page of events.

use mortis_memory::VirtAddr;

/// A page of events.
#[derive(Clone)]
pub struct EventPage {
    /// The time that the first event's is counted from.
    pub time_stamp: u64,
    /// Where its `struct buffer_data_page` is.
    pub address: VirtAddr,
    /// The page, with its header.
    pub bytes: Vec<u8>,
    /// Where events begin: behind the header, or behind those that were read.
    pub(super) start: usize,
    /// Where they end.
    pub(super) end: usize,
    /// Where data begins in a page.
    pub(super) header: usize,
}

/// An event as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEvent<'p> {
    /// When, by the clock of the instance.
    pub time: u64,
    /// The record.
    pub data: &'p [u8],
}

/// Kinds of events that are none (`enum ring_buffer_type`).
const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;

impl EventPage {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// The event that begins at or behind `position`, where the next one begins, and the time so
    /// far. Begin with [`EventPage::first`].
    pub fn event(&self, mut position: Position) -> Option<(RawEvent<'_>, Position)> {
        let word = |at: usize| {
            let bytes = self.bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(*bytes.first_chunk()?))
        };
        while position.at < self.end {
            let header = word(position.at)?;
            let (kind, delta) = (header & 0x1f, u64::from(header >> 5));
            // Behind the header: the length of what is longer than a small event, or more of a time.
            let extra = u64::from(word(position.at + 4).unwrap_or(0));
            match kind {
                PADDING if delta == 0 => return None,
                PADDING => position.skip(extra as usize + 4)?,
                TIME_EXTEND => {
                    position.advance(delta | extra << 27);
                    position.skip(8)?;
                }
                TIME_STAMP => {
                    // Only 59 bits are recorded.
                    const HIGH: u64 = 0xf8 << 56;
                    position.time = (delta | extra << 27) | position.time & HIGH;
                    position.skip(8)?;
                }
                _ => {
                    position.advance(delta);
                    let (from, length) = match kind {
                        0 => (position.at.checked_add(8)?, (extra as usize).checked_sub(4)?),
                        words => (position.at.checked_add(4)?, words as usize * 4),
                    };
                    let to = from.checked_add(length).filter(|&to| to <= self.end)?;
                    let event = RawEvent { time: position.time, data: self.bytes.get(from..to)? };
                    position.at = to;
                    if from > self.start {
                        return Some((event, position));
                    }
                }
            }
        }
        None
    }

    /// Where the first event is. Those that were read are gone over for the times.
    pub fn first(&self) -> Position {
        Position { at: self.header, time: self.time_stamp }
    }
}

/// A place in a page of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    at: usize,
    time: u64,
}

impl Position {
    fn advance(&mut self, delta: u64) {
        self.time = self.time.wrapping_add(delta);
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 16;

    fn page(words: &[u32], read: usize) -> EventPage {
        let mut bytes = vec![0; HEADER];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let end = bytes.len();
        EventPage {
            time_stamp: 1000,
            address: VirtAddr(0),
            bytes,
            start: HEADER + read,
            end,
            header: HEADER,
        }
    }

    fn times(page: &EventPage) -> Vec<(u64, usize)> {
        let mut position = page.first();
        let mut found = Vec::new();
        while let Some((event, next)) = page.event(position) {
            found.push((event.time, event.data.len()));
            position = next;
        }
        found
    }

    #[test]
    fn times_add_up_over_extensions_and_stamps() {
        let page = page(
            &[
                1 | 5 << 5,
                0xaa, // one word of data, 5 later
                TIME_EXTEND | 1 << 5,
                2, // 2 << 27 | 1 later
                3 << 5,
                12,
                1,
                2, // eight bytes of data, with a length
                TIME_STAMP | 7 << 5,
                4, // at 4 << 27 | 7
                1,
                0xbb,
                PADDING, // nothing behind it
                1,
                0xcc,
            ],
            0,
        );
        let extended = 1005 + (2 << 27 | 1) + 3;
        assert_eq!(times(&page), [(1005, 4), (extended, 8), (4 << 27 | 7, 4)]);
    }

    #[test]
    fn events_that_were_read_count_for_the_time_only() {
        let words = [1 | 5 << 5, 0xaa, 1 | 5 << 5, 0xbb];
        assert_eq!(times(&page(&words, 8)), [(1010, 4)]);
    }

    #[test]
    fn nonsense_ends_the_page() {
        // Longer than the page; a length that is too short for itself.
        assert_eq!(times(&page(&[0, 4000, 1], 0)), []);
        assert_eq!(times(&page(&[0, 1, 1], 0)), []);
        assert_eq!(times(&page(&[PADDING | 1 << 5, u32::MAX], 0)), []);
        assert_eq!(times(&page(&[28], 0)), []);
    }
}
