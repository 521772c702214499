//! `trace` against what /sys/kernel/tracing/trace said in the guest.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use std::fs;

fn guests() -> [Guest; 2] {
    [Guest::of("6.12", "services", "c31"), Guest::of("7.x", "services", "c23")]
}

#[test]
fn events_read_as_in_the_guest() {
    for guest in guests() {
        let mut session = guest.session();
        for (instance, option) in [("main", ""), ("lab", " -i lab"), ("graph", " -i graph")] {
            let truth = guest.truth(&format!("trace/{instance}"));
            let shown = text(&mut session, &format!("trace show{option}"));
            let (truth, shown): (Vec<_>, Vec<_>) =
                (truth.lines().collect(), shown.lines().collect());
            let differs = truth.iter().zip(&shown).position(|(a, b)| a != b);
            if let Some(line) = differs {
                panic!("{} {instance}:\n{}\n{}", guest.name(), truth[line], shown[line]);
            }
            assert_eq!(shown.len(), truth.len(), "{} {instance}", guest.name());
        }
    }
}

#[test]
fn instances_are_listed_with_their_events() {
    for guest in guests() {
        let mut session = guest.session();
        let instances = items(&mut session, "trace");
        let names: Vec<_> = instances.iter().map(|instance| instance["name"].as_str()).collect();
        assert_eq!(names, [None, Some("graph"), Some("lab")], "{}", guest.name());
        assert_eq!(string(&instances[1], "tracer"), "function_graph");
        let main = guest.truth("trace/main");
        let counts = main
            .lines()
            .find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written: "));
        let counts = counts.and_then(|line| line.split_whitespace().next()).expect("a count");
        let (held, written) = counts.split_once('/').expect("two counts");
        let events = number(&instances[0], "events");
        assert_eq!(events.to_string(), held, "{}", guest.name());
        let all = events + number(&instances[0], "overwritten");
        assert_eq!(all.to_string(), written, "{}", guest.name());
        let shown = items(&mut session, "trace show");
        assert_eq!(shown.len() as u64, events, "{}", guest.name());
        assert!(shown.iter().all(|event| event["is_decoded"] == true), "{}", guest.name());
    }
}

#[test]
fn a_file_for_trace_cmd_holds_every_page() {
    for guest in guests() {
        let mut session = guest.session();
        let path = std::env::temp_dir().join(format!(
            "mortis-{}-{}.dat",
            guest.kernel,
            std::process::id()
        ));
        let written = items(&mut session, &format!("trace dump -s {}", path.display()));
        let bytes = fs::read(&path).expect("the file");
        fs::remove_file(&path).expect("removed");
        assert_eq!(number(&written[0], "bytes"), bytes.len() as u64);
        assert!(bytes.starts_with(b"\x17\x08\x44tracing6\0\0\x08\x00\x10\x00\x00header_page\0"));
        let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
        assert!(find(b"name: sched_switch\nID: ").is_some(), "{}", guest.name());
        assert!(find(b"name: function\nID: 1\n").is_some(), "{}", guest.name());
        assert!(find(b" T schedule\n").is_some(), "{}", guest.name());
        // Where each CPU's pages are: within the file, at pages' starts, and all of them.
        let table = find(b"flyrecord\0").expect("a section") + 10;
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let mut pages = 0;
        for cpu in 0..2 {
            let (at, length) = (word(table + cpu * 16), word(table + cpu * 16 + 8));
            assert_eq!((at % 4096, length % 4096), (0, 0), "{}", guest.name());
            assert!(at + length <= bytes.len() as u64, "{}", guest.name());
            pages += length / 4096;
        }
        assert_eq!(number(&written[0], "pages"), pages, "{}", guest.name());
        assert!(pages > 0, "{}", guest.name());
    }
}

#[test]
fn missing_pages_are_told() {
    // makedumpfile 1.7.8 leaves the kernel's pages out of 7.x's dumps.
    let mut session = Guest::of("7.x", "services", "c31").session();
    let answer = capture(&mut session, "trace show", Face::Json).expect("an answer");
    assert!(answer.contains("the events of CPU 0: cannot read"), "{answer}");
    assert!(failure(&mut session, "trace show -i nosuch").contains("nosuch"));
}
