//! `bt` against what the guests said of their stacks: the oops they died of, and sysrq-t.

mod guests;

use guests::{Guest, items, number, session, string, text};
use mortis_memory::VirtAddr;
use mortis_shell::KernelOptions;
use mortis_shell::session::Session;
use serde_json::Value;
use std::collections::BTreeMap;

/// A certain line of a call trace: symbol and offset.
type Certain = (String, u64);

/// What a printk record says, without time stamp and caller.
fn message(line: &str) -> &str {
    let mut rest = line.trim_end();
    while let Some(inner) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        rest = inner.1;
    }
    rest
}

/// When the record was written, in nanoseconds.
fn stamp(line: &str) -> Option<u64> {
    let (seconds, _) = line.trim_start_matches('[').split_once(']')?;
    let (seconds, micros) = seconds.trim().split_once('.')?;
    Some((seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?) * 1000)
}

/// ` schedule+0x27/0xc0 [module]`, unless it is marked as a guess.
fn certain(line: &str) -> Option<Certain> {
    let line = message(line).strip_prefix(' ')?.trim_start();
    let (symbol, rest) = line.split_once("+0x")?;
    let (offset, rest) = rest.split_once("/0x")?;
    let size = rest.split(' ').next()?;
    u64::from_str_radix(size, 16).ok()?;
    let is_name = !symbol.contains(' ');
    is_name.then_some((symbol.to_owned(), u64::from_str_radix(offset, 16).ok()?))
}

/// The certain lines of each call trace, with the line that the trace begins at.
fn traces(log: &str) -> Vec<(usize, Vec<Certain>)> {
    let lines: Vec<&str> = log.lines().collect();
    let starts =
        lines.iter().enumerate().filter(|(_, line)| message(line).starts_with("Call Trace:"));
    starts
        .map(|(start, _)| {
            let body = lines[start + 1..].iter().take_while(|line| {
                let text = message(line);
                text.starts_with(' ')
                    || text.starts_with("RIP:")
                    || text.starts_with("Code:")
                    || text.starts_with("RSP:")
                    || text.starts_with('R')
            });
            (start, body.filter_map(|line| certain(line)).collect())
        })
        .collect()
}

fn frames(item: &Value) -> Vec<Certain> {
    let frames = item["frames"].as_array().expect("frames");
    frames
        .iter()
        .filter_map(|frame| Some((frame["symbol"].as_str()?.to_owned(), frame["offset"].as_u64()?)))
        .collect()
}

/// Whether all of `wanted` come in `frames`, in order.
fn come_in_order(wanted: &[Certain], frames: &[Certain]) -> Result<(), Certain> {
    let mut frames = frames.iter();
    for line in wanted {
        if !frames.any(|frame| frame == line) {
            return Err(line.clone());
        }
    }
    Ok(())
}

/// The frames that print the trace are elsewhere in the same functions when the kernel dies.
const PRINTERS: [&str; 6] =
    ["dump_stack_lvl", "dump_stack", "vpanic", "panic", "show_stack", "__die"];

#[test]
fn the_frames_of_the_last_oops_are_there() {
    for guest in Guest::all() {
        let log = mortis_lab::dmesg(&guest.kernel, &guest.case);
        let traces = traces(&log);
        let (_, last) = traces.last().expect("a trace");
        let printers = last
            .iter()
            .rposition(|(symbol, _)| PRINTERS.contains(&symbol.as_str()))
            .map_or(0, |at| at + 1);
        let wanted = &last[printers..];
        assert!(wanted.len() > 3, "{}: {last:?}", guest.name());
        let backtraces = items(&mut guest.session(), "bt -a");
        let found = backtraces.iter().map(|item| come_in_order(wanted, &frames(item)));
        let missing: Vec<Certain> = found.filter_map(Result::err).collect();
        assert!(
            missing.len() < backtraces.len(),
            "{}: {missing:?} of {wanted:?}\n{}",
            guest.name(),
            text(&mut guest.session(), "bt -a -s -x")
        );
    }
}

