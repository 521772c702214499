//! `irq` and `timer` against what the guests said of themselves just before they died.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use std::collections::BTreeMap;

/// The guests whose `/proc` is there, by their least filtered dump: makedumpfile 1.7.8 leaves
/// kernel pages of 7.x out of filtered ones.
fn guests() -> Vec<Guest> {
    let rank = |capture: &str| ["raw", "c23", "c31"].iter().position(|known| *known == capture);
    let mut best = BTreeMap::new();
    for product in guests::products() {
        let Some(rank) = rank(&product.capture) else { continue };
        let entry =
            best.entry((product.kernel, product.case)).or_insert((rank, product.path.clone()));
        if rank < entry.0 {
            *entry = (rank, product.path);
        }
    }
    let guests = best.into_iter();
    let guests = guests.map(|((kernel, case), (_, dump))| Guest { kernel, case, dump });
    let guests: Vec<Guest> = guests.filter(|guest| guest.has_truth("interrupts")).collect();
    assert!(!guests.is_empty(), "the lab has made no dump: run `cargo xtask lab`");
    guests
}

/// A line of /proc/interrupts: its number, counts, and the rest in one.
fn interrupts(truth: &str) -> BTreeMap<u64, (Vec<u64>, String)> {
    let cpus = truth.lines().next().unwrap_or_default().split_whitespace().count();
    let lines = truth.lines().skip(1).filter_map(|line| {
        let (irq, rest) = line.trim().split_once(':')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let counts = words.iter().take(cpus).map(|count| count.parse().expect("a count"));
        Some((irq.parse().ok()?, (counts.collect(), words[cpus..].join(" "))))
    });
    lines.collect()
}

#[test]
fn interrupts_are_those_of_the_guest() {
    for guest in guests() {
        let truth = interrupts(&guest.truth("interrupts"));
        assert!(truth.len() > 5, "{}", guest.name());
        let mut session = guest.session();
        let rows = items(&mut session, "irq -s");
        assert_eq!(rows.len(), truth.len(), "{}", guest.name());
        for row in &rows {
            let irq = number(row, "irq");
            let (counts, rest) = &truth[&irq];
            let what = format!("{} irq {irq}: {row}", guest.name());
            assert!(rest.ends_with(string(row, "names")), "{what}: {rest}");
            assert!(rest.starts_with(string(row, "chip")), "{what}: {rest}");
            assert!(rest.contains(&format!("-{} ", string(row, "flow"))), "{what}: {rest}");
            let shown: Vec<u64> = row["counts"]
                .as_array()
                .expect("counts")
                .iter()
                .map(|c| number(c, "count"))
                .collect();
            assert_eq!(shown.len(), counts.len(), "{what}");
            // The guest writes to its disk and its console after it looked; one that runs out of
            // memory swaps.
            let slack = if guest.case == "oom" { 1 << 20 } else { 2000 };
            for (shown, then) in shown.iter().zip(counts) {
                assert!((*then..=then + slack).contains(shown), "{what}: {then}");
            }
        }
        let used: Vec<u64> = items(&mut session, "irq -u")
            .iter()
            .filter(|row| row["actions"].as_array().is_some_and(|actions| !actions.is_empty()))
            .map(|row| number(row, "irq"))
            .collect();
        assert_eq!(used, truth.keys().copied().collect::<Vec<_>>(), "{}", guest.name());
    }
}

#[test]
fn vectors_and_softirqs_lead_to_functions() {
    for guest in guests() {
        let mut session = guest.session();
        let gates = items(&mut session, "irq -d");
        assert_eq!(gates.len(), 256);
        assert_eq!(string(&gates[14], "symbol"), "asm_exc_page_fault", "{}", guest.name());
        let softirqs = items(&mut session, "irq -b");
        assert_eq!(string(&softirqs[1], "symbol"), "run_timer_softirq", "{}", guest.name());
        assert_eq!(softirqs.len(), 10, "{}", guest.name());
    }
}

#[test]
fn wrong_numbers_are_told_in_crashs_words() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    assert!(failure(&mut session, "irq foo").contains("foo: \"f\" is not a digit 0 - 9"));
    assert!(failure(&mut session, "irq 999999").contains("invalid IRQ value: 999999  (439 max)"));
    assert!(failure(&mut session, "irq -sc 77").contains("invalid cpu specification: 77"));
    let answer = text(&mut session, "irq 3");
    let mut lines = answer.lines();
    assert_eq!(lines.next(), Some(" IRQ   IRQ_DESC/_DATA      IRQACTION      NAME"));
    assert!(lines.next().is_some_and(|line| line.ends_with("      (unused)      ")), "{answer}");
}

