//! Running other programs, with errors that show what they said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs to the end and returns what it wrote; on failure the error has it.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{shown}: {}\n{}", output.status, tail(&String::from_utf8_lossy(&said), 15));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end and ignores what it wrote, unless it fails.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// `from | to`, both without a word unless they fail.
pub fn pipe(from: &mut Command, to: &mut Command) -> Result<()> {
    pipe_to(from, to, &[0])
}

/// `from | to`, of which the second may end with one of these codes.
pub fn pipe_to(from: &mut Command, to: &mut Command, codes: &[i32]) -> Result<()> {
    let shown = format!("{} | {}", show(from), show(to));
    let mut first = from
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let stdout = first.stdout.take().context("no pipe")?;
    let status = to.stdin(stdout).status().with_context(|| format!("cannot run {shown}"))?;
    let first = first.wait()?;
    if !first.success() || !status.code().is_some_and(|code| codes.contains(&code)) {
        bail!("{shown}: {first}, {status}");
    }
    Ok(())
}

/// Waits until the child ends (true) or the time is up (false, and it is killed).
/// Calls `tick` now and then.
pub fn wait(child: &mut Child, limit: Duration, mut tick: impl FnMut()) -> Result<bool> {
    let start = Instant::now();
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        if start.elapsed() > limit {
            child.kill().ok();
            child.wait().ok();
            return Ok(false);
        }
        tick();
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether `program` is on the path (or in sbin, which root's programs are in).
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
        .any(|dir| dir.join(program).is_file())
}

/// A command whose path has sbin too.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command
}

/// The command line, for messages and manifests.
pub fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    for word in command.get_args() {
        let word = word.to_string_lossy();
        words.push(if word.contains(' ') { format!("'{word}'") } else { word.into_owned() });
    }
    words.join(" ")
}

/// The last `count` lines.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
