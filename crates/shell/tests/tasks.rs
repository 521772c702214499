//! `ps`, `last`, `set` and `foreach` against what the guests said of their tasks just before they
//! died.

mod guests;

use guests::{Guest, failure, is_excluded, items, number, session, string, text};
use mortis_kernel::tasks::TaskStruct;
use mortis_memory::VirtAddr;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Who writes the truth down, and who kills the guest afterwards: the one is gone when the guest
/// dies, and the other was not there.
const SCRIBE: &str = "guest";

/// /proc/PID/status of one task.
struct Status<'a>(&'a str);

impl Status<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim)
    }

    fn kib(&self, key: &str) -> u64 {
        let words = self.get(key).and_then(|value| value.split(' ').next());
        words.map_or(0, |kib| kib.parse().expect("a number"))
    }

    fn name(&self) -> &str {
        self.get("Name").expect("a name")
    }
}

fn by_pid(rows: &[Value]) -> BTreeMap<u32, &Value> {
    let rows = rows.iter().map(|row| (number(row, "pid") as u32, row));
    rows.filter(|(pid, _)| *pid != 0).collect()
}

#[test]
fn every_task_is_there_with_its_state_and_memory() {
    for guest in Guest::all() {
        let truth = guest.truth_by_task("task/status");
        let rows = items(&mut guest.session(), "ps");
        let rows = by_pid(&rows);
        for (pid, status) in &truth {
            let status = Status(status);
            if status.name() == SCRIBE {
                continue;
            }
            let about = format!("{}: {pid} {}", guest.name(), status.name());
            let Some(row) = rows.get(pid) else {
                // A worker with nothing to do may have gone meanwhile, and an OOM kills.
                assert!(
                    status.name().starts_with("kworker") || guest.case == "oom",
                    "{about} is missing"
                );
                continue;
            };
            compare_row(&about, row, &status, guest.case == "oom");
        }
    }
}

fn compare_row(about: &str, row: &Value, status: &Status<'_>, changing: bool) {
    // /proc adds to a worker's name what it works on; and long names are cut in `comm`.
    let name: String = status.name().chars().take(15).collect();
    let comm = string(row, "command");
    assert!(
        comm == name || name.starts_with("kworker") && name.starts_with(comm),
        "{about}: {comm}"
    );
    if changing || name.starts_with("kworker") {
        return;
    }
    assert_eq!(number(row, "ppid").to_string(), status.get("PPid").expect("PPid"), "{about}");
    if name.starts_with("life") {
        let state = match status.get("State").and_then(|state| state.chars().next()) {
            Some('R') => "RU",
            Some('S') => "IN",
            Some('D') => "UN",
            Some('T') => "ST",
            Some('t') => "TR",
            Some('Z') => "ZO",
            other => panic!("{about}: state {other:?}"),
        };
        assert_eq!(string(row, "state"), state, "{about}");
    }
    // makedumpfile 1.7.8 takes some slab pages of 7.x for free ones: their contents are lost.
    if !is_excluded(row, "vsz_kib") {
        assert_eq!(number(row, "vsz_kib"), status.kib("VmSize"), "{about}");
    }
    if !is_excluded(row, "rss_kib") && name.starts_with("life") {
        assert_eq!(number(row, "rss_kib"), status.kib("VmRSS"), "{about}");
    }
    assert_eq!(row["kernel_thread"], status.get("Kthread") == Some("1"), "{about}");
}

#[test]
fn threads_stand_under_their_leader() {
    for guest in Guest::all() {
        let mut session = guest.session();
        let truth = guest.truth_by_task("task/status");
        let groups = items(&mut session, "ps -g");
        let of = |group: &Value| -> BTreeSet<u64> {
            let threads = group["threads"].as_array().expect("threads");
            threads.iter().map(|thread| number(thread, "pid")).collect()
        };
        for group in groups.iter().filter(|group| string(group, "command") == "life-threads") {
            let leader = number(group, "pid");
            let wanted = truth.iter().filter(|(pid, status)| {
                Status(status).get("Tgid") == Some(&leader.to_string())
                    && u64::from(**pid) != leader
            });
            let wanted: BTreeSet<u64> = wanted.map(|(pid, _)| u64::from(*pid)).collect();
            assert!(!wanted.is_empty() && of(group) == wanted, "{}", guest.name());
            // Asked for by a thread, the group is the same.
            let thread = wanted.first().expect("a thread");
            assert_eq!(&items(&mut session, &format!("ps -g {thread}"))[0], group);
        }
    }
}

