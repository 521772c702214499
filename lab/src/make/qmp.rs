//! QEMU's monitor: the JSON protocol on the standard input and output of QEMU's process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The longest that one command may take.
const LIMIT: Duration = Duration::from_secs(600);

/// A connection to a QEMU that was started with `-qmp stdio`.
pub struct Qmp {
    to: ChildStdin,
    from: Receiver<String>,
}

impl Qmp {
    /// Takes the child's standard input and output, which must be pipes.
    pub fn new(child: &mut Child) -> Result<Qmp> {
        let to = child.stdin.take().context("QEMU's input is no pipe")?;
        let from = child.stdout.take().context("QEMU's output is no pipe")?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut qmp = Qmp { to, from: receiver };
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returned.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": name, "arguments": arguments });
        writeln!(self.to, "{request}").with_context(|| format!("QEMU is gone: {name}"))?;
        loop {
            // Greetings and events are not answers.
            let line = self.from.recv_timeout(LIMIT).with_context(|| format!("QEMU: {name}"))?;
            let mut answer: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU: {name}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Runs a command of the monitor for people and gives its text.
    pub fn human(&mut self, line: &str) -> Result<String> {
        let text = self.command("human-monitor-command", json!({ "command-line": line }))?;
        Ok(text.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Waits until the migration is over, and gives its last state; `tick` is given its state
    /// now and then.
    pub fn migrated(
        &mut self,
        mut tick: impl FnMut(&mut Qmp, &Value) -> Result<()>,
    ) -> Result<Value> {
        let start = Instant::now();
        loop {
            let state = self.command("query-migrate", json!({}))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(state),
                Some("failed" | "cancelled") => bail!("QEMU: the migration failed: {state}"),
                _ if start.elapsed() > LIMIT => bail!("QEMU: the migration does not end: {state}"),
                _ => tick(self, &state)?,
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs a command that starts the job `id`, and waits for the job's end.
    pub fn job(&mut self, name: &str, id: &str, arguments: Value) -> Result<()> {
        self.command(name, arguments)?;
        let start = Instant::now();
        loop {
            let jobs = self.command("query-jobs", json!({}))?;
            let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == id));
            let job = job.with_context(|| format!("QEMU: {name}: no job {id}"))?;
            if job["status"] == "concluded" {
                if let Some(error) = job.get("error") {
                    bail!("QEMU: {name}: {error}");
                }
                self.command("job-dismiss", json!({ "id": id }))?;
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                bail!("QEMU: {name} does not end: {job}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
