//! Requests that disks work on: those whose tags are taken in a queue's bitmaps (blk-mq).

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::xarray;
use mortis_memory::{VirtAddr, VirtualMemory};
use rustc_hash::FxHashSet;

layout! {
    /// A disk's queue: include/linux/blkdev.h.
    pub struct RequestQueue = "request_queue" {
        operations: "mq_ops",
        tag_set: "tag_set",
        /// An xarray from 5.18 to 6.18, an array of pointers before and since.
        hardware_table: "hctx_table",
        hardware_array: "queue_hw_ctx",
        hardware_count: "nr_hw_queues",
    }
}

layout! {
    /// A queue of the hardware: include/linux/blk-mq.h.
    pub struct HardwareQueue = "blk_mq_hw_ctx" {
        tags: "tags",
        number: "queue_num",
    }
}

layout! {
    /// The tags that several queues share: include/linux/blk-mq.h.
    pub struct TagSet = "blk_mq_tag_set" {
        /// Set where all hardware queues share one set of tags; since 5.16.
        shared: "shared_tags",
    }
}

layout! {
    /// Tags: block/blk-mq-tag.h, include/linux/blk-mq.h.
    pub struct Tags = "blk_mq_tags" {
        reserved: "nr_reserved_tags",
        count: "nr_tags",
        /// A pointer from 5.10 to 5.15.
        bitmap: "bitmap_tags",
        reserved_bitmap: "breserved_tags",
        requests: "rqs",
    }
}

layout! {
    /// A request: include/linux/blk-mq.h.
    pub struct RequestStruct = "request" {
        queue: "q",
        flags: "cmd_flags",
        state: "state",
        tag: "tag",
        sector: "__sector",
        bytes: "__data_len",
        bio: "bio",
        start: "start_time_ns",
        issued: "io_start_time_ns",
        context: "mq_ctx",
        partition: "part",
    }
}

layout! {
    /// A CPU's part of a queue: block/blk-mq.h.
    pub struct SoftwareQueue = "blk_mq_ctx" {
        cpu: "cpu",
    }
}

/// `MQ_RQ_IN_FLIGHT` of `enum mq_rq_state`.
const IN_FLIGHT: u64 = 1;

/// The bits of `cmd_flags` that are the operation (`REQ_OP_BITS`).
const OPERATION: u64 = 0xff;

/// More hardware queues than any driver makes.
const MAX_HARDWARE_QUEUES: u64 = 1 << 16;

/// How many reads and writes are in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InFlight {
    pub reads: u64,
    pub writes: u64,
}

impl InFlight {
    /// Counts requests.
    pub fn of(requests: &[Request]) -> Self {
        let writes = requests.iter().filter(|request| request.is_write()).count() as u64;
        Self { reads: requests.len() as u64 - writes, writes }
    }

    /// Both together.
    pub fn total(self) -> u64 {
        self.reads.wrapping_add(self.writes)
    }
}

/// A request that the driver works on.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its `struct request`.
    pub address: VirtAddr,
    /// The operation and its flags (`REQ_*` of include/linux/blk_types.h).
    pub flags: u64,
    /// Its number among those in flight.
    pub tag: Result<i64>,
    /// Where on the disk it begins, in sectors of 512 bytes.
    pub sector: Result<u64>,
    /// How much of it is still to be done.
    pub bytes: Result<u64>,
    /// Its first `struct bio`; null for a request without data.
    pub bio: Result<VirtAddr>,
    /// When it was made, in nanoseconds of the monotonic clock; 0 where nobody counts.
    pub start: Result<u64>,
    /// When the driver got it, likewise.
    pub issued: Result<u64>,
    /// The CPU that made it.
    pub cpu: Result<u64>,
    /// The hardware queue.
    pub hardware_queue: u64,
}

impl Request {
    /// The operation (`REQ_OP_*`).
    pub fn operation(&self) -> u64 {
        self.flags & OPERATION
    }

    /// Whether data goes to the disk: operations that do so are odd.
    pub fn is_write(&self) -> bool {
        self.operation() & 1 != 0
    }

    /// The operation's name in lower case: `read`, `write_zeroes`.
    pub fn operation_name(&self, kernel: &Kernel) -> Option<String> {
        let name = kernel
            .enumerator_name("req_op", self.operation())
            .or_else(|| kernel.enumerator_name("req_opf", self.operation()))?;
        Some(name.strip_prefix("REQ_OP_").unwrap_or(&name).to_lowercase())
    }
}

/// Requests found in the tags of one or more hardware queues.
#[derive(Default)]
struct Search {
    requests: Vec<Request>,
    seen: FxHashSet<VirtAddr>,
    damage: Option<KernelError>,
}

