//! A guest that is dumped from outside: by QEMU, in every form that QEMU knows.
//!
//! It lives as the others do. While it is alive it is written down twice, into a snapshot and
//! by a migration that copies it as it runs; then it is told to die, and all other forms are
//! written of the dead machine, which stands still.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::guest::{self, Run, follow};
use super::harvest::with_holes;
use super::process::{command, run as run_command, show, tail};
use super::qmp::Qmp;
use super::{newer, progress};
use crate::store::Store;
use crate::table::{self, Case, FW_CFG, Kernel, Outside};

/// Stands for the guest's program.
pub const SCRIPT: &str = include_str!("../../guest/outside");

/// What the monitor is asked about the dead machine, and the files that hold the answers.
pub const SAYINGS: [(&str, &str); 3] = [
    ("info registers -a", "qemu/registers"),
    ("info mtree -f", "qemu/mtree"),
    ("info ramblock", "qemu/ramblock"),
];

/// Boots the kernel, has it die, and writes its forms.
pub fn run(
    store: &Store,
    kernel: &Kernel,
    case: &Case,
    outside: &Outside,
    forms: &[&str],
) -> Result<Run> {
    let run = Run::new(store, kernel, case)?;
    files(store, kernel, outside, &run)?;
    let console = run.console();
    let program =
        if table::is_newer(case.name) { newer::ensure(store)? } else { guest::QEMU.into() };
    let mut qemu = qemu(&program, store, kernel, case, outside, &run);
    let run = Run { command: show(&qemu), ..run };
    let mut child = qemu
        .current_dir(&run.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(run.dir.join("qemu.log"))?)
        .spawn()
        .context("cannot run qemu-system-x86_64: apt-get install qemu-system-x86")?;
    let written = Qmp::new(&mut child).and_then(|mut qmp| {
        let mut machine =
            Machine { qmp: &mut qmp, kernel, case, run: &run, console: &console, shown: 0 };
        machine.write(forms)
    });
    child.kill().ok();
    child.wait().ok();
    written.with_context(|| {
        let text = fs::read(&console).unwrap_or_default();
        let said = fs::read_to_string(run.dir.join("qemu.log")).unwrap_or_default();
        let text = tail(&String::from_utf8_lossy(&text), 25);
        format!("{}:\n{text}\n{}", console.display(), tail(&said, 5))
    })?;
    Ok(run)
}

/// The files that the machine is started with.
pub fn files(store: &Store, kernel: &Kernel, outside: &Outside, run: &Run) -> Result<()> {
    guest::boot_image(store, kernel, &run.boot())?;
    let payload = payload(store, kernel, outside, &run.dir)?;
    guest::disk(&run.truth_disk, "128M", &["-t", "ext2", "-d"], Some(&payload))?;
    run_command(command("mkfifo").arg(run.dir.join("word.in")).arg(run.dir.join("word.out")))
}

/// Adds what QEMU said of the dead machine to the truth.
pub fn truth(run: &Run) -> Result<()> {
    let to = run.product.join("truth/qemu");
    fs::rename(run.dir.join("qemu"), &to).with_context(|| to.display().to_string())
}

/// The folder that becomes the guest's disk.
fn payload(
    store: &Store,
    kernel: &Kernel,
    outside: &Outside,
    dir: &Path,
) -> Result<std::path::PathBuf> {
    let payload = guest::life(store, kernel, dir)?;
    fs::rename(payload.join("guest"), payload.join("guest.program"))?;
    fs::write(payload.join("guest"), SCRIPT)?;
    run_command(command("chmod").arg("755").arg(payload.join("guest")))?;
    if outside.vmcoreinfo {
        let module = format!("modules/{FW_CFG}.ko");
        fs::copy(store.kernel(kernel.key).join(&module), payload.join(&module))?;
    }
    Ok(payload)
}

