//! `p`, `struct`, `whatis`, `sym`, `rd`, `vtop` and `dis` on real dumps: against what the guests
//! said of themselves, with every source of types, and against layouts that do not change.

mod guests;

use guests::{Guest, failure, items, session, session_with, text};
use mortis_debuginfo::dwarf::{Dwarf, DwarfTypes};
use mortis_debuginfo::types::{TypeSource, type_name};
use mortis_kernel::globals;
use mortis_kernel::vmlinux::Vmlinux;
use mortis_memory::UserAddr;
use mortis_shell::KernelOptions;
use std::collections::HashMap;
use std::sync::Arc;

const KERNELS: [&str; 2] = ["6.12", "7.x"];

/// The addresses of symbols as the guest's own kernel listed them.
fn kallsyms(guest: &Guest) -> HashMap<String, Vec<u64>> {
    let mut symbols: HashMap<String, Vec<u64>> = HashMap::new();
    for line in guest.truth("kallsyms").lines() {
        let mut words = line.split_whitespace();
        if let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            symbols.entry(name.to_owned()).or_default().push(address);
        }
    }
    symbols
}

/// Lines whose answers neither lines, inlines nor locals are part of.
const LINES: &[&str] = &[
    "p jiffies",
    "p init_task.comm",
    "p &init_task.tasks",
    "p init_task",
    "p -x init_task.cpus_mask",
    "p init_task.cred->uid.val",
    "p *init_task.cred",
    "p *init_task.comm@4",
    "p init_uts_ns",
    "p linux_banner",
    "p runqueues",
    "p runqueues:a",
    "p runqueues:1.cfs.load",
    "p __per_cpu_offset",
    "p avenrun",
    "p system_state",
    "p saved_command_line",
    "p schedule",
    "p &schedule",
    "p schedule+5",
    "p panic",
    "p zone_names",
    "p sizeof(struct page) * 64 - 1",
    "p (char)65",
    "p ((struct task_struct *)&init_task)->pid == 0",
    "p PIDTYPE_PID",
    "p socket_file_ops",
    "struct task_struct",
    "struct -o task_struct",
    "struct -ox page",
    "struct page.lru -o",
    "struct task_struct init_task",
    "struct task_struct.pid,comm,tasks,se.load,sched_migrated init_task",
    "struct mm_struct.mm_count,pgd init_mm",
    "struct task_struct.pid -l task_struct.tasks init_task.tasks",
    "struct rq.nr_running,cpu runqueues:a",
    "struct list_head init_task.tasks -c 3",
    "struct list_head -r init_task.tasks",
    "struct task_struct.cred,comm,mm -p init_task",
    "*task_struct.pid init_task",
    "list_head",
    "pmd_t",
    "union rcu_special",
    "whatis jiffies",
    "whatis panic",
    "whatis runqueues",
    "whatis linux_banner",
    "whatis zone_type",
    "whatis ZONE_NORMAL",
    "whatis u64",
    "whatis work_func_t",
    "whatis atomic_t",
    "whatis init_task.pid",
    "whatis unsigned long",
    "whatis -o list_head",
    "whatis struct task_struct.pid",
    "sym jiffies",
    "sym -q sysrq_handle",
    "rd jiffies 4",
    "rd -s init_task 20",
    "rd -a linux_banner",
    "rd -32 jiffies 5",
    "vtop jiffies",
    "dis sysrq_handle_crash",
    "dis -x schedule 8",
];

#[test]
fn every_source_of_types_gives_the_same_answers() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let with_vmlinux = [guest.dump.clone(), mortis_lab::vmlinux(kernel)];
        let mut alone = guest.session();
        let mut btf = session(&with_vmlinux);
        let mut dwarf = session_with(&with_vmlinux, KernelOptions { without_btf: true });
        for line in LINES {
            let expected = text(&mut alone, line);
            assert!(!expected.is_empty(), "{kernel}: {line}");
            for (session, from) in [(&mut btf, "with a vmlinux"), (&mut dwarf, "from DWARF")] {
                let given = text(session, line);
                // Only a vmlinux knows the lines of code.
                let expected = expected.lines().map(|line| line.trim_end());
                let without_lines = |line: &str| {
                    line.split(" debian/").next().unwrap_or(line).trim_end().to_owned()
                };
                let given: Vec<String> = given.lines().map(without_lines).collect();
                assert_eq!(given, expected.collect::<Vec<_>>(), "{kernel} {from}: {line}");
            }
        }
    }
}

