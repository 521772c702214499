//! The program as it is called: right, wrong, in pipes, by scripts and at a terminal.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MORTIS: &str = env!("CARGO_BIN_EXE_mortis");
const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/null-dereference-6.12.vmcore");

/// What came of a call.
struct Answer {
    status: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Answer {
    /// Failed with `status`, and said each of `words` about it, without a panic.
    #[track_caller]
    fn fails(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, Some(status), "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no '{word}' in: {}", self.err);
        }
    }

    #[track_caller]
    fn succeeds(&self) -> &str {
        assert_eq!(self.status, Some(0), "{}", self.err);
        &self.out
    }
}

fn mortis(arguments: &[&str]) -> Answer {
    let command = Command::new(MORTIS).args(arguments).stdin(Stdio::null()).output();
    command.expect("the program starts").into()
}

/// `mortis -s SAMPLE arguments…`.
fn on_sample(arguments: &[&str]) -> Answer {
    mortis(&[&["-s", SAMPLE], arguments].concat())
}

/// The program, running, with pipes all around.
fn started(arguments: &[&str]) -> Child {
    Command::new(MORTIS)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// With `input` as standard input.
fn typed(arguments: &[&str], input: &[u8]) -> Answer {
    let mut child = started(arguments);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input).expect("commands are read");
    drop(stdin);
    child.wait_with_output().expect("the program ends").into()
}

/// A line of shell in which `$M` is the program and `$S` the sample.
fn shell(line: &str) -> Answer {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("M", MORTIS).env("S", SAMPLE).stdin(Stdio::null());
    command.output().expect("there is a shell").into()
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

fn file(name: &str, content: &[u8]) -> String {
    let path = folder("files").join(name);
    std::fs::write(&path, content).expect("the target folder can be written");
    path.display().to_string()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn what_cannot_be_opened_says_what_where_and_what_to_do() {
    mortis(&[]).fails(2, &["no dump was given", "mortis VMCORE"]);
    mortis(&["/no/such/vmcore"]).fails(2, &["/no/such/vmcore", "No such file"]);
    mortis(&["/"]).fails(2, &["/: is a directory", "name the dump"]);
    mortis(&["ps", SAMPLE]).fails(2, &["ps: No such file", "-c ps"]);
    mortis(&[SAMPLE, SAMPLE]).fails(2, &["a dump by itself", "one dump"]);
    mortis(&[MORTIS]).fails(2, &["no dump", "mortis VMLINUX VMCORE"]);
    mortis(&["--frobnicate"]).fails(2, &["--frobnicate", "--help"]);
    mortis(&["-s", SAMPLE, "-c"]).fails(2, &["-c"]);
    let empty = file("empty", b"");
    mortis(&[&empty]).fails(2, &[&empty, "empty file", "give a dump"]);
    let text = file("text", b"Feb 30 12:00:00 host kernel: nothing to see\n");
    mortis(&[&text]).fails(2, &[&text, "text file", "give a dump"]);
    let sample = std::fs::read(SAMPLE).expect("the sample is in the repository");
    for len in [300, 5000] {
        let cut = file(&format!("cut-at-{len}"), &sample[..len]);
        mortis(&[&cut]).fails(2, &[&cut, "cut off", "copy it again"]);
    }
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let fifo = folder("pipe").join("fifo");
    let _ = std::fs::remove_file(&fifo);
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo works");
    mortis(&[path(&fifo)]).fails(2, &["this is a pipe", "write it to a file"]);
}

#[test]
fn a_file_that_may_not_be_read_says_who_may() {
    use std::os::unix::fs::PermissionsExt;
    let secret = file("secret", b"KDUMP   ");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000))
        .expect("the file is ours");
    // Root reads everything: nothing to be seen then.
    if std::fs::File::open(&secret).is_err() {
        mortis(&[&secret]).fails(2, &["Permission denied", "sudo"]);
    }
}

