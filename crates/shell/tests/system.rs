//! `sys`, `log` and `mod` against what the guests said of themselves just before they died.

mod guests;

use guests::{Guest, items, number, string, text};
use mortis_shell::summary;
use serde_json::Value;

/// What the log must say of each way to die.
const PANICS: &[(&str, &str)] = &[
    ("sysrq", "Kernel panic - not syncing: sysrq triggered crash"),
    ("oom", "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"),
    ("init", "Kernel panic - not syncing: Attempted to kill init! exitcode="),
    ("null", "Oops: Oops: 0002 [#1] "),
    ("bug", "kernel BUG at "),
];

#[test]
fn the_summary_is_the_guests() {
    for guest in Guest::all() {
        let mut session = guest.session();
        let sys = items(&mut session, "sys").remove(0);
        let about = guest.name();
        let release = mortis_lab::release(&guest.kernel);
        assert_eq!(string(&sys, "release"), release, "{about}");
        let version = guest.truth("version");
        assert!(version.trim().ends_with(string(&sys, "version")), "{about}: {version}");
        assert_eq!(string(&sys, "nodename"), "mortis-lab", "{about}");
        let uptime: f64 = word(&guest.truth("uptime"), 0).parse().expect("seconds");
        // How long a guest takes to die of it is the emulator's business.
        let since = number(&sys, "uptime_seconds") as f64 - uptime;
        assert!((-1.0..60.0).contains(&since), "{about}: {since} s later");
        let load = sys["load_averages"].as_array().expect("three averages");
        assert_eq!(load.len(), 3, "{about}");
        let fifteen: f64 = word(&guest.truth("loadavg"), 2).parse().expect("an average");
        let found = load[2].as_f64().expect("an average");
        assert!((found - fifteen).abs() < 0.5, "{about}: {found} and {fifteen}");
        assert_eq!(number(&sys, "cpus_present"), 2, "{about}");
        assert_eq!(sys["tainted"], true, "{about}");
        assert_eq!(sys["partial"], true, "{about}");
        if let Some((_, panic)) = PANICS.iter().find(|(case, _)| *case == guest.case) {
            assert!(string(&sys, "panic").starts_with(panic), "{about}: {}", sys["panic"]);
        }
        let text = text(&mut session, "sys");
        assert!(text.contains(&format!("     RELEASE: {release}\n")), "{text}");
        assert!(!text.contains('<'), "{text}");
        let mut opening = Vec::new();
        summary::write(&session, &mut opening).expect("room");
        let opening = String::from_utf8(opening).expect("text");
        assert!(opening.starts_with(&text), "{opening}");
        assert!(
            opening.contains("         PID: ") && opening.ends_with("(PANIC)\n\n"),
            "{opening}"
        );
    }
}

fn word(text: &str, index: usize) -> &str {
    text.split_whitespace().nth(index).unwrap_or_default()
}

#[test]
fn modules_are_the_guests() {
    for guest in Guest::all() {
        let mut session = guest.session();
        let mut rows = items(&mut session, "mod");
        let modules = guest.truth("modules");
        // The kernel lists the newest first; mod sorts by address.
        let mut wanted: Vec<Vec<&str>> =
            modules.lines().map(|line| line.split(' ').collect()).collect();
        wanted.sort_by_key(|words| words[5].to_owned());
        rows.retain(|row| wanted.iter().any(|words| words[0] == string(row, "name")));
        assert_eq!(rows.len(), wanted.len(), "{}", guest.name());
        let tainted = items(&mut session, "mod -t");
        for (row, words) in rows.iter().zip(wanted) {
            assert_eq!(string(row, "name"), words[0]);
            assert_eq!(number(row, "size").to_string(), words[1], "{words:?}");
            assert_eq!(string(row, "text_base"), words[5], "{words:?}");
            let taints = words.get(6).map_or("", |word| word.trim_matches(['(', ')']));
            let found = tainted.iter().find(|row| string(row, "name") == words[0]);
            assert_eq!(found.map_or("", |row| string(row, "taints")), taints, "{words:?}");
        }
    }
}