impl Kernel {
    /// Whether the queue gives its requests to hardware queues, and so has tags to look at.
    pub(crate) fn has_tags(&self, queue: VirtAddr) -> Result<bool> {
        let layout = self.layout::<RequestQueue>()?;
        // Without the member there is nothing but blk-mq, or nothing of it.
        if !layout.operations.exists() {
            return Ok(false);
        }
        Ok(!layout.operations.pointer(self, queue)?.is_null())
    }

    /// The requests of the queue that its driver works on, and what hid some.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub fn requests_in_flight(
        &self,
        queue: VirtAddr,
    ) -> Result<(Vec<Request>, Option<KernelError>)> {
        let mut search = Search::default();
        if !self.has_tags(queue)? {
            return Ok((search.requests, None));
        }
        let layout = self.layout::<RequestQueue>()?;
        let set = layout.tag_set.pointer(self, queue)?;
        let shared = self.layout::<TagSet>()?.shared.pointer(self, set);
        if let Ok(shared) = shared
            && !shared.is_null()
        {
            self.search_tags(queue, shared, 0, &mut search)?;
            return Ok((search.requests, search.damage));
        }
        let hardware = self.layout::<HardwareQueue>()?;
        for context in self.hardware_queues(queue, &mut search)? {
            let number = hardware.number.u64(self, context).unwrap_or(0);
            let found = hardware
                .tags
                .pointer(self, context)
                .and_then(|tags| self.search_tags(queue, tags, number, &mut search));
            if let Err(error) = found {
                search.damage.get_or_insert(error);
            }
        }
        Ok((search.requests, search.damage))
    }

    fn hardware_queues(&self, queue: VirtAddr, search: &mut Search) -> Result<Vec<VirtAddr>> {
        let layout = self.layout::<RequestQueue>()?;
        let mut queues = Vec::new();
        if layout.hardware_table.exists() {
            let table = layout.hardware_table.address(queue)?;
            for entry in xarray::entries(self, "hardware queues", table)? {
                match entry {
                    Ok(entry) => queues.extend(xarray::object(entry.1)),
                    Err(error) => {
                        search.damage.get_or_insert(error);
                    }
                }
            }
            return Ok(queues);
        }
        let count = layout.hardware_count.u64(self, queue)?.min(MAX_HARDWARE_QUEUES);
        let array = layout.hardware_array.pointer(self, queue)?;
        let bytes = self.read_bytes(array, count * 8)?;
        let pointers = bytes.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok());
        queues.extend(pointers.map(|bytes| VirtAddr(u64::from_le_bytes(bytes))));
        Ok(queues)
    }

    fn search_tags(
        &self,
        queue: VirtAddr,
        tags: VirtAddr,
        hardware_queue: u64,
        search: &mut Search,
    ) -> Result<()> {
        let layout = self.layout::<Tags>()?;
        let reserved = layout.reserved.u64(self, tags)?;
        let array = layout.requests.pointer(self, tags)?;
        let bitmaps = [(&layout.reserved_bitmap, 0), (&layout.bitmap, reserved)];
        for (field, first) in bitmaps.into_iter().skip(usize::from(reserved == 0)) {
            let bitmap = match field.size()? {
                8 => field.pointer(self, tags)?,
                _ => field.address(tags)?,
            };
            for bit in self.sbitmap(bitmap)?.busy() {
                let slot = array.offset(first.saturating_add(bit).saturating_mul(8));
                let found =
                    self.read_pointer(slot).map_err(KernelError::from).and_then(|address| {
                        // A tag that is taken has its request only once it is given to the driver.
                        if address.is_null() || !search.seen.insert(address) {
                            return Ok(None);
                        }
                        self.request_of(queue, address, hardware_queue)
                    });
                match found {
                    Ok(request) => search.requests.extend(request),
                    Err(error) => {
                        search.damage.get_or_insert(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The request at `address`, if it is the queue's and in flight: tags are shared with the
    /// queues of other disks.
    fn request_of(
        &self,
        queue: VirtAddr,
        address: VirtAddr,
        hardware_queue: u64,
    ) -> Result<Option<Request>> {
        let layout = self.layout::<RequestStruct>()?;
        if layout.queue.pointer(self, address)? != queue
            || layout.state.u64(self, address)? != IN_FLIGHT
        {
            return Ok(None);
        }
        let cpu = layout
            .context
            .pointer(self, address)
            .and_then(|context| self.layout::<SoftwareQueue>()?.cpu.u64(self, context));
        Ok(Some(Request {
            address,
            flags: layout.flags.u64(self, address)?,
            tag: layout.tag.i64(self, address),
            sector: layout.sector.u64(self, address),
            bytes: layout.bytes.u64(self, address),
            bio: layout.bio.pointer(self, address),
            start: layout.start.u64(self, address),
            issued: layout.issued.u64(self, address),
            cpu,
            hardware_queue,
        }))
    }
}
