//! `vm`, `sig`, `task`, `gcore` and `ustack` against what the guests said of their processes.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use mortis_dump::Dump;
use mortis_dump_synthetic::{Faults, FaultyMemory};
use mortis_kernel::Kernel;
use mortis_memory::{UserAddr, VirtAddr};
use mortis_shell::KernelOptions;
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use mortis_shell::session::{OpenedFiles, Session, Settings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Both kernels with all of their memory.
fn whole_guests() -> [Guest; 2] {
    [Guest::of("6.12", "sysrq", "raw"), Guest::of("7.x", "sysrq", "raw")]
}

fn hex(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(digits.unwrap_or_else(|| panic!("{value}")), 16).expect("an address")
}

fn rows<'a>(item: &'a Value, member: &str) -> &'a [Value] {
    item[member].as_array().map_or(&[], Vec::as_slice)
}

/// The processes whose memory does not change between the truth and the death.
fn lives(truth: &BTreeMap<u32, String>, guest: &Guest) -> BTreeMap<u32, String> {
    let names = guest.truth_by_task("task/status");
    let is_life = |pid: &u32| {
        let name = names.get(pid).and_then(|status| status.lines().next());
        name.is_some_and(|name| name.contains("\tlife") && !name.contains("life-crowd"))
    };
    truth.iter().filter(|(pid, _)| is_life(pid)).map(|(pid, text)| (*pid, text.clone())).collect()
}

/// The process called `name`, by its id.
fn pid_of(guest: &Guest, name: &str) -> u32 {
    let statuses = guest.truth_by_task("task/status");
    let wanted = format!("Name:\t{name}");
    let found = statuses.iter().find(|(_, status)| status.lines().next() == Some(&wanted));
    *found.unwrap_or_else(|| panic!("{name}")).0
}

/// One line of /proc/PID/maps: start, end, permissions, offset, path.
fn map_line(line: &str) -> (u64, u64, String, u64, String) {
    let mut words = line.split_whitespace();
    let range = words.next().and_then(|range| range.split_once('-')).expect("a range");
    let permissions = words.next().expect("permissions").to_owned();
    let number = |digits: &str| u64::from_str_radix(digits, 16).expect("a number");
    let offset = number(words.next().expect("an offset"));
    let path = words.skip(2).collect::<Vec<_>>().join(" ");
    let path = path.trim_end_matches(" (deleted)").to_owned();
    // What is no file is named in brackets.
    let path = if path.starts_with('[') { String::new() } else { path };
    (number(range.0), number(range.1), permissions, offset, path)
}

#[test]
fn areas_are_those_of_proc() {
    for guest in whole_guests() {
        let mut session = guest.session();
        let truth = lives(&guest.truth_by_task("process/maps"), &guest);
        assert!(truth.len() > 10, "{}", guest.name());
        for (pid, maps) in truth {
            let item = items(&mut session, &format!("vm {pid}")).remove(0);
            let areas = rows(&item, "areas").iter().map(|area| {
                let flags = hex(&area["flags"]);
                let letter = |bit: u64, letter| if flags & bit != 0 { letter } else { '-' };
                let shared = if flags & 8 != 0 { 's' } else { 'p' };
                let permissions = [letter(1, 'r'), letter(2, 'w'), letter(4, 'x'), shared];
                let path = area["file"].as_str().unwrap_or_default();
                let path = path.trim_start_matches('/').to_owned();
                let offset = if path.is_empty() { 0 } else { hex(&area["offset"]) };
                let permissions = permissions.iter().collect::<String>();
                (hex(&area["start"]), hex(&area["end"]), permissions, offset, path)
            });
            let wanted =
                maps.lines().map(map_line).map(|(start, end, permissions, offset, path)| {
                    (start, end, permissions, offset, path.trim_start_matches('/').to_owned())
                });
            let wanted: Vec<_> = wanted.collect();
            assert_eq!(areas.collect::<Vec<_>>(), wanted, "{}: {pid}", guest.name());
        }
    }
}

#[test]
fn sizes_are_those_of_proc() {
    for guest in whole_guests() {
        let mut session = guest.session();
        for (pid, statm) in lives(&guest.truth_by_task("process/statm"), &guest) {
            let item = items(&mut session, &format!("vm {pid}")).remove(0);
            let pages: Vec<u64> =
                statm.split_whitespace().map(|word| word.parse().expect("a number")).collect();
            // What has gone has no memory.
            if pages[0] == 0 {
                assert!(item["mm"].is_null(), "{item}");
                continue;
            }
            let about = format!("{}: {pid}", guest.name());
            assert_eq!(number(&item, "total_vm_kib"), pages[0] * 4, "{about}");
            assert_eq!(number(&item, "rss_kib"), pages[1] * 4, "{about}");
        }
    }
}

