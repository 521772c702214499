//! `files`, `mount`, `fuser` and `pagecache` against what the guests said of themselves.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use mortis_dump::Dump;
use mortis_dump_synthetic::{Faults, FaultyMemory};
use mortis_kernel::Kernel;
use mortis_memory::{PhysAddr, VirtAddr, VirtualMemory};
use mortis_shell::KernelOptions;
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use mortis_shell::session::{OpenedFiles, Session, Settings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every guest by a dump that has all of the kernel's own pages: makedumpfile 1.7.8 takes some of
/// 7.x for pages of users and leaves them out of its filtered dumps.
fn exact_guests() -> Vec<Guest> {
    let products = guests::products();
    let exact = |guest: &Guest| {
        let of_guest = |capture: &str| {
            products.iter().find(|product| {
                (&product.kernel, &product.case) == (&guest.kernel, &guest.case)
                    && product.capture == capture
            })
        };
        let captures: &[&str] = if guest.kernel == "6.12" { &["c31"] } else { &["c23", "raw"] };
        captures.iter().find_map(|capture| of_guest(capture)).map(|product| product.path.clone())
    };
    let guests = Guest::all().into_iter();
    guests.filter_map(|guest| exact(&guest).map(|dump| Guest { dump, ..guest })).collect()
}

/// The links in a process's `/proc/PID/fd`, by descriptor.
fn links(listing: &str) -> BTreeMap<u64, &str> {
    let lines = listing.lines().filter_map(|line| line.split_once(" -> "));
    lines.filter_map(|(fd, link)| Some((fd.parse().ok()?, link))).collect()
}

fn files(item: &Value) -> &[Value] {
    item["files"].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn descriptors_are_those_of_proc() {
    for guest in exact_guests() {
        let Some(truth) = guest.has_truth("process/fd").then(|| guest.truth_by_task("process/fd"))
        else {
            continue;
        };
        let mut session = guest.session();
        let tasks = items(&mut session, "foreach files");
        let by_pid: BTreeMap<u64, &Value> =
            tasks.iter().map(|task| (number(task, "pid"), task)).collect();
        let (mut compared, mut seen) = (0, BTreeSet::new());
        for (pid, listing) in &truth {
            // Whoever was looking had files open that it was looking at.
            if listing.contains("/lab/truth") {
                continue;
            }
            let Some(task) = by_pid.get(&u64::from(*pid)) else { continue };
            let what = format!("{}: pid {pid}", guest.name());
            let expected = links(listing);
            let found: BTreeMap<u64, &Value> =
                files(task).iter().map(|file| (number(file, "fd"), &file["link"])).collect();
            assert!(found.keys().eq(expected.keys()), "{what}: {found:?}");
            for (fd, link) in found {
                let link = link.as_str().unwrap_or_else(|| panic!("{what}: {link}"));
                assert_eq!(Some(&link), expected.get(&fd), "{what}, descriptor {fd}");
                seen.insert(link.split(['[', '(']).next().unwrap_or(link).to_owned());
                compared += 1;
            }
        }
        assert!(compared > 20, "{}: {compared} descriptors", guest.name());
        for kind in ["pipe:", "socket:", "anon_inode:", "/tmp/deleted ", "/mnt/ext4/locked"] {
            assert!(
                seen.contains(kind) || guest.kernel.starts_with('7'),
                "{}: {kind}",
                guest.name()
            );
        }
    }
}

#[test]
fn text_has_the_columns_of_crash() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let life = text(&mut session, "foreach life-files files");
    assert!(life.contains(
        "ROOT: /    CWD: /\n \
         FD       FILE            DENTRY           INODE       TYPE PATH\n"
    ));
    let rows: Vec<&str> = life.lines().skip(3).collect();
    assert_eq!(rows.len(), 11, "{life}");
    let row = rows.iter().find(|row| row.ends_with("/mnt/ext4/locked")).expect("the locked file");
    assert!(row.starts_with("  5 ff") && row.contains(" REG  /"), "{row}");
    assert!(life.contains(" UNKN [eventfd]\n") && life.contains(" FIFO \n"));
    let pages = text(&mut session, "foreach life-files files -c");
    assert!(pages.contains(" FD      INODE          I_MAPPING     NRPAGES TYPE PATH\n"));
    assert!(pages.contains("     256 REG  /mnt/ext4/locked\n"), "{pages}");
    let found = text(&mut session, "foreach files -R ext4/locked");
    assert_eq!(found.lines().filter(|line| line.starts_with("PID:")).count(), 1);
    assert!(found.contains("ROOT: /    CWD: / \n") && found.ends_with("/mnt/ext4/locked\n\n"));
    let both = text(&mut session, "files 0");
    assert_eq!(both.matches("No open files\n\n").count(), 2, "an idle task for each CPU");
    assert!(failure(&mut session, "files xyzzy").contains("invalid task or pid value: xyzzy"));
}

#[test]
fn a_dentry_tells_its_inode_and_path() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let tasks = items(&mut session, "foreach life-files files");
    for file in files(&tasks[0]) {
        let entry = items(&mut session, &format!("files -d {}", string(file, "dentry")));
        assert_eq!(entry[0]["inode"], file["inode"]);
        assert_eq!(entry[0]["type"], file["type"]);
        assert_eq!(entry[0]["path"], file["path"]);
    }
}