#[test]
fn tasks_are_chosen_by_id_address_name_and_expression() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    let all = text(&mut session, "ps");
    let init = items(&mut session, "ps 1").remove(0);
    let row = all.lines().find(|line| line.contains(" init")).expect("init").to_owned();
    let heading = all.lines().next().expect("a heading").to_owned();
    let address = string(&init, "task");
    for one in
        ["ps 1", "ps 0x1", "ps init", &format!("ps {address}"), &format!("ps {}", &address[2..])]
    {
        assert_eq!(text(&mut session, one), format!("{heading}\n{row}\n"), "{one}");
    }
    let life = text(&mut session, "ps 'life.*'");
    assert!(life.lines().skip(1).all(|line| line.contains("  life")));
    assert_eq!(life.matches("life").count(), all.matches("  life").count());
    assert_eq!(text(&mut session, "ps no-such-task"), format!("{heading}\n"));
    assert_eq!(failure(&mut session, "ps 99999"), "invalid task or pid value: 99999");
    assert_eq!(failure(&mut session, "ps -u -k"), "-u and -k are mutually exclusive");
    assert_eq!(failure(&mut session, "ps '('"), "invalid regular expression: (");
    let users = text(&mut session, "ps -u").lines().count() - 1;
    let kernel = text(&mut session, "ps -k").lines().count() - 1;
    assert_eq!(users + kernel, all.lines().count() - 1);
    let counted: u64 = items(&mut session, "ps -S").iter().map(|row| number(row, "tasks")).sum();
    assert_eq!(counted as usize, users + kernel);
    let fifo = items(&mut session, "ps -y FIFO");
    assert!(fifo.iter().any(|row| string(row, "command") == "life-fifo"));
    assert!(fifo.iter().all(|row| string(row, "command") != "init"));
}

#[test]
fn limits_are_those_of_the_guest() {
    for (kernel, case) in [("6.12", "null"), ("7.x", "null")] {
        let guest = Guest::filtered(kernel, case);
        let truth = guest.truth_by_task("process/limits");
        let mut session = guest.session();
        let wanted = truth.get(&1).expect("limits of init");
        let limits = items(&mut session, "ps -r 1").remove(0);
        let limits = limits["limits"].as_array().expect("limits of init").clone();
        let lines: Vec<&str> = wanted.lines().skip(1).collect();
        assert_eq!(limits.len(), lines.len());
        for (limit, line) in limits.iter().zip(lines) {
            let amount = |value: &Value| match value {
                Value::Null => "unlimited".to_owned(),
                value => value.to_string(),
            };
            // Behind the name, 26 columns wide.
            let words: Vec<&str> = line[26..].split_whitespace().collect();
            assert_eq!(amount(&limit["current"]), words[0], "{line}");
            assert_eq!(amount(&limit["maximum"]), words[1], "{line}");
        }
    }
}

#[test]
fn arguments_are_those_of_the_guest() {
    let guest = Guest::of("6.12", "sysrq", "c0");
    let truth = guest.truth_by_task("process/cmdline");
    let mut session = guest.session();
    let init = items(&mut session, "ps -a 1").remove(0);
    let words: Vec<&str> = init["arguments"]
        .as_array()
        .expect("arguments of init")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let wanted = truth.get(&1).expect("the command line of init").replace('\0', " ");
    assert_eq!(words.join(" "), wanted.trim());
    assert!(init["environment"].as_array().is_some_and(|words| !words.is_empty()));
    let text = text(&mut session, "ps -a 1");
    assert!(text.contains(&format!("\nARG: {} \nENV: ", wanted.trim())), "{text}");
    let kernel_thread = guests::text(&mut session, "ps -a 2");
    assert!(kernel_thread.ends_with("COMMAND: \"kthreadd\"\nps: no user stack\n\n"));
}

#[test]
fn the_last_to_run_comes_first() {
    for guest in Guest::all() {
        let mut session = guest.session();
        let rows = items(&mut session, "ps -l");
        let stamps: Vec<u64> =
            rows.iter().map(|row| number(row, "last_arrival_nanoseconds")).collect();
        assert!(stamps.is_sorted_by(|a, b| a >= b), "{}", guest.name());
        assert_eq!(items(&mut session, "last"), rows);
        let uptime: f64 = first_word(&guest.truth("uptime"));
        let newest = stamps[0] as f64 / 1e9;
        // How long a guest takes to die of it is the emulator's business.
        let since = newest - uptime;
        assert!((-1.0..60.0).contains(&since), "{}: {since} s later", guest.name());
        let by_cpu = items(&mut session, "ps -l -C 0");
        assert!(by_cpu.iter().all(|row| number(row, "cpu") == 0) && !by_cpu.is_empty());
        assert!(items(&mut session, "ps -m")[0]["nanoseconds_since_run"].is_u64());
    }
}

