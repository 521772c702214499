//! The ring buffers that events are recorded in (kernel/trace/ring_buffer.c).
//!
//! A CPU's buffer is a ring of pages and one page aside, the reader's, which is older than all in
//! the ring. The oldest page of the ring is marked in the lowest bits of the pointer to it. A page
//! begins with a time stamp and the number of bytes committed; each event has the time since the
//! one before.

mod page;

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashSet;
use std::sync::Arc;

pub use page::{EventPage, Position, RawEvent};

layout! {
    /// The buffers of all CPUs: kernel/trace/ring_buffer.c.
    pub struct TraceBuffer = "trace_buffer" {
        buffers: "buffers",
        /// Pages of a sub-buffer, as a power of two, since 6.8.
        subbuf_order: "subbuf_order",
    }
}

layout! {
    /// The same until 5.5, when `trace_buffer` was the name of what holds them.
    pub struct OldTraceBuffer = "ring_buffer" {
        buffers: "buffers",
    }
}

layout! {
    /// A CPU's buffer: kernel/trace/ring_buffer.c.
    pub struct CpuBuffer = "ring_buffer_per_cpu" {
        nr_pages: "nr_pages",
        pages: "pages",
        head_page: "head_page",
        commit_page: "commit_page",
        reader_page: "reader_page",
        entries: "entries",
        overrun: "overrun",
        read: "read",
    }
}

layout! {
    /// A page of the ring: kernel/trace/ring_buffer.c.
    pub struct BufferPage = "buffer_page" {
        list: "list",
        read: "read",
        page: "page",
    }
}

layout! {
    /// What is in a page: kernel/trace/ring_buffer.c.
    pub struct BufferDataPage = "buffer_data_page" {
        time_stamp: "time_stamp",
        commit: "commit",
        data: "data",
    }
}

/// The lowest bits of a pointer to the oldest page (`RB_FLAG_MASK`, `RB_PAGE_HEAD`).
const FLAGS: u64 = 3;
const HEAD: u64 = 1;

/// More pages than anybody gives a CPU: 4 GiB.
const MAX_PAGES: u64 = 1 << 20;

/// Bits of `commit` that are the number of bytes; the ones above say that events are missing.
const COMMITTED: u64 = 0xf_ffff;

/// How many events a CPU's buffer has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Those that are in it.
    pub held: u64,
    /// Those that newer ones were written over.
    pub overwritten: u64,
}

/// The pages of a CPU's buffer, the oldest first, each read when it is asked for.
pub struct CpuPages<'k> {
    kernel: &'k Kernel,
    layout: Arc<BufferPage>,
    data: Arc<BufferDataPage>,
    /// The `struct buffer_page`s.
    pages: std::vec::IntoIter<VirtAddr>,
    page_size: u64,
    first: bool,
    failed: Option<KernelError>,
}

impl Kernel {
    /// The buffer of CPU `cpu`, in the buffers at `buffer`; `None` where the CPU has none.
    ///
    /// # Errors
    /// What could not be read.
    pub fn cpu_trace_buffer(&self, buffer: VirtAddr, cpu: u32) -> Result<Option<VirtAddr>> {
        let layout = self.layout::<TraceBuffer>()?;
        let buffers = match layout.buffers.exists() {
            true => layout.buffers.pointer(self, buffer)?,
            false => self.layout::<OldTraceBuffer>()?.buffers.pointer(self, buffer)?,
        };
        let own = self.read_pointer(buffers.offset(u64::from(cpu) * 8))?;
        Ok((!own.is_null()).then_some(own))
    }

    /// How many events the buffer at `cpu_buffer` has seen.
    ///
    /// # Errors
    /// What could not be read.
    pub fn trace_event_counts(&self, cpu_buffer: VirtAddr) -> Result<EventCounts> {
        let layout = self.layout::<CpuBuffer>()?;
        let overwritten = layout.overrun.u64(self, cpu_buffer)?;
        let entries = layout.entries.u64(self, cpu_buffer)?;
        let read = layout.read.u64(self, cpu_buffer)?;
        Ok(EventCounts { held: entries.wrapping_sub(overwritten.wrapping_add(read)), overwritten })
    }

    /// The bytes of a page of the buffers at `buffer`.
    pub fn trace_page_size(&self, buffer: VirtAddr) -> u64 {
        let page = self.memory().physical().page_size();
        let order = self.layout::<TraceBuffer>().and_then(|l| l.subbuf_order.u64(self, buffer));
        page << order.unwrap_or(0).min(8)
    }