#[test]
fn mounts_are_those_of_mountinfo() {
    for guest in exact_guests() {
        if !guest.has_truth("self/mountinfo") {
            continue;
        }
        let truth = guest.truth("self/mountinfo");
        let mounts = items(&mut guest.session(), "mount");
        let by_id: BTreeMap<u64, &Value> =
            mounts.iter().filter_map(|mount| Some((mount["id"].as_u64()?, mount))).collect();
        let mut compared = 0;
        for line in truth.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let dash = words.iter().position(|word| *word == "-").expect("a separator");
            let id: u64 = words[0].parse().expect("an id");
            let mount = by_id.get(&id).unwrap_or_else(|| panic!("{}: mount {id}", guest.name()));
            for (member, said) in
                [("directory", words[4]), ("type", words[dash + 1]), ("device", words[dash + 2])]
            {
                assert_eq!(string(mount, member), said, "{}: mount {id}", guest.name());
            }
            compared += 1;
        }
        assert!(compared > 5, "{}: {compared} mounts", guest.name());
    }
}

#[test]
fn words_choose_mounts() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let all = items(&mut session, "mount");
    let ext4 = all.iter().find(|mount| mount["type"] == "ext4").expect("an ext4");
    let tasks = items(&mut session, "foreach life-files files -R locked");
    let inode = string(&files(&tasks[0])[0], "inode").to_owned();
    for word in [
        "ext4",
        "/mnt/ext4/",
        "/dev/loop0",
        string(ext4, "mount"),
        string(ext4, "vfsmount"),
        string(ext4, "super_block"),
        &inode,
    ] {
        assert_eq!(
            items(&mut session, &format!("mount {word}")),
            std::slice::from_ref(ext4),
            "{word}"
        );
    }
    assert!(failure(&mut session, "mount nosuch").contains("nosuch"));
    // A namespace of its own has copies.
    let pid = number(&items(&mut session, "foreach life-ns files")[0], "pid");
    let inner = items(&mut session, &format!("mount -n {pid}"));
    assert_eq!(inner.len(), all.len());
    assert!(inner.iter().all(|mount| !all.contains(mount)));
}

#[test]
fn users_of_a_file_are_found_by_path_and_by_inode() {
    for guest in Guest::all().into_iter().filter(|guest| guest.kernel == "6.12") {
        if guest.case == "large" || !guest.has_truth("process/fd") {
            continue;
        }
        let mut session = guest.session();
        let users = items(&mut session, "fuser /mnt/ext4/locked");
        assert_eq!(users.len(), 1, "{}: {users:?}", guest.name());
        assert_eq!(string(&users[0], "command"), "life-files");
        assert_eq!(users[0]["usage"], serde_json::json!(["fd", "mmap"]));
        let tasks = items(&mut session, "foreach life-files files -R locked");
        let inode = string(&files(&tasks[0])[0], "inode").to_owned();
        let by_inode = items(&mut session, &format!("fuser {inode}"));
        assert_eq!(by_inode[0]["task"], users[0]["task"]);
    }
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    assert_eq!(text(&mut session, "fuser /nosuch"), "No users of /nosuch found\n");
    assert!(failure(&mut session, "fuser locked").contains("invalid argument: locked"));
    let everybody = items(&mut session, "fuser /");
    assert!(everybody.len() > 50);
    assert!(everybody.iter().all(|user| user["usage"] == serde_json::json!(["root", "cwd"])));
}