fn first_word<T: std::str::FromStr>(text: &str) -> T {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("{word}"))
}

#[test]
fn run_time_is_counted_from_the_start() {
    let guest = Guest::of("6.12", "null", "c31");
    let stat = guest.truth_by_task("task/stat");
    let uptime: f64 = first_word(&guest.truth("uptime"));
    let rows = items(&mut guest.session(), "ps -t");
    for (pid, row) in by_pid(&rows) {
        let Some(stat) = stat.get(&pid) else { continue };
        // Field 22 is the start in hundredths of a second; names may hold blanks.
        let fields = stat.rsplit_once(") ").expect("a name").1;
        let start: u64 = fields.split(' ').nth(19).expect("starttime").parse().expect("a number");
        assert_eq!(number(row, "start_time_nanoseconds") / 10_000_000, start, "{pid}");
        let run_time = number(row, "run_time_seconds") as f64;
        assert!((uptime - start as f64 / 100.0 - run_time).abs() < 5.0, "{pid}: {run_time}");
    }
}

#[test]
fn the_focus_moves() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    let died = text(&mut session, "set");
    assert!(died.contains("COMMAND: \"crasher\"\n") && died.ends_with("TASK_RUNNING (PANIC)\n"));
    assert!(text(&mut session, "set 1").starts_with("    PID: 1\nCOMMAND: \"init\"\n   TASK: "));
    assert!(text(&mut session, "set").contains("    PID: 1\n"));
    assert_eq!(text(&mut session, "set -p"), died);
    assert!(text(&mut session, "set -c 1").contains("(ACTIVE)"));
    let invalid = "invalid cpu number: system has only 2 cpus";
    assert_eq!(failure(&mut session, "set -c 7"), invalid);
    assert_eq!(failure(&mut session, "set nonsense"), "invalid task or pid value: nonsense");
    assert!(failure(&mut session, "set -a 0").contains("has 2 tasks"));
    assert!(text(&mut session, "set -a 1").contains("has been marked as the active task on cpu"));
    assert!(text(&mut session, "ps 1").lines().any(|line| line.starts_with('>')));
}

#[test]
fn settings_are_set() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    assert_eq!(text(&mut session, "set hex"), "output radix: 16 (hex)\n");
    assert!(!text(&mut session, "last 1").contains("[ "));
    assert_eq!(text(&mut session, "set radix 10"), "output radix: 10 (decimal)\n");
    assert_eq!(text(&mut session, "set print_max 7"), "print_max: 7\n");
    assert_eq!(text(&mut session, "set disassembly intel"), "disassembly: intel\n");
    assert_eq!(text(&mut session, "set redzone off"), "redzone: off\n");
    assert_eq!(failure(&mut session, "set radix 7"), "invalid command: set radix 7 ");
    let all = text(&mut session, "set -v");
    assert!(all.contains("         radix: 10 (decimal)\n") && all.contains(" print_max: 7\n"));
}

#[test]
fn foreach_runs_for_those_that_are_meant() {
    let guest = Guest::of("6.12", "null", "c31");
    let mut session = guest.session();
    let sleepers: BTreeSet<u64> = guest
        .truth_by_task("task/status")
        .iter()
        .filter(|(_, status)| Status(status).get("State").is_some_and(|s| s.starts_with('D')))
        .map(|(pid, _)| u64::from(*pid))
        .collect();
    let found = items(&mut session, "foreach UN ps");
    assert_eq!(found.iter().map(|row| number(row, "pid")).collect::<BTreeSet<_>>(), sleepers);
    let blocks = text(&mut session, "foreach UN set");
    assert_eq!(blocks.matches("\n\nPID: ").count(), sleepers.len() - 1);
    assert_eq!(blocks.matches("  STATE: TASK_UNINTERRUPTIBLE").count(), sleepers.len());
    assert_eq!(text(&mut session, "foreach ps"), text(&mut session, "ps"));
    assert_eq!(text(&mut session, "foreach kernel ps -s"), text(&mut session, "ps -ks"));
    assert_eq!(text(&mut session, "foreach active ps"), text(&mut session, "ps -A"));
    let leaders = items(&mut session, "foreach gleader ps").len();
    assert_eq!(leaders, items(&mut session, "ps -uG").len());
    assert_eq!(failure(&mut session, "foreach bogus ps"), "unknown argument: \"bogus\"");
    assert_eq!(failure(&mut session, "foreach init"), "no keywords specified");
    assert_eq!(text(&mut session, "set"), text(&mut session, "set -p"), "the focus is unmoved");
}