#[test]
fn a_vmlinux_is_matched_whether_it_stands_first_or_last() {
    let dump = mortis_lab::dump("6.12", "null", "c31");
    let (right, wrong) = (mortis_lab::vmlinux("6.12"), mortis_lab::vmlinux("7.x"));
    for arguments in [[&dump, &right], [&right, &dump]] {
        let answer = mortis(&["-s", path(arguments[0]), path(arguments[1]), "-c", "sym schedule"]);
        assert!(answer.succeeds().contains("schedule"));
    }
    let answer = mortis(&[path(&wrong), path(&dump)]);
    answer.fails(2, &[path(&wrong), "build-id", "or none"]);
    let ids = answer.err.split(|c: char| !c.is_ascii_hexdigit()).filter(|id| id.len() == 40);
    assert_eq!(ids.count(), 2, "both build-ids are named: {}", answer.err);
}

#[test]
fn commands_run_in_the_order_given() {
    let answer = on_sample(&["-c", "sym schedule", "-c", "sym jiffies"]);
    let out = answer.succeeds();
    assert!(out.find("schedule") < out.find("jiffies"), "{out}");
    let script = file("script", b"# a comment\n\n   \n// another\nsym schedule\nsym jiffies");
    assert_eq!(on_sample(&["-i", &script]).succeeds(), out);
    assert_eq!(typed(&["-s", SAMPLE], b"sym schedule\n\nsym jiffies\n").succeeds(), out);
    assert_eq!(typed(&["-s", SAMPLE], b"").succeeds(), "");
    let ended = typed(&["-s", SAMPLE], b"sym schedule\nsym jiffies\nexit\nsym nosuch\n");
    assert_eq!(ended.succeeds(), out);
}

#[test]
fn the_summary_is_shown_unless_silenced() {
    let answer = mortis(&[SAMPLE, "-c", "sym jiffies"]);
    let out = answer.succeeds();
    for line in ["DUMPFILE: ", "CPUS: 2", "RELEASE: 6.12", "PANIC: \"Oops"] {
        assert!(out.contains(line), "no '{line}' in:\n{out}");
    }
    assert!(!on_sample(&["-c", "sym jiffies"]).succeeds().contains("PANIC"));
}

#[test]
fn a_failed_command_is_told_by_the_exit_status_and_stops_nothing() {
    let answer = on_sample(&["-c", "bt nosuch", "-c", "sym jiffies"]);
    answer.fails(1, &["bt: invalid task or pid value: nosuch"]);
    assert!(answer.out.contains("jiffies"));
    on_sample(&["-c", "lgo"])
        .fails(1, &["mortis: command not found: lgo\n", "hint: did you mean 'log'?"]);
    on_sample(&["-c", "log -Q"]).fails(1, &["invalid option -- 'Q'", "Usage:\n  log"]);
    on_sample(&["-c", "sym \"a"]).fails(1, &["unterminated quote"]);
    on_sample(&["-c", "> x"]).fails(1, &["no command before '>'"]);
    on_sample(&["-c", "sys >"]).fails(1, &["no file name after >"]);
    on_sample(&["-c", "sys |"]).fails(1, &["no shell command after '|'"]);
    on_sample(&["-c", "sys > /no/such/file"]).fails(1, &["/no/such/file", "No such file"]);
    on_sample(&["-c", "sys | no-such-program"]).fails(1, &["no-such-program"]);
    on_sample(&["-i", "/no/such/script"]).fails(1, &["/no/such/script", "No such file"]);
    on_sample(&["-i", "/"]).fails(1, &["commands from /", "directory"]);
    on_sample(&["-i", "/dev/zero"]).fails(1, &["/dev/zero", "no list of commands"]);
    let noise = typed(&["-s", SAMPLE], b"\xff\xfe\x00\nsym jiffies\n");
    noise.fails(1, &["command not found"]);
    assert!(noise.out.contains("jiffies"));
}