/// A line without its time stamp, and the caller that makedumpfile writes behind it, and without
/// the blanks that a record's further lines are indented with.
fn bare(line: &str) -> &str {
    let bracketed = |line: &str, is: fn(&str) -> bool| {
        let (inner, behind) = line.strip_prefix('[')?.split_once("] ")?;
        is(inner.trim()).then_some(behind.len())
    };
    fn without(len: Option<usize>, line: &str) -> &str {
        len.map_or(line, |len| &line[line.len() - len..])
    }
    let line = line.trim_start();
    let stamp = bracketed(line, |stamp| stamp.contains('.') && is_number(stamp));
    let line = without(stamp, line);
    let caller = stamp.and_then(|_| {
        bracketed(line, |caller| caller.strip_prefix(['T', 'C']).is_some_and(is_number))
    });
    without(caller, line).trim()
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[test]
fn the_log_is_what_makedumpfile_reads() {
    for guest in Guest::all() {
        let found = text(&mut guest.session(), "log");
        let wanted = mortis_lab::dmesg(&guest.kernel, &guest.case);
        let found: Vec<&str> = found.lines().map(bare).collect();
        let wanted: Vec<&str> = wanted.lines().map(bare).collect();
        let differs = found.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
        assert_eq!(differs, None, "{}", guest.name());
        assert_eq!(found.len(), wanted.len(), "{}", guest.name());
    }
}

#[test]
fn the_log_shows_what_is_asked_for() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    let plain = text(&mut session, "log");
    let first = "Linux version 6.12";
    assert!(plain.starts_with(&format!("[    0.000000] {first}")));
    assert!(text(&mut session, "log -t").starts_with(first));
    assert!(
        text(&mut session, "log -mc").starts_with(&format!("[    0.000000] [    T0] <5>{first}"))
    );
    assert!(text(&mut session, "log -T").starts_with('['));
    assert!(text(&mut session, "log -d").contains("\n               SUBSYSTEM=pci\n"));
    assert_eq!(text(&mut session, "log -R"), plain);
    assert_eq!(text(&mut session, "log -a"), "log: kernel audit log is empty\n");
    assert_eq!(text(&mut session, "log -s"), "");
    let records = items(&mut session, "log");
    assert!(records.iter().all(|record| record["seq"].is_u64() && record["level"].is_u64()));
    let oops = records.iter().find(|record| string(record, "text").starts_with("Oops: "));
    assert!(string(oops.expect("an oops"), "caller").starts_with('T'));
}

#[test]
fn dates_agree_with_the_clock() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    let date = |value: &Value| value["date"].as_i64().expect("a date");
    let now = date(&items(&mut session, "sys")[0]);
    let log = items(&mut session, "log -T");
    let last = date(log.last().expect("a record"));
    assert!((now - 2..=now + 2).contains(&last), "{last} and {now}");
    let crashtime = session.kernel.vmcoreinfo().crashtime().expect("CRASHTIME");
    assert!((now - 2..=now + 2).contains(&crashtime.cast_signed()), "{crashtime} and {now}");
}

#[test]
fn taints_have_letters() {
    for (kernel, letters) in [("6.12", "OE"), ("7.x", "OE")] {
        let mut session = Guest::filtered(kernel, "sysrq").session();
        assert_eq!(text(&mut session, "sys -t"), format!("TAINTED_MASK: 3000  {letters}\n"));
    }
}

#[test]
fn the_firmware_names_itself() {
    for kernel in ["6.12", "7.x"] {
        let mut session = Guest::filtered(kernel, "sysrq").session();
        let text = text(&mut session, "sys -i");
        assert!(text.contains("           DMI_SYS_VENDOR: QEMU\n"), "{text}");
    }
}

#[test]
fn what_is_left_of_a_dump_is_summed_up() {
    let whole = std::fs::read(Guest::of("6.12", "null", "c31").dump).expect("a dump");
    let name = format!("mortis-system-{}", std::process::id());
    let copy = std::env::temp_dir().join(name);
    let mut answers = Vec::new();
    for percent in [5, 30, 60, 80, 90, 99] {
        std::fs::write(&copy, &whole[..whole.len() / 100 * percent]).expect("room for a copy");
        let mut session = guests::session(std::slice::from_ref(&copy));
        answers.push((percent, text(&mut session, "sys")));
    }
    std::fs::remove_file(&copy).expect("removed");
    for (percent, answer) in answers {
        assert_eq!(answer.lines().count(), 13, "{percent} %: {answer}");
        assert!(answer.contains(" [TRUNCATED]\n"), "{percent} %: {answer}");
        assert!(answer.contains("     RELEASE: 6.12."), "{percent} %: {answer}");
    }
}
