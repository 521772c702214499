//! `kmem` against what the guests said of themselves just before they died.
//!
//! Between a guest's reading of its `/proc` and its death it goes on living: it reads the other
//! files, runs the command that kills it, writes its log. What cannot move meanwhile must be equal;
//! what can may differ by as much as such a short life moves.

mod guests;

use guests::session_with as session;
use mortis_kernel::Kernel;
use mortis_kernel::slab::SlabStruct;
use mortis_memory::VirtAddr;
use mortis_shell::KernelOptions;
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use mortis_shell::session::Session;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Runs a command and takes its JSON apart.
fn json(session: &mut Session, line: &str) -> Value {
    let text = capture(session, line, Face::Json).unwrap_or_else(|error| panic!("{line}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

fn items(answer: &Value) -> &[Value] {
    answer["items"].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// A guest with one of its dumps.
struct Guest {
    kernel: String,
    case: String,
    dump: PathBuf,
}

impl Guest {
    fn truth(&self, name: &str) -> String {
        mortis_lab::truth(&self.kernel, &self.case, name)
    }

    fn name(&self) -> String {
        format!("{} {}", self.kernel, self.case)
    }

    fn session(&self) -> Session {
        session(std::slice::from_ref(&self.dump), KernelOptions::default())
    }

    /// Whether a value may be missing: makedumpfile 1.7.8 does not know 7.x's compound pages and
    /// takes larger slabs for pages of users.
    fn forgives(&self, value: &Value) -> bool {
        self.kernel.starts_with('7') && value["unavailable"] == "excluded"
    }
}

/// Every guest there is with its least filtered dump. Guests that run out of memory are left out,
/// as nothing holds still there, and so is the one that is too bare to tell.
fn guests() -> Vec<Guest> {
    let rank = |capture: &str| match capture {
        "raw" => 0,
        "c0" => 1,
        "c23" => 2,
        _ => 3,
    };
    let mut best: BTreeMap<(String, String), (u32, PathBuf)> = BTreeMap::new();
    for product in guests::products() {
        if matches!(product.case.as_str(), "oom" | "sample") {
            continue;
        }
        let rank = rank(&product.capture);
        let entry =
            best.entry((product.kernel, product.case)).or_insert((u32::MAX, PathBuf::new()));
        if rank < entry.0 {
            *entry = (rank, product.path);
        }
    }
    let guests: Vec<Guest> =
        best.into_iter().map(|((kernel, case), (_, dump))| Guest { kernel, case, dump }).collect();
    assert!(!guests.is_empty(), "the lab has made no dump: run `cargo xtask lab`");
    guests
}

/// Asserts that `found` is `truth` give or take `slack`.
fn assert_near(what: &str, found: u64, truth: u64, slack: u64) {
    assert!(found.abs_diff(truth) <= slack, "{what}: {found}, the guest said {truth}");
}

/// One line of `/proc/slabinfo`.
struct SlabLine {
    name: String,
    active_objs: u64,
    num_objs: u64,
    pages_per_slab: u64,
    num_slabs: u64,
}

fn slabinfo(text: &str) -> Vec<SlabLine> {
    text.lines()
        .skip(2)
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| words[index].parse().expect("a number in slabinfo");
            SlabLine {
                name: words[0].to_owned(),
                active_objs: number(1),
                num_objs: number(2),
                pages_per_slab: number(5),
                num_slabs: number(14),
            }
        })
        .collect()
}

#[test]
fn slab_caches_are_those_of_slabinfo() {
    for guest in guests() {
        let answer = json(&mut guest.session(), "kmem -s");
        assert_eq!(answer["warnings"], Value::Array(vec![]), "{}", guest.name());
        let truth = slabinfo(&guest.truth("slabinfo"));
        let rows = items(&answer);
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        let expected: Vec<&str> = truth.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, expected, "{}: the caches, in order", guest.name());
        let mut equal = 0;
        for (row, line) in rows.iter().zip(&truth) {
            let what = format!("{}: {}", guest.name(), line.name);
            assert_eq!(number(&row["slab_size"]), line.pages_per_slab * 4096, "{what}");
            let found = [&row["allocated"], &row["total"], &row["slabs"]].map(number);
            let said = [line.active_objs, line.num_objs, line.num_slabs];
            equal += usize::from(found == said);
            let per_slab = line.num_objs.checked_div(line.num_slabs).unwrap_or(0).max(64);
            let slabs = 8 + line.num_slabs / 20;
            assert_near(&format!("{what}: slabs"), found[2], said[2], slabs);
            assert_near(&format!("{what}: total"), found[1], said[1], slabs * per_slab);
            assert_near(&format!("{what}: allocated"), found[0], said[0], slabs * per_slab);
        }
        assert!(equal * 10 >= truth.len() * 9, "{}: {equal} of {}", guest.name(), truth.len());
    }
}

#[test]
fn what_cpus_hold_is_part_of_what_is_allocated() {
    for guest in guests() {
        for row in items(&json(&mut guest.session(), "kmem -s")) {
            let held = &row["free_on_cpus"];
            if !guest.forgives(held) {
                assert!(number(held) <= number(&row["allocated"]), "{}: {row}", guest.name());
            }
        }
    }
}

/// The numbers of `/proc/meminfo` in kilobytes.
fn meminfo(text: &str) -> HashMap<&str, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            Some((name, rest.split_whitespace().next()?.parse().ok()?))
        })
        .collect()
}