    /// The pages of the buffer at `cpu_buffer`, which is one of the buffers at `buffer`.
    ///
    /// # Errors
    /// When not even the reader's page can be found. A ring that is damaged gives the pages in
    /// front of the damage, and the error behind them.
    pub fn trace_pages(&self, buffer: VirtAddr, cpu_buffer: VirtAddr) -> Result<CpuPages<'_>> {
        let layout = self.layout::<BufferPage>()?;
        let mut pages = Vec::new();
        let mut failed = self.ring(cpu_buffer, &layout, &mut pages).err();
        if failed.is_some() {
            // What lies behind the damage can be reached from the page that is written.
            let behind = self.ring_backwards(cpu_buffer, &layout, &pages).unwrap_or_default();
            pages.extend(behind);
        }
        if pages.is_empty()
            && let Some(error) = failed.take()
        {
            return Err(error);
        }
        Ok(CpuPages {
            kernel: self,
            layout,
            data: self.layout::<BufferDataPage>()?,
            pages: pages.into_iter(),
            page_size: self.trace_page_size(buffer),
            first: true,
            failed,
        })
    }

    /// Gathers the pages from the reader's to the one that is written.
    fn ring(
        &self,
        cpu_buffer: VirtAddr,
        layout: &BufferPage,
        pages: &mut Vec<VirtAddr>,
    ) -> Result<()> {
        let own = self.layout::<CpuBuffer>()?;
        let reader = own.reader_page.pointer(self, cpu_buffer)?;
        let commit = own.commit_page.pointer(self, cpu_buffer)?;
        pages.push(reader);
        if reader == commit {
            return Ok(());
        }
        let next = |page: VirtAddr| -> Result<(VirtAddr, bool)> {
            let link = layout.list.u64(self, page)?;
            Ok((layout.list.container(VirtAddr(link & !FLAGS))?, link & FLAGS == HEAD))
        };
        let damaged = |problem, at| KernelError::DamagedList { list: "ring buffer", problem, at };
        // The member `head_page` may be behind; the mark never is.
        let limit = own.nr_pages.u64(self, cpu_buffer)?.min(MAX_PAGES);
        let mut head = own.head_page.pointer(self, cpu_buffer)?;
        let mut page = head;
        for _ in 0..limit {
            let (after, is_head) = next(page)?;
            page = after;
            if is_head {
                head = after;
                break;
            }
        }
        let mut seen = HashSet::new();
        let mut page = head;
        loop {
            if !seen.insert(page) {
                return Err(damaged("the page that is written is not in the ring", page));
            }
            pages.push(page);
            if page == commit {
                return Ok(());
            }
            if seen.len() as u64 > limit {
                return Err(damaged("ring has more pages than it says", page));
            }
            page = next(page)?.0;
        }
    }
}

impl Kernel {
    /// The pages from the first one that leads to the one that is written, but for those `known`.
    fn ring_backwards(
        &self,
        cpu_buffer: VirtAddr,
        layout: &BufferPage,
        known: &[VirtAddr],
    ) -> Result<Vec<VirtAddr>> {
        const PREVIOUS: u64 = 8;
        let own = self.layout::<CpuBuffer>()?;
        let limit = own.nr_pages.u64(self, cpu_buffer)?.min(MAX_PAGES) as usize;
        let known: HashSet<VirtAddr> = known.iter().copied().collect();
        let mut page = own.commit_page.pointer(self, cpu_buffer)?;
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        while !known.contains(&page) && seen.insert(page) && found.len() < limit {
            // A page whose record cannot be read leads nowhere.
            let link = layout.list.address(page)?;
            let Ok(previous) = self.read_pointer(link.offset(PREVIOUS)) else { break };
            found.push(page);
            let before = layout.list.container(VirtAddr(previous.0 & !FLAGS))?;
            // The oldest page is the one that its predecessor marks.
            if self
                .read_pointer(layout.list.address(before)?)
                .is_ok_and(|next| next.0 & FLAGS == HEAD)
            {
                break;
            }
            page = before;
        }
        found.reverse();
        Ok(found)
    }
}

impl CpuPages<'_> {
    /// Where the `struct buffer_page`s are that are still to come.
    pub fn remaining(&self) -> usize {
        self.pages.len()
    }

    fn read(&self, page: VirtAddr, is_reader: bool) -> Result<EventPage> {
        let address = self.layout.page.pointer(self.kernel, page)?;
        let bytes = self.kernel.read_bytes(address, self.page_size)?;
        let offset = |field: &Field| Ok::<_, KernelError>(field.offset()? as usize);
        let header = offset(&self.data.data)?;
        let committed = (self.data.commit.u64_in(&bytes)? & COMMITTED) as usize;
        // Only the reader's page is read in part.
        let read = match is_reader {
            true => self.layout.read.u64(self.kernel, page)? as usize,
            false => 0,
        };
        let end = header.saturating_add(committed).min(bytes.len());
        Ok(EventPage {
            time_stamp: self.data.time_stamp.u64_in(&bytes)?,
            address,
            start: header.saturating_add(read).min(end),
            end,
            header,
            bytes,
        })
    }
}

impl Iterator for CpuPages<'_> {
    type Item = Result<EventPage>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(page) = self.pages.next() else { return self.failed.take().map(Err) };
        let is_reader = std::mem::take(&mut self.first);
        Some(self.read(page, is_reader))
    }
}

/// The events of a CPU's buffer, one after another.
pub struct CpuEvents<'k> {
    pages: CpuPages<'k>,
    page: Option<(Arc<EventPage>, Position)>,
    /// Pages that could not be read.
    pub missing: u64,
    /// Why the first of them could not, or the ring.
    pub damage: Option<KernelError>,
}

/// An event with the page that it is in.
#[derive(Clone)]
pub struct Event {
    /// When, by the clock of the instance.
    pub time: u64,
    /// The record.
    pub data: Vec<u8>,
}

impl<'k> CpuEvents<'k> {
    /// The events in `pages`.
    pub fn new(pages: CpuPages<'k>) -> Self {
        Self { pages, page: None, missing: 0, damage: None }
    }
}

impl Iterator for CpuEvents<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((page, position)) = &mut self.page {
                if let Some((event, next)) = page.event(*position) {
                    let event = Event { time: event.time, data: event.data.to_vec() };
                    *position = next;
                    return Some(event);
                }
                self.page = None;
            }
            match self.pages.next()? {
                Ok(page) => {
                    let first = page.first();
                    self.page = Some((Arc::new(page), first));
                }
                Err(error) => {
                    self.missing += 1;
                    self.damage.get_or_insert(error);
                }
            }
        }
    }
}
