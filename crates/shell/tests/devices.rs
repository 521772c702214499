//! `dev`, `blk`, `ipcs`, `bpf` and `sbitmapq` against what the guests said just before they died.

mod guests;

use guests::{Guest, failure, items, number, string, text};
use serde_json::Value;

/// The guests with the least that a collector left out: 7.x's larger pages are not understood by
/// the makedumpfile that filtered c31.
fn guests(case: &str) -> Vec<Guest> {
    vec![Guest::of("6.12", case, "c31"), Guest::of("7.x", case, "c23")]
}

/// The number in a member that is hexadecimal text.
fn hex(item: &Value, member: &str) -> u64 {
    let text = string(item, member);
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{item}"))
}

#[test]
fn device_numbers_are_those_of_proc() {
    for guest in guests("sysrq") {
        let rows = items(&mut guest.session(), "dev");
        let listed = |kind: &str| {
            let mut found: Vec<(u64, String)> = rows
                .iter()
                .filter(|row| row["kind"] == kind)
                .map(|row| (number(row, "major"), string(row, "name").to_owned()))
                .collect();
            found.sort();
            found
        };
        let truth = guest.truth("devices");
        let (characters, blocks) = truth.split_once("Block devices:").expect("two lists");
        let said = |text: &str| {
            let mut said: Vec<(u64, String)> = text
                .lines()
                .filter_map(|line| {
                    let (major, name) = line.trim().split_once(' ')?;
                    Some((major.parse().ok()?, name.to_owned()))
                })
                .collect();
            said.sort();
            said
        };
        assert_eq!(listed("character"), said(characters), "{}", guest.name());
        assert_eq!(listed("block"), said(blocks), "{}", guest.name());
        let null = rows.iter().find(|row| row["name"] == "mem").expect("/dev/mem's major");
        assert_eq!(null["operations"], "memory_fops");
    }
}

#[test]
fn resources_are_those_of_proc() {
    for guest in guests("sysrq") {
        let rows = items(&mut guest.session(), "dev -i");
        for (kind, name) in [("ports", "ioports"), ("memory", "iomem")] {
            let found: Vec<(usize, u64, u64, &str)> = rows
                .iter()
                .filter(|row| row["kind"] == kind && row["depth"] != 0)
                .map(|row| {
                    let depth = number(row, "depth") as usize;
                    (depth, hex(row, "start"), hex(row, "end"), string(row, "name"))
                })
                .collect();
            let truth = guest.truth(name);
            let said: Vec<(usize, u64, u64, &str)> = truth
                .lines()
                .map(|line| {
                    let depth = (line.len() - line.trim_start().len()) / 2 + 1;
                    let (range, name) = line.trim().split_once(" : ").expect("range : name");
                    let (start, end) = range.split_once('-').expect("start-end");
                    let parse = |digits| u64::from_str_radix(digits, 16).expect("hexadecimal");
                    (depth, parse(start), parse(end), name)
                })
                .collect();
            assert_eq!(found, said, "{}: {name}", guest.name());
        }
    }
}

#[test]
fn disks_are_those_of_proc() {
    for guest in guests("sysrq") {
        let disks = items(&mut guest.session(), "dev -d");
        let truth = guest.truth("partitions");
        let whole: Vec<(u64, u64, u64, &str)> = truth
            .lines()
            .skip(2)
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let number = |index: usize| words[index].parse().expect("a number");
                (number(0), number(1), number(2), words[3])
            })
            .filter(|(.., name)| !name.starts_with("loop"))
            .collect();
        let found: Vec<(u64, u64, u64, &str)> = disks
            .iter()
            .map(|disk| {
                let sectors = number(disk, "sectors");
                let minor = number(disk, "first_minor");
                (number(disk, "major"), minor, sectors / 2, string(disk, "name"))
            })
            .collect();
        assert_eq!(found, whole, "{}", guest.name());
    }
}

#[test]
fn pci_devices_have_their_drivers() {
    for guest in guests("sysrq") {
        let buses = items(&mut guest.session(), "dev -p");
        assert_eq!(string(&buses[0], "name"), "0000:00");
        let devices = buses[0]["devices"].as_array().expect("devices");
        let host = &devices[0];
        assert_eq!((hex(host, "vendor"), hex(host, "device")), (0x8086, 0x1237), "a 440FX");
        let virtio = devices.iter().filter(|device| hex(device, "vendor") == 0x1af4);
        let drivers: Vec<&str> = virtio.map(|device| string(device, "driver")).collect();
        assert_eq!(drivers, ["virtio-pci"; 3], "{}", guest.name());
    }
}

#[test]
fn device_dumps_are_missed() {
    let guest = Guest::of("6.12", "sysrq", "c31");
    let error = failure(&mut guest.session(), "dev -V");
    assert_eq!(error, "no device dumps found in this dumpfile");
}

