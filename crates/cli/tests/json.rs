//! `--json`: one object a command, on one line, whatever the command and its options.

use mortis_shell::command::Command as ShellCommand;
use mortis_shell::commands::TABLE;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const MORTIS: &str = env!("CARGO_BIN_EXE_mortis");
const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

/// Runs `lines` in one session, and gives what it prints and its exit status.
fn answers(lines: &[String]) -> (String, Option<i32>) {
    let mut child = Command::new(MORTIS)
        .args(["--json", SAMPLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = lines.join("\n");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("no panic").expect("commands are read");
    (String::from_utf8(output.stdout).expect("JSON is UTF-8"), output.status.code())
}

/// The command alone, with each flag, with every two flags, and with words that are no good.
fn combinations(command: &ShellCommand) -> Vec<String> {
    let name = command.name;
    let flags: Vec<char> = command
        .options
        .iter()
        .filter(|option| option.value.is_none_or(|value| value.starts_with('=')))
        .map(|option| option.letter)
        .collect();
    let mut lines = vec![name.to_owned(), format!("{name} 1"), format!("{name} no-such-thing")];
    lines.push(format!("{name} init_task"));
    for (index, first) in flags.iter().enumerate() {
        lines.push(format!("{name} -{first}"));
        lines.push(format!("{name} -{first} 1"));
        lines.push(format!("{name} -{first} init_task"));
        let second = flags[(index + 1) % flags.len()];
        lines.push(format!("{name} -{first} -{second}"));
    }
    for option in command.options.iter().filter(|option| option.value.is_some()) {
        // Those that write files stay out.
        if option.value != Some("file") {
            lines.push(format!("{name} -{} 0", option.letter));
        }
    }
    lines
}

#[test]
fn every_command_answers_with_one_object() {
    let mut lines: Vec<String> = TABLE
        .iter()
        // Those that end the session, go on for ever, or hand on what they are given.
        .filter(|command| !matches!(command.name, "foreach" | "exit" | "q" | "repeat"))
        .flat_map(|command| combinations(command))
        .collect();
    lines.extend(
        [
            "foreach bt",
            "foreach ps",
            "foreach active bt -x",
            "struct task_struct -o",
            "struct task_struct.comm,pid init_task",
            "p *init_task.mm",
            "p init_task.comm",
            "dis -lr schedule+32",
            "dis -x schedule 3",
            "rd -s init_task 32",
            "kmem -s kmalloc-64",
            "log | cat",
            "sym -l | tail -c 100000000",
        ]
        .map(str::to_owned),
    );
    let (out, status) = answers(&lines);
    assert!(matches!(status, Some(0 | 1)), "{status:?}");
    let objects: Vec<&str> = out.lines().collect();
    assert_eq!(objects.len(), lines.len(), "one object each, and nothing else");
    for (line, object) in lines.iter().zip(objects) {
        let value: Value = serde_json::from_str(object)
            .unwrap_or_else(|error| panic!("`{line}`: {error}: {object:.300}"));
        assert_eq!(value["mortis"], 1, "`{line}`");
        assert!(value["items"].is_array() && value["warnings"].is_array(), "`{line}`");
        assert!(value["error"].is_null() || value["error"].is_string(), "`{line}`");
        let called = line.split(' ').next().and_then(mortis_shell::commands::find);
        assert_eq!(value["command"].as_str(), called.map(|command| command.name), "`{line}`");
        let words: Vec<&str> = line.split(" | ").next().unwrap_or("").split(' ').skip(1).collect();
        assert_eq!(value["arguments"], Value::from(words), "`{line}`");
    }
}

#[test]
fn failure_is_in_the_object_and_in_the_exit_status() {
    let (out, status) = answers(&["sym nosuch".to_owned()]);
    let value: Value = serde_json::from_str(&out).expect("one object");
    assert!(value["error"].as_str().is_some_and(|error| error.contains("nosuch")), "{value}");
    assert_eq!(status, Some(1));
    let (out, status) = answers(&["sym schedule".to_owned()]);
    let value: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((&value["error"], status), (&Value::Null, Some(0)), "{value}");
}