#[test]
fn the_table_of_globals_declares_what_dwarf_says() {
    for kernel in KERNELS {
        let vmlinux = Vmlinux::open(&mortis_lab::vmlinux(kernel)).expect("a vmlinux");
        let dwarf = Dwarf::new(Arc::clone(vmlinux.elf())).expect("DWARF");
        let types = DwarfTypes::new(Arc::new(dwarf), "DWARF");
        let mut compared = 0;
        for (symbol, declared) in globals::declared_types() {
            let Some(ty) = types.variable(symbol) else { continue };
            let spelled = type_name(&types, ty);
            let open = |spelled: &str| match spelled.rfind('[') {
                Some(at) if declared.ends_with("[]") => format!("{}[]", &spelled[..at]),
                _ => spelled.to_owned(),
            };
            assert_eq!(open(&spelled), declared, "{kernel}: {symbol}");
            compared += 1;
        }
        assert!(compared > 600, "{kernel}: {compared}");
    }
}

#[test]
fn symbols_are_where_the_guest_said() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let truth = kallsyms(&guest);
        for (symbol, _) in globals::declared_types().step_by(7) {
            let Some([address]) = truth.get(symbol).map(Vec::as_slice) else { continue };
            let pointer = &items(&mut session, &format!("p &{symbol}"))[0];
            assert_eq!(pointer["value"]["pointer"], format!("{address:#x}"), "{kernel}: {symbol}");
            let named = &items(&mut session, &format!("sym {symbol}"))[0];
            assert_eq!(named["address"], format!("{address:#x}"), "{kernel}: {symbol}");
        }
    }
}

#[test]
fn values_are_what_the_guest_said() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let version = guest.truth("version");
        let banner = &items(&mut session, "p linux_banner")[0]["value"]["string"];
        // The pointer shows as much of it as arrays are shown.
        assert!(version.starts_with(banner.as_str().expect("a string")), "{kernel}: {banner}");
        assert_eq!(text(&mut session, "rd -a linux_banner").lines().count(), {
            version.trim_end().len().div_ceil(60)
        });
        let release = &items(&mut session, "p init_uts_ns.name.release")[0]["value"];
        assert!(version.contains(release.as_str().expect("a string")), "{kernel}");
        let cmdline = &items(&mut session, "p saved_command_line")[0]["value"]["string"];
        assert_eq!(cmdline.as_str(), Some(guest.truth("cmdline").trim_end()), "{kernel}");
        assert_eq!(items(&mut session, "p nr_cpu_ids")[0]["value"], 2, "{kernel}");
    }
}

#[test]
fn every_task_has_the_name_that_the_guest_gave_it() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let mut session = guest.session();
        let tasks = session.kernel.tasks().tasks.clone();
        let truth = guest.truth_by_task("task/status");
        let mut compared = 0;
        for task in tasks {
            let Some(status) = truth.get(&task.pid) else { continue };
            let name = status.lines().find_map(|line| line.strip_prefix("Name:\t"));
            let line = format!("struct task_struct.pid,comm {:x}", task.address.0);
            let members = &items(&mut session, &line)[0]["members"];
            assert_eq!(members[0]["value"], task.pid, "{kernel}");
            let comm = members[1]["value"].as_str().expect("a string");
            // A worker's line says more than its name.
            let name = name.expect("a name");
            assert!(name.starts_with(comm), "{kernel}: {} is {comm}, not {name}", task.pid);
            compared += 1;
        }
        assert!(compared > 50, "{kernel}: {compared}");
    }
}

