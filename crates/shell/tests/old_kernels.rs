//! Kernels from before 6.12 against what their guests said: 6.1, and 5.10, which does not tell where
//! its symbols are.

mod guests;

use guests::{Guest, items, text};

const KERNELS: [&str; 2] = ["6.1", "5.10"];

fn guest(kernel: &str) -> Guest {
    Guest::of(kernel, "null", "c31")
}

/// A line of makedumpfile's without who logged it: `[    0.000000] [      T0] text`.
fn without_caller(line: &str) -> String {
    let Some((time, rest)) = line.split_once("] [") else { return line.to_owned() };
    match rest.split_once("] ") {
        Some((caller, text)) if caller.trim_start().starts_with(['T', 'C']) => {
            format!("{time}] {text}")
        }
        _ => line.to_owned(),
    }
}

#[test]
fn the_log_is_the_one_that_makedumpfile_reads() {
    for kernel in KERNELS {
        let log = text(&mut guest(kernel).session(), "log");
        let dmesg = mortis_lab::dmesg(kernel, "null");
        // What goes on in another line is indented by more where the caller is shown.
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| without_caller(line).trim().to_owned());
            // makedumpfile leaves out what has a time and no text.
            lines.filter(|line| !line.is_empty() && !line.ends_with(']')).collect()
        };
        let (log, dmesg) = (lines(&log), lines(&dmesg));
        assert!(log.len() > 500, "{kernel}: {}", log.len());
        for (line, wanted) in log.iter().zip(&dmesg) {
            assert_eq!(line, wanted, "{kernel}");
        }
        assert_eq!(log.len(), dmesg.len(), "{kernel}");
    }
}

#[test]
fn the_stack_of_the_one_that_died_is_that_of_its_oops() {
    for kernel in KERNELS {
        let bt = text(&mut guest(kernel).session(), "bt");
        assert!(bt.contains("COMMAND: \"crasher\""), "{kernel}: {bt}");
        assert!(bt.contains("[exception RIP: mortis_null_inner+"), "{kernel}: {bt}");
        let oops = mortis_lab::dmesg(kernel, "null");
        let trace = oops.split("BUG: kernel NULL pointer").nth(1).expect("an oops");
        for name in ["mortis_null_outer", "param_attr_store", "vfs_write", "ksys_write"] {
            assert!(trace.contains(name) && bt.contains(name), "{kernel}: {name} in {bt}");
        }
        assert!(!bt.contains('?'), "{kernel}: {bt}");
    }
}

#[test]
fn tasks_are_those_that_the_guest_had() {
    for kernel in KERNELS {
        let guest = guest(kernel);
        let rows = items(&mut guest.session(), "ps");
        let mut compared = 0;
        for (pid, status) in guest.truth_by_task("task/status") {
            let name = status.lines().find_map(|line| line.strip_prefix("Name:\t"));
            let Some(row) = rows.iter().find(|row| row["pid"] == pid) else { continue };
            let comm = row["command"].as_str().expect("a name");
            assert!(name.is_some_and(|name| name.starts_with(comm)), "{kernel}: {pid} {comm}");
            compared += 1;
        }
        assert!(compared > 50, "{kernel}: {compared}");
    }
}

#[test]
fn caches_and_zones_can_be_read() {
    for kernel in KERNELS {
        let mut session = guest(kernel).session();
        for line in ["kmem -i", "kmem -z", "kmem -s", "sys", "mod"] {
            let answer = text(&mut session, line);
            assert!(!answer.contains("<unknown>") && answer.lines().count() > 5, "{kernel} {line}");
        }
        let slabs = mortis_lab::truth(kernel, "null", "slabinfo");
        let caches = items(&mut session, "kmem -s");
        let task_struct = caches.iter().find(|cache| cache["name"] == "task_struct");
        let size = slabs.lines().find(|line| line.starts_with("task_struct "));
        let size = size.and_then(|line| line.split_whitespace().nth(3)).expect("its size");
        let ours = task_struct.expect("a cache")["object_size"].to_string();
        // slabinfo tells what an object takes, the cache what the kernel asked for.
        let (ours, size): (u64, u64) =
            (ours.parse().expect("a number"), size.parse().expect("a number"));
        assert!(ours <= size && ours + 256 > size, "{kernel}: {ours} of {size}");
    }
}