/// A timer of /proc/timer_list: its address, clock and times.
#[derive(Debug)]
struct TruthTimer {
    cpu: u64,
    clock: u64,
    address: String,
    function: String,
    expires: i64,
}

fn timer_list(truth: &str) -> (i64, Vec<TruthTimer>) {
    let (mut now, mut cpu, mut clock) = (0, 0, 0);
    let mut timers: Vec<TruthTimer> = Vec::new();
    for line in truth.lines() {
        let line = line.trim();
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["now", "at", time, ..] => now = time.parse().expect("a time"),
            ["cpu:", number] => cpu = number.parse().expect("a CPU"),
            ["clock", number] => clock = number.trim_end_matches(':').parse().expect("a clock"),
            ["#", "expires", "at", times, ..] => {
                let last = timers.last_mut().expect("a timer");
                last.expires =
                    times.rsplit('-').next().and_then(|t| t.parse().ok()).expect("a time");
            }
            [number, address, function, ..] if number.starts_with('#') => timers.push(TruthTimer {
                cpu,
                clock,
                address: format!("0x{}", address.trim_matches(['<', '>'])),
                function: (*function).to_owned(),
                expires: 0,
            }),
            _ => {}
        }
    }
    (now, timers)
}

#[test]
fn high_resolution_timers_are_those_of_the_guest() {
    let mut compared = 0;
    for guest in guests() {
        let (now, truth) = timer_list(&guest.truth("timer_list"));
        let clocks = items(&mut guest.session(), "timer -r");
        for clock in clocks.iter().filter(|clock| number(clock, "clock") == 0) {
            let current = clock["current"].as_i64().expect("a time");
            assert!((now..now + 120_000_000_000).contains(&current), "{}: {clock}", guest.name());
        }
        // What was to run in an hour was still to run when the guest died.
        let far = truth.iter().filter(|timer| timer.expires > now + 3_600_000_000_000);
        for timer in far.filter(|timer| timer.clock == 0) {
            let queue = clocks.iter().find(|clock| {
                number(clock, "cpu") == timer.cpu && number(clock, "clock") == timer.clock
            });
            let timers = queue.and_then(|queue| queue["timers"].as_array()).expect("timers");
            let Some(found) = timers.iter().find(|found| string(found, "hrtimer") == timer.address)
            else {
                // Its task was ended meanwhile.
                assert_eq!(timer.function, "hrtimer_wakeup", "{}: {timer:?}", guest.name());
                continue;
            };
            assert_eq!(found["expires"].as_i64(), Some(timer.expires), "{}", guest.name());
            assert_eq!(string(found, "symbol"), timer.function, "{}", guest.name());
            compared += 1;
        }
    }
    assert!(compared > 0, "no guest had a timer that lasts");
}

#[test]
fn timers_of_the_wheels_are_ahead_and_in_order() {
    for guest in guests() {
        let mut session = guest.session();
        let wheels = items(&mut session, "timer");
        let names: Vec<&str> = wheels.iter().take(3).map(|wheel| string(wheel, "base")).collect();
        assert_eq!(names, ["BASE_LOCAL", "BASE_GLOBAL", "BASE_DEF"], "{}", guest.name());
        let mut functions = Vec::new();
        for wheel in &wheels {
            let timers = wheel["timers"].as_array().expect("timers");
            let expires: Vec<u64> = timers.iter().map(|timer| number(timer, "expires")).collect();
            assert!(expires.is_sorted(), "{}: {expires:?}", guest.name());
            for timer in timers {
                let left = timer["time_to_expire"].as_i64().expect("a time");
                // A wheel may be late by as long as its CPU had interrupts off.
                assert!((-60_000..1 << 30).contains(&left), "{}: {timer}", guest.name());
                functions.push(string(timer, "symbol").to_owned());
            }
        }
        // These are in every kernel that runs.
        for function in ["delayed_work_timer_fn", "process_timeout"] {
            assert!(functions.iter().any(|f| f == function), "{}: {functions:?}", guest.name());
        }
    }
}