#[test]
fn a_request_that_is_never_answered_is_in_flight() {
    for guest in guests("services") {
        let mut session = guest.session();
        let busy = items(&mut session, "blk");
        assert_eq!(busy.len(), 1, "{}: {busy:?}", guest.name());
        assert_eq!(string(&busy[0], "name"), "nullb0");
        assert_eq!((number(&busy[0], "reads"), number(&busy[0], "writes")), (1, 0));
        let request = &busy[0]["requests"][0];
        assert_eq!(string(request, "operation"), "read");
        assert_eq!((number(request, "sector"), number(request, "bytes")), (0, 4096));
        assert!(number(request, "age") < 60_000_000_000, "{}: {request}", guest.name());
        let counted = items(&mut session, "dev -D");
        assert_eq!(counted.len(), 1);
        assert_eq!((number(&counted[0], "total"), number(&counted[0], "read")), (1, 1));

        // The same by way of its tag.
        let queue = string(&busy[0], "request_queue");
        let hardware_queue = number(request, "hardware_queue");
        let tags = format!("((struct request_queue *){queue})->tag_set->tags[{hardware_queue}]");
        let at = |member: &str| {
            let address = session.address(&format!("({tags}->{member})")).expect("a member");
            format!("{:x}", address.0)
        };
        let array = at("rqs");
        let bitmap = {
            let address = session.address(&format!("(&{tags}->bitmap_tags)")).expect("a member");
            format!("{:x}", address.0)
        };
        let report = items(&mut session, &format!("sbitmapq {bitmap}"));
        assert_eq!(report[0]["bits"], serde_json::json!([request["tag"]]), "{}", guest.name());
        assert_eq!(number(&report[0], "busy"), 1);
        let line = format!("sbitmapq -s request.tag -a {array} -p -v {bitmap}");
        let elements = items(&mut session, &line);
        assert_eq!(elements[0]["pointer"], request["request"]);
        assert_eq!(elements[0]["members"][0]["value"], request["tag"]);
    }
}

#[test]
fn device_mapper_devices_tell_what_they_are_made_of() {
    for guest in guests("services") {
        let devices = items(&mut guest.session(), "blk -m");
        let truth = guest.truth("dm-0");
        let said: Vec<&str> = truth.lines().collect();
        let device = &devices[0];
        assert_eq!(devices.len(), 1, "{}", guest.name());
        assert_eq!([string(device, "name"), string(device, "uuid")], said[..2], "{truth}");
        assert_eq!(number(device, "size").to_string(), said[2]);
        assert_eq!(device["state"], serde_json::json!(["ACTIVE"]));
        let targets = device["targets"].as_array().expect("targets");
        let kinds: Vec<&str> = targets.iter().map(|target| string(target, "type")).collect();
        assert_eq!(kinds, ["linear", "error"]);
        let sectors: u64 = targets.iter().map(|target| number(target, "length")).sum();
        assert_eq!(sectors, number(device, "size"));
    }
}

#[test]
fn bpf_objects_are_those_of_fdinfo() {
    for guest in guests("services") {
        let mut session = guest.session();
        let objects = items(&mut session, "bpf -PM -t");
        let truth = guest.truth("fdinfo/bpf");
        let mut seen = 0;
        for object in truth.split("\n\n") {
            let fact = |name: &str| {
                let line = object.lines().find_map(|line| line.split_once(":\t"));
                line.and_then(|_| {
                    object.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(":\t"))
                })
            };
            if let Some(id) = fact("map_id") {
                let map = objects
                    .iter()
                    .find(|map| map["map"].as_u64() == id.parse().ok())
                    .expect("a map");
                for member in ["key_size", "value_size", "max_entries"] {
                    assert_eq!(Some(number(map, member).to_string().as_str()), fact(member));
                }
                seen += 1;
            } else if let Some(id) = fact("prog_id") {
                let found =
                    objects.iter().find(|program| program["program"].as_u64() == id.parse().ok());
                let program = found.expect("a program");
                assert_eq!(Some(string(program, "tag")), fact("prog_tag"));
                assert_eq!(string(program, "type"), "SOCKET_FILTER");
                assert_eq!(program["used_maps"], serde_json::json!([2]));
                let last = program["instructions"].as_array().and_then(|lines| lines.last());
                assert_eq!(last.expect("instructions")["text"], "(95) exit");
                seen += 1;
            }
        }
        assert_eq!((seen, objects.len()), (3, 3), "{}", guest.name());
        let text = text(&mut session, "bpf -p 1 -j");
        assert!(text.contains("endbr64 \n") && text.contains("leave \n"), "{text}");
    }
}

#[test]
fn ipc_objects_are_those_of_proc() {
    for guest in guests("sysrq") {
        let mut session = guest.session();
        let objects = items(&mut session, "ipcs");
        for (kind, file, id, facts) in [
            ("shared_memory", "shm", "shmid", [("bytes", "size"), ("attached", "nattch")]),
            ("semaphores", "sem", "semid", [("count", "nsems"), ("uid", "uid")]),
            ("messages", "msg", "msqid", [("bytes", "cbytes"), ("messages", "qnum")]),
        ] {
            let truth = guest.truth(&format!("sysvipc/{file}"));
            let mut lines = truth.lines();
            let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
            let rows: Vec<&Value> =
                objects.iter().filter(|object| object["kind"] == kind).collect();
            let said: Vec<&str> = lines.collect();
            assert_eq!((rows.len(), said.len()), (1, 1), "{}: {kind}", guest.name());
            let words: Vec<&str> = said[0].split_whitespace().collect();
            let fact = |name: &str| {
                let index = names.iter().position(|known| *known == name).expect(name);
                words[index]
            };
            assert_eq!(hex(rows[0], "key").to_string(), fact("key"));
            assert_eq!(rows[0]["id"].to_string(), fact(id));
            assert_eq!(format!("{:o}", number(rows[0], "mode")), fact("perms"));
            for (member, name) in facts {
                assert_eq!(number(rows[0], member).to_string(), fact(name), "{kind}: {member}");
            }
        }
        let none = failure(&mut session, "ipcs -n 999999");
        assert_eq!(none, "invalid task or pid value: 999999");
        let text = text(&mut session, "ipcs -q 5");
        assert_eq!(text, "invalid id or address: 5\n\n");
    }
}
