//! `list`, `tree`, `waitq` and the commands that only reckon: against what the guests said of
//! themselves, and against other ways to the same objects.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use serde_json::Value;
use std::collections::BTreeSet;

const KERNELS: [&str; 2] = ["6.12", "7.x"];

fn guests() -> impl Iterator<Item = Guest> {
    KERNELS.into_iter().map(|kernel| Guest::filtered(kernel, "sysrq"))
}

/// The first member of the first structure shown at an entry.
fn member(item: &Value, index: usize) -> &Value {
    &item["structs"][0]["members"][index]["value"]
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_list_of_modules_is_the_guests() {
    for guest in guests() {
        let mut session = guest.session();
        let line = "list -H modules -o module.list -s module.name";
        let listed: Vec<String> = items(&mut session, line)
            .iter()
            .map(|item| member(item, 0).as_str().expect("a name").to_owned())
            .collect();
        let truth = guest.truth("modules");
        let expected: Vec<&str> =
            truth.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(listed, expected, "{}", guest.name());
        // Backwards, in crash's other spelling, and with plain numbers.
        let backwards = items(&mut session, "list -r -H modules -o module.list -S module.name");
        let names = backwards.iter().rev().map(|item| member(item, 0).as_str().expect("a name"));
        assert_eq!(names.collect::<Vec<_>>(), expected, "{}", guest.name());
        let first = text(&mut session, "list module.list -B -H modules -S module.name");
        let name = format!("  name = \"{}\"", expected[0]);
        assert_eq!(first.lines().nth(1), Some(name.as_str()));
    }
}

#[test]
fn the_list_of_tasks_is_that_of_ps() {
    for guest in guests() {
        let mut session = guest.session();
        let line = "list task_struct.tasks -h init_task -s task_struct.pid,comm";
        let listed: BTreeSet<u64> = items(&mut session, line)
            .iter()
            .filter(|item| member(item, 0).is_u64())
            .map(|item| member(item, 0).as_u64().expect("a pid"))
            .collect();
        let leaders: BTreeSet<u64> =
            items(&mut session, "ps -G").iter().map(|task| number(task, "pid")).collect();
        assert!(listed.len() > 20, "{}", guest.name());
        // makedumpfile leaves pages of tasks out of 7.x dumps.
        assert!(listed.is_subset(&leaders), "{}: {listed:?} {leaders:?}", guest.name());
        let whole = text(&mut session, line);
        assert_eq!(whole.lines().nth(1), Some("  pid = 0,"));
        // Each start names the same list.
        let by_symbol = lines(&text(&mut session, "list -h init_task -o task_struct.tasks"));
        let by_head = lines(&text(&mut session, "list -H init_task.tasks -o task_struct.tasks"));
        let missing: Vec<&String> = by_symbol.difference(&by_head).collect();
        assert_eq!(missing.len(), 1, "only the head itself: {missing:?}");
    }
}

#[test]
fn options_that_exclude_each_other_and_wrong_words_are_refused_in_crashs_words() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    for (line, message) in [
        ("list", "starting address required"),
        ("list 1 2 3", "too many arguments"),
        ("list -xd modules", "-d and -x are mutually exclusive"),
        ("list -s module -S module modules", "-S and -s options are mutually exclusive"),
        ("list -l 8 -H modules", "-l option can only be used with -s or -S option"),
        ("list -o 1 -o 2 modules", "offset value 1 (0x1) already entered"),
        ("list -o nosuch.member modules", "invalid -o argument: nosuch.member"),
        ("list -O nosuch -h modules", "invalid -O argument: nosuch"),
        ("list nosuch", "invalid argument: nosuch"),
        ("list 1234", "invalid kernel virtual address: 1234"),
        ("list -s nosuch -H modules", "invalid structure name: nosuch"),
        ("list -S module.nosuch -H modules", "Can't get offset of 'module.nosuch'"),
        ("list -s module.nosuch -H modules", "invalid data structure member reference: nosuch"),
        ("tree", "a starting address is required"),
        ("tree -t x -o 8 init_pid_ns", "-o option is not applicable to Xarrays"),
        ("tree -t m -l init_mm", "-l option is not applicable to maple trees"),
        ("tree -t foo init_mm", "invalid tree type: foo"),
        ("tree -r 8 -N init_mm", "-r and -N options are mutually exclusive"),
        ("tree nosuch", "invalid start argument: nosuch"),
        ("waitq nosuch", "cannot resolve \"nosuch\""),
        ("waitq wait_queue_head.head", "must supply an address for wait_queue_head"),
        ("eval 1 +", "invalid expression: (1 +)"),
        ("eval 7 / 0", "invalid expression: (7 / 0)"),
        ("btop zz", "invalid input: \"zz\""),
        ("ptob zz", "not a valid number: zz"),
        ("ptov 1f000:99", "invalid cpu specification: 99"),
    ] {
        let said = failure(&mut session, line);
        assert!(said.starts_with(message), "{line}: {said}");
    }
}

