//! `runq`, `swap` and `cgroup` against what the guests said of themselves just before they died.

mod guests;

use guests::{Guest, failure, items, number, string, text};

/// Dumps with all the kernel's pages.
fn unfiltered() -> Vec<Guest> {
    let old = ["sysrq", "null", "oom"].map(|case| Guest::of("6.12", case, "c31"));
    let new = ["sysrq", "null"].map(|case| Guest::of("7.x", case, "c23"));
    old.into_iter().chain(new).collect()
}

#[test]
fn swap_is_what_the_guest_said() {
    for guest in unfiltered().iter().filter(|guest| guest.has_truth("swaps")) {
        let truth = guest.truth("swaps");
        let truth: Vec<Vec<&str>> =
            truth.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert!(!truth.is_empty(), "{}", guest.name());
        let rows = items(&mut guest.session(), "swap");
        assert_eq!(rows.len(), truth.len(), "{}", guest.name());
        for (row, line) in rows.iter().zip(&truth) {
            assert_eq!(string(row, "filename"), line[0], "{}", guest.name());
            assert_eq!(string(row, "kind"), line[1], "{}", guest.name());
            assert_eq!(number(row, "size").to_string(), line[2], "{}", guest.name());
            assert_eq!(row["priority"].to_string(), line[4], "{}", guest.name());
            if guest.case != "oom" {
                assert_eq!(number(row, "used").to_string(), line[3], "{}", guest.name());
            }
        }
    }
}

#[test]
fn every_cpu_runs_what_it_says() {
    for guest in unfiltered() {
        let mut session = guest.session();
        let running = items(&mut session, "ps -A");
        let queues = items(&mut session, "runq");
        assert!(!queues.is_empty(), "{}", guest.name());
        let groups = items(&mut session, "runq -g");
        let on_queue = items(&mut session, "runq -d");
        for (cpu, queue) in queues.iter().enumerate() {
            let current = &queue["current"];
            let pid = number(current, "pid");
            assert!(
                running.iter().any(|task| number(task, "pid") == pid),
                "{}: {current} is not among those that run",
                guest.name()
            );
            // A task that runs is not in the tree, and says it is in a queue.
            let fair = queue["fair_tasks"].as_array().expect("tasks");
            assert!(fair.iter().all(|task| number(task, "pid") != pid), "{}", guest.name());
            let mine = on_queue[cpu]["tasks"].as_array().expect("tasks");
            let has = |pid: u64| mine.iter().any(|task| number(task, "pid") == pid);
            assert!(has(pid), "{}: {current}", guest.name());
            assert!(fair.iter().all(|task| has(number(task, "pid"))), "{}", guest.name());
            // It stands in one of the groups, and whoever waits does, too.
            let queues = groups[cpu]["queues"].as_array().expect("queues");
            let entries = queues.iter().filter(|queue| queue["class"] == "fair");
            let entries: Vec<_> =
                entries.flat_map(|queue| queue["entries"].as_array().expect("entries")).collect();
            let in_groups = |pid: u64| {
                entries.iter().any(|entry| entry["kind"] == "task" && number(entry, "pid") == pid)
            };
            assert!(fair.iter().all(|task| in_groups(number(task, "pid"))), "{}", guest.name());
            if pid != 0 {
                assert!(in_groups(pid), "{}: {entries:?}", guest.name());
            }
        }
    }
}

#[test]
fn clocks_lag_behind_the_latest() {
    for guest in unfiltered() {
        let mut session = guest.session();
        let stamps = items(&mut session, "runq -t");
        let clocks: Vec<u64> =
            stamps.iter().map(|stamp| number(stamp, "clock_nanoseconds")).collect();
        let latest = clocks.iter().max().copied().expect("a CPU");
        let lags = items(&mut session, "runq -T");
        assert_eq!(lags[0]["lag_nanoseconds"], 0, "{}", guest.name());
        for lag in &lags {
            let cpu = number(lag, "cpu") as usize;
            assert_eq!(number(lag, "lag_nanoseconds"), latest - clocks[cpu], "{}", guest.name());
        }
        for (stamp, time) in stamps.iter().zip(items(&mut session, "runq -m")) {
            let last = number(&stamp["current"], "last_arrival_nanoseconds");
            let clock = number(stamp, "clock_nanoseconds");
            assert_eq!(number(&time, "nanoseconds"), clock.saturating_sub(last));
        }
    }
}

#[test]
fn one_cpu_can_be_chosen() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let one = text(&mut session, "runq -c 1");
    assert!(one.starts_with("CPU 1 RUNQUEUE: "), "{one}");
    assert_eq!(one.matches("RUNQUEUE").count(), 1, "{one}");
    // As crash does, with a blank line in front of each CPU but the machine's first.
    assert!(text(&mut session, "runq -d -c 1").starts_with("\nCPU 1\n"));
    assert!(failure(&mut session, "runq -c 0 -c 1").contains("only one -c option allowed"));
    assert!(failure(&mut session, "runq -c 77").contains("invalid cpu specification: 77"));
}

#[test]
fn every_process_is_in_its_control_group() {
    for guest in unfiltered().iter().filter(|guest| guest.has_truth("process/cgroup")) {
        let truth = guest.truth_by_task("process/cgroup");
        let mut session = guest.session();
        let living: Vec<u64> = items(&mut session, "ps").iter().map(|t| number(t, "pid")).collect();
        let mut compared = 0;
        for (pid, lines) in truth.iter().filter(|(pid, _)| living.contains(&u64::from(**pid))) {
            let text = text(&mut session, &format!("cgroup -p {pid}"));
            let shown: Vec<&str> = text.lines().skip(1).collect();
            assert_eq!(shown, lines.lines().collect::<Vec<_>>(), "{} {pid}", guest.name());
            compared += 1;
        }
        assert!(compared > 10, "{}", guest.name());
        // Every group has the tasks that say they are in it.
        let groups = items(&mut session, "cgroup -t");
        let groups: Vec<_> = groups.iter().filter(|item| item.get("cgroup").is_some()).collect();
        assert!(groups.iter().any(|group| string(group, "path") == "/lab"), "{}", guest.name());
        for group in &groups {
            let tasks = group["tasks"].as_array().expect("tasks");
            assert_eq!(number(group, "task_count"), tasks.len() as u64, "{}", guest.name());
            for task in tasks.iter().take(20) {
                let of_task = items(&mut session, &format!("cgroup -p {}", number(task, "pid")));
                assert_eq!(of_task[0]["cgroups"][0]["cgroup"], group["cgroup"], "{}", guest.name());
            }
        }
    }
}
