//! The shell around the commands: completion, aliases, hints, gdb's words.

#![allow(clippy::unwrap_used)]

mod guests;

use guests::{Guest, failure, items, string, text};
use mortis_shell::command::CommandError;
use mortis_shell::completion::Completer;
use mortis_shell::hints::hint;
use mortis_shell::session::Session;
use mortis_shell::{commands, run};
use std::time::{Duration, Instant};

fn session() -> Session {
    Guest::of("6.12", "null", "c31").session()
}

/// What Tab offers at the end of `line`, and the line with the first of it.
fn offers(completer: &Completer, line: &str) -> (Vec<String>, String) {
    let completion = completer.complete(line, line.len());
    let texts: Vec<String> =
        completion.candidates.into_iter().map(|candidate| candidate.text).collect();
    let first = texts.first().cloned().unwrap_or_default();
    (texts, format!("{}{first}", &line[..completion.start]))
}

#[test]
fn tab_offers_what_may_stand_there() {
    let mut session = session();
    let completer = Completer::new(&session);
    let has = |line: &str, wanted: &str| {
        let (texts, _) = offers(&completer, line);
        assert!(texts.iter().any(|text| text == wanted), "no {wanted} for `{line}`: {texts:?}");
    };
    let lacks = |line: &str, unwanted: &str| {
        let (texts, _) = offers(&completer, line);
        assert!(!texts.iter().any(|text| text == unwanted), "{unwanted} for `{line}`");
    };
    has("", "bt");
    has("dm", "dmesg");
    has("hel", "help");
    has("bt -", "-a");
    lacks("bt -", "-Z");
    has("sym init_ta", "init_task");
    has("dis schedule_tim", "schedule_timeout");
    has("struct task_str", "task_struct");
    has("struct task_struct.com", "comm");
    has("struct task_struct.pid,com", "comm");
    has("struct task_struct.se.vrun", "vruntime");
    has("whatis list_hea", "list_head");
    has("task_struct.com", "comm");
    has("*task_str", "*task_struct");
    has("p init_task.com", "comm");
    has("p init_task.mm->pg", "pgd");
    has("p &init_task.tasks.ne", "next");
    has("p (1 + init_task.pi", "pid");
    has("p ((struct list_head *)0)->ne", "next");
    has("bt 1", "1");
    has("ps ini", "init");
    has("bt -c ", "0");
    has("set sc", "scroll");
    has("set scroll o", "off");
    has("help inp", "input");
    has("foreach UN b", "bt");
    has("foreach bt -", "-l");
    has("repeat -1 sy", "sym");
    has("gdb pty", "ptype");
    lacks("bt | ini", "init");
    assert_eq!(offers(&completer, "p init_task.com").1, "p init_task.comm");
    // What an alias stands for is completed as itself.
    text(&mut session, "alias st struct");
    *completer.aliases().lock().unwrap() = session.aliases.clone();
    has("st task_str", "task_struct");
    has("s", "st");
}

