//! The sample's memory, damaged: pages lost, and kernel structures changed.

use crate::damage::PAGE_SIZE;
use crate::exercise::{all_lines, alone, exercise, first_look, run, session, thoroughness};
use crate::files::{SAMPLE, open, sample};
use mortis_dump::{Dump, Source};
use mortis_dump_synthetic::{Faults, FaultyMemory, Random, WatchedMemory};
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};
use mortis_shell::session::Session;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The sample with `faults` in its memory.
pub fn damaged(file: &Arc<dyn Source>, faults: Faults) -> Option<Dump> {
    let dump = open(Arc::clone(file))?;
    Some(dump.with_view(|below| Arc::new(FaultyMemory { below, faults })))
}

/// The sample as it is.
fn healthy() -> Session {
    session(Dump::open(SAMPLE).expect("the sample opens")).expect("the sample has a kernel")
}

/// The pages that the kernel's addresses in `range` lie in.
fn pages_of(session: &Session, range: Range<VirtAddr>) -> Vec<u64> {
    let memory = session.kernel.memory();
    (range.start.0 & !(PAGE_SIZE - 1)..range.end.0)
        .step_by(PAGE_SIZE as usize)
        .filter_map(|at| memory.translate(VirtAddr(at)).ok())
        .map(|at| at.0 / PAGE_SIZE)
        .collect()
}

fn between(session: &Session, start: &str, end: &str) -> Vec<u64> {
    let address = |name| session.kernel.symbol(name).expect("a symbol of every kernel");
    pages_of(session, address(start)..address(end))
}

fn page_of(session: &Session, symbol: &str) -> u64 {
    let address = session.kernel.symbol(symbol).expect("a symbol of every kernel");
    session.kernel.memory().translate(address).expect("a mapped symbol").0 / PAGE_SIZE
}

/// Groups of pages, each holding one kind of thing.
fn groups(session: &Session) -> Vec<(&'static str, Vec<u64>)> {
    let mut groups = vec![
        ("BTF", between(session, "__start_BTF", "__stop_BTF")),
        ("ORC", between(session, "__start_orc_unwind_ip", "__stop_orc_unwind")),
        ("kallsyms", between(session, "kallsyms_offsets", "kallsyms_token_index")),
        ("printk", vec![page_of(session, "prb"), page_of(session, "printk_rb_static")]),
        (
            "lists",
            ["init_task", "modules", "slab_caches", "init_pid_ns", "__per_cpu_offset"]
                .map(|name| page_of(session, name))
                .to_vec(),
        ),
        ("page tables", page_tables(session)),
    ];
    let known: BTreeSet<u64> = groups.iter().flat_map(|(_, pages)| pages).copied().collect();
    let others: Vec<u64> = asked_for().into_iter().filter(|pfn| !known.contains(pfn)).collect();
    let (early, late) = others.split_at(others.len() / 2);
    groups.push(("asked for, low", early.to_vec()));
    groups.push(("asked for, high", late.to_vec()));
    groups.retain(|(_, pages)| !pages.is_empty());
    groups
}

