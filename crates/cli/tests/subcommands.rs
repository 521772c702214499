//! `mortis info` and `mortis convert`, run as a user runs them.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const MORTIS: &str = env!("CARGO_BIN_EXE_mortis");
const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

struct Answer {
    out: Vec<u8>,
    err: String,
    status: Option<i32>,
}

impl Answer {
    fn text(&self) -> String {
        assert_eq!(self.status, Some(0), "{}", self.err);
        String::from_utf8_lossy(&self.out).into_owned()
    }

    fn fails(&self, status: i32, what: &str) {
        assert_eq!(self.status, Some(status), "{}", self.err);
        assert!(self.err.contains(what), "{}", self.err);
    }
}

fn mortis(folder: &Path, arguments: &[&str]) -> Answer {
    let output = Command::new(MORTIS)
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("the program starts");
    Answer {
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    }
}

/// An empty folder of this test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("subcommands-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("ours");
    folder
}

#[test]
fn info_says_what_a_dump_is() {
    let folder = folder("info");
    let text = mortis(&folder, &["info", SAMPLE]).text();
    for part in [
        "FORMAT: kdump-compressed v6",
        "DUMP LEVEL: 31 (without zero pages,",
        "MACHINE: x86_64",
        "RELEASE: 6.12.",
        "REGISTERS: of 2 CPUs, of the kernel's notes",
        "VMCOREINFO: a note",
        "BUILD-ID: ",
        "VMCOREINFO type 0,",
        "PRESENT: ",
        "MEMORY: 0000000000",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let json: Value =
        serde_json::from_str(&mortis(&folder, &["info", "--json", SAMPLE]).text()).expect("JSON");
    assert_eq!((&json["mortis"], &json["command"]), (&1.into(), &"info".into()));
    let item = &json["items"][0];
    assert_eq!(item["dump_level"]["value"], 31);
    assert_eq!(item["vmcoreinfo"]["from"], "note");
    assert_eq!(item["registers"]["cpus"].as_array().map(Vec::len), Some(2));
    let pages = |name: &str| item["pages"][name].as_u64().expect("a number");
    assert_eq!(pages("present") + pages("absent"), pages("total"));
    let bytes = |range: &Value| range["size"].as_u64().expect("a number");
    let memory: u64 = item["memory"].as_array().expect("ranges").iter().map(bytes).sum();
    assert_eq!(memory, pages("total") * 4096);
}

#[test]
fn info_shows_what_there_is_of_damaged_files() {
    let folder = folder("damaged");
    let sample = std::fs::read(SAMPLE).expect("the sample");
    std::fs::write(folder.join("cut"), &sample[..sample.len() / 2]).expect("ours");
    std::fs::write(folder.join("noise"), [0x5a; 5000]).expect("ours");
    let text = mortis(&folder, &["info", "cut"]).text();
    assert!(text.contains("PROBLEM: the file is shorter than its headers say"), "{text}");
    assert!(text.contains("RELEASE: 6.12."), "{text}");
    let both = mortis(&folder, &["info", "noise", "cut"]);
    assert_eq!(both.status, Some(2));
    let text = String::from_utf8_lossy(&both.out);
    assert!(text.contains("FILE: noise  (4.9 KB)") && text.contains("FILE: cut"), "{text}");
    mortis(&folder, &["info"]).fails(2, "no file was given");
    mortis(&folder, &["info", "--jsn"]).fails(2, "did you mean '--json'?");
}

#[test]
fn a_converted_dump_answers_the_same() {
    let folder = folder("convert");
    let log =
        |file: &str| mortis(&folder, &["-s", "--no-rc", file, "-c", "log", "-c", "bt"]).text();
    let expected = log(SAMPLE);
    for (name, format) in [
        ("new.elf", "ELF64 vmcore, filtered"),
        ("new.kdump", "kdump-compressed v6, lzo"),
        ("new.flat", "kdump-compressed v6, lzo"),
        ("new.lime", "LiME"),
    ] {
        let made = mortis(&folder, &["convert", "--codec", "lzo", SAMPLE, name]).text();
        assert!(made.starts_with(name) && made.contains(" excluded"), "{made}");
        assert!(!folder.join(format!("{name}.part")).exists());
        let info = mortis(&folder, &["info", name]).text();
        assert!(info.contains(format), "{info}");
        if name != "new.lime" {
            assert!(log(name) == expected, "{name}");
        }
    }
    let stream = mortis(&folder, &["convert", "--codec", "lzo", SAMPLE, "-"]);
    assert!(stream.out == std::fs::read(folder.join("new.flat")).expect("just made"));
    assert!(stream.err.contains("standard output: flattened"), "{}", stream.err);
    // Back out of the stream, as it was.
    mortis(&folder, &["convert", "new.flat", "back"]).text();
    let read = |name: &str| std::fs::read(folder.join(name)).expect("just made");
    assert!(read("back") == read("new.kdump"));
    let json = mortis(&folder, &["convert", "--json", "new.kdump", "new.raw"]).text();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let item = &json["items"][0];
    assert_eq!((&item["format"], &item["unreadable"]), (&"raw".into(), &0.into()));
    assert_eq!(item["output_bytes"], read("new.raw").len());
}

#[test]
fn convert_keeps_what_is_there() {
    let folder = folder("keeps");
    std::fs::write(folder.join("there"), "mine").expect("ours");
    mortis(&folder, &["convert", SAMPLE, "there"]).fails(2, "--force");
    assert_eq!(std::fs::read(folder.join("there")).expect("ours"), b"mine");
    std::fs::copy(SAMPLE, folder.join("dump")).expect("ours");
    mortis(&folder, &["convert", "dump", "dump", "--force"]).fails(2, "this is the dump itself");
    std::fs::write(folder.join("new.part"), "left").expect("ours");
    mortis(&folder, &["convert", SAMPLE, "new"]).fails(2, "did not end");
    mortis(&folder, &["convert", SAMPLE, "new", "--force"]).text();
    mortis(&folder, &["convert", SAMPLE, "-", "--format", "kdump"]).fails(2, "flattened");
    mortis(&folder, &["convert", SAMPLE, "x", "--codec", "rar"]).fails(2, "'rar'");
    mortis(&folder, &["convert", SAMPLE, "x", "--level", "0"]).fails(2, "1 to 19");
    mortis(&folder, &["convert", SAMPLE]).fails(2, "a name for the new one");
    mortis(&folder, &["convert", "missing", "x"]).fails(2, "missing");
    let cut = std::fs::read(SAMPLE).expect("the sample");
    std::fs::write(folder.join("cut"), &cut[..cut.len() - 100_000]).expect("ours");
    let answer = mortis(&folder, &["convert", "cut", "rest.elf"]);
    assert_eq!(answer.status, Some(1));
    let text = String::from_utf8_lossy(&answer.out);
    assert!(text.contains("pages are missing: lost to the dump"), "{text}");
    assert!(folder.join("rest.elf").exists());
}

#[test]
fn a_subcommand_is_the_first_word_only() {
    let folder = folder("names");
    std::fs::copy(SAMPLE, folder.join("info")).expect("ours");
    let answer = mortis(&folder, &["./info", "-s", "--no-rc", "-c", "p 1"]).text();
    assert!(answer.contains("= 1"), "{answer}");
    for arguments in [["help", "convert"], ["convert", "--help"]] {
        assert!(mortis(&folder, &arguments).text().contains("--codec"));
    }
    assert!(mortis(&folder, &["help", "bt"]).text().contains("SYNOPSIS"));
    assert!(mortis(&folder, &["--help"]).text().contains("info [OPTIONS] FILE..."));
    mortis(&folder, &["help", "nosuch"]).fails(2, "nosuch");
}