#[test]
fn files_are_offered_where_files_are_meant() {
    let session = session();
    let completer = Completer::new(&session);
    let folder = std::env::temp_dir().join(format!("mortis-completion-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    std::fs::write(folder.join("file one"), "").unwrap();
    std::fs::write(folder.join("file"), "").unwrap();
    let folder_name = folder.display();
    for line in ["bt > ", "bt >>", "< ", "sym < ", "!cat ", "log | tee "] {
        let (texts, _) = offers(&completer, &format!("{line}{folder_name}/fi"));
        assert!(texts.contains(&format!("{folder_name}/file")), "{line}: {texts:?}");
    }
    let (texts, _) = offers(&completer, &format!("bt > {folder_name}/fo"));
    assert_eq!(texts, [format!("{folder_name}/folder/")]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn completion_takes_nonsense_and_no_time() {
    let session = session();
    let completer = Completer::new(&session);
    let started = Instant::now();
    for line in ["p s", "sym _", "struct t", "whatis a"] {
        let one = Instant::now();
        let (texts, _) = offers(&completer, line);
        assert!(!texts.is_empty() && texts.len() <= 200, "{line}");
        assert!(one.elapsed() < Duration::from_secs(2), "{line} took {:?}", one.elapsed());
    }
    assert!(started.elapsed() < Duration::from_secs(6));
    let pieces =
        ["bt", " ", "-", "(", ")", "'", "\"", ".", "->", "|", ">", "<", "ä", "*", "[", "p"];
    for a in pieces {
        for b in pieces {
            let line = format!("p{a}{b}");
            for at in 0..=line.len() + 1 {
                let completion = completer.complete(&line, at);
                assert!(completion.start <= at, "{line}");
            }
        }
    }
}

#[test]
fn aliases_are_made_shown_and_removed() {
    let mut session = session();
    let all = items(&mut session, "alias");
    assert_eq!(all.len(), 15);
    assert_eq!(text(&mut session, "dmesg"), text(&mut session, "log"));
    assert_eq!(text(&mut session, "last 1"), text(&mut session, "ps -l 1"));
    assert_eq!(
        text(&mut session, "px init_task.pid"),
        text(&mut session, "p -x init_task.pid").replace("$2", "$1")
    );
    assert_eq!(
        text(&mut session, "alias kt \"ps -k\""),
        "ORIGIN   ALIAS    COMMAND\nruntime  kt       ps -k \n"
    );
    assert_eq!(text(&mut session, "kt"), text(&mut session, "ps -k"));
    assert_eq!(text(&mut session, "alias kt \"\""), "alias deleted: kt\n");
    assert_eq!(failure(&mut session, "kt"), "command not found: kt");
    assert!(
        failure(&mut session, "alias ps log").contains("cannot alias existing command name: ps")
    );
    assert!(failure(&mut session, "alias x nosuch").contains("non-existent command: nosuch"));
    assert_eq!(failure(&mut session, "alias nosuch"), "alias does not exist: nosuch");
}

#[test]
fn gdbs_words_are_translated_in_its_layout() {
    let mut session = session();
    let address = items(&mut session, "sym init_task")[0]["address"].as_str().unwrap().to_owned();
    assert_eq!(
        text(&mut session, "gdb ptype struct list_head"),
        "type = struct list_head {\n    struct list_head *next;\n    struct list_head *prev;\n}\n"
    );
    assert_eq!(text(&mut session, "gdb whatis init_task"), "type = struct task_struct\n");
    assert_eq!(text(&mut session, "print 6 * 7"), "$1 = 42\n");
    assert_eq!(text(&mut session, "gdb p/x 6 * 7"), "$2 = 0x2a\n");
    assert_eq!(text(&mut session, "gdb output 6 * 7"), "42\n");
    let memory = text(&mut session, "x/4xg &init_task");
    let lines: Vec<&str> = memory.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with(&format!("{address} <init_task>:\t0x")), "{memory}");
    assert!(lines[1].contains(" <init_task+16>:\t0x"), "{memory}");
    assert!(
        text(&mut session, "x/s linux_banner").contains(" <linux_banner>:\t\"Linux version 6.12")
    );
    let code = text(&mut session, "gdb x/3i schedule");
    assert!(code.lines().count() == 3 && code.starts_with("   0x"), "{code}");
    assert!(code.lines().all(|line| line.contains(">:\t")), "{code}");
    assert_eq!(text(&mut session, "info symbol schedule"), "schedule in section .text\n");
    assert!(failure(&mut session, "gdb run").contains("prohibited gdb command: run"));
    assert!(failure(&mut session, "gdb frobnicate").contains("gdb request failed: frobnicate"));
    assert!(failure(&mut session, "gdb x/4xg 0").contains("Cannot access memory at address 0x0"));
    text(&mut session, "set gdb on");
    assert_eq!(text(&mut session, "p 6 * 7"), "$4 = 42\n");
    assert!(text(&mut session, "crash sym jiffies").contains(" jiffies"));
    assert_eq!(text(&mut session, "set gdb off"), "gdb: off\n");
}

#[test]
fn words_that_do_not_apply_say_so() {
    let mut session = session();
    assert_eq!(failure(&mut session, "wr jiffies 1"), "not allowed on dumpfiles");
    assert!(failure(&mut session, "domain").contains("Xen"));
    assert!(failure(&mut session, "s390dbf").contains("s390"));
    assert!(failure(&mut session, "extend trace.so").contains("cannot be loaded"));
    assert!(text(&mut session, "extend").contains("crates/shell/src/commands"));
    assert!(failure(&mut session, "repeat").starts_with("Usage:\n  repeat [-seconds] command\n"));
}

#[test]
fn what_is_mistyped_is_guessed() {
    let session = session();
    let guess = |command: &str, error: &str| {
        let command = commands::find(command).unwrap();
        hint(&session, command, &CommandError::message(error))
    };
    let meant = |name: &str| Some(format!("did you mean '{name}'?"));
    assert_eq!(guess("sym", "symbol not found: jifies"), meant("jiffies"));
    assert_eq!(guess("p", "no symbol \"init_tsak\" in this kernel"), meant("init_task"));
    assert_eq!(
        guess("struct", "invalid data structure reference: task_strcut"),
        meant("task_struct")
    );
    assert_eq!(
        guess("struct", "invalid data structure reference: task_struct.cmom"),
        meant("comm")
    );
    assert_eq!(guess("p", "struct list_head has no member named nxt"), meant("next"));
    assert!(guess("ps", "invalid option -- 'L'").is_some_and(|hint| hint.contains("-l")));
    assert_eq!(guess("sym", "symbol not found: qqqqqqqqqqqq"), None);
    assert_eq!(commands::similar(&session, "lgo"), Some("log"));
}

#[test]
fn help_is_there_for_every_command_alias_and_topic() {
    let mut session = session();
    let list = text(&mut session, "help");
    for command in commands::TABLE {
        assert!(list.contains(command.name), "{}", command.name);
        let help = text(&mut session, &format!("help {}", command.name));
        assert!(help.starts_with(&format!("\nNAME\n  {} - ", command.name)), "{help}");
    }
    assert_eq!(text(&mut session, "help dmesg"), text(&mut session, "help log"));
    assert_eq!(text(&mut session, "man bt"), text(&mut session, "help bt"));
    assert!(text(&mut session, "help all").len() > text(&mut session, "help input").len());
    assert_eq!(string(&items(&mut session, "help bt")[0], "name"), "bt");
    assert!(failure(&mut session, "help lgo").contains("Did you mean \"log\"?"));
}

#[test]
fn the_radix_is_honoured() {
    let mut session = session();
    text(&mut session, "hex");
    assert_eq!(text(&mut session, "p 255"), "$1 = 0xff\n");
    text(&mut session, "dec");
    assert_eq!(text(&mut session, "p 255"), "$2 = 255\n");
    // An option goes before the setting.
    assert_eq!(text(&mut session, "p -x 255"), "$3 = 0xff\n");
}

#[test]
fn a_line_within_a_line_finds_its_alias() {
    let mut session = session();
    let interrupt = session.interrupt.clone();
    let mut sink = Vec::new();
    let mut out = mortis_shell::output::Output::begin(
        &mut sink,
        mortis_shell::output::Face::Text,
        mortis_shell::output::Style::default(),
        interrupt,
        "test",
        &[],
    )
    .unwrap();
    let words = ["px", "255"].map(str::to_owned);
    run::run_within(&mut session, &words, &mut out).unwrap();
    out.finish(None).unwrap();
    assert_eq!(String::from_utf8(sink).unwrap(), "$1 = 0xff\n");
}
