//! `kmem -v`, `-f`, `-F`, `-p`, `-n` and `kmem address` against what the guests said of themselves
//! just before they died, and against each other.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One guest of each kernel, by the dump that has most in it.
fn guests() -> Vec<Guest> {
    let rank = |capture: &str| ["raw", "c0", "c23", "c31"].iter().position(|c| *c == capture);
    let mut best: BTreeMap<String, (usize, Guest)> = BTreeMap::new();
    for product in guests::products() {
        if product.case != "sysrq" {
            continue;
        }
        let Some(rank) = rank(&product.capture) else { continue };
        if best.get(&product.kernel).is_none_or(|(known, _)| rank < *known) {
            let kernel = product.kernel.clone();
            let guest = Guest { kernel: product.kernel, case: product.case, dump: product.path };
            best.insert(kernel, (rank, guest));
        }
    }
    assert!(!best.is_empty(), "the lab has made no dump: run `cargo xtask lab`");
    best.into_values().map(|(_, guest)| guest).collect()
}

fn hex(text: &str) -> u64 {
    let digits = text.trim_start_matches("0x");
    u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn address(item: &Value, member: &str) -> u64 {
    hex(string(item, member))
}

#[test]
fn areas_of_vmalloc_are_those_of_vmallocinfo() {
    for guest in guests() {
        let mut session = guest.session();
        let found = items(&mut session, "kmem -v");
        let starts: Vec<u64> = found.iter().map(|area| address(area, "start")).collect();
        assert!(starts.is_sorted(), "{}", guest.name());
        let of_guest: HashMap<u64, &Value> = starts.iter().copied().zip(&found).collect();
        let truth = guest.truth("vmallocinfo");
        // Areas that wait to be unmapped, and those of vm_map_ram(), have no vm_struct.
        let said: Vec<&str> = truth
            .lines()
            .filter(|line| !line.contains("vm_area") && !line.contains("vm_map_ram"))
            .collect();
        let mut equal = 0;
        for line in &said {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-').expect("a range");
            let Some(area) = of_guest.get(&hex(start)) else { continue };
            let pages = words.iter().find_map(|word| word.strip_prefix("pages="));
            let same_pages = pages.is_none_or(|pages| pages.parse().ok() == area["pages"].as_u64());
            let caller = words[2].split('+').next();
            let same_caller =
                area["caller"].as_str().is_none_or(|it| it.split('+').next() == caller);
            equal += usize::from(
                address(area, "end") == hex(end)
                    && number(area, "size").to_string() == words[1]
                    && same_pages
                    && same_caller,
            );
        }
        // The guest goes on living: some tasks, and their stacks, come and go.
        let what =
            format!("{}: {equal} equal, {} found, {} said", guest.name(), found.len(), said.len());
        assert!(equal * 20 >= said.len() * 19 && equal * 20 >= found.len() * 19, "{what}");
    }
}

#[test]
fn free_lists_are_those_of_pagetypeinfo() {
    for guest in guests() {
        let mut session = guest.session();
        let found = items(&mut session, "kmem -f");
        let total = found.last().expect("a total");
        // Pages that CPUs are just freeing are on no list and counted already, or the other way.
        let (counted, listed) = (number(total, "nr_free_pages"), number(total, "found"));
        assert!(counted.abs_diff(listed) <= 64, "{}: {total}", guest.name());
        let mut blocks: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
        let mut zone = String::new();
        for item in &found {
            if item["name"].is_string() {
                zone = string(item, "name").to_owned();
            }
            if item["blocks"].is_number() {
                let kind = string(item, "migrate_type").to_owned();
                blocks.entry((zone.clone(), kind)).or_default().push(number(item, "blocks"));
                assert_eq!(number(item, "pages"), number(item, "blocks") << number(item, "order"));
            }
        }
        let truth = guest.truth("pagetypeinfo");
        let (mut pages_found, mut pages_said, mut lists) = (0u64, 0u64, 0);
        for line in truth.lines().filter(|line| line.contains(", type")) {
            let (head, counts) = line.split_once("type").expect("a list");
            let zone = head.split("zone").nth(1).expect("a zone").trim().trim_end_matches(',');
            let mut words = counts.split_whitespace();
            let kind = words.next().expect("a type").to_owned();
            let said: Vec<u64> = words.map(|word| word.parse().expect("a count")).collect();
            let Some(found) = blocks.get(&(zone.to_owned(), kind.clone())) else { continue };
            assert_eq!(found.len(), said.len(), "{}: {zone} {kind}", guest.name());
            let pages = |counts: &[u64]| -> u64 {
                counts.iter().enumerate().map(|(order, count)| count << order).sum()
            };
            if zone == "DMA" {
                assert_eq!(found, &said, "{}: {zone} {kind}", guest.name());
            }
            pages_found += pages(found);
            pages_said += pages(&said);
            lists += 1;
        }
        assert!(lists >= 8, "{}: {lists} lists", guest.name());
        let what = format!("{}: {pages_found}, the guest said {pages_said}", guest.name());
        assert!(pages_found.abs_diff(pages_said) < 4096, "{what}");
    }
}

#[test]
fn free_blocks_are_pages_that_nobody_refers_to() {
    for guest in guests() {
        let mut session = guest.session();
        let lists = items(&mut session, "kmem -F");
        let free: BTreeSet<u64> = lists
            .iter()
            .filter(|item| item["page"].is_string() && item["physical"].is_string())
            .map(|item| address(item, "page"))
            .collect();
        assert!(free.len() > 20, "{}: {} blocks", guest.name(), free.len());
        let sections = items(&mut session, "kmem -n");
        let sections = sections.iter().filter(|item| item["coded_mem_map"].is_string()).count();
        let pages = items(&mut session, "kmem -p");
        assert_eq!(pages.len(), sections * 32768, "{}: a section is 128 MiB", guest.name());
        let mut seen = 0;
        for page in pages.iter().filter(|page| free.contains(&address(page, "page"))) {
            assert_eq!(page["count"], 0, "{}: {page}", guest.name());
            seen += 1;
        }
        assert_eq!(seen, free.len(), "{}", guest.name());
        let reserved = pages.iter().filter(|page| {
            page["flag_names"].as_array().is_some_and(|names| names.iter().any(|n| n == "reserved"))
        });
        assert!(reserved.count() > 1000, "{}: the kernel's own pages", guest.name());
        // One address gives the row that all of them give.
        let one = &pages[4660];
        let asked = items(&mut session, &format!("kmem -p {}", string(one, "physical")));
        assert_eq!(asked, std::slice::from_ref(one), "{}", guest.name());
        let asked = items(&mut session, &format!("kmem -p {}", string(one, "page")));
        assert_eq!(asked, std::slice::from_ref(one), "{}", guest.name());
        let member =
            items(&mut session, &format!("kmem -m _refcount.counter {}", string(one, "page")));
        assert_eq!(member[0]["_refcount.counter"], one["count"].to_string(), "{}", guest.name());
    }
}

#[test]
fn a_free_block_is_found_by_each_of_its_pages() {
    for guest in guests() {
        let mut session = guest.session();
        let lists = items(&mut session, "kmem -F");
        let mut order = 0;
        let block = lists.iter().find(|item| {
            order = item["order"].as_u64().unwrap_or(order);
            order == 10 && item["physical"].is_string()
        });
        let start = address(block.expect("a block of 1024 pages"), "physical");
        for page in [0, 1, 1023] {
            let line = format!("kmem -f {:x}", start + page * 4096);
            let found = items(&mut session, &line);
            assert_eq!(found.len(), 1, "{}: {line}", guest.name());
            assert_eq!(number(&found[0], "page_in_block"), page, "{}: {line}", guest.name());
            assert_eq!(number(&found[0], "order"), 10, "{}: {line}", guest.name());
        }
        let shown = text(&mut session, &format!("kmem {:x}", start + 2 * 4096 + 5));
        assert!(shown.contains("is in 3rd of 1024 pages)"), "{}: {shown}", guest.name());
    }
}

#[test]
fn an_address_is_told_by_everything_it_is_in() {
    for guest in guests() {
        let mut session = guest.session();
        let kernel = session.kernel.clone();
        let init_task = kernel.symbol("init_task").expect("init_task");
        let shown = text(&mut session, &format!("kmem {:x}", init_task.0));
        assert!(shown.contains(" init_task\n\n    PID: 0\n"), "{}: {shown}", guest.name());
        assert!(shown.contains("      PAGE       PHYSICAL      MAPPING"), "{}", guest.name());
        let task = kernel.task_by_pid(1).expect("init");
        let found = items(&mut session, &format!("kmem {:x}", task.address.0 + 100));
        assert_eq!(found[0]["name"], "task_struct", "{}: {:?}", guest.name(), found[0]);
        let objects = found[0]["found_in"]["objects"].as_array().expect("objects");
        assert_eq!(objects.len(), 1, "{}", guest.name());
        assert_eq!(address(&objects[0], "address"), task.address.0, "{}", guest.name());
        assert_eq!(found[1]["pid"], 1, "{}: {:?}", guest.name(), found[1]);
        let stack = task.stack(&kernel).expect("a stack");
        let found = items(&mut session, &format!("kmem {:x}", stack.0 + 0x3000));
        assert_eq!(found[0]["pid"], 1, "{}: {:?}", guest.name(), found[0]);
        let area = (address(&found[1], "start"), address(&found[1], "end"));
        assert!((area.0..area.1).contains(&(stack.0 + 0x3000)), "{}", guest.name());
        let physical = kernel.memory().translate(stack.offset(0x3000)).expect("a page");
        assert_eq!(address(&found[2], "physical"), physical.0, "{}", guest.name());
        // The same page by its physical address.
        let by_physical = items(&mut session, &format!("kmem -P {:x}", physical.0));
        assert_eq!(by_physical.last(), found.last(), "{}", guest.name());
    }
}

#[test]
fn wrong_words_are_refused_in_the_words_that_crash_has() {
    let guest = guests().remove(0);
    let mut session = guest.session();
    for (line, told) in [
        ("kmem -f -p", "only one flag allowed!"),
        ("kmem -z 1000", "no address arguments allowed with this option"),
        ("kmem -m nosuch", "invalid page struct member: nosuch"),
        ("kmem -c", "-c option not supported or applicable on this architecture or kernel"),
        ("kmem -l a", "active_list does not exist in this kernel"),
        ("kmem -s 123456", "address is not allocated in slab subsystem"),
        ("kmem -S=77 dentry", "invalid cpu specification: 77"),
    ] {
        let failure = failure(&mut session, line);
        assert!(failure.contains(told), "{line}: {failure}");
    }
}
