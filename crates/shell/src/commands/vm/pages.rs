//! Where each page of an area is.

use super::process::{ADDRESS_WIDTH, AREA_HEADING, AreaRow, Process};
use crate::output::{Face, Render, Style};
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::user_memory::UserMemory;
use mortis_kernel::user_pages::{PagePlace, SwapEntry};
use mortis_memory::{UserAddr, VirtAddr};
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;

/// Pages of an area that are looked at in one go.
const BLOCK: u64 = 8192 * PAGE_SIZE;

const PAGE_SIZE: u64 = 4096;

/// Part of an area's pages.
#[derive(Serialize)]
pub(super) struct PageBlock {
    #[serde(flatten)]
    task: TaskHeader,
    #[serde(flatten)]
    area: AreaRow,
    /// Those that are somewhere; one that is not listed can be had from the file, if there is one,
    /// and was not touched otherwise.
    pages: Vec<PageRow>,
    #[serde(skip)]
    mm: VirtAddr,
    #[serde(skip)]
    from: u64,
    #[serde(skip)]
    to: u64,
    #[serde(skip)]
    text: String,
}

/// A page that is somewhere.
#[derive(Serialize)]
#[serde(untagged)]
enum PageRow {
    Memory {
        #[serde(rename = "virtual")]
        address: Hex,
        physical: Hex,
    },
    Swap {
        #[serde(rename = "virtual")]
        address: Hex,
        /// The path of the swap device; null where the entry is none of a device.
        swap: Option<String>,
        page: u64,
        /// What the entry marks, where it stands for no page.
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<&'static str>,
        entry: Hex,
    },
    Unknown {
        #[serde(rename = "virtual")]
        address: Hex,
        unavailable: &'static str,
    },
}

/// The heading of pages.
pub(super) fn heading(kernel: &Kernel, out: &mut String) {
    let width = physical_width(kernel);
    let _ = writeln!(out, "{:<ADDRESS_WIDTH$}  {:<width$}", "VIRTUAL", "PHYSICAL");
}

/// Columns for physical addresses: the digits of the last one, and as many as their heading has.
fn physical_width(kernel: &Kernel) -> usize {
    let ranges = kernel.memory().physical().ranges();
    let end = ranges.last().map_or(0, |range| range.end.0);
    format!("{end:x}").len().max("PHYSICAL".len())
}

impl PageBlock {
    /// The pages of area `index` of `process`, in parts that are not yet filled.
    pub fn of_area(
        process: &Arc<Process>,
        index: usize,
        task: &TaskHeader,
    ) -> impl Iterator<Item = Self> + use<> {
        let (process, task) = (Arc::clone(process), task.clone());
        let (start, end) =
            process.areas().get(index).map_or((0, 0), |area| (area.start.0, area.end.0));
        let mut next = Some(start);
        std::iter::from_fn(move || {
            let from = next?;
            let to = end.min(from.saturating_add(BLOCK));
            next = (to < end && to > from).then_some(to);
            Some(Self {
                task: task.clone(),
                area: process.areas().get(index)?.clone(),
                pages: Vec::new(),
                mm: VirtAddr(process.mm.0),
                from,
                to,
                text: String::new(),
            })
        })
    }

    /// Looks where the pages are.
    pub fn fill(&mut self, kernel: &Kernel, face: Face) {
        let places = Places::new(kernel, self.mm);
        if face == Face::Text {
            if self.from == self.area.start.0 {
                self.text.push_str(AREA_HEADING);
                self.area.render(&mut self.text, Style::default());
                heading(kernel, &mut self.text);
            }
            places.each(&self.area, self.from, self.to, |page| {
                page.render(&mut self.text);
                true
            });
            return;
        }
        places.each(&self.area, self.from, self.to, |page| {
            self.pages.extend(page.row());
            true
        });
    }
}

impl Render for PageBlock {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}

/// Where the pages of one process are.
pub(super) struct Places<'k> {
    kernel: &'k Kernel,
    memory: Option<UserMemory<'k>>,
    width: usize,
    /// The paths of swap devices that were met.
    swap_devices: RefCell<FxHashMap<u32, Option<String>>>,
}

/// A page of an area and where it is.
pub(super) struct Page<'a> {
    pub address: u64,
    pub place: PagePlace,
    area: &'a AreaRow,
    places: &'a Places<'a>,
}

impl<'k> Places<'k> {
    pub fn new(kernel: &'k Kernel, mm: VirtAddr) -> Self {
        let memory = UserMemory::of_mm(kernel, mm).ok();
        let swap_devices = RefCell::default();
        Self { kernel, memory, width: physical_width(kernel), swap_devices }
    }

    /// Hands the pages of `area` from one address up to another to `visit`, until it wants no more.
    pub fn each(
        &self,
        area: &AreaRow,
        from: u64,
        to: u64,
        mut visit: impl FnMut(&Page<'_>) -> bool,
    ) {
        let Some(memory) = &self.memory else { return };
        for (address, place) in memory.pages(UserAddr(from), UserAddr(to)) {
            if !visit(&Page { address: address.0, place, area, places: self }) {
                return;
            }
        }
    }
}

impl Page<'_> {
    /// Where in the mapped file the page comes from.
    pub fn file_offset(&self) -> Option<u64> {
        if self.area.path().is_empty() {
            return None;
        }
        let first = *self.area.page_offset.value()?;
        let into = self.address.saturating_sub(self.area.start.0) / PAGE_SIZE;
        Some(first.wrapping_add(into) << 12)
    }

    /// The swap device and the page of it, for a page that is swapped out.
    pub fn swap(&self) -> Option<(Option<String>, SwapEntry)> {
        match self.place {
            PagePlace::Entry(entry) => {
                let entry = SwapEntry::decode(entry);
                let mut known = self.places.swap_devices.borrow_mut();
                let path = known
                    .entry(entry.device)
                    .or_insert_with(|| self.places.kernel.swap_device_path(entry.device));
                Some((path.clone(), entry))
            }
            _ => None,
        }
    }

    fn row(&self) -> Option<PageRow> {
        let address = Hex(self.address);
        match self.place {
            PagePlace::Memory(physical) => {
                Some(PageRow::Memory { address, physical: Hex(physical.0) })
            }
            PagePlace::Entry(value) => {
                let (swap, entry) = self.swap()?;
                let (page, marker) = (entry.offset, entry.marker());
                Some(PageRow::Swap { address, swap, page, marker, entry: Hex(value) })
            }
            PagePlace::Nowhere => None,
            PagePlace::Unknown(why) => Some(PageRow::Unknown { address, unavailable: why.code() }),
        }
    }

    /// Appends the page's line.
    pub fn render(&self, out: &mut String) {
        let _ = write!(out, "{:<ADDRESS_WIDTH$x}  ", self.address);
        let width = self.places.width;
        let _ = match (self.place, self.swap()) {
            (PagePlace::Memory(physical), _) => writeln!(out, "{:>width$x}", physical.0),
            (PagePlace::Unknown(why), _) => writeln!(out, "<{}>", why.code()),
            (_, Some((None, entry))) if entry.marker().is_some() => {
                writeln!(out, "({})", entry.marker().unwrap_or_default())
            }
            (_, Some((device, entry))) => {
                let device = device.as_deref().unwrap_or("(unknown swap location)");
                writeln!(out, "SWAP: {device}  OFFSET: {}", entry.offset)
            }
            _ => match self.file_offset() {
                Some(offset) => {
                    writeln!(out, "FILE: {}  OFFSET: {offset:x}", self.area.path())
                }
                None => writeln!(out, "(not mapped)"),
            },
        };
    }
}
