//! `mod -s` and `-S`: what the files of modules add.

mod guests;

use guests::{Guest, failure, items, session, string, text};
use mortis_shell::session::Session;
use std::collections::BTreeMap;

const KERNELS: [&str; 2] = ["6.12", "7.x"];

/// Where the guest's modules have their sections, as `/sys/module` said.
fn sections(guest: &Guest) -> BTreeMap<(String, String), u64> {
    let truth = guest.truth("sections");
    let section = |line: &str| {
        let mut words = line.split(' ');
        let (module, name, address) = (words.next()?, words.next()?, words.next()?);
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).ok()?;
        Some(((module.to_owned(), name.to_owned()), address))
    };
    truth.lines().filter_map(section).collect()
}

fn use_file(session: &mut Session, kernel: &str, module: &str) {
    let file = mortis_lab::module_debug(kernel, module);
    text(session, &format!("mod -s {module} {}", file.display()));
}

#[test]
fn sections_lie_where_the_guest_has_them() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let session = guest.session();
        let truth = sections(&guest);
        assert!(!truth.is_empty(), "{kernel}");
        let mut seen = 0;
        for module in session.kernel.modules().0 {
            for (name, address) in module.sections(&session.kernel).expect("sections") {
                let wanted = truth.get(&(module.name.clone(), name.clone()));
                assert_eq!(wanted, Some(&address.0), "{kernel} {} {name}", module.name);
                seen += 1;
            }
        }
        assert_eq!(seen, truth.len(), "{kernel}");
    }
}

#[test]
fn a_file_tells_lines_and_types() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let before = &items(&mut session, "sym virtnet_open")[0];
        assert!(before["line"].is_null(), "{kernel}: {before}");
        use_file(&mut session, kernel, "virtio_net");
        use_file(&mut session, kernel, "loop");
        let after = &items(&mut session, "sym virtnet_open")[0];
        assert!(string(after, "line").contains("drivers/net/virtio_net.c: "), "{kernel}: {after}");
        assert_eq!(
            text(&mut session, "sym -s virtnet_open").trim_end().rsplit(' ').next(),
            Some("[.text]")
        );
        assert_eq!(
            text(&mut session, "whatis loop_ctl_mutex"),
            "struct mutex loop_ctl_mutex;\n",
            "{kernel}"
        );
        let row = items(&mut session, "mod").into_iter().find(|row| row["name"] == "loop");
        let row = row.expect("loop is loaded");
        assert!(string(&row, "object_file").ends_with("loop.ko"), "{kernel}: {row}");
        text(&mut session, "mod -D");
        let gone = &items(&mut session, "sym virtnet_open")[0];
        assert!(gone["line"].is_null(), "{kernel}: {gone}");
    }
}

#[test]
fn backtraces_through_a_module_have_its_lines() {
    let kernel = "6.12";
    let guest = Guest::filtered(kernel, "bug");
    let mut session = session(&[guest.dump.clone(), mortis_lab::vmlinux(kernel)]);
    assert!(!text(&mut session, "bt -l").contains("mortis_lab.c: "), "{kernel}");
    use_file(&mut session, kernel, "mortis_lab");
    let trace = text(&mut session, "bt -l");
    assert!(trace.contains("mortis_lab.c: "), "{kernel}: {trace}");
    assert!(trace.contains("mortis_bug"), "{kernel}: {trace}");
}

#[test]
fn a_file_of_another_build_is_refused() {
    let guest = Guest::of("6.12", "sysrq", "c31");
    let mut session = guest.session();
    let file = mortis_lab::module_debug("7.x", "virtio_net");
    let error = failure(&mut session, &format!("mod -s virtio_net {}", file.display()));
    assert!(error.contains("build-id"), "{error}");
    let error = failure(&mut session, "mod -s virtio_net /dev/null");
    assert!(error.contains("/dev/null"), "{error}");
    assert!(failure(&mut session, "mod -s nosuch").contains("Usage"));
    assert!(failure(&mut session, "mod -S /nonexistent").contains("not a directory"));
}

#[test]
fn all_files_below_a_directory_are_used() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let file = mortis_lab::module_debug(kernel, "virtio_net");
        let directory = file.parent().expect("a directory");
        // The lab's own module is elsewhere.
        let missing = failure(&mut session, &format!("mod -S {}", directory.display()));
        assert!(missing.contains("mortis_lab module"), "{kernel}: {missing}");
        let with_files = items(&mut session, "mod")
            .iter()
            .filter(|row| row.get("object_file").is_some())
            .count();
        assert!(with_files >= 5, "{kernel}: {with_files}");
    }
}
