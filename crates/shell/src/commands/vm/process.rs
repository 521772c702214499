//! A process's memory as `vm` shows it; read once for all the threads that share it.

use crate::known::Known;
use crate::output::{Render, Style};
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::error::Result as KernelResult;
use mortis_kernel::task_accounting::MemoryAccounts;
use mortis_kernel::user_memory::MmStruct;
use mortis_kernel::vma::Area;
use mortis_memory::VirtAddr;
use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What one `struct mm_struct` says.
#[derive(Serialize)]
pub(super) struct Process {
    pub mm: Hex,
    pub pgd: Known<Hex>,
    pub rss_kib: Known<u64>,
    pub total_vm_kib: Known<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub areas: Option<Vec<AreaRow>>,
    /// What is wrong with the areas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The text of all of it.
    #[serde(skip)]
    text: OnceLock<String>,
}

/// One area.
#[derive(Clone, Serialize)]
pub(super) struct AreaRow {
    pub vma: Hex,
    pub start: Hex,
    pub end: Hex,
    pub flags: Known<Hex>,
    /// The path of what is mapped; null for anonymous memory.
    #[serde(serialize_with = "path")]
    pub file: Option<Known<Arc<str>>>,
    /// Where in the file it begins.
    #[serde(serialize_with = "bytes", rename = "offset")]
    pub page_offset: Known<u64>,
}

fn path<S: Serializer>(file: &Option<Known<Arc<str>>>, serializer: S) -> Result<S::Ok, S::Error> {
    file.clone().map(|file| file.map(|path| path.to_string())).serialize(serializer)
}

fn bytes<S: Serializer>(pages: &Known<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    pages.clone().map(|pages| Hex(pages << 12)).serialize(serializer)
}

/// Columns for the addresses in user space.
pub(super) const ADDRESS_WIDTH: usize = 10;

/// The heading of areas.
pub(super) const AREA_HEADING: &str = "      VMA           START       END     FLAGS FILE\n";

impl AreaRow {
    fn new(area: &Area, paths: &mut FxHashMap<VirtAddr, Known<Arc<str>>>, kernel: &Kernel) -> Self {
        let file = match &area.file {
            Ok(file) if file.is_null() => None,
            Ok(file) => {
                let find = || kernel.file_path(*file).map(Arc::from).into();
                Some(paths.entry(*file).or_insert_with(find).clone())
            }
            Err(error) => Some(Err(error.clone()).into()),
        };
        Self {
            vma: Hex(area.address.0),
            start: Hex(area.start.0),
            end: Hex(area.end.0),
            flags: area.flags.clone().map(Hex).into(),
            file,
            page_offset: area.page_offset.clone().into(),
        }
    }

    /// The path of what is mapped; empty for anonymous memory.
    pub fn path(&self) -> &str {
        self.file.as_ref().and_then(Known::value).map_or("", |path| path)
    }
}

impl Render for AreaRow {
    fn render(&self, out: &mut String, _: Style) {
        let flags = match &self.flags {
            Known::Value(flags) => format!("{:x}", flags.0),
            other => other.clone().map(|_| "").to_string(),
        };
        let _ = write!(
            out,
            "{:^16x} {:>ADDRESS_WIDTH$x} {:>ADDRESS_WIDTH$x} {flags:>6} ",
            self.vma.0, self.start.0, self.end.0
        );
        if let Some(file) = &self.file {
            let _ = write!(out, "{file}");
        }
        out.push('\n');
    }
}

/// The two lines about the whole of a process's memory.
pub(super) fn render_totals(process: Option<&Process>, out: &mut String) {
    let hex = |value: &Known<Hex>| match value.value() {
        Some(value) => format!("{:x}", value.0),
        None => value.clone().map(|_| "").to_string(),
    };
    let kib = |value: &Known<u64>| value.clone().map(|kib| format!("{kib}k")).to_string();
    let zero = || ("0".to_owned(), "0".to_owned(), "0k".to_owned(), "0k".to_owned());
    let (mm, pgd, rss, total) = process.map_or_else(zero, |process| {
        let mm = format!("{:x}", process.mm.0);
        (mm, hex(&process.pgd), kib(&process.rss_kib), kib(&process.total_vm_kib))
    });
    let _ = write!(
        out,
        "{:^16}  {:^16}  {:^6}  {:^8}\n{mm:^16}  {pgd:^16}  {rss:^6}  {total:^8}\n",
        "MM", "PGD", "RSS", "TOTAL_VM"
    );
}

