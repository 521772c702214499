//! `search` against a search that is too simple to be wrong.

mod guests;

use guests::{Guest, failure, items, string, text};
use mortis_memory::{PhysAddr, PhysicalMemory, UserAddr, VirtualMemory};
use mortis_shell::session::Session;
use serde_json::Value;

fn guest() -> Guest {
    let guests = guests::products();
    let product =
        guests.into_iter().find(|product| product.case == "sysrq" && product.capture == "c31");
    let product = product.expect("the lab has made no dump: run `cargo xtask lab`");
    Guest { kernel: product.kernel, case: product.case, dump: product.path }
}

fn addresses(found: &[Value]) -> Vec<u64> {
    let hex = |item: &Value| {
        let digits = string(item, "address").trim_start_matches("0x");
        u64::from_str_radix(digits, 16).expect("an address")
    };
    found.iter().map(hex).collect()
}

/// Every page from `start` on that the dump holds.
fn pages(session: &Session, start: u64, len: u64) -> Vec<(u64, Vec<u8>)> {
    let memory = session.kernel.memory().physical();
    let page = |address: u64| {
        let mut bytes = vec![0; 4096];
        memory.read(PhysAddr(address), &mut bytes).ok().map(|()| (address, bytes))
    };
    (start..start + len).step_by(4096).filter_map(page).collect()
}

const START: u64 = 16 << 20;
const LEN: u64 = 48 << 20;

#[test]
fn numbers_are_where_looking_at_each_finds_them() {
    let mut session = guest().session();
    let init_task = session.kernel.symbol("init_task").expect("init_task").0;
    let pages = pages(&session, START, LEN);
    assert!(pages.len() > 500, "{} pages", pages.len());
    let naive = |size: usize, wanted: &dyn Fn(u64) -> bool| -> Vec<u64> {
        let mut found = Vec::new();
        for (address, bytes) in &pages {
            for (index, chunk) in bytes.chunks(size).enumerate() {
                let number = chunk.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
                if wanted(number) {
                    found.push(address + (index * size) as u64);
                }
            }
        }
        found
    };
    let range = format!("-p -s {START:x} -l {LEN}");
    let mut search =
        |line: &str| addresses(&items(&mut session, &format!("search {range} {line}")));
    assert_eq!(search("init_task"), naive(8, &|n| n == init_task));
    let masked = search(&format!("-m fff {init_task:x}"));
    assert_eq!(masked, naive(8, &|n| n | 0xfff == init_task | 0xfff));
    assert!(!masked.is_empty());
    let low = init_task & 0xffff_ffff;
    assert_eq!(search(&format!("-w {low:x}")), naive(4, &|n| n == low));
    assert_eq!(search("-h 7f45 4c46"), naive(2, &|n| n == 0x7f45 || n == 0x4c46));
    let sum = search("(init_task+16)");
    assert_eq!(sum, naive(8, &|n| n == init_task + 16));
}

#[test]
fn strings_are_where_looking_at_each_byte_finds_them() {
    let mut session = guest().session();
    let pages = pages(&session, START, LEN);
    let wanted = b"lock";
    let mut naive = Vec::new();
    for (number, (address, bytes)) in pages.iter().enumerate() {
        let mut bytes = bytes.clone();
        // The page behind it, when the dump holds that.
        if let Some((next, more)) = pages.get(number + 1)
            && *next == address + 4096
        {
            bytes.extend_from_slice(&more[..wanted.len() - 1]);
        }
        let hits = bytes.windows(wanted.len()).enumerate().filter(|(_, window)| window == wanted);
        naive.extend(hits.map(|(at, _)| address + at as u64));
    }
    assert!(naive.len() > 20, "{} times", naive.len());
    let found = items(&mut session, &format!("search -p -s {START:x} -l {LEN} -c lock"));
    assert_eq!(addresses(&found), naive);
    assert!(found.iter().all(|hit| string(hit, "text").starts_with("lock")));
}

#[test]
fn the_kernels_memory_is_searched_by_its_own_addresses() {
    let mut session = guest().session();
    let kernel = session.kernel.clone();
    let task = kernel.task_by_pid(1).expect("init");
    let found = addresses(&items(&mut session, &format!("search {:x}", task.address.0)));
    assert!(found.len() > 2, "{found:x?}");
    for &address in &found {
        let there = kernel.read_u64(mortis_memory::VirtAddr(address)).expect("a hit can be read");
        assert_eq!(there, task.address.0, "{address:x}");
    }
    // The direct map and the kernel's image alone, and everything else, make up the whole.
    let linear = addresses(&items(&mut session, &format!("search -K {:x}", task.address.0)));
    let mapped = addresses(&items(&mut session, &format!("search -V {:x}", task.address.0)));
    let mut both: Vec<u64> = linear.iter().chain(&mapped).copied().collect();
    let mut all = found;
    both.sort_unstable();
    all.sort_unstable();
    assert_eq!(both, all);
    let banner = kernel.symbol("linux_banner").expect("linux_banner").0;
    let line = format!("search -s {banner:x} -l 64 -c \"Linux version\"");
    assert_eq!(addresses(&items(&mut session, &line)), [banner]);
}

