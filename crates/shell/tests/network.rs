//! `net` against what the guests' /proc/net said just before they died.

mod guests;

use guests::{Guest, items, number, string, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// The guests with the least that a collector left out: 7.x's larger pages are not understood by
/// the makedumpfile that filtered c31.
fn guests() -> Vec<Guest> {
    vec![Guest::of("6.12", "sysrq", "c31"), Guest::of("7.x", "sysrq", "c23")]
}

/// All sockets that tasks have open, in the JSON of `foreach net -s`.
fn sockets(guest: &Guest) -> Vec<Value> {
    let tasks = items(&mut guest.session(), "foreach net -s");
    assert!(tasks.len() > 50, "{}: an item for each task", guest.name());
    tasks.iter().flat_map(|task| task["sockets"].as_array().cloned().unwrap_or_default()).collect()
}

/// An end of /proc/net/tcp: `0100007F:1F90`.
fn ipv4_end(word: &str) -> String {
    let (address, port) = word.split_once(':').expect("address:port");
    let address = u32::from_str_radix(address, 16).expect("hexadecimal");
    let port = u16::from_str_radix(port, 16).expect("hexadecimal");
    format!("{}:{port}", std::net::Ipv4Addr::from(address.to_le_bytes()))
}

#[test]
fn tcp_sockets_have_the_ends_that_proc_has() {
    for guest in guests() {
        let sockets = sockets(&guest);
        let truth = guest.truth("net/tcp");
        let lines: Vec<Vec<&str>> =
            truth.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.len() >= 3, "{}: life's sockets", guest.name());
        for line in lines {
            let sock = format!("0x{}", line[11]);
            let found = sockets.iter().find(|socket| socket["sock"] == sock.as_str());
            let found = found.unwrap_or_else(|| panic!("{}: {sock}", guest.name()));
            assert_eq!(string(found, "source"), ipv4_end(line[1]), "{}: {line:?}", guest.name());
            assert_eq!(string(found, "destination"), ipv4_end(line[2]), "{}", guest.name());
            let state = if line[3] == "0A" { "LISTEN" } else { "ESTABLISHED" };
            assert_eq!(string(found, "state"), state, "{}: {line:?}", guest.name());
        }
    }
}

#[test]
fn unix_sockets_have_their_paths() {
    for guest in guests() {
        let sockets = sockets(&guest);
        let truth = guest.truth("net/unix");
        let mut paths = 0;
        for line in truth.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let sock = format!("0x{}", words[0].trim_end_matches(':'));
            let found = sockets.iter().find(|socket| socket["sock"] == sock.as_str());
            let found = found.unwrap_or_else(|| panic!("{}: {sock}", guest.name()));
            assert_eq!(string(found, "family"), "UNIX");
            assert_eq!(found["path"].as_str(), words.get(7).copied(), "{}: {line}", guest.name());
            paths += usize::from(found["path"].is_string());
        }
        assert!(paths >= 2, "{}: the listening socket and the accepted one", guest.name());
    }
}

#[test]
fn no_file_but_sockets_is_shown() {
    for guest in guests() {
        let known: BTreeSet<String> = ["tcp", "tcp6", "udp", "udp6", "unix", "netlink", "packet"]
            .iter()
            .flat_map(|table| {
                let text = guest.truth(&format!("net/{table}"));
                let words = text.split_whitespace().map(|w| w.trim_end_matches(':').to_owned());
                words.filter(|word| word.len() == 16).collect::<Vec<_>>()
            })
            .collect();
        for socket in sockets(&guest) {
            let sock = string(&socket, "sock").trim_start_matches("0x").to_owned();
            assert!(known.contains(&sock), "{}: {socket}", guest.name());
        }
    }
}

#[test]
fn devices_are_those_of_proc() {
    for guest in guests() {
        let mut session = guest.session();
        let devices = items(&mut session, "net");
        let names: Vec<&str> = devices.iter().map(|device| string(device, "name")).collect();
        let truth = guest.truth("net/dev");
        let expected: Vec<&str> = truth
            .lines()
            .skip(2)
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()))
            .collect();
        assert_eq!(names, expected, "{}", guest.name());
        let lo = &devices[0]["addresses"];
        assert_eq!(lo[0]["address"], "127.0.0.1");
        assert_eq!((&lo[0]["prefix_len"], &lo[1]["prefix_len"]), (&8.into(), &128.into()));
        assert_eq!(
            items(&mut session, "net -n 1"),
            devices,
            "{}: init is in the first",
            guest.name()
        );
        let text = text(&mut session, "net");
        assert!(text.contains("  lo         127.0.0.1, ::1\n"), "{text}");
    }
}

#[test]
fn a_reference_leaves_only_what_it_names() {
    for guest in guests() {
        let mut session = guest.session();
        let all = items(&mut session, "foreach net -s");
        let owner = all.iter().find(|task| task["command"] == "life-sockets").expect("life");
        let socket = &owner["sockets"][2];
        for reference in [string(socket, "sock"), string(socket, "socket")] {
            let found = items(&mut session, &format!("foreach net -s -R {reference}"));
            assert_eq!(found.len(), 1, "{}: {found:?}", guest.name());
            assert_eq!(&found[0]["sockets"][0], socket);
        }
        let pid = number(owner, "pid");
        let fd = number(socket, "fd");
        let found = items(&mut session, &format!("net -s -R {fd} {pid}"));
        assert_eq!(found[0]["sockets"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn structures_follow_their_sockets() {
    for guest in guests() {
        let mut session = guest.session();
        let all = items(&mut session, "foreach life-sockets net -S");
        let socket = &all[0]["sockets"][0];
        assert_eq!(socket["structures"][0]["type"], "struct socket");
        assert_eq!(socket["structures"][0]["value"]["sk"]["pointer"], socket["sock"]);
        assert_eq!(socket["structures"][1]["type"], "struct inet_sock");
    }
}