/// The whole dumps: only they have what files hold.
fn raw_guests() -> Vec<Guest> {
    let products = guests::products().into_iter();
    let raw = products.filter(|product| product.capture == "raw" && product.case == "sysrq");
    raw.map(|product| Guest { kernel: product.kernel, case: product.case, dump: product.path })
        .collect()
}

#[test]
fn files_in_memory_are_written_out() {
    let guests = raw_guests();
    assert!(!guests.is_empty(), "the lab has made no whole dump");
    let target = std::env::temp_dir().join(format!("mortis-pagecache-{}", std::process::id()));
    for guest in guests {
        let mut session = guest.session();
        let mut contents = |path: &str| {
            let line = format!("pagecache -w {} {path}", target.display());
            let report = items(&mut session, &line);
            assert_eq!(report[0]["absent"], serde_json::json!([]), "{}: {path}", guest.name());
            std::fs::read(&target).expect("a file was written")
        };
        let locked = contents("/mnt/ext4/locked");
        assert_eq!(locked.len(), 1 << 20);
        for (number, page) in locked.chunks(4096).enumerate() {
            let expected = format!("mortis file page {number}\0");
            assert!(page.starts_with(expected.as_bytes()), "{}: page {number}", guest.name());
        }
        let random = contents("/mnt/tmpfs/random");
        assert!(
            random.len() >= 4096 && random.chunks(4096).all(|page| page.iter().any(|&b| b != 0))
        );
        // What the guest wrote down is in its page cache, too.
        for name in ["mounts", "version", "slabinfo"] {
            let cached = contents(&format!("/lab/truth/{name}"));
            assert_eq!(String::from_utf8_lossy(&cached), guest.truth(name), "{}", guest.name());
        }
        let listed = items(&mut session, "pagecache -s /mnt/ext4");
        let locked = listed.iter().find(|file| file["path"] == "/mnt/ext4/locked");
        let locked = locked.expect("the locked file is listed");
        assert_eq!(number(locked, "pages"), 256);
        let inode = string(locked, "inode").to_owned();
        let pages = items(&mut session, &format!("files -p {inode}"));
        let folios = pages[1..].iter();
        assert_eq!(folios.map(|folio| number(folio, "pages")).sum::<u64>(), 256);
        let nodes = items(&mut session, &format!("files -n {inode}"));
        assert_eq!(nodes[1..].iter().map(|node| number(node, "pages")).sum::<u64>(), 256);
        assert!(failure(&mut session, "pagecache /nosuch").contains("not in memory"));
    }
    let _ = std::fs::remove_file(&target);
}

#[test]
fn pages_that_the_dump_lacks_are_zeroes_and_told() {
    let guest = Guest::of("6.12", "sysrq", "c31");
    let target = std::env::temp_dir().join(format!("mortis-excluded-{}", std::process::id()));
    let line = format!("pagecache -w {} /mnt/ext4/locked", target.display());
    let answer = capture(&mut guest.session(), &line, Face::Json).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["items"][0]["excluded"], serde_json::json!([[0, 255]]));
    let warning = answer["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("256 pages not in the dump: 0-255"), "{warning}");
    let written = std::fs::read(&target).expect("a file was written");
    assert!(written.len() == 1 << 20 && written.iter().all(|&byte| byte == 0));
    let _ = std::fs::remove_file(&target);
}

const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

/// The sample with `faults` in its memory.
fn damaged(faults: Faults) -> Session {
    let dump = Dump::open(SAMPLE).expect("the sample opens");
    let dump = dump.with_view(|below| Arc::new(FaultyMemory { below, faults }));
    let kernel = Kernel::open(Arc::new(dump), None, KernelOptions::default()).expect("a kernel");
    let settings = Settings { face: Face::Json, ..Settings::default() };
    Session::new(Arc::new(kernel), OpenedFiles::default(), settings)
}

fn hex(value: &Value) -> VirtAddr {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).expect("an address");
    VirtAddr(u64::from_str_radix(digits, 16).expect("an address"))
}

/// An answer of `files` to a damaged dump: the items and the warnings.
fn answer(session: &mut Session, line: &str) -> (Vec<Value>, Vec<Value>) {
    let json = capture(session, line, Face::Json).unwrap_or_else(|error| panic!("{line}: {error}"));
    let answer: Value = serde_json::from_str(&json).expect("JSON");
    let all = |member: &str| answer[member].as_array().cloned().unwrap_or_default();
    (all("items"), all("warnings"))
}