#[test]
fn memory_usage_is_that_of_meminfo() {
    for guest in guests() {
        let answer = json(&mut guest.session(), "kmem -i");
        let usage = &items(&answer)[0];
        let text = guest.truth("meminfo");
        let truth = meminfo(&text);
        let pages = |name: &str| truth[name] / 4;
        let exact = [
            ("total_mem", "MemTotal"),
            ("total_swap", "SwapTotal"),
            ("commit_limit", "CommitLimit"),
            ("total_huge", "Hugetlb"),
        ];
        for (ours, theirs) in exact {
            let what = format!("{}: {theirs}", guest.name());
            assert_eq!(number(&usage[ours]), pages(theirs), "{what}");
        }
        let moving = [
            ("free", "MemFree", 4096),
            ("slab", "Slab", 512),
            ("committed", "Committed_AS", 1024),
            ("swap_free", "SwapFree", 64),
            ("buffers", "Buffers", 64),
            ("cached", "Cached", 256),
        ];
        for (ours, theirs, slack) in moving {
            let known = usage[ours]["guessed"].is_null();
            if known && !guest.forgives(&usage[ours]) {
                let what = format!("{}: {theirs}", guest.name());
                assert_near(&what, number(&usage[ours]), pages(theirs), slack);
            }
        }
        let sum = number(&usage["used"]) + number(&usage["free"]);
        assert_eq!(sum, number(&usage["total_mem"]), "{}", guest.name());
    }
}

/// The numbers of `/proc/zoneinfo` by node and zone.
fn zoneinfo(text: &str) -> BTreeMap<(u64, String), HashMap<String, u64>> {
    let mut zones: BTreeMap<_, HashMap<String, u64>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Node ") {
            let (node, zone) = rest.split_once(", zone").expect("a zone's heading");
            let key = (node.trim().parse().expect("a node"), zone.trim().to_owned());
            zones.insert(key.clone(), HashMap::new());
            current = Some(key);
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().filter(|&word| word != "pages").collect();
        if let (Some(key), [name, value]) = (&current, words.as_slice())
            && let (Some(zone), Ok(value)) = (zones.get_mut(key), value.parse())
        {
            zone.entry((*name).to_owned()).or_insert(value);
        }
    }
    zones
}