#[test]
fn the_tree_of_process_ids_is_that_of_the_tasks() {
    // makedumpfile 1.7.8 leaves nodes of the tree out of 7.x dumps.
    for guest in KERNELS.map(|kernel| Guest::of(kernel, "sysrq", "raw")) {
        let mut session = guest.session();
        let line = "tree -t xarray -p -r pid_namespace.idr -s pid.level init_pid_ns";
        let entries = items(&mut session, line);
        let ids: BTreeSet<u64> = entries.iter().map(|entry| number(entry, "index")).collect();
        assert_eq!(ids.len(), entries.len());
        // Ids of process groups and sessions are in it as well.
        let tasks = items(&mut session, "ps");
        let tasks: BTreeSet<u64> =
            tasks.iter().map(|task| number(task, "pid")).filter(|pid| *pid != 0).collect();
        let missing: Vec<&u64> = tasks.difference(&ids).collect();
        assert!(tasks.len() > 50 && missing.is_empty(), "{}: {missing:?}", guest.name());
        let threads = guest.truth_by_task("task/status");
        let alive = threads.keys().filter(|pid| ids.contains(&u64::from(**pid))).count();
        // The process that wrote this down, and what it ran, are gone by now.
        assert!(alive + 4 >= threads.len(), "{}: {alive} of {}", guest.name(), threads.len());
        // The position is the index in base 64.
        for entry in &entries {
            let index = string(entry, "position")
                .split('/')
                .skip(1)
                .fold(0, |index, slot| index * 64 + slot.parse::<u64>().expect("a slot"));
            assert_eq!(index, number(entry, "index"), "{entry}");
        }
    }
}

#[test]
fn a_maple_tree_holds_the_areas_of_its_process() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let maps = guest.truth_by_task("process/maps");
        assert!(!maps.is_empty(), "{}", guest.name());
        let mut compared = 0;
        for (pid, map) in maps.iter().take(8) {
            let Ok(task) = session.task(&pid.to_string()) else { continue };
            let Ok(mm) = task.mm(&session.kernel) else { continue };
            if mm.is_null() {
                continue;
            }
            let line = format!("tree -t maple -r mm_struct.mm_mt -x {:x}", mm.0);
            let areas: BTreeSet<(u64, u64)> = items(&mut session, &line)
                .iter()
                .map(|area| (address(area, "first"), address(area, "last").wrapping_add(1)))
                .collect();
            let expected: BTreeSet<(u64, u64)> = map
                .lines()
                .filter(|line| !line.contains("[vsyscall]"))
                .filter_map(|line| {
                    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
                    let parse = |digits| u64::from_str_radix(digits, 16).ok();
                    Some((parse(start)?, parse(end)?))
                })
                .collect();
            if !areas.is_empty() {
                assert_eq!(areas, expected, "{} {pid}", guest.name());
                compared += 1;
            }
        }
        assert!(compared > 0, "{}", guest.name());
    }
}

fn address(item: &Value, member: &str) -> u64 {
    let digits = string(item, member).strip_prefix("0x").expect("hexadecimal");
    u64::from_str_radix(digits, 16).expect("digits")
}

#[test]
fn a_red_black_tree_is_in_order_and_whole() {
    for guest in guests() {
        let mut session = guest.session();
        let line = "tree -l -p -o vmap_area.rb_node -s vmap_area.va_start free_vmap_area_root";
        let sorted = items(&mut session, line);
        let starts: Vec<u64> =
            sorted.iter().map(|area| member(area, 0).as_u64().expect("an address")).collect();
        assert!(starts.len() > 1 && starts.is_sorted(), "{}: {starts:?}", guest.name());
        // The list of free areas links the same ones.
        let line = "list -H free_vmap_area_list -o vmap_area.list";
        let listed = lines(&text(&mut session, line));
        let line = "tree -o vmap_area.rb_node free_vmap_area_root";
        assert_eq!(lines(&text(&mut session, line)), listed, "{}", guest.name());
        let root = items(&mut session, &format!("{line} -p"));
        assert_eq!(string(&root[0], "position"), "root");
    }
}