#[test]
fn stacks_are_searched_task_by_task() {
    let mut session = guest().session();
    let kernel = session.kernel.clone();
    let died = kernel.panic_task().expect("the task that died");
    let all = items(&mut session, &format!("search -t {:x}", died.address.0));
    let running = items(&mut session, &format!("search -T {:x}", died.address.0));
    assert!(!running.is_empty());
    assert!(running.iter().all(|hit| all.contains(hit)));
    for hit in &all {
        let task = u64::from_str_radix(string(hit, "task").trim_start_matches("0x"), 16);
        let task = kernel.task_by_address(mortis_memory::VirtAddr(task.expect("a task")));
        let stack = task.expect("a task").stack(&kernel).expect("a stack").0;
        let address = addresses(std::slice::from_ref(hit))[0];
        assert!((stack..stack + 0x4000).contains(&address), "{hit}");
    }
    let shown = text(&mut session, &format!("search -T -x 2 {:x}", died.address.0));
    assert!(shown.starts_with(&format!("PID: {:<7}  TASK: {:x}  CPU:", died.pid, died.address.0)));
    // Two words in front, the hit, two words behind, and a blank line.
    let lines: Vec<&str> = shown.lines().skip(1).take(4).collect();
    assert_eq!(lines[1].trim_end(), format!("{}:  {:x}", &lines[1][..16], died.address.0));
    assert!(lines[0].len() > 50 && lines[2].len() > 50 && lines[3].is_empty(), "{shown}");
}

#[test]
fn user_memory_is_searched_where_it_is_in_the_dump() {
    let raw = guests::products().into_iter().find(|product| {
        product.case == "sysrq" && matches!(product.capture.as_str(), "raw" | "c0" | "e0")
    });
    let Some(product) = raw else { return };
    let guest = Guest { kernel: product.kernel, case: product.case, dump: product.path };
    let mut session = guest.session();
    text(&mut session, "set 1");
    let found = items(&mut session, "search -u -c ELF");
    let at = addresses(&found);
    assert!(!at.is_empty() && at.is_sorted(), "{at:x?}");
    for address in at.iter().take(8) {
        let shown = text(&mut session, &format!("rd -u -8 {address:x} 3"));
        assert!(shown.contains("45 4c 46"), "{address:x}: {shown}");
    }
}

/// The kernel's half of a process's page table is not the user's memory; with 4 levels it begins
/// where 5 levels still have users.
#[test]
fn user_memory_ends_where_the_kernels_begins() {
    let guest = Guest::of("6.12", "null", "c31");
    let mut session = guest.session();
    let kernel_has = items(&mut session, "search -k -c PATH=");
    assert!(!kernel_has.is_empty());
    let mm = session.context().expect("a task").mm(&session.kernel).expect("an mm");
    for address in addresses(&items(&mut session, "search -u -c PATH=")) {
        let area = session.kernel.area_at(mm, UserAddr(address)).expect("the areas");
        assert!(area.is_some(), "{address:x} is nobody's");
    }
}

#[test]
fn wrong_words_are_refused_in_the_words_that_crash_has() {
    let mut session = guest().session();
    for (line, told) in [
        ("search nosuchsymbol", "invalid input: \"nosuchsymbol\""),
        ("search -t -k 5", "-t option cannot be used with other memory-selection options"),
        ("search -t -T 5", "-t and -T options are mutually exclusive"),
        ("search -c -x 2 foo", "-x option is not allowed with -c"),
        ("search -w fffffffff", "value too large for -w option: fffffffff"),
        ("search -h 12345", "value too large for -h option: 12345"),
        ("search -e 0 5", "invalid ending address: 0"),
        ("search -l 4k -s init_task 0", "not a valid number: 4k"),
        ("search -x 5000 5", "context value 5000 is too large: maximum is 512"),
        ("search -s 1 5", "invalid kernel virtual address: 1"),
    ] {
        let failure = failure(&mut session, line);
        assert!(failure.contains(told), "{line}: {failure}");
    }
}