#[test]
fn each_page_is_where_its_content_is() {
    for guest in whole_guests() {
        let mut session = guest.session();
        let pid = pid_of(&guest, "life-files");
        let blocks = items(&mut session, &format!("vm -p {pid}"));
        let mut found = 0;
        for page in blocks.iter().flat_map(|block| rows(block, "pages")) {
            let Some(physical) = page["physical"].as_str() else { continue };
            let words = text(&mut session, &format!("rd -p -a {physical} 32"));
            if words.contains("mortis anonymous page ") {
                found += 1;
            }
        }
        // One of them may be the program's own copy of the words.
        assert!((1024..=1025).contains(&found), "{}: {found}", guest.name());
        // Every line of the text is an item's: those of the four kinds of places.
        let lines = text(&mut session, &format!("vm -p {pid}"));
        let mapped = blocks.iter().map(|block| rows(block, "pages").len()).sum::<usize>();
        let places = lines.lines().filter(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|word| u64::from_str_radix(word, 16).is_ok())
                && words.next().is_none()
        });
        assert_eq!(places.count(), mapped, "{}", guest.name());
        assert!(lines.contains("  FILE: /lab/guest  OFFSET: "), "{}", guest.name());
    }
}

#[test]
fn references_choose_areas_and_pages() {
    let guest = Guest::of("6.12", "sysrq", "raw");
    let mut session = guest.session();
    let pid = pid_of(&guest, "life-files");
    let all = items(&mut session, &format!("vm {pid}")).remove(0);
    let by_path = items(&mut session, &format!("vm -R locked {pid}")).remove(0);
    assert_eq!(rows(&by_path, "areas").len(), 1);
    assert_eq!(rows(&by_path, "areas")[0]["file"], "/mnt/ext4/locked");
    let area = &rows(&all, "areas")[1];
    let by_area = items(&mut session, &format!("vm -R {} {pid}", string(area, "vma"))).remove(0);
    assert_eq!(rows(&by_area, "areas")[0]["start"], area["start"]);
    let page = hex(&area["start"]) + 4096;
    let by_page = items(&mut session, &format!("vm -R {page:x} {pid}")).remove(0);
    assert_eq!(hex(&rows(&by_page, "areas")[0]["pages"][0]), page);
    assert!(items(&mut session, &format!("vm -R no-such-thing {pid}")).is_empty());
    let one = items(&mut session, &format!("vm -P {} {pid}", string(area, "vma")));
    assert_eq!(one[1]["start"], area["start"]);
    assert!(text(&mut session, &format!("vm -P 1 {pid}")).ends_with("(not found)\n"));
    let areas = items(&mut session, &format!("vm -v {pid}")).remove(0);
    assert_eq!(rows(&areas, "areas").len(), rows(&all, "areas").len());
    assert_eq!(rows(&areas, "areas")[1]["value"]["vm_start"], hex(&area["start"]));
    let mm = text(&mut session, &format!("vm -m -x {pid}"));
    assert!(mm.contains("\nstruct mm_struct {\n") && mm.contains("0x"), "{mm}");
    assert_eq!(text(&mut session, "vm -f 75"), "75: (READ|EXEC|MAYREAD|MAYWRITE|MAYEXEC)\n");
    assert_eq!(failure(&mut session, "vm -x -d"), "-d and -x are mutually exclusive");
    assert_eq!(failure(&mut session, "vm -M 0"), "invalid mm_struct address: 0");
    assert!(failure(&mut session, "vm -p -m").contains("Usage:"));
}

#[test]
fn all_tasks_at_once_are_each_task_alone() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    for line in ["vm", "vm -p", "sig", "task -R pid,comm"] {
        let each = text(&mut session, &format!("foreach 'life-[fpt].*' {line}"));
        let (name, options) = line.split_once(' ').unwrap_or((line, ""));
        let tasks = items(&mut session, "foreach 'life-[fpt].*' test");
        assert!(tasks.len() > 3);
        let alone = tasks.iter().map(|task| {
            let text = text(&mut session, &format!("{name} {options} {}", string(task, "task")));
            text.trim_end_matches('\n').to_owned() + "\n"
        });
        assert_eq!(each.trim_end(), alone.collect::<Vec<_>>().join("\n").trim_end(), "{line}");
    }
    let wrong = failure(&mut session, "foreach vm -p -m");
    assert_eq!(wrong, "vm command accepts only one of -p, -m or -v flags");
}