#[test]
fn a_vmlinux_changes_nothing() {
    for kernel in ["6.12", "7.x"] {
        let guest = Guest::filtered(kernel, "null");
        let mut with = session(&[guest.dump.clone(), mortis_lab::vmlinux(kernel)]);
        let mut without = guest.session();
        for line in ["ps", "ps -s", "ps -m", "ps -r", "ps -t", "foreach set", "mod", "log -T"] {
            assert_eq!(text(&mut with, line), text(&mut without, line), "{kernel} {line}");
        }
    }
}

/// A copy of a dump in ELF that goes away with the test.
struct DamagedCopy(PathBuf);

impl DamagedCopy {
    fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for DamagedCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Where the byte at a physical address stands in an ELF64 vmcore.
fn file_offset(vmcore: &[u8], physical: u64) -> u64 {
    let at = |offset: u64| {
        let bytes = &vmcore[offset as usize..];
        u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
    };
    let (table, count) = (at(32), at(56) & 0xffff);
    // `Elf64_Phdr` is 56 bytes: type, offset, virtual and physical address, length in the file.
    let headers =
        (0..count).map(|index| table + index * 56).filter(|&header| at(header) as u32 == 1);
    let mut segments = headers.map(|header| (at(header + 24), at(header + 32), at(header + 8)));
    let segment = segments.find(|(start, len, _)| (*start..start + len).contains(&physical));
    let (start, _, offset) = segment.expect("an address in the dump");
    offset + physical - start
}

/// The sysrq guest's dump with the list of processes cut, or led round in a circle, behind the
/// process called `name`.
fn damaged(name: &str, link: impl Fn(VirtAddr) -> u64) -> DamagedCopy {
    let guest = Guest::of("6.12", "sysrq", "e31");
    let mut session = guest.session();
    let task = items(&mut session, &format!("ps {name}")).remove(0);
    let task = u64::from_str_radix(&string(&task, "task")[2..], 16).expect("an address");
    let kernel = &session.kernel;
    let tasks = kernel.layout::<TaskStruct>().expect("task_struct").tasks.clone();
    let node = tasks.address(VirtAddr(task)).expect("task_struct.tasks");
    let vmcore = fs::read(&guest.dump).expect("a dump");
    let physical = kernel.memory().translate(node).expect("an address of the kernel");
    let offset = file_offset(&vmcore, physical.0);
    let file = format!("mortis-tasks-{}-{name}", std::process::id());
    let copy = DamagedCopy(std::env::temp_dir().join(file));
    fs::write(&copy.0, &vmcore).expect("room for a copy");
    let file = OpenOptions::new().write(true).open(&copy.0).expect("the copy");
    file.write_all_at(&link(node).to_le_bytes(), offset).expect("a writable copy");
    copy
}

#[test]
fn a_damaged_list_loses_no_task() {
    let whole = text(&mut Guest::of("6.12", "sysrq", "e31").session(), "ps");
    // Poison, as a list entry that was deleted has; and a task whose successor is itself.
    for copy in [damaged("kthreadd", |_| 0xdead_0000_0000_0100), damaged("life", |node| node.0)] {
        let mut session = session(&[copy.path()]);
        assert_eq!(text(&mut session, "ps"), whole);
        let list = session.kernel.tasks();
        assert!(list.recovered > 10 && !list.problems.is_empty(), "{:?}", list.problems);
    }
}

#[test]
fn a_lost_signal_struct_loses_no_thread() {
    // makedumpfile 1.7.8 leaves out pages of 7.x that it takes for free ones, and with them some
    // processes' signal_struct, which heads the list of threads.
    for guest in Guest::all().iter().filter(|guest| guest.kernel == "7.x") {
        let session = Guest::of("7.x", &guest.case, "c31").session();
        let list = session.kernel.tasks();
        assert!(list.problems.is_empty(), "{}: {:?}", guest.name(), list.problems);
    }
}