/// Answers that hold for any kernel of these versions, wherever it was loaded.
#[test]
fn layouts_are_those_of_crash() {
    for kernel in KERNELS {
        let mut session = Guest::filtered(kernel, "sysrq").session();
        let mut says = |line: &str, expected: &str| {
            assert_eq!(text(&mut session, line), expected, "{kernel}: {line}");
        };
        says("p 1+2", "$1 = 3\n");
        says("p -x 255", "$2 = 0xff\n");
        says("p 'a'", "$3 = 97 'a'\n");
        says("p (unsigned char)300", "$4 = 44 ','\n");
        says("p (10 > 5)", "$5 = 1\n");
        says("p -7/2", "$6 = -3\n");
        says("p init_task.pid", "$7 = 0\n");
        says("p init_task.comm", "$8 = \"swapper/0\\000\\000\\000\\000\\000\\000\"\n");
        says("p init_task.comm[0]", "$9 = 115 's'\n");
        says("p system_state", "system_state = $10 = SYSTEM_RUNNING\n");
        says("p $1 + 1", "$11 = 4\n");
        says("p $", "$12 = 4\n");
        says("p/x 10", "$13 = 0xa\n");
        says("p &((struct list_head *)0)->prev", "$14 = (struct list_head **) 0x8\n");
        says("p (unsigned char)'a' + 1", "$15 = 98\n");
        says("p init_task.pid_links[1]", "$16 = {\n  next = 0x0,\n  pprev = 0x0\n}\n");
        let list =
            "struct list_head {\n    struct list_head *next;\n    struct list_head *prev;\n}\n";
        says("struct list_head", &format!("{list}SIZE: 16\n"));
        says("struct list_head -x", &format!("{list}SIZE: 0x10\n"));
        says(
            "struct -o list_head",
            "struct list_head {\n   [0] struct list_head *next;\n   [8] struct list_head *prev;\n}\n\
             SIZE: 16\n",
        );
        says("struct list_head.prev", "struct list_head {\n   [8] struct list_head *prev;\n}\n");
        says("struct task_struct.pid init_task", "  pid = 0,\n");
        says("struct rq.cpu runqueues:1", &{
            let address = session_address(kernel);
            format!("[1]: {address}\n  cpu = 1,\n")
        });
        says("whatis jiffies", "volatile unsigned long jiffies;\n");
        says("whatis schedule", "void schedule(void);\n");
        says("whatis pid_t", "typedef int pid_t;\nSIZE: 4\n");
        says("whatis atomic_t", "typedef struct {\n    int counter;\n} atomic_t;\nSIZE: 4\n");
        says("pid_t", "typedef int pid_t;\nSIZE: 4\n");
        says("*list_head.next", "struct list_head {\n   [0] struct list_head *next;\n}\n");
    }
}

/// Where the second CPU's run queue is.
fn session_address(kernel: &str) -> String {
    let session = Guest::filtered(kernel, "sysrq").session();
    format!("{:x}", session.kernel.per_cpu("runqueues", 1).expect("a run queue").0)
}

#[test]
fn what_is_wrong_is_said() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let mut fails = |line: &str, expected: &str| {
        let error = failure(&mut session, line);
        assert!(error.contains(expected), "{line}: {error}");
    };
    fails("p nosuch", "no symbol \"nosuch\"");
    fails("p init_task.nosuch", "no member named nosuch");
    fails("p 1/0", "division by zero");
    fails("p init_task +", "a value expected");
    fails("p $99", "no symbol \"$99\"");
    fails(&format!("p {}1", "1+".repeat(100_000)), "nested too deeply");
    fails(&format!("p {}1", "~".repeat(900)), "nested too deeply");
    fails(&format!("p {}1", "(".repeat(900)), "nested too deeply");
    fails("struct nosuch", "invalid data structure reference: nosuch");
    fails("struct task_struct.nosuch", "invalid data structure reference: task_struct.nosuch");
    fails("union task_struct", "data type mismatch: task_struct is not a union");
    fails("whatis nosuch", "cannot resolve: nosuch");
    fails("struct list_head 0", "invalid kernel virtual address: 0");
    fails(
        "rd ffffffffff000000",
        "invalid kernel virtual address: ffffffffff000000  type: \"64-bit KVADDR\"",
    );
    fails(
        "rd -p fffffffff000",
        "seek error: physical address: fffffffff000  type: \"64-bit PHYSADDR\"",
    );
    fails("sym nosuch", "symbol not found: nosuch");
}

