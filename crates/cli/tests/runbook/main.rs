//! A runbook for crash, run on mortis: every command with every option, line by line.
//!
//! `runbook.txt` holds the lines, and the classes of difference with their reasons. Crash 9.0.2
//! and mortis get all of them in one session each, on the same dump with the same vmlinux; every
//! answer must be the same to the last blank, but for what a class on that very line explains.
//! A class that explains nothing any more fails too.
//!
//! `MORTIS_RUNBOOK="6.12 null c31"` takes another of the lab's dumps, and
//! `MORTIS_RUNBOOK_LINES=kmem` only lines with that in them.

mod answers;
mod script;

use answers::{Program, answers};
use script::Script;
use std::path::PathBuf;

/// Lines of an answer that a report shows from where it goes apart.
const SHOWN: usize = 6;

fn dump() -> (String, PathBuf, PathBuf) {
    let named = std::env::var("MORTIS_RUNBOOK").unwrap_or_else(|_| "6.12 sysrq raw".to_owned());
    let words: Vec<&str> = named.split_whitespace().collect();
    let [kernel, case, capture] = words[..] else { panic!("MORTIS_RUNBOOK: KERNEL CASE CAPTURE") };
    let (vmcore, vmlinux) = (mortis_lab::dump(kernel, case, capture), mortis_lab::vmlinux(kernel));
    (named, vmlinux, vmcore)
}

#[test]
#[ignore = "some minutes of crash: cargo test -p mortis --test runbook -- --ignored"]
fn crashs_runbook_runs_unchanged() {
    let (named, vmlinux, vmcore) = dump();
    let mortis = Program::mortis(env!("CARGO_BIN_EXE_mortis").into(), &vmlinux, &vmcore);
    let crash = mortis_lab::peer("crash").expect("crash: `cargo xtask lab peers`");
    let crash = Program::crash(crash, &vmlinux, &vmcore);
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runbook/runbook.txt");
    let script = Script::read(&std::fs::read_to_string(text).expect("the runbook"));
    let only = std::env::var("MORTIS_RUNBOOK_LINES").unwrap_or_default();
    let lines = script.filled(&mortis, &only);
    assert!(!lines.is_empty(), "no line has {only:?} in it");
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| answers(&crash, &texts));
        (answers(&mortis, &texts), theirs.join().expect("crash runs"))
    });
    let (mut same, mut explained, mut wrong) = (0, 0, Vec::new());
    for ((line, ours), theirs) in lines.iter().zip(&ours).zip(&theirs) {
        if ours == theirs {
            same += 1;
            continue;
        }
        if script.explains(line, ours, theirs) {
            explained += 1;
        } else {
            wrong.push(report(&script, line, ours, theirs));
        }
    }
    let count = lines.len();
    println!("{named}: {count} lines, {same} the same, {explained} different for a known reason");
    assert!(wrong.is_empty(), "{} of {count} lines differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where the two answers to `line` go apart.
fn report(script: &Script, line: &script::Line, ours: &str, theirs: &str) -> String {
    let (ours, theirs) = (script.normalised(line, ours), script.normalised(line, theirs));
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let apart = ours.iter().zip(&theirs).take_while(|(our, their)| our == their).count();
    let shown = |name: &str, lines: &[&str]| -> String {
        let total = lines.len();
        let part = lines.iter().skip(apart).take(SHOWN);
        let part: String = part.map(|line| format!("    {name}|{line}|\n")).collect();
        format!("{part}    {name}: {total} lines\n")
    };
    format!(
        "{}\n  apart from line {}:\n{}{}",
        line.text,
        apart + 1,
        shown("mortis", &ours),
        shown("crash ", &theirs)
    )
}