#[test]
fn output_goes_to_files_and_programs() {
    let target = folder("out").join("symbols");
    let _ = std::fs::remove_file(&target);
    let line = format!("> {}", target.display());
    on_sample(&["-c", &format!("sym jiffies {line}"), "-c", &format!("sym schedule >{line}")])
        .succeeds();
    let written = std::fs::read_to_string(&target).expect("it was written");
    assert!(written.contains("jiffies") && written.contains("schedule"), "{written}");
    let answer = on_sample(&["-c", "log | grep -c Oops"]);
    assert!(answer.succeeds().trim().parse::<u32>().is_ok_and(|count| count > 0));
    // A program that finds nothing has not failed.
    on_sample(&["-c", "log | grep xyzzy"]).succeeds();
    assert_eq!(on_sample(&["-c", "!echo hello"]).succeeds(), "hello\n");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    for line in ["$M -s $S -c log -c ps", "$M $S -c log", "$M --help", "$M -s $S --json -c log"] {
        let line = format!("{{ {line}; echo status $? >&2; }} | head -1");
        let answer = shell(&line);
        assert_eq!(answer.err.trim(), "status 0", "{line}");
    }
    let answer = on_sample(&["-c", "log | head -1"]);
    assert_eq!((answer.succeeds().lines().count(), answer.err.as_str()), (1, ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    for line in ["$M -s $S -c log > /dev/full", "$M $S > /dev/full", "$M --help > /dev/full"] {
        shell(line).fails(1, &["No space left on device"]);
    }
    on_sample(&["-c", "log > /dev/full"]).fails(1, &["log: cannot write", "No space left"]);
}

/// Sends SIGINT to `child`.
fn interrupt(child: &std::process::Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill works");
}

#[test]
fn ctrl_c_stops_the_command_only() {
    let mut child = started(&["-s", SAMPLE]);
    let mut stdin = child.stdin.take().expect("piped");
    // More than a pipe holds: the command is still at it when the signal comes.
    stdin.write_all(b"sys -t\nforeach bt -f\n").expect("commands are read");
    let mut stdout = child.stdout.take().expect("piped");
    let mut first = [0; 64];
    let _ = stdout.read(&mut first).expect("the command answers");
    thread::sleep(Duration::from_millis(300));
    interrupt(&child);
    let rest = thread::spawn(move || {
        let mut rest = String::new();
        let read = stdout.read_to_string(&mut rest);
        read.map(|_| rest)
    });
    stdin.write_all(b"!echo still here\n").expect("the session goes on");
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let rest = rest.join().expect("reading does not panic").expect("text");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(rest.ends_with("still here\n"), "{err}");
    assert!(err.contains("foreach: interrupted"), "{err}");
    assert_eq!(output.status.code(), Some(1));
}

/// A session at a terminal that `tmux` emulates.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Starts `command`; `None` without tmux.
    fn start(name: &str, state: &Path) -> Option<Self> {
        let socket = format!("mortis-test-{name}-{}", std::process::id());
        let terminal = Self { socket };
        let state = format!("XDG_STATE_HOME={}", state.display());
        let start = ["new-session", "-d", "-x", "100", "-y", "50", "env", &state, MORTIS, "-s"];
        let started = terminal.tmux(start.into_iter().chain([SAMPLE]));
        started.is_some().then_some(terminal)
    }

    fn tmux<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Option<String> {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket, "-f", "/dev/null"]).args(arguments);
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.tmux(["send-keys"].iter().chain(keys)).is_some(), "the program still runs");
    }

    /// Waits until the screen is as it should be; `None` is a screen that is gone.
    #[track_caller]
    fn wait_for(&self, what: &str, wanted: impl Fn(Option<&str>) -> bool) {
        let start = Instant::now();
        loop {
            let screen = self.tmux(["capture-pane", "-p"]);
            if wanted(screen.as_deref()) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what}, not: {screen:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(["kill-server"]);
    }
}