/// A page that makedumpfile left out spoils what lies in it, and says so.
#[test]
fn excluded_memory_is_told_as_such() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let kernel = Arc::clone(&session.kernel);
    kernel.symbols().expect("symbols");
    let memory = kernel.memory();
    let excluded = (0u64..1 << 15).find_map(|pfn| {
        let physical = mortis_memory::PhysAddr(pfn << 12);
        let mut byte = [0];
        let why = memory.physical().read(physical, &mut byte).err()?.why;
        let is_excluded = why == mortis_memory::Unavailable::Excluded;
        memory.direct_address(physical).filter(|_| is_excluded)
    });
    let address = excluded.expect("a page that was left out").0;
    let error = failure(&mut session, &format!("rd {address:x}"));
    assert_eq!(
        error,
        format!("page excluded: kernel virtual address: {address:x}  type: \"64-bit KVADDR\"")
    );
    // A structure that begins on the page before it shows what there is.
    let line = format!("p *(struct list_head *)0x{address:x}");
    let error = failure(&mut session, &line);
    assert!(error.contains("excluded"), "{error}");
}

#[test]
fn json_tells_types_addresses_and_trees() {
    let mut session = Guest::filtered("7.x", "sysrq").session();
    let printed = &items(&mut session, "p init_task")[0];
    assert_eq!(printed["type"], "struct task_struct");
    assert_eq!(printed["value"]["comm"], "swapper/0");
    assert_eq!(printed["value"]["pid"], 0);
    assert_eq!(printed["value"]["real_parent"]["symbol"], "init_task");
    assert_eq!(printed["value"]["real_parent"]["pointer"], printed["address"]);
    let member = &items(&mut session, "struct task_struct.tasks.next init_task")[0]["members"][0];
    assert_eq!(member["name"], "tasks.next");
    assert_eq!(member["type"], "struct list_head *");
    let layout = &items(&mut session, "struct list_head")[0];
    assert_eq!(layout["size"], 16);
    assert_eq!(layout["members"][1]["offset"], 8);
    let state = &items(&mut session, "p system_state")[0]["value"];
    assert_eq!(state["enum"], "SYSTEM_RUNNING");
}

/// The areas of every process, from its maple tree, and the paths of the files in them, from its
/// directories and mounts.
#[test]
fn areas_of_processes_are_those_that_they_saw() {
    for kernel in KERNELS {
        let guest = Guest::filtered(kernel, "sysrq");
        let session = guest.session();
        let kernel_of = &session.kernel;
        let (mut areas, mut files) = (0, 0);
        for (pid, maps) in guest.truth_by_task("process/maps") {
            let Some(task) = kernel_of.task_by_pid(pid) else { continue };
            let mm = task.mm(kernel_of).expect("an mm");
            if mm.is_null() {
                continue;
            }
            for line in maps.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                let Some((start, end)) = words.first().and_then(|range| range.split_once('-'))
                else {
                    continue;
                };
                let number = |digits| u64::from_str_radix(digits, 16).expect("an address");
                let (start, end) = (number(start), number(end));
                // The vsyscall page belongs to no process.
                if start >> 63 != 0 {
                    continue;
                }
                for address in [start, end - 1] {
                    let area = match kernel_of.area_at(mm, UserAddr(address)) {
                        Ok(area) => area.unwrap_or_else(|| panic!("{kernel} {pid}: {line}")),
                        Err(error) => panic!("{kernel} {pid}: {line}: {error}"),
                    };
                    assert_eq!((area.start.0, area.start.0 <= address), (start, true), "{line}");
                    // A stack may have grown since, a heap too.
                    assert!(area.end.0 >= end, "{kernel} {pid}: {line}");
                    areas += 1;
                    let Some(path) = words.get(5).filter(|path| path.starts_with('/')) else {
                        continue;
                    };
                    match area.file.and_then(|file| kernel_of.file_path(file)) {
                        Ok(found) => {
                            // The kernel puts a slash before what is in no directory, too.
                            let same = found == **path || Some(&*found) == path.strip_prefix('/');
                            assert!(same, "{kernel} {pid}: {found} for {path}");
                            files += 1;
                        }
                        Err(error) => panic!("{kernel} {pid}: {line}: {error}"),
                    }
                }
            }
        }
        assert!(areas > 50, "{kernel}: {areas} areas");
        assert!(files > 20, "{kernel}: {files} files");
    }
}