fn qemu(
    program: &Path,
    store: &Store,
    kernel: &Kernel,
    case: &Case,
    outside: &Outside,
    run: &Run,
) -> Command {
    let mut line = guest::kernel_line(case, "panic=0");
    if outside.vmcoreinfo {
        line.push_str(" lab_fw_cfg=1");
    }
    let mut qemu = guest::machine(program, store, kernel, case, &run.boot(), &line);
    qemu.args(["-machine", outside.machine, "-qmp", "stdio", "-serial"])
        .arg(format!("file:{}", run.console().display()))
        .args(["-chardev", "pipe,id=word,path=word", "-serial", "chardev:word"])
        .args(["-drive", &guest::drive(&run.truth_disk)]);
    if outside.vmcoreinfo {
        qemu.args(["-device", "vmcoreinfo"]);
    }
    qemu
}

/// A machine that runs.
struct Machine<'a> {
    qmp: &'a mut Qmp,
    kernel: &'a Kernel,
    case: &'a Case,
    run: &'a Run,
    console: &'a Path,
    /// How much of the console was repeated.
    shown: usize,
}

/// The name of a node of QEMU's block layer.
const SNAPSHOTS: &str = "snapshots";
/// Where snapshots go to; nothing of the guest is on it.
const SNAPSHOT_DISK: &str = "qcow2";

