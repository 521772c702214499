//! `sym`, `sys -c` and expressions against what the guests said of themselves just before they
//! died.

mod guests;

use guests::{Guest, failure, items, number, session, string, text};
use std::collections::BTreeSet;

const KERNELS: [&str; 2] = ["6.12", "7.x"];

/// Name, address and module of every line of the guest's kallsyms that is a module's.
fn module_symbols(guest: &Guest) -> Vec<(String, String, String)> {
    let kallsyms = guest.truth("kallsyms");
    let of_module = |line: &str| {
        let mut words = line.split_whitespace();
        let (address, _, name) = (words.next()?, words.next()?, words.next()?);
        let module = words.next()?.trim_matches(['[', ']']);
        let address = u64::from_str_radix(address, 16).ok()?;
        Some((name.to_owned(), format!("{address:#x}"), module.to_owned()))
    };
    kallsyms.lines().filter_map(of_module).collect()
}

#[test]
fn symbols_of_modules_stand_between_the_marks_of_their_memory() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let truth = module_symbols(&guest);
        for line in guest.truth("modules").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (module, base) = (words[0], words[5]);
            let listed = items(&mut session, &format!("sym -m {module}"));
            let (marks, symbols): (Vec<_>, Vec<_>) =
                listed.iter().partition(|item| item.get("mark").is_some());
            let start = marks
                .iter()
                .find(|mark| matches!(string(mark, "mark"), "MODULE TEXT START" | "MODULE START"));
            let start = start.unwrap_or_else(|| panic!("{module} has no text"));
            assert_eq!(string(start, "address"), base, "{kernel} {module}");
            assert_eq!(marks.len() % 2, 0, "{kernel} {module}");
            let found: BTreeSet<(&str, &str)> = symbols
                .iter()
                .map(|symbol| (string(symbol, "name"), string(symbol, "address")))
                .collect();
            let wanted: BTreeSet<(&str, &str)> = truth
                .iter()
                .filter(|(.., of)| of == module)
                .map(|(name, address, _)| (name.as_str(), address.as_str()))
                .collect();
            assert!(!wanted.is_empty(), "{kernel} {module}");
            assert_eq!(found, wanted, "{kernel} {module}");
        }
    }
}

#[test]
fn a_part_of_a_name_finds_all_that_hold_it() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let kallsyms = guest.truth("kallsyms");
        let name = |line: &str| line.split_whitespace().nth(2).unwrap_or_default().to_owned();
        // What BPF programs and ftrace made is no symbol of the kernel's.
        let is_own = |line: &&str| !line.ends_with("[bpf]") && !line.contains("[__builtin");
        let wanted =
            kallsyms.lines().filter(is_own).filter(|line| name(line).contains("sysrq")).count();
        let found = items(&mut session, "sym -q sysrq");
        assert_eq!(found.len(), wanted, "{kernel}");
        let count = &items(&mut session, "sym -Q sysrq")[0];
        assert_eq!(number(count, "found"), wanted as u64, "{kernel}");
        assert_eq!(text(&mut session, "sym -q nosuchname"), "(none found)\n");
        assert!(failure(&mut session, "sym nosuchname").starts_with("symbol not found"));
    }
}

#[test]
fn a_vmlinux_tells_sections_and_what_kallsyms_leaves_out() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = session(&[guest.dump.clone(), mortis_lab::vmlinux(kernel)]);
        let section = |session: &mut _, name: &str| {
            string(&items(session, &format!("sym -s {name}"))[0], "section").to_owned()
        };
        assert_eq!(section(&mut session, "schedule"), ".text", "{kernel}");
        assert_eq!(section(&mut session, "linux_banner"), ".rodata", "{kernel}");
        assert_eq!(section(&mut session, "start_kernel"), ".init.text", "{kernel}");
        assert!(!items(&mut session, "sym -q __kstrtab_printk").is_empty(), "{kernel}");
        let per_cpu = &items(&mut session, "sym runqueues")[0];
        assert!(matches!(string(per_cpu, "letter"), "D" | "d"), "{kernel}: {per_cpu}");
    }
}

#[test]
fn system_calls_have_the_numbers_of_the_abi() {
    const CALLS: [(u64, &str); 5] = [
        (0, "__x64_sys_read"),
        (1, "__x64_sys_write"),
        (60, "__x64_sys_exit"),
        (169, "__x64_sys_reboot"),
        (257, "__x64_sys_openat"),
    ];
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = session(&[guest.dump.clone(), mortis_lab::vmlinux(kernel)]);
        let all = items(&mut session, "sys -c");
        assert!((440..700).contains(&all.len()), "{kernel}: {}", all.len());
        for (index, name) in CALLS {
            let call = &items(&mut session, &format!("sys -c {index}"))[0];
            assert_eq!(string(call, "name"), name, "{kernel}");
            assert_eq!(number(call, "number"), index, "{kernel}");
            assert!(string(call, "source").starts_with("../"), "{kernel}: {call}");
        }
        let read = &items(&mut session, "sys -c sys_pread64")[0];
        assert!(string(read, "source").starts_with("../fs/read_write.c: "), "{kernel}: {read}");
        assert!(items(&mut session, "sys -c nosuchcall").is_empty());
        assert!(failure(&mut session, "sys config").contains("kernel_config_data"));
    }
}

#[test]
fn expressions_are_c_and_a_little_of_gdb() {
    let guest = Guest::of("6.12", "sysrq", "c31");
    let mut session = guest.session();
    let mut value = |expression: &str| {
        let text = text(&mut session, &format!("p {expression}"));
        text.split_once(" = ").map(|(_, value)| value.trim_end().to_owned()).unwrap_or(text)
    };
    assert_eq!(value("1.5*2"), "3");
    assert_eq!(value("1.0/3"), "0.33333333333333331");
    assert_eq!(value("1e3"), "1000");
    assert_eq!(value("(1 > 2)"), "0");
    assert_eq!(value("1?2:3"), "2");
    assert_eq!(value("0 ? 2 : 0 ? 3 : 4"), "4");
    assert_eq!(value("5,6"), "6");
    assert_eq!(value("(int)3.9 + 1"), "4");
    assert_eq!(value("(1,2) ? 'a' + 1 : 0"), "98");
    assert_eq!(value("{int}&init_task.pid"), "0");
    assert_eq!(value("(!0.5)"), "0");
    assert!(failure(&mut session, "p 1.5 % 2").contains('%'));
    assert!(failure(&mut session, "p 1 ? 2").contains("expected"));
}