/// Where members of the sample's first process with files lie.
struct Places {
    pid: u64,
    files: usize,
    first: Value,
    /// `fdtable.max_fds`, `.fd` and the first slot of the latter.
    size: PhysAddr,
    slots: PhysAddr,
    slot: PhysAddr,
    /// The first file's directory entry's `d_parent`.
    parent: PhysAddr,
}

fn places() -> Places {
    let mut session = damaged(Faults::default());
    let (tasks, warnings) = answer(&mut session, "foreach files");
    assert_eq!(warnings, Vec::<Value>::new(), "the sample is sound");
    let has_path = |task: &&Value| {
        files(task).first().is_some_and(|file| {
            file["path"].as_str().is_some_and(|path| path.matches('/').count() > 1)
        })
    };
    let task = tasks.iter().find(has_path).expect("a process with a file in a directory").clone();
    let first = files(&task)[0].clone();
    let kernel = Arc::clone(&session.kernel);
    let member = |session: &Session, expression: String| {
        session.address(&format!("(&({expression}))")).expect("a member")
    };
    let task_expression = format!("((struct task_struct *){})", string(&task, "task"));
    let table = format!("{task_expression}->files->fdt");
    let place = |address: VirtAddr| kernel.memory().translate(address).expect("in the dump");
    let slots = member(&session, format!("{table}->fd"));
    let fd = number(&first, "fd");
    let slot = kernel.memory().read_pointer(slots).expect("a pointer").offset(fd * 8);
    let parent = format!("((struct dentry *){})->d_parent", string(&first, "dentry"));
    Places {
        pid: number(&task, "pid"),
        files: files(&task).len(),
        size: place(member(&session, format!("{table}->max_fds"))),
        slots: place(slots),
        slot: place(slot),
        parent: place(member(&session, parent)),
        first,
    }
}

#[test]
fn damaged_tables_and_directories_give_what_there_is_and_one_warning() {
    let places = places();
    let line = format!("files {}", places.pid);
    let wild = 0xdead_0000_0000_0100u64.to_le_bytes();
    let ask = |at: PhysAddr, bytes: &[u8]| {
        let mut faults = Faults::default();
        faults.change(at, bytes);
        let (tasks, warnings) = answer(&mut damaged(faults), &line);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        tasks[0].clone()
    };
    let task = ask(places.size, &u32::MAX.to_le_bytes());
    assert!(task["problem"].as_str().is_some_and(|said| said.contains("impossible number")));
    assert_eq!(task["root"], "/");
    let task = ask(places.slots, &wild);
    assert!(task["problem"].as_str().is_some() && files(&task).is_empty());
    // A wild file spoils its own line.
    let task = ask(places.slot, &wild);
    assert_eq!(files(&task).len(), places.files);
    assert_eq!(files(&task)[0]["path"]["unavailable"], "unmapped");
    // Its directory is below itself.
    let dentry = hex(&places.first["dentry"]);
    let mut session = damaged(Faults::default());
    let parent_of = |session: &mut Session, dentry: VirtAddr| {
        let at = format!("(&((struct dentry *){:#x})->d_parent)", dentry.0);
        let at = session.address(&at).expect("a member");
        let memory = session.kernel.memory();
        (memory.translate(at).expect("in the dump"), memory.read_pointer(at).expect("a pointer"))
    };
    let (at, parent) = parent_of(&mut session, dentry);
    assert_eq!(at, places.parent);
    let (above, _) = parent_of(&mut session, parent);
    let task = ask(above, &dentry.0.to_le_bytes());
    assert_eq!(files(&task).len(), places.files);
    assert_eq!(files(&task)[0]["path"]["unavailable"], "unknown");
}

#[test]
fn a_damaged_list_of_inodes_gives_what_comes_before_it() {
    let sound = items(&mut damaged(Faults::default()), "pagecache");
    assert!(!sound.is_empty());
    let mut session = damaged(Faults::default());
    let inode = string(&sound[0], "inode").to_owned();
    let at = session.address(&format!("(&((struct inode *){inode})->i_sb_list.next)"));
    let at = at.expect("a member");
    let at = session.kernel.memory().translate(at).expect("in the dump");
    drop(session);
    session = {
        let mut faults = Faults::default();
        faults.change(at, &0xdead_0000_0000_0100u64.to_le_bytes());
        damaged(faults)
    };
    let (files, warnings) = answer(&mut session, "pagecache");
    assert!(files.iter().any(|file| string(file, "inode") == inode));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}