impl Machine<'_> {
    fn write(&mut self, forms: &[&str]) -> Result<()> {
        self.wait_for("mortis-lab: alive")?;
        let wants = |name: &str| forms.contains(&name);
        if wants(SNAPSHOT_DISK) {
            self.create_disk()?;
            self.snapshot("alive")?;
        }
        if wants("xbzrle") {
            self.copy_running()?;
        }
        if wants("xbzrle-mem") {
            self.memory("xbzrle-mem")?;
        }
        self.qmp.command("cont", json!({}))?;
        fs::write(self.run.dir.join("word.in"), "die\n")?;
        self.wait_for("end Kernel panic")?;
        // The other CPUs stand still by then too.
        thread::sleep(Duration::from_secs(1));
        self.qmp.command("stop", json!({}))?;
        self.say("dead, and stopped");
        fs::create_dir(self.run.dir.join("qemu"))?;
        for (request, name) in SAYINGS {
            let text = self.qmp.human(request)?;
            fs::write(self.run.dir.join(name), text)?;
        }
        for name in forms {
            match *name {
                "raw-mem" => self.memory("raw-mem")?,
                "elf" => self.dump("elf", false, "elf")?,
                "paging" => self.dump("paging", true, "elf")?,
                "zlib" => self.dump("zlib", false, "kdump-zlib")?,
                "raw-zlib" => self.dump("raw-zlib", false, "kdump-raw-zlib")?,
                SNAPSHOT_DISK => self.snapshot("dead")?,
                _ => {}
            }
        }
        // Last: afterwards the machine counts as gone elsewhere.
        for name in forms {
            match *name {
                "stream" => self.migrate("stream", &[])?,
                "mapped-ram" => self.migrate("mapped-ram", &["mapped-ram"])?,
                "mapped-ram-multifd" => {
                    self.migrate("mapped-ram-multifd", &["mapped-ram", "multifd"])?;
                }
                _ => {}
            }
        }
        self.qmp.command("quit", json!({}))?;
        for name in forms {
            let made = self.run.dir.join(name);
            with_holes(&made, &self.run.product.join(name)).with_context(|| name.to_string())?;
            fs::remove_file(made)?;
        }
        Ok(())
    }

    fn say(&self, text: impl std::fmt::Display) {
        progress(format_args!("{} {}: {text}", self.kernel.key, self.case.name));
    }

    /// Waits for a word on the console.
    fn wait_for(&mut self, word: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let text = fs::read(self.console).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            self.shown = follow(self.console, self.shown, self.kernel, self.case);
            if text.contains(word) {
                return Ok(());
            }
            if text.contains("mortis-lab: FAILED") {
                bail!("the guest failed");
            }
            if start.elapsed() > Duration::from_secs(self.case.timeout) {
                bail!("the guest never said {word:?}");
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Guest-physical memory from 0 on, as long as RAM.
    fn memory(&mut self, name: &str) -> Result<()> {
        let size = u64::from(self.case.memory) << 20;
        self.qmp.command("pmemsave", json!({ "val": 0, "size": size, "filename": name }))?;
        Ok(())
    }

    fn dump(&mut self, name: &str, paging: bool, format: &str) -> Result<()> {
        let protocol = format!("file:{name}");
        let mut arguments = json!({ "paging": paging, "protocol": protocol });
        // Even the default format may not be named together with paging.
        if !paging {
            arguments["format"] = json!(format);
        }
        self.qmp.command("dump-guest-memory", arguments)?;
        Ok(())
    }

    fn capabilities(&mut self, names: &[&str], state: bool) -> Result<()> {
        let list = names.iter().map(|name| json!({ "capability": name, "state": state }));
        let list: Vec<_> = list.collect();
        self.qmp.command("migrate-set-capabilities", json!({ "capabilities": list }))?;
        Ok(())
    }

    fn migrate(&mut self, name: &str, capabilities: &[&str]) -> Result<()> {
        self.capabilities(capabilities, true)?;
        let target = if capabilities.is_empty() { "exec:cat > " } else { "file:" };
        self.qmp.command("migrate", json!({ "uri": format!("{target}{name}") }))?;
        self.qmp.migrated(|_, _| Ok(()))?;
        self.capabilities(capabilities, false)
    }

    /// Copies the running guest, in rounds: what it changed meanwhile is sent again, as
    /// differences where those are small. It stands still after the last round.
    fn copy_running(&mut self) -> Result<()> {
        const ROUNDS: u64 = 5;
        let parameters = |downtime: u32| {
            // Bytes and milliseconds. Without any downtime there would be one round.
            json!({ "max-bandwidth": 64 << 20, "downtime-limit": downtime })
        };
        self.capabilities(&["xbzrle"], true)?;
        self.qmp.command("migrate-set-parameters", parameters(1))?;
        self.qmp.command("migrate", json!({ "uri": "exec:cat > xbzrle" }))?;
        let mut enough = false;
        let state = self.qmp.migrated(|qmp, state| {
            if !enough && state["ram"]["dirty-sync-count"].as_u64() > Some(ROUNDS) {
                enough = true;
                qmp.command("migrate-set-parameters", parameters(2000))?;
            }
            Ok(())
        })?;
        let rounds = &state["ram"]["dirty-sync-count"];
        let pages = &state["xbzrle-cache"]["pages"];
        if pages.as_u64() == Some(0) {
            bail!("no page of the running guest was sent as a difference");
        }
        self.say(format_args!("copied in {rounds} rounds, {pages} pages as differences"));
        self.capabilities(&["xbzrle"], false)
    }

    /// A disk that only QEMU knows of.
    fn create_disk(&mut self) -> Result<()> {
        let file = "snapshots-file";
        File::create(self.run.dir.join(SNAPSHOT_DISK))?;
        let node = json!({ "driver": "file", "node-name": file, "filename": SNAPSHOT_DISK });
        self.qmp.command("blockdev-add", node)?;
        let options = json!({ "driver": "qcow2", "file": file, "size": 64 << 20 });
        let arguments = json!({ "job-id": "create", "options": options });
        self.qmp.job("blockdev-create", "create", arguments)?;
        let node = json!({ "driver": "qcow2", "node-name": SNAPSHOTS, "file": file });
        self.qmp.command("blockdev-add", node)?;
        Ok(())
    }

    /// An internal snapshot, as `savevm` makes it.
    fn snapshot(&mut self, tag: &str) -> Result<()> {
        let arguments = json!({
            "job-id": tag, "tag": tag, "vmstate": SNAPSHOTS, "devices": [SNAPSHOTS],
        });
        self.qmp.job("snapshot-save", tag, arguments)
    }
}