#[test]
fn zones_are_those_of_zoneinfo() {
    for guest in guests() {
        let answer = json(&mut guest.session(), "kmem -z");
        let truth = zoneinfo(&guest.truth("zoneinfo"));
        assert_eq!(items(&answer).len(), truth.len(), "{}: zones", guest.name());
        for zone in items(&answer) {
            let name = zone["name"].as_str().expect("a zone's name");
            let what = format!("{}: {name}", guest.name());
            let said = &truth[&(number(&zone["node"]), name.to_owned())];
            let exact = [
                ("size", "spanned"),
                ("present", "present"),
                ("managed", "managed"),
                ("min", "min"),
                ("low", "low"),
                ("high", "high"),
                ("watermark_boost", "boost"),
            ];
            for (ours, theirs) in exact {
                assert_eq!(number(&zone[ours]), said[theirs], "{what}: {theirs}");
            }
            // The kernel shows no counters of an empty zone.
            if number(&zone["size"]) == 0 {
                continue;
            }
            let counters = zone["vm_stat"].as_object().expect("counters");
            let mut compared = 0;
            for (counter, value) in counters {
                if let Some(&value_said) = said.get(&counter.to_lowercase()) {
                    let what = format!("{what}: {counter}");
                    assert_near(&what, number(value), value_said, 4096);
                    compared += 1;
                }
            }
            assert!(compared >= 8, "{what}: only {compared} of {} counters", counters.len());
        }
    }
}

#[test]
fn free_blocks_are_those_of_buddyinfo() {
    let pages = |blocks: &[u64]| -> u64 {
        blocks.iter().enumerate().map(|(order, count)| count << order).sum()
    };
    for guest in guests() {
        let mut truth = HashMap::new();
        for line in guest.truth("buddyinfo").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let blocks: Vec<u64> =
                words[4..].iter().map(|word| word.parse().expect("a count")).collect();
            truth.insert(words[3].to_owned(), blocks);
        }
        for zone in items(&json(&mut guest.session(), "kmem -z")) {
            let name = zone["name"].as_str().expect("a zone's name");
            let Some(said) = truth.get(name) else { continue };
            let found = zone["free_blocks"].as_array().expect("free blocks");
            let found: Vec<u64> = found.iter().map(number).collect();
            let what = format!("{}: {name}", guest.name());
            assert_eq!(found.len(), said.len(), "{what}");
            assert_near(&what, pages(&found), pages(said), 4096);
        }
    }
}

#[test]
fn dwarf_gives_what_btf_gives() {
    for (kernel, capture_name) in [("6.12", "c31"), ("7.x", "raw")] {
        let files = [mortis_lab::dump(kernel, "sysrq", capture_name), mortis_lab::vmlinux(kernel)];
        let mut by_btf = session(&files[..1], KernelOptions::default());
        let without_btf = KernelOptions { without_btf: true };
        let mut by_dwarf = session(&files, without_btf);
        for line in ["kmem -i=shared", "kmem -s", "kmem -S dentry", "kmem -z", "kmem -V", "kmem -h"]
        {
            let btf = capture(&mut by_btf, line, Face::Json);
            assert!(btf.is_ok(), "{kernel}: {line}: {btf:?}");
            assert_eq!(btf, capture(&mut by_dwarf, line, Face::Json), "{kernel}: {line}");
        }
    }
}

#[test]
fn options_are_understood_as_crash_does() {
    let mut session =
        session(&[mortis_lab::dump("6.12", "sysrq", "c31")], KernelOptions::default());
    let mut run = |line: &str| capture(&mut session, line, Face::Text);
    let table = run("kmem -s").expect("the table");
    let list = run("kmem -s list").expect("the list");
    assert_eq!(table.lines().count(), list.lines().count() + 1);
    let dentry = run("kmem -s dentry").expect("one cache");
    assert_eq!(dentry.lines().count(), 2);
    let row = dentry.lines().last().expect("a row");
    assert!(table.contains(row));
    let address = row.split(' ').next().expect("an address");
    assert_eq!(run(&format!("kmem -s {address}")).expect("by address"), dentry);
    let ignored = run("kmem -s -I dentry,pid").expect("two left out");
    assert_eq!(ignored.matches("[IGNORED]").count(), 2);
    assert!(ignored.contains(&format!("{address} {:<43}  dentry\n", "[IGNORED]")));
    for wrong in ["kmem -s no-such-cache", "kmem -s -i", "kmem", "kmem -i 5", "kmem -i=all"] {
        assert!(run(wrong).is_err(), "{wrong}");
    }
    assert!(run("kmem -i -z").expect("both").contains("NODE: 0  ZONE: 0  ADDR: "));
    let one_cpu = run("kmem -S=0 pid").expect("one CPU");
    assert!(one_cpu.contains("CPU 0 SLAB:") && !one_cpu.contains("CPU 1 SLAB:"));
}