#[test]
fn signals_are_those_of_proc() {
    for guest in whole_guests() {
        let mut session = guest.session();
        let truth = guest.truth_by_task("task/status");
        let mut pending = 0;
        for item in items(&mut session, "foreach user sig") {
            let Some(status) = truth.get(&(number(&item, "pid") as u32)) else { continue };
            if !string(&item, "command").starts_with("life") || item["shared_pending"].is_null() {
                continue;
            }
            let about = format!("{}: {}", guest.name(), item["pid"]);
            let set = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                let digits = line.and_then(|line| line.strip_prefix(":\t")).expect(key);
                u64::from_str_radix(digits, 16).expect("a set")
            };
            assert_eq!(hex(&item["blocked"]), set("SigBlk"), "{about}");
            let private = &item["private_pending"];
            assert_eq!(hex(&private["signals"]), set("SigPnd"), "{about}");
            assert_eq!(hex(&item["shared_pending"]["signals"]), set("ShdPnd"), "{about}");
            assert!(rows(private, "queue").len() <= set("SigPnd").count_ones() as usize);
            pending += rows(private, "queue").len();
            let handled = |caught: bool| {
                let actions = rows(&item, "actions").iter();
                let chosen = actions.filter(|action| match hex(&action["handler"]) {
                    0 => false,
                    1 => !caught,
                    _ => caught,
                });
                chosen.fold(0u64, |set, action| set | 1 << (number(action, "signal") - 1))
            };
            assert_eq!(handled(true), set("SigCgt"), "{about}");
            assert_eq!(handled(false), set("SigIgn"), "{about}");
        }
        // life-files raised one that it blocks.
        assert!(pending >= 1, "{}", guest.name());
        let pid = pid_of(&guest, "life-threads");
        let group = items(&mut session, &format!("sig -g {pid}")).remove(0);
        assert_eq!(rows(&group, "threads_of_group").len(), 5, "{}", guest.name());
    }
    let mut session = Guest::of("6.12", "null", "c31").session();
    assert_eq!(text(&mut session, "sig -s 201"), "SIGHUP SIGUSR1\n");
    assert_eq!(items(&mut session, "sig -l").len(), 64);
    assert_eq!(failure(&mut session, "sig 99999"), "invalid task or pid value: 99999");
}

#[test]
fn members_are_those_that_struct_shows() {
    let mut session = Guest::of("6.12", "null", "c31").session();
    let task = items(&mut session, "task -R pid,comm,se.sum_exec_runtime 1").remove(0);
    let member = |index: usize| &rows(&task, "members")[index]["value"];
    assert_eq!((member(0), member(1)), (&Value::from(1), &Value::from("init")));
    let address = string(&task, "task");
    let line = format!("struct task_struct.se.sum_exec_runtime {address}");
    let runtime = &items(&mut session, &line)[0]["members"][0]["value"];
    assert_eq!(member(2), runtime);
    // The same words without -R.
    assert_eq!(
        items(&mut session, "task pid comm 1")[0]["members"],
        items(&mut session, "task -R pid -R comm 1")[0]["members"]
    );
    // `thread_info` has flags as well.
    assert_eq!(rows(&items(&mut session, "task -R flags 1")[0], "members").len(), 2);
    let unknown = text(&mut session, "task -R pid,no_such 1");
    assert!(unknown.ends_with("\ntask: no_such: not a task_struct or thread_info member\n\n"));
    let whole = text(&mut session, "task 1");
    assert!(
        whole.contains("\nstruct task_struct {\n") && whole.contains("\nstruct thread_info {\n")
    );
}

/// An ELF core file taken apart.
struct Core {
    bytes: Vec<u8>,
}

