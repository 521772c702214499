//! One dead machine, written down in every form that QEMU has: each answers as the plain ELF core
//! does, to the last blank.

mod guests;

use guests::text;
use mortis_shell::KernelOptions;
use mortis_shell::open::{Input, open_input};
use mortis_shell::session::{Session, Settings};

/// What every form that holds all pages and registers is asked.
const LINES: [&str; 9] =
    ["log", "bt -a", "ps", "kmem -i", "kmem -z", "kmem -s", "foreach bt", "mod", "sys -t"];

fn open(form: &str, snapshot: Option<&str>) -> Session {
    let input = Input {
        files: vec![mortis_lab::dump("6.12", "forms", form)],
        snapshot: snapshot.map(str::to_owned),
        ..Input::default()
    };
    open_input(&input, KernelOptions::default(), Settings::default())
        .unwrap_or_else(|failure| panic!("{form}: {failure} {:?}", failure.advice))
}

#[test]
fn every_form_of_one_machine_gives_the_same_answers() {
    let mut elf = open("elf", None);
    let wanted = LINES.map(|line| text(&mut elf, line));
    assert!(wanted[0].contains("sysrq triggered crash"), "{}", wanted[0]);
    assert!(wanted[1].contains("[exception RIP: "), "{}", wanted[1]);
    for (form, snapshot) in
        [("paging", None), ("zlib", None), ("stream", None), ("qcow2", Some("dead"))]
    {
        let mut session = open(form, snapshot);
        for (line, wanted) in LINES.iter().zip(&wanted) {
            assert_eq!(text(&mut session, line), *wanted, "{form}: {line}");
        }
    }
}

/// Memory without registers: what needs none is the same.
#[test]
fn plain_memory_gives_the_same_answers_as_far_as_they_need_no_registers() {
    let layout = format!("{}@0", mortis_lab::dump("6.12", "forms", "raw-mem").display());
    let layout = layout.parse().unwrap_or_else(|error| panic!("{layout}: {error}"));
    let input = Input { layout: Some(layout), ..Input::default() };
    let mut raw = open_input(&input, KernelOptions::default(), Settings::default())
        .unwrap_or_else(|failure| panic!("{failure} {:?}", failure.advice));
    let mut elf = open("elf", None);
    for line in ["log", "ps", "kmem -i", "kmem -z", "kmem -s", "mod"] {
        assert_eq!(text(&mut raw, line), text(&mut elf, line), "{line}");
    }
}

/// The kernel writes its log to the console, too.
#[test]
fn the_log_is_what_the_console_showed() {
    let console = mortis_lab::console("6.12", "forms");
    let log = text(&mut open("stream", None), "log");
    let last: Vec<&str> = log.lines().rev().take(30).collect();
    assert_eq!(last.len(), 30);
    for line in last {
        assert!(console.contains(line.trim_end()), "{line}");
    }
}