#[test]
fn a_wait_queue_tells_who_waits() {
    for guest in guests() {
        let mut session = guest.session();
        // A thread of the kernel that waits for nothing else.
        let waiters = items(&mut session, "waitq kauditd_wait");
        assert_eq!(waiters.len(), 1, "{}", guest.name());
        assert_eq!(string(&waiters[0], "command"), "kauditd");
        let empty = text(&mut session, "waitq log_wait");
        assert!(empty.starts_with("wait queue \"log_wait\" (") && empty.ends_with(") is empty\n"));
    }
}

#[test]
fn numbers_in_every_base() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let evaluated = text(&mut session, "eval -b 128 * 1m");
    let zeroes = "0".repeat(36);
    assert_eq!(
        evaluated,
        format!(
            "hexadecimal: 8000000  (128MB)\n    decimal: 134217728  \n      octal: 1000000000\n     \
             binary: {zeroes}1{}\n   bits set: 27 \n",
            "0".repeat(27)
        )
    );
    for (line, value) in [
        ("eval ~0", u64::MAX),
        ("eval -16", 16u64.wrapping_neg()),
        ("eval (0xff >> 2)", 0x3f),
        ("eval 2 # 10", 1024),
        ("eval abc", 0xabc),
        ("eval 0100", 100),
        ("eval 1 + 2 * 3", 7),
    ] {
        assert_eq!(number(&items(&mut session, line)[0], "unsigned"), value, "{line}");
    }
    let banner = items(&mut session, "eval linux_banner");
    let listed = text(&mut session, "sym linux_banner");
    assert!(listed.starts_with(&string(&banner[0], "hexadecimal")[2..]), "{listed}");
    assert_eq!(text(&mut session, "ascii 62696c2f7273752f"), "62696c2f7273752f: /usr/lib\n");
    let table = text(&mut session, "ascii");
    assert!(table.contains("  2 | STX DC2  \"   2   B   R   b   r\n"), "{table}");
    assert_eq!(text(&mut session, "btop 512a000 1fff"), "512a000: 512a\n1fff: 1\n");
    assert_eq!(text(&mut session, "ptob 512a 10"), "512a: 512a000\na: a000\n");
    let demangled = text(&mut session, "rustfilt _RNvCs1234_7mycrate3foo schedule");
    assert_eq!(demangled, "mycrate::foo\nNot a rust symbol: \nschedule\n");
}

#[test]
fn page_table_entries_and_physical_addresses() {
    for guest in guests() {
        let mut session = guest.session();
        assert_eq!(
            text(&mut session, "pte 80000000d8e067 0 102"),
            "     PTE        PHYSICAL  FLAGS\n\
             80000000d8e067   d8e000   (PRESENT|RW|USER|ACCESSED|DIRTY)\n\
             PTE  PHYSICAL  FLAGS\n 0       0     (no mapping)\n\
             PTE  PHYSICAL  FLAGS\n102      0     (RW|PROTNONE|GLOBAL)\n"
        );
        // Where a physical address is mapped, and back.
        let mapped = items(&mut session, "ptov 56e000");
        let line = format!("vtop {}", &string(&mapped[0], "virtual")[2..]);
        assert_eq!(items(&mut session, &line)[0]["physical"], "0x56e000", "{}", guest.name());
        let offset = items(&mut session, "eval runqueues")[0]["hexadecimal"].clone();
        let offset = offset.as_str().expect("a number").trim_start_matches("0x").to_owned();
        let per_cpu = items(&mut session, &format!("ptov {offset}:a"));
        let cpus = per_cpu[0]["cpus"].as_array().expect("CPUs").clone();
        let queues = text(&mut session, "p runqueues");
        for cpu in &cpus {
            let address = &string(cpu, "virtual")[2..];
            assert!(queues.contains(address), "{}: {address} in {queues}", guest.name());
        }
    }
}

#[test]
fn the_machine_is_the_guests() {
    for guest in guests() {
        let mut session = guest.session();
        let machine = items(&mut session, "mach").remove(0);
        assert_eq!(machine["hz"], 250, "{}", guest.name());
        assert_eq!((number(&machine, "page_size"), number(&machine, "cpus")), (4096, 2));
        let ranges = items(&mut session, "mach -m");
        let usable: u64 = ranges
            .iter()
            .filter(|range| range["name"] == "E820_RAM")
            .map(|range| address(range, "end") - address(range, "start"))
            .sum();
        let known = number(&machine, "memory_bytes");
        assert!(usable >= known && usable - known < 64 << 20, "{usable} {known}");
        let cpus = items(&mut session, "mach -c");
        assert_eq!(cpus.len(), 2);
        assert!(text(&mut session, "mach -cx").starts_with("CPU 0:\nstruct cpuinfo_x86 {\n"));
    }
}
