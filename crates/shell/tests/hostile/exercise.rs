//! Asking a damaged dump for everything, and holding it to what must be true of any dump: an
//! answer or an error, soon, in bounded memory, and no panic.

use mortis_dump::Dump;
use mortis_kernel::{Kernel, Options};
use mortis_shell::commands::TABLE;
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use mortis_shell::session::{OpenedFiles, Session, Settings};
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// The most memory that a process may have.
const MEMORY: u64 = 256 << 20;

/// A command that takes longer is taken for one that never ends.
const HANG: Duration = Duration::from_secs(60);

/// What each thread is at, and since when.
static AT_WORK: Mutex<Option<HashMap<ThreadId, (Instant, String)>>> = Mutex::new(None);

/// Ends the process when some case hangs: a thread cannot be stopped from outside.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        thread::spawn(|| {
            loop {
                thread::sleep(Duration::from_secs(1));
                let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
                for (since, what) in at_work.iter().flat_map(HashMap::values) {
                    if since.elapsed() > HANG {
                        eprintln!("hangs: {what}");
                        std::process::abort();
                    }
                }
            }
        });
    });
}

fn note(what: Option<String>) {
    let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
    let at_work = at_work.get_or_insert_default();
    match what {
        Some(what) => at_work.insert(thread::current().id(), (Instant::now(), what)),
        None => at_work.remove(&thread::current().id()),
    };
}

/// Runs `work`, and says what it was at when it panics or hangs.
fn guarded<T>(what: impl Fn() -> String, work: impl FnOnce() -> T) -> T {
    watch();
    note(Some(what()));
    let result = catch_unwind(AssertUnwindSafe(work));
    note(None);
    result.unwrap_or_else(|_| panic!("{} panics", what()))
}

/// Keeps other tests from running at the same time, until it is dropped: the memory of the whole
/// process is measured, and that of two dumps under examination would add up.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails when the process has had too much memory, which `what` is then to blame for.
fn check_memory(what: &str) {
    let peak = peak_memory().unwrap_or(0);
    assert!(peak <= MEMORY, "{what}: {} MiB of memory", peak >> 20);
}

/// The most memory that this process ever had, in bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// How many times more cases to run than a normal test run does: `MORTIS_HOSTILE=20`.
pub fn thoroughness() -> usize {
    std::env::var("MORTIS_HOSTILE").ok().and_then(|times| times.parse().ok()).unwrap_or(1).max(1)
}

/// A session over `dump`, or why there can be none.
pub fn session(dump: Dump) -> Result<Session, String> {
    let kernel = Kernel::open(Arc::new(dump), None, Options::default())
        .map_err(|error| error.to_string())?;
    let settings = Settings { face: Face::Json, print_max: 256, ..Settings::default() };
    Ok(Session::new(Arc::new(kernel), OpenedFiles::default(), settings))
}

/// Runs one line. An error must say something; an answer in JSON must be JSON.
pub fn run(session: &mut Session, line: &str, what: &str) -> Result<String, String> {
    let answer = guarded(|| format!("{what}: `{line}`"), || capture(session, line, Face::Json));
    match &answer {
        Ok(json) if !json.is_empty() => {
            let parsed = serde_json::from_str::<IgnoredAny>(json);
            assert!(parsed.is_ok(), "{what}: `{line}` gives what is not JSON: {json:.200}");
        }
        Ok(_) => {}
        Err(error) => assert!(!error.trim().is_empty(), "{what}: `{line}` fails without a word"),
    }
    check_memory(&format!("{what}: `{line}`"));
    answer
}

/// Opens what `dump` makes, and runs `lines`; says which of them failed, and how.
pub fn exercise(
    dump: impl FnOnce() -> Option<Dump>,
    lines: &[String],
    what: &str,
) -> Vec<(String, String)> {
    let opened = guarded(|| format!("{what}: opening"), || dump().map(session));
    let Some(Ok(mut session)) = opened else { return Vec::new() };
    let mut failed = Vec::new();
    for line in lines {
        if let Err(error) = run(&mut session, line, what) {
            failed.push((line.clone(), error));
        }
    }
    failed
}

/// Lines that between them reach every command: each alone, with each of its flags, and a few
/// with arguments.
pub fn all_lines() -> Vec<String> {
    let mut lines = Vec::new();
    for command in TABLE {
        if matches!(command.name, "exit" | "help") {
            continue;
        }
        lines.push(command.name.to_owned());
        let flags = command.options.iter().filter(|option| option.value.is_none());
        lines.extend(flags.map(|flag| format!("{} -{}", command.name, flag.letter)));
    }
    lines.extend(
        [
            "bt 1",
            "bt -c 0",
            "cgroup -t /",
            "irq 1",
            "runq -g -c 0",
            "timer -r -C 0",
            "trace show",
            "dis schedule",
            "dis -r schedule+32",
            "foreach bt",
            "kmem -S kmalloc-64",
            "kmem -m flags,lru.next",
            "kmem ffffffff81000000",
            "kmem -P 1000000",
            "log -T",
            "mod -t",
            "p init_task",
            "p jiffies",
            "p runqueues:0",
            "p *init_task.mm",
            "p init_task.tasks",
            "ps -p 1",
            "ps -t",
            "ps -a",
            "ps -G",
            "rd jiffies_64 64",
            "rd -S init_task 512",
            "search -t init_task",
            "search -c schedule",
            "set 1",
            "struct task_struct",
            "struct task_struct.comm,pid init_task",
            "struct module",
            "sym schedule",
            "sym -q lock",
            "vtop jiffies",
            "vtop init_task",
            "whatis task_struct",
        ]
        .map(str::to_owned),
    );
    let known = |line: &String| {
        line.split(' ').next().is_some_and(|name| mortis_shell::commands::find(name).is_some())
    };
    lines.retain(known);
    lines
}

/// A few lines: one for each part of a kernel.
pub fn first_look() -> Vec<String> {
    ["sys", "log", "bt -a", "ps", "mod", "kmem -i", "dis schedule", "p jiffies", "sym schedule"]
        .into_iter()
        .map(str::to_owned)
        .filter(|line| all_lines().contains(&line.split(' ').next().unwrap_or("").to_owned()))
        .collect()
}