impl Process {
    fn read(
        kernel: &Kernel,
        accounts: &KernelResult<MemoryAccounts<'_>>,
        mm: VirtAddr,
        tgid: u32,
    ) -> Self {
        let accounts = accounts.as_ref().map_err(Clone::clone);
        let used = accounts.and_then(|accounts| accounts.of(mm, tgid));
        let pgd = kernel.layout::<MmStruct>().and_then(|layout| layout.pgd.u64(kernel, mm));
        let kib = |pages: u64| pages.saturating_mul(4);
        let (areas, damage) = kernel.areas(mm);
        let mut paths = FxHashMap::default();
        let areas = areas.iter().map(|area| AreaRow::new(area, &mut paths, kernel)).collect();
        Self {
            mm: Hex(mm.0),
            pgd: pgd.map(Hex).into(),
            rss_kib: used.clone().map(|used| kib(used.rss)).into(),
            total_vm_kib: used.map(|used| kib(used.total_vm)).into(),
            areas: Some(areas),
            damage: damage.map(|error| error.to_string()),
            text: OnceLock::new(),
        }
    }

    /// The areas.
    pub fn areas(&self) -> &[AreaRow] {
        self.areas.as_deref().unwrap_or_default()
    }

    /// The text of the whole: totals and areas.
    pub fn text(&self, style: Style) -> &str {
        self.text.get_or_init(|| {
            let mut text = String::with_capacity(256 + 80 * self.areas().len());
            render_totals(Some(self), &mut text);
            text.push_str(AREA_HEADING);
            for area in self.areas() {
                area.render(&mut text, style);
            }
            text
        })
    }
}

/// Areas of processes that are kept in mind at a time.
const MAX_KEPT: usize = 1 << 20;

/// Processes by their `struct mm_struct`: threads share one.
pub(super) struct Processes<'k> {
    kernel: &'k Kernel,
    accounts: KernelResult<MemoryAccounts<'k>>,
    known: Mutex<Kept>,
}

/// What was read so far.
#[derive(Default)]
struct Kept {
    by_mm: FxHashMap<VirtAddr, Arc<OnceLock<Arc<Process>>>>,
    areas: usize,
}

impl<'k> Processes<'k> {
    pub fn new(kernel: &'k Kernel) -> Self {
        Self { kernel, accounts: MemoryAccounts::new(kernel), known: Mutex::default() }
    }

    /// The process with `mm`, which the thread group `tgid` is.
    pub fn get(&self, mm: VirtAddr, tgid: u32) -> Arc<Process> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(lock().by_mm.entry(mm).or_default());
        let mut is_new = false;
        let process = Arc::clone(slot.get_or_init(|| {
            is_new = true;
            Arc::new(Process::read(self.kernel, &self.accounts, mm, tgid))
        }));
        if is_new {
            let mut known = lock();
            known.areas = known.areas.saturating_add(process.areas().len() + 1);
            if known.areas > MAX_KEPT {
                *known = Kept::default();
            }
        }
        process
    }
}

/// A task and the memory of its process; none of a kernel thread.
#[derive(Serialize)]
pub(super) struct TaskMemory {
    #[serde(flatten)]
    pub task: TaskHeader,
    #[serde(flatten, serialize_with = "shared")]
    pub process: Option<Arc<Process>>,
    /// Why it is not known which memory the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<&'static str>,
}

fn shared<S: Serializer>(process: &Option<Arc<Process>>, serializer: S) -> Result<S::Ok, S::Error> {
    process.as_deref().serialize(serializer)
}

impl Render for TaskMemory {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        match (&self.process, self.unknown) {
            (Some(process), _) => out.push_str(process.text(style)),
            (None, None) => render_totals(None, out),
            (None, Some(why)) => out.push_str(&format!("<{why}>\n")),
        }
    }
}

/// What a damaged process is to be warned of with.
pub(super) fn damage_of(process: &Option<Arc<Process>>) -> Option<String> {
    let process = process.as_ref()?;
    let damage = process.damage.as_ref()?;
    Some(format!("mm_struct {:x}: {damage}", process.mm.0))
}