impl Core {
    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("8 bytes"))
    }

    /// Type, offset, address, bytes in the file, bytes in memory.
    fn segments(&self) -> Vec<(u32, u64, u64, u64, u64)> {
        let count = u16::from_le_bytes([self.bytes[56], self.bytes[57]]);
        (0..usize::from(count))
            .map(|index| 64 + 56 * index)
            .map(|at| {
                let kind = u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("4 bytes"));
                let words = (self.word(at + 8), self.word(at + 16));
                (kind, words.0, words.1, self.word(at + 32), self.word(at + 40))
            })
            .collect()
    }

    /// Types and contents of the notes.
    fn notes(&self) -> Vec<(u32, &[u8])> {
        let (_, offset, _, len, _) = self.segments()[0];
        let mut rest = &self.bytes[offset as usize..(offset + len) as usize];
        let mut notes = Vec::new();
        while rest.len() > 12 {
            let half = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("4"));
            let (size, kind) = (half(4) as usize, half(8));
            notes.push((kind, &rest[20..20 + size]));
            rest = &rest[20 + size.next_multiple_of(4)..];
        }
        notes
    }

    fn memory(&self, address: u64, len: usize) -> Option<&[u8]> {
        let (_, offset, start, ..) = self.segments().into_iter().find(|segment| {
            let (kind, _, start, in_file, _) = *segment;
            kind == 1 && (start..start + in_file).contains(&address)
        })?;
        let at = (offset + address - start) as usize;
        self.bytes.get(at..at + len)
    }
}

/// A directory for core files that goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mortis-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn save(session: &mut Session, pid: u32, path: &Path) -> (Value, Core) {
    let item = items(session, &format!("gcore -o {} {pid}", path.display())).remove(0);
    (item, Core { bytes: std::fs::read(path).expect("a core file") })
}

#[test]
fn core_files_hold_memory_and_threads() {
    let directory = Directory::new("gcore");
    for guest in whole_guests() {
        let mut session = guest.session();
        let pid = pid_of(&guest, "life-files");
        let path = directory.0.join(format!("core.{}", guest.kernel));
        let (item, core) = save(&mut session, pid, &path);
        assert_eq!(number(&item, "bytes"), core.bytes.len() as u64);
        let maps = guest.truth_by_task("process/maps");
        let lines: Vec<_> = maps[&pid].lines().map(map_line).collect();
        // Each area is in the segments, whole and in order.
        let loads: Vec<_> = core.segments().into_iter().filter(|(kind, ..)| *kind == 1).collect();
        for (start, end, ..) in &lines {
            let mut at = *start;
            for (_, _, address, _, len) in &loads {
                if *address == at && at < *end {
                    at += len;
                }
            }
            assert_eq!(at, *end, "{}: {start:x}", guest.name());
        }
        let anonymous = lines.iter().find(|(start, end, ..)| end - start == 4 << 20);
        let (start, ..) = anonymous.expect("the 4 MiB that it wrote");
        for page in 0..1024 {
            let wanted = format!("mortis anonymous page {page}\0");
            let found = core.memory(start + page * 4096, wanted.len());
            assert_eq!(found, Some(wanted.as_bytes()), "{}", guest.name());
        }
        let file = lines.iter().find(|line| line.4 == "/mnt/ext4/locked").expect("the file");
        assert_eq!(core.memory(file.0 + 4096, 18), Some(&b"mortis file page 1"[..]));
        let notes = core.notes();
        let kinds: Vec<u32> = notes.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds[..4], [1, 3, 6, 0x4649_4c45], "{}", guest.name());
        let name = &notes[1].1[40..51];
        assert_eq!(name, b"life-files\0");
        assert_eq!(notes[0].1.len(), 336);
        // What exists is not overwritten.
        let again = failure(&mut session, &format!("gcore -o {} 1", path.display()));
        assert!(again.ends_with("exists; remove it, or name another file with -o"), "{again}");

        let pid = pid_of(&guest, "life-threads");
        let (_, core) = save(&mut session, pid, &path.with_extension("threads"));
        let ids = core
            .notes()
            .into_iter()
            .filter(|(kind, _)| *kind == 1)
            .map(|(_, note)| u32::from_le_bytes(note[32..36].try_into().expect("4 bytes")));
        let mut ids: Vec<u32> = ids.collect();
        assert_eq!(ids[0], pid);
        ids.sort_unstable();
        let truth = guest.truth_by_task("task/status");
        let group = format!("\nTgid:\t{pid}\n");
        let threads = truth.iter().filter(|(_, status)| status.contains(&group));
        assert!(threads.map(|(pid, _)| *pid).eq(ids), "{}", guest.name());
    }
    let mut session = Guest::of("6.12", "null", "c31").session();
    assert_eq!(failure(&mut session, "gcore 2"), "task 2 has no user address space");
    assert_eq!(failure(&mut session, "gcore -f 0x100 1"), "invalid filter value: 0x100");
}