/// Where the byte at a physical address stands in an ELF vmcore.
fn file_offset(vmcore: &[u8], physical: u64) -> u64 {
    let at = |offset: u64, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&vmcore[offset as usize..][..len]);
        u64::from_le_bytes(bytes)
    };
    let (table, size, count) = (at(32, 8), at(54, 2), at(56, 2));
    (0..count)
        .map(|index| table + index * size)
        .filter(|&header| at(header, 4) == 1)
        .find_map(|header| {
            let (offset, start, len) = (at(header + 8, 8), at(header + 24, 8), at(header + 32, 8));
            (start..start + len).contains(&physical).then(|| offset + physical - start)
        })
        .unwrap_or_else(|| panic!("physical address {physical:#x} is not in the dump"))
}

/// A copy of a dump that goes away with the test.
struct DamagedCopy(PathBuf);

impl DamagedCopy {
    /// Copies `dump`, with the word at a kernel address replaced.
    fn of(dump: &Path, kernel: &Kernel, address: VirtAddr, value: u64) -> Self {
        let name = format!("mortis-kmem-{}-{value:x}", std::process::id());
        let copy = Self(std::env::temp_dir().join(name));
        let vmcore = fs::read(dump).expect("a readable dump");
        let physical = kernel.memory().translate(address).expect("an address of the kernel");
        let offset = file_offset(&vmcore, physical.0);
        fs::write(&copy.0, &vmcore).expect("room for a copy of a dump");
        let file = OpenOptions::new().write(true).open(&copy.0).expect("the copy");
        file.write_all_at(&value.to_le_bytes(), offset).expect("a writable copy");
        copy
    }
}

impl Drop for DamagedCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A cache with several partial slabs: its name, and the links of its first and last one.
fn cache_with_partial_slabs(kernel: &Kernel) -> (String, VirtAddr, VirtAddr) {
    let layout = kernel.layout::<SlabStruct>().expect("struct slab");
    for (_, cache) in kernel.slab_caches().expect("slab caches").caches {
        let cache = cache.expect("a readable cache");
        let slabs = cache.partial_slabs(kernel, cache.nodes[0].address).expect("partial slabs");
        if let [Ok(first), _, .., Ok(last)] = slabs.as_slice() {
            let link = |slab| layout.slab_list.address(slab).expect("slab.slab_list");
            return (cache.name.expect("a name"), link(first.address), link(last.address));
        }
    }
    panic!("no cache with three partial slabs");
}

#[test]
fn a_damaged_list_of_slabs_spoils_one_number() {
    let dump = mortis_lab::dump("6.12", "sysrq", "e31");
    let mut whole = session(std::slice::from_ref(&dump), KernelOptions::default());
    let (name, first, last) = cache_with_partial_slabs(&whole.kernel);
    let undamaged = json(&mut whole, &format!("kmem -s {name}"));
    let undamaged = &items(&undamaged)[0];
    // A list that loops, and one that leads nowhere.
    for next in [first.0, 0xdead_beef_0000_0100] {
        let copy = DamagedCopy::of(&dump, &whole.kernel, last, next);
        let mut session = session(std::slice::from_ref(&copy.0), KernelOptions::default());
        let answer = json(&mut session, "kmem -s");
        let (damaged, others): (Vec<&Value>, Vec<&Value>) =
            items(&answer).iter().partition(|row| row["name"] == *name);
        let row = damaged[0];
        assert_eq!(row["total"], undamaged["total"]);
        assert_eq!(row["slabs"], undamaged["slabs"]);
        assert!(row["allocated"]["guessed"].is_string(), "{row}");
        assert!(number(&row["allocated"]["value"]) <= number(&undamaged["allocated"]), "{row}");
        assert!(others.iter().all(|row| row["allocated"].is_u64()));
        let warnings = answer["warnings"].as_array().expect("warnings");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let text = capture(&mut session, &format!("kmem -s {name}"), Face::Text).expect("a row");
        let cells: Vec<&str> = text.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(cells[2], "?", "{text}");
        assert_eq!(cells[3], undamaged["total"].to_string(), "{text}");
    }
}