#[test]
fn at_a_terminal_there_is_a_prompt_with_a_history() {
    let state = folder("state");
    let history = state.join("mortis/history");
    let _ = std::fs::remove_file(&history);
    let Some(terminal) = Terminal::start("prompt", &state) else { return };
    let prompts = |screen: Option<&str>| screen.unwrap_or("").matches("mortis>").count();
    terminal.wait_for("a prompt", |screen| prompts(screen) == 1);
    terminal.keys(&["sym jiffies", "Enter"]);
    terminal.wait_for("an answer and a prompt", |screen| {
        screen.is_some_and(|screen| screen.contains("(D) jiffies") || screen.contains("jiffies\n"))
            && prompts(screen) == 2
    });
    // A line that Ctrl-C drops is not run, and the prompt comes back.
    terminal.keys(&["no such thing", "C-c"]);
    terminal.wait_for("a new prompt", |screen| prompts(screen) == 3);
    assert!(
        terminal.tmux(["capture-pane", "-p"]).is_some_and(|screen| !screen.contains("not found"))
    );
    terminal.keys(&["C-d"]);
    terminal.wait_for("no program any more", |screen| screen.is_none());
    let history = std::fs::read_to_string(history).expect("the history is kept");
    assert!(history.contains("sym jiffies"), "{history}");
}

/// `mortis -s SAMPLE arguments…` in `folder`, which is also the user's home.
fn at_home(folder: &Path, arguments: &[&str], input: &str) -> Answer {
    let mut child = Command::new(MORTIS)
        .args([&["-s", SAMPLE], arguments].concat())
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("commands are read");
    drop(stdin);
    child.wait_with_output().expect("the program ends").into()
}

#[test]
fn start_up_files_are_read_when_they_can_be_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let home = folder("home");
    let (ours, crashs) = (home.join(".mortisrc"), home.join(".crashrc"));
    std::fs::write(&ours, "# mine\nalias sii sym -q init_ta\n").expect("written");
    std::fs::write(
        &crashs,
        "set scroll off\nset hex\nextend trace.so\nset namelist x y\nfrobnicate\n",
    )
    .expect("written");
    let answer = at_home(&home, &["-c", "sii", "-c", "p 255", "-c", "alias sii"], "");
    let out = answer.succeeds();
    assert!(out.contains("init_task\n") && out.contains("$1 = 0xff\n"), "{out}");
    assert!(out.contains("$HOME/.mortisrc  sii      sym -q init_ta \n"), "{out}");
    // One line on what means nothing here, and nothing of what was set.
    assert_eq!(answer.err.lines().count(), 1, "{}", answer.err);
    assert!(answer.err.contains("extend trace.so") && answer.err.contains("frobnicate"));
    assert!(!out.contains("radix"), "{out}");
    for flag in ["--no-rc", "--no_crashrc"] {
        at_home(&home, &[flag, "-c", "sii"], "").fails(1, &["command not found: sii"]);
    }
    std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o666)).expect("ours");
    let answer = at_home(&home, &["-c", "sii"], "");
    answer.fails(1, &["not using untrusted file", ".mortisrc", "command not found: sii"]);
    std::fs::remove_dir_all(&home).expect("ours");
}

#[test]
fn lines_may_be_all_that_crash_takes() {
    let home = folder("lines");
    std::fs::write(home.join("names"), "schedule\n# none\n\njiffies linux_banner\n")
        .expect("written");
    std::fs::write(home.join("script"), "sym schedule\nbt nosuch\n  # note\nsym jiffies | cat\n")
        .expect("written");
    std::fs::write(home.join("itself"), "< itself\n").expect("written");
    let run = |input: &str| at_home(&home, &[], input);
    let names = run("sym < names\n");
    assert_eq!(names.succeeds().lines().count(), 3, "{}", names.out);
    assert_eq!(run("sym <names\n").succeeds(), names.out);
    assert_eq!(run("sym schedule\nsym jiffies linux_banner\n").succeeds(), names.out);
    let verbatim = run("\\sym < names\n");
    assert!(verbatim.out.contains("symbol not found: <"), "{}{}", verbatim.out, verbatim.err);
    // The rest of a file of commands runs when one fails.
    let script = run("< script\n");
    script.fails(1, &["invalid task or pid value: nosuch"]);
    assert!(script.out.contains("schedule") && script.out.contains("jiffies"), "{}", script.out);
    let redirected = run("< script > out\n");
    let out = std::fs::read_to_string(home.join("out")).expect("written");
    assert!(out.contains("schedule") && !redirected.out.contains("schedule"), "{out}");
    run("< itself\n").fails(1, &["embedded input files not allowed!"]);
    run("< /no/such/file\n").fails(1, &["/no/such/file", "No such file"]);
    // History.
    let twice = run("sym schedule\nr\n!!\nr 1\n!1\nr sy\n");
    assert_eq!(twice.succeeds().matches("(T) schedule").count(), 6, "{}", twice.out);
    assert_eq!(run("sym jiffies\nh\n").succeeds().lines().last(), Some("[1] sym jiffies"));
    run("r\n").fails(1, &["no commands entered!"]);
    // Programs.
    assert_eq!(
        run("echo \"a  b\" | cat\n!echo c\n| echo d\nls names\n").succeeds(),
        "a  b\nc\nd\nnames\n"
    );
    assert_eq!(
        run("pwd > here\ncat here\n").succeeds().trim(),
        path(&home.canonicalize().expect("there"))
    );
    // Pipes and aliases.
    assert_eq!(run("sym schedule | cat | grep -c schedule | cat\n").succeeds(), "1\n");
    assert_eq!(run("alias ss \"sym schedule | wc -l\" > x\nss\n").succeeds(), "1\n");
    assert_eq!(run("repeat sym schedule | head -3 | wc -l\n").succeeds(), "3\n");
    std::fs::remove_dir_all(&home).expect("ours");
}