/// The last two words of /proc/PID/syscall are the stack pointer and the instruction pointer.
#[test]
fn user_stacks_begin_where_the_task_left_user_mode() {
    for guest in whole_guests() {
        let mut session = guest.session();
        let truth = lives(&guest.truth_by_task("task/syscall"), &guest);
        let mut compared = 0;
        for (pid, words) in truth {
            let words: Vec<&str> = words.split_whitespace().collect();
            let [.., sp, ip] = words[..] else { continue };
            // What has gone has no registers.
            if ip == "0x0" {
                continue;
            }
            let item = items(&mut session, &format!("ustack {pid}")).remove(0);
            let frames = rows(&item, "frames");
            assert_eq!(frames[0]["address"], ip, "{}: {pid}", guest.name());
            assert_eq!(frames[0]["stack_pointer"], sp, "{}: {pid}", guest.name());
            assert_eq!(frames[0]["file"], "/lab/guest");
            assert!(frames.len() > 2, "{}: {item}", guest.name());
            // vfork() keeps its return address in a register, and the tables are silent of that.
            if string(&item, "command").starts_with("life-vfork") {
                continue;
            }
            // The program's tables are in the page cache: nothing is guessed.
            assert_eq!(frames[1]["found_by"], "cfi", "{}: {item}", guest.name());
            compared += 1;
        }
        assert!(compared > 5, "{}", guest.name());
        let pid = pid_of(&guest, "life-busy");
        let item = items(&mut session, &format!("ustack {pid}")).remove(0);
        let frames = rows(&item, "frames");
        assert!(frames.len() > 5, "{}: {item}", guest.name());
        assert!(frames[1..].iter().all(|frame| frame["found_by"] == "cfi"), "{item}");
        // Where the end of the program's file is in memory, its symbols are.
        let functions = frames.iter().filter_map(|frame| frame["function"].as_str());
        let functions: Vec<&str> = functions.collect();
        if !functions.is_empty() {
            assert_eq!(functions[..2], ["spin_inner", "spin_outer"], "{}", guest.name());
            assert!(functions.contains(&"main"), "{}: {item}", guest.name());
        }
    }
    let mut session = Guest::of("6.12", "null", "c31").session();
    let kernel_thread = text(&mut session, "ustack 2");
    assert!(kernel_thread.ends_with("ustack: task 2 has no user registers\n"), "{kernel_thread}");
}

const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

/// The sample with something wrong in its memory.
fn damaged(faults: Faults) -> Session {
    let dump = Dump::open(SAMPLE).expect("the sample opens");
    let dump = dump.with_view(|below| Arc::new(FaultyMemory { below, faults }));
    let kernel = Kernel::open(Arc::new(dump), None, KernelOptions::default()).expect("a kernel");
    Session::new(Arc::new(kernel), OpenedFiles::default(), Settings::default())
}

#[test]
fn a_damaged_tree_of_areas_gives_what_is_left_and_one_warning() {
    let session = damaged(Faults::default());
    let kernel = Arc::clone(&session.kernel);
    let mm = kernel.task_by_pid(1).expect("init").mm(&kernel).expect("its memory");
    let (areas, damage) = kernel.areas(mm);
    assert!(areas.len() > 3 && damage.is_none(), "the sample is sound");
    let place = |at: VirtAddr| kernel.memory().translate(at).expect("in the dump");
    let root = session.address(&format!("(&((struct mm_struct *){:#x})->mm_mt.ma_root)", mm.0));
    let root = place(root.expect("a member"));
    let wild = 0xdead_0000_0000_0106u64.to_le_bytes();
    // The root leads nowhere; and one area does.
    for (at, left) in [(root, 0), (place(areas[1].address), areas.len())] {
        let mut faults = Faults::default();
        faults.change(at, &wild);
        let mut session = damaged(faults);
        let json = capture(&mut session, "foreach vm", Face::Json).expect("an answer");
        let answer: Value = serde_json::from_str(&json).expect("JSON");
        let items = rows(&answer, "items");
        let init = items.iter().find(|item| number(item, "pid") == 1).expect("init");
        assert_eq!(rows(init, "areas").len(), left);
        assert_eq!(rows(&answer, "warnings").len(), usize::from(left == 0), "{answer}");
    }
    assert!(kernel.area_at(mm, UserAddr(areas[1].start.0)).is_ok());
}