/// When the task last came onto a CPU, in nanoseconds.
fn last_arrival(session: &Session, task: &str) -> Option<u64> {
    let kernel = &*session.kernel;
    let address = u64::from_str_radix(task.strip_prefix("0x")?, 16).ok()?;
    kernel.task_struct().ok()?.last_arrival.u64(kernel, VirtAddr(address)).ok()
}

#[test]
fn sleeping_tasks_are_as_sysrq_t_showed_them() {
    for guest in Guest::all() {
        let log = mortis_lab::dmesg(&guest.kernel, &guest.case);
        let lines: Vec<&str> = log.lines().collect();
        let traces: BTreeMap<usize, Vec<Certain>> = traces(&log).into_iter().collect();
        let mut session = guest.session();
        let backtraces: BTreeMap<u64, Value> = items(&mut session, "foreach bt")
            .into_iter()
            .map(|item| (number(&item, "pid"), item))
            .collect();
        let mut compared = 0;
        for (start, wanted) in &traces {
            let Some(header) = start.checked_sub(1).map(|line| lines[line]) else { continue };
            let text = message(header);
            let pid = text.strip_prefix("task:").and_then(|text| {
                text.split_once("pid:")?.1.split_whitespace().next()?.parse::<u64>().ok()
            });
            let (Some(pid), Some(shown)) = (pid, stamp(header)) else { continue };
            let Some(item) = backtraces.get(&pid).filter(|_| !text.contains("running task")) else {
                continue;
            };
            let whole = item["end"]["complete"] == true;
            // What ran afterwards sleeps elsewhere now.
            let slept = last_arrival(&session, string(item, "task")).is_some_and(|at| at < shown);
            if !whole || !slept {
                continue;
            }
            assert_eq!(&frames(item), wanted, "{}: {text}", guest.name());
            compared += 1;
        }
        // A large guest's log has lost most of what sysrq-t printed.
        let few = traces.len() < 20;
        assert!(few || compared > 10, "{}: only {compared} tasks were compared", guest.name());
        eprintln!("{}: {compared} of {} stacks compared", guest.name(), traces.len());
    }
}

fn is_guessed(item: &Value) -> bool {
    item["frames"]
        .as_array()
        .is_some_and(|frames| frames.iter().any(|frame| frame["how"] == "scan"))
}

#[test]
fn nothing_is_guessed_where_nothing_is_missing() {
    for case in ["sysrq", "null", "irq", "bug", "stack", "oom", "init"] {
        let guest = Guest::of("6.12", case, "c31");
        for item in items(&mut guest.session(), "foreach bt") {
            let about = format!("{}: {} {}", guest.name(), item["pid"], item["end"]);
            assert!(!is_guessed(&item), "{about}");
            assert_eq!(item["end"]["complete"], true, "{about}");
            let freed = item["end"]["code"] == "no-stack";
            assert_eq!(item["frames"].as_array().expect("frames").is_empty(), freed, "{about}");
        }
    }
}