#[test]
fn a_call_of_crash_runs_unchanged() {
    let flags =
        ["--no_crashrc", "--no_scroll", "--hex", "--no_kallsyms", "--mod", "/tmp", "-d", "1"];
    let answer = on_sample(&[&flags[..], &["-c", "p 255"]].concat());
    assert_eq!((answer.succeeds(), answer.err.as_str()), ("$1 = 0xff\n", ""));
    let answer = mortis(&["--smp", SAMPLE, "-c", "p 255"]);
    assert!(answer.succeeds().contains("$1 = 255\n"));
    assert!(answer.err.contains("needless here: --smp"), "{}", answer.err);
    assert!(mortis(&["--osrelease", SAMPLE]).succeeds().starts_with("6.12."));
    assert_eq!(mortis(&["--build-id", SAMPLE]).succeeds().trim().len(), 40);
    assert!(mortis(&["-t", SAMPLE]).succeeds().contains(" UTC 20"));
    assert!(mortis(&["--log", SAMPLE]).succeeds().contains("Linux version"));
    assert!(mortis(&["-h", "bt"]).succeeds().contains("SYNOPSIS"));
    assert!(mortis(&["--help", "input"]).succeeds().contains("HISTORY"));
    mortis(&["-h", "nosuch"]).fails(2, &["nosuch"]);
    mortis(&["--no_crashcr"]).fails(2, &["did you mean '--no_crashrc'?"]);
}

#[test]
fn at_a_terminal_tab_completes_and_long_output_is_paged() {
    let state = folder("pager");
    let Some(terminal) = Terminal::start("pager", &state) else { return };
    let shows = |what: &'static str| {
        move |screen: Option<&str>| screen.is_some_and(|screen| screen.contains(what))
    };
    terminal.wait_for("a prompt", shows("mortis>"));
    terminal.keys(&["p init_task.com", "Tab"]);
    terminal.wait_for("members and their types", shows("char [16]"));
    terminal.keys(&["C-c"]);
    terminal.keys(&["bt -", "Tab"]);
    terminal.wait_for("options and their help", shows("the task that died"));
    terminal.keys(&["C-c"]);
    // `-s` pages nothing; what is longer than the screen waits once that is wanted.
    terminal.keys(&["set scroll more", "Enter"]);
    terminal.keys(&["sn", "Enter"]);
    terminal.wait_for("scrolling", shows("scroll: on"));
    terminal.keys(&["log", "Enter"]);
    terminal.wait_for("a pager", shows("--More--"));
    terminal.keys(&["q"]);
    terminal.wait_for("the prompt after it", |screen| {
        screen.is_some_and(|screen| screen.trim_end().ends_with("mortis>"))
    });
    // What fits the screen is not paged.
    terminal.keys(&["sym schedule", "Enter"]);
    terminal.wait_for("an answer", shows("(T) schedule"));
    terminal.keys(&["q", "Enter"]);
    terminal.wait_for("no program any more", |screen| screen.is_none());
}
