//! The sample's kernel with lies in its memory. The input is a list of lies: which of the pages
//! that commands read, where in it, and the word that stands there instead.

use mortis_dump::Dump;
use mortis_dump_synthetic::{Faults, FaultyMemory, WatchedMemory};
use mortis_kernel::{Kernel, Options};
use mortis_memory::{PhysAddr, PhysicalMemory};
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use mortis_shell::session::{OpenedFiles, Session, Settings};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/null-dereference-6.12.vmcore");

/// What is asked for.
const LINES: [&str; 8] = ["sys", "log", "bt -a", "ps", "mod", "kmem -i", "kmem -s", "foreach bt"];

/// Bytes of one lie: the page's number in the list, the word's in the page, what to do, a number.
const LIE: usize = 12;
const PAGE_SIZE: u64 = 4096;

/// The pages that are read of a sound dump, but for the tables that have targets of their own.
static ASKED_FOR: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let pages = Arc::new(Mutex::new(BTreeSet::new()));
    let watch = |below| -> Arc<dyn PhysicalMemory> {
        Arc::new(WatchedMemory { below, asked_for: Arc::clone(&pages) })
    };
    let Some(mut session) = session(watch) else { return Vec::new() };
    let _ = (session.kernel.symbols().is_ok(), session.kernel.types().is_ok());
    pages.lock().unwrap_or_else(PoisonError::into_inner).clear();
    ask(&mut session);
    let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
    pages.iter().copied().collect()
});

fn session(
    view: impl FnOnce(Arc<dyn PhysicalMemory>) -> Arc<dyn PhysicalMemory>,
) -> Option<Session> {
    let dump = Dump::open(SAMPLE).ok()?.with_view(view);
    let kernel = Kernel::open(Arc::new(dump), None, Options::default()).ok()?;
    let settings = Settings { face: Face::Json, print_max: 256, ..Settings::default() };
    Some(Session::new(Arc::new(kernel), OpenedFiles::default(), settings))
}

fn ask(session: &mut Session) {
    for line in LINES {
        if let Err(error) = capture(session, line, Face::Json) {
            assert!(!error.trim().is_empty(), "`{line}` fails without a word");
        }
    }
}

/// Tells the lies, and asks.
pub fn fuzz(data: &[u8]) {
    let mut faults = Faults::default();
    for lie in data.as_chunks::<LIE>().0.iter().take(64) {
        let [page_low, page_high, word, kind, number @ ..] = *lie;
        let page = usize::from(u16::from_le_bytes([page_low, page_high]));
        let Some(&pfn) = ASKED_FOR.get(page % ASKED_FOR.len().max(1)) else { return };
        let at = PhysAddr(pfn * PAGE_SIZE + 8 * (u64::from(word) | u64::from(kind & 1) << 8));
        match kind >> 1 & 7 {
            0 => faults.lose(at),
            1 => faults.change(at, &number[..4]),
            2 => faults.change(at, &number[..1]),
            _ => faults.change(at, &number),
        }
    }
    if let Some(mut session) = session(|below| Arc::new(FaultyMemory { below, faults })) {
        ask(&mut session);
    }
}

/// Lies of many kinds all over the pages.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = mortis_dump_synthetic::Random::new(1);
    let mut lie = |_| {
        let number = match random.below(4) {
            0 => random.number(),
            1 => 0,
            2 => u64::MAX,
            _ => 0xffff_ffff_8100_0000 + random.number() % (1 << 24),
        };
        [random.number().to_le_bytes()[..4].to_vec(), number.to_le_bytes().to_vec()].concat()
    };
    vec![Vec::new(), lie(0), (0..8).flat_map(&mut lie).collect(), (0..48).flat_map(&mut lie).collect()]
}