#[test]
fn an_interrupt_leads_back_to_what_it_interrupted() {
    let mut session = Guest::of("6.12", "irq", "c31").session();
    let text = text(&mut session, "bt");
    let place = |part: &str| {
        let found = text.lines().position(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no {part} in\n{text}"))
    };
    let order = [
        "#0 [",
        "[exception RIP: mortis_irq_inner+",
        "hrtimer_interrupt",
        "--- <IRQ stack> ---",
        "asm_sysvec_apic_timer_interrupt",
        "[exception RIP: mortis_busy_inner+",
        "mortis_irq_over_kernel",
        "entry_SYSCALL_64_after_hwframe",
        "CS: 0033",
    ];
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{text}");
    assert!(
        text.contains("#0 [") && text.lines().nth(1).is_some_and(|l| l.contains("machine_kexec"))
    );
}

#[test]
fn a_stack_overflow_is_followed_to_user_mode() {
    let mut session = Guest::of("6.12", "stack", "c31").session();
    let text = text(&mut session, "bt");
    assert!(text.contains("--- <DOUBLEFAULT exception stack> ---"), "{text}");
    assert!(text.matches("mortis_recurse").count() > 60, "{text}");
    assert!(text.contains("entry_SYSCALL_64_after_hwframe") && text.contains("CS: 0033"), "{text}");
}

#[test]
fn types_out_of_dwarf_give_the_same() {
    let guest = Guest::of("6.12", "irq", "c31");
    let vmlinux = mortis_lab::vmlinux("6.12");
    let mut with_btf = guest.session();
    let mut without = guests::session_with(
        &[vmlinux.clone(), guest.dump.clone()],
        KernelOptions { without_btf: true },
    );
    for command in ["bt -a", "bt -f", "bt 1"] {
        assert_eq!(text(&mut with_btf, command), text(&mut without, command), "{command}");
    }
    let lines = text(&mut session(&[vmlinux, guest.dump]), "bt -l");
    assert!(lines.contains("kernel/time/hrtimer.c: "), "{lines}");
}

#[test]
fn stack_content_ends_in_the_next_return_address() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    for item in items(&mut session, "bt -f") {
        let frames = item["frames"].as_array().expect("frames");
        for pair in frames.windows(2) {
            let rows = pair[0]["content"].as_array().expect("content");
            let last = rows.last().and_then(|row| row["values"].as_array()?.last()?.as_str());
            let next = string(&pair[1], "address").trim_start_matches("0x");
            assert_eq!(last, Some(next));
        }
    }
}

#[test]
fn other_places_and_references_can_be_chosen() {
    let mut session = Guest::of("6.12", "sysrq", "c31").session();
    let whole = items(&mut session, "bt 1").remove(0);
    let second = string(&whole["frames"][1], "frame").to_owned();
    let rest = items(&mut session, &format!("bt -S {second} 1")).remove(0);
    assert_eq!(rest["frames"][0]["symbol"], whole["frames"][1]["symbol"]);
    assert_eq!(
        rest["frames"].as_array().map(Vec::len),
        whole["frames"].as_array().map(|f| f.len() - 1)
    );
    assert_eq!(items(&mut session, "bt -R do_wait 1").len(), 1);
    assert_eq!(items(&mut session, "bt -R start_kernel 1").len(), 0);
    assert_eq!(text(&mut session, "bt -v"), "No stack overflows detected\n");
    assert_eq!(guests::failure(&mut session, "bt 99999"), "invalid task or pid value: 99999");
}

#[test]
fn every_cpu_has_its_stacks() {
    for guest in Guest::all() {
        let session = guest.session();
        let kernel = &*session.kernel;
        let stacks = kernel.cpu_stacks();
        for &cpu in &kernel.cpus().expect("CPUs").present {
            let sizes: BTreeMap<&str, u64> = stacks
                .iter()
                .filter(|stack| stack.cpu == Some(cpu))
                .map(|stack| (stack.kind.name(), stack.high.0 - stack.low.0))
                .collect();
            let expected = [
                ("DEBUG", 8 << 10),
                ("DOUBLEFAULT", 8 << 10),
                ("IRQ", 16 << 10),
                ("MCE", 8 << 10),
                ("NMI", 8 << 10),
                ("VC", 8 << 10),
                ("VC2", 8 << 10),
                ("entry trampoline", 4 << 10),
            ];
            assert_eq!(sizes, BTreeMap::from(expected), "{}: CPU {cpu}", guest.name());
        }
        let gaps = stacks.windows(2).all(|pair| pair[0].high <= pair[1].low);
        assert!(gaps, "{}: stacks overlap", guest.name());
    }
}