fn page_tables(session: &Session) -> Vec<u64> {
    let modules = session.kernel.modules().0.iter().map(mortis_kernel::modules::Module::base);
    let tasks = session.kernel.tasks().tasks.iter().map(|task| task.address);
    let mut pages: Vec<u64> = modules
        .chain(tasks)
        .flat_map(|address| session.kernel.memory().walk(address).entries)
        .map(|entry| entry.at.0 / PAGE_SIZE)
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// Every page that any command reads in a sound dump.
fn asked_for() -> BTreeSet<u64> {
    let pages = Arc::new(Mutex::new(BTreeSet::new()));
    let dump = Dump::open(SAMPLE).ok().map(|dump| {
        dump.with_view(|below| Arc::new(WatchedMemory { below, asked_for: Arc::clone(&pages) }))
    });
    exercise(|| dump, &all_lines(), "sound");
    let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
    pages.clone()
}

/// Numbers that structures break on.
const EDGES: [u64; 8] =
    [0, 1, 0xff, 0xffff_ffff, u64::MAX, i64::MAX as u64, 0xffff_ffff_8100_0000, 0x10_0000];

/// Changes some of a page that `memory` holds at `pfn`.
fn damage_page(random: &mut Random, memory: &dyn PhysicalMemory, pfn: u64, faults: &mut Faults) {
    let start = PhysAddr(pfn * PAGE_SIZE);
    let mut page = [0; PAGE_SIZE as usize];
    if random.below(5) == 0 || memory.read(start, &mut page).is_err() {
        faults.lose(start);
        return;
    }
    let words: Vec<u64> =
        page.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let used: Vec<usize> = (0..words.len()).filter(|&index| words[index] != 0).collect();
    let pointers: Vec<u64> = words.iter().copied().filter(|&word| word >> 47 == 0x1_ffff).collect();
    for _ in 0..=random.below(16) {
        // Mostly something that is there, which a reader will meet.
        let index = match random.below(8) {
            0 => random.below(words.len()),
            _ if used.is_empty() => random.below(words.len()),
            _ => used[random.below(used.len())],
        };
        let word = words[index];
        let changed = match random.below(6) {
            0 => word ^ 1 << random.below(64),
            1 => random.number(),
            2 => EDGES[random.below(EDGES.len())],
            3 => word.wrapping_add(8 * (random.number() % 64)),
            // Lists that run into one another, and in circles.
            _ if !pointers.is_empty() => pointers[random.below(pointers.len())],
            _ => word ^ 0xff << (8 * random.below(8)),
        };
        let at = PhysAddr(start.0 + 8 * index as u64);
        match random.below(12) {
            0 => {
                let len = 8 * (words.len() - index).min(64);
                faults.change(at, &vec![[0, 0xff][random.below(2)]; len]);
            }
            1 => faults.change(at, &changed.to_le_bytes()[..4]),
            _ => faults.change(at, &changed.to_le_bytes()),
        }
    }
}

#[test]
fn structures_with_nonsense_in_them() {
    let _alone = alone();
    let file = sample();
    let session = healthy();
    let groups = groups(&session);
    let below = session.kernel.dump().memory();
    let (all, look) = (all_lines(), first_look());
    for seed in 0..96 * thoroughness() {
        let mut random = Random::new(seed as u64);
        let (group, pages) = &groups[seed % groups.len()];
        let mut faults = Faults::default();
        for _ in 0..=random.below(8) {
            let pfn = pages[random.below(pages.len())];
            damage_page(&mut random, &below, pfn, &mut faults);
        }
        let lines = if (seed / groups.len()).is_multiple_of(6) { &all } else { &look };
        let what = format!("{group} damaged, seed {seed}");
        exercise(|| damaged(&file, faults), lines, &what);
    }
}

/// Opens the sample without `pages`.
fn without(pages: impl IntoIterator<Item = u64>) -> Session {
    let mut faults = Faults::default();
    faults.lost.extend(pages);
    session(damaged(&sample(), faults).expect("the file itself is sound"))
        .expect("VMCOREINFO is a note of the file")
}

fn must(session: &mut Session, line: &str, what: &str) -> serde_json::Value {
    match run(session, line, what) {
        Ok(json) => serde_json::from_str(&json).expect("checked by run"),
        Err(error) => panic!("{what}: `{line}` fails: {error}"),
    }
}

#[test]
fn without_the_first_task_the_log_and_the_machine_are_told() {
    let _alone = alone();
    let what = "no init_task";
    let mut session = without([page_of(&healthy(), "init_task")]);
    let log = must(&mut session, "log", what);
    assert!(log.to_string().contains("Oops"), "{log}");
    let system = must(&mut session, "sys", what);
    assert!(system.to_string().contains("\"release\":\"6.12"), "{system}");
    must(&mut session, "dis schedule", what);
    must(&mut session, "mod", what);
    must(&mut session, "kmem -i", what);
}

#[test]
fn without_types_what_needs_none_is_told() {
    let _alone = alone();
    let what = "no BTF";
    let sound = healthy();
    let mut session = without(between(&sound, "__start_BTF", "__stop_BTF"));
    assert!(must(&mut session, "log", what).to_string().contains("Oops"));
    for line in ["sym schedule", "rd jiffies", "dis schedule", "vtop jiffies", "sys"] {
        must(&mut session, line, what);
    }
    let running = must(&mut session, "bt -a", what).to_string();
    for function in ["vfs_write", "ksys_write", "entry_SYSCALL_64_after_hwframe"] {
        assert!(running.contains(function), "{function}: {running}");
    }
    let error = run(&mut session, "ps", what).expect_err("there are no tasks without types");
    assert!(error.starts_with("no types: ") && error.contains("vmlinux"), "{error}");
}

#[test]
fn without_symbols_the_log_is_told() {
    let _alone = alone();
    let what = "no kallsyms";
    let sound = healthy();
    let mut session = without(between(&sound, "kallsyms_offsets", "kallsyms_token_index"));
    assert!(must(&mut session, "log", what).to_string().contains("Oops"));
    let system = must(&mut session, "sys", what);
    assert!(system.to_string().contains("6.12"), "{system}");
    let error = run(&mut session, "sym schedule", what).expect_err("there are no symbols");
    assert!(error.contains("symbols"), "{error}");
}

#[test]
fn without_a_log_everything_else_is_told() {
    let _alone = alone();
    let what = "no log";
    let sound = healthy();
    let mut session = without([page_of(&sound, "prb"), page_of(&sound, "printk_rb_static")]);
    must(&mut session, "sys", what);
    must(&mut session, "ps", what);
    must(&mut session, "mod", what);
}

#[test]
fn without_the_list_of_modules_the_kernel_is_told() {
    let _alone = alone();
    let what = "no modules";
    let mut session = without([page_of(&healthy(), "modules")]);
    assert!(must(&mut session, "log", what).to_string().contains("Oops"));
    must(&mut session, "ps", what);
    must(&mut session, "dis schedule", what);
}
