//! `cargo xtask bench`: mortis against crash and drgn, whole processes, in pairs.
//!
//! Each row runs mortis and a peer in turn on the same dump, several times after a warm-up, so
//! that a machine whose speed drifts slows both; the figure to quote is the median of the ratios.
//! Files are in the page cache and nobody has a cache of its own. A command is measured twice:
//! from open to exit, and as what one more run of it costs inside an open session.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wait4::Wait4;

const HELP: &str = "\
cargo xtask bench [OPTIONS] [COMMAND...]   COMMAND: bt log ps kmem-s foreach-bt files net vm
                   kmem-p kmem-v kmem-f search-k search-t search-p list (default: all)
  --kernel KEY     the lab's kernel (default 6.12)
  --case NAME      the lab's case (default sysrq; `large` is the guest of 20,000 threads)
  --capture NAME   the lab's capture (default c31)
  --runs N         counted runs of each pair (default 5)
  --marginal       what one more run costs in an open session, instead of open to exit
  --peer NAME      crash or drgn (default: both)
";

/// How many further runs of a command a session makes to tell what one costs.
const FURTHER: u32 = 4;

/// What each program is asked.
struct Question {
    name: &'static str,
    mortis: &'static str,
    crash: &'static str,
}

const QUESTIONS: &[Question] = &[
    Question { name: "bt", mortis: "bt", crash: "bt" },
    Question { name: "log", mortis: "log", crash: "log" },
    Question { name: "ps", mortis: "ps", crash: "ps" },
    Question { name: "kmem-s", mortis: "kmem -s", crash: "kmem -s" },
    Question { name: "foreach-bt", mortis: "foreach bt", crash: "foreach bt" },
    Question { name: "files", mortis: "foreach files", crash: "foreach files" },
    Question { name: "net", mortis: "foreach net -s", crash: "foreach net -s" },
    Question { name: "vm", mortis: "foreach vm", crash: "foreach vm" },
    Question { name: "kmem-p", mortis: "kmem -p", crash: "kmem -p" },
    Question { name: "kmem-v", mortis: "kmem -v", crash: "kmem -v" },
    Question { name: "kmem-f", mortis: "kmem -f", crash: "kmem -f" },
    Question {
        name: "search-k",
        mortis: "search -k 6d6f727400000000",
        crash: "search -k 6d6f727400000000",
    },
    Question {
        name: "search-t",
        mortis: "search -t 6d6f727400000000",
        crash: "search -t 6d6f727400000000",
    },
    Question {
        name: "search-p",
        mortis: "search -p 6d6f727400000000",
        crash: "search -p 6d6f727400000000",
    },
    Question {
        name: "list",
        mortis: "list -H init_task.tasks -o task_struct.tasks -s task_struct.pid,comm",
        crash: "list -H init_task.tasks -o task_struct.tasks -s task_struct.pid,comm",
    },
];

struct Setup {
    mortis: PathBuf,
    vmcore: PathBuf,
    vmlinux: PathBuf,
    scripts: PathBuf,
    runs: u32,
    marginal: bool,
}

/// Runs the benchmarks that `words` ask for and prints a table.
///
/// # Errors
/// When a dump or peer is missing, or a program fails.
pub fn run(words: Vec<OsString>) -> Result<()> {
    let (mut kernel, mut case, mut capture) =
        ("6.12".to_owned(), "sysrq".to_owned(), "c31".to_owned());
    let (mut runs, mut marginal) = (5, false);
    let mut peers = vec!["drgn".to_owned(), "crash".to_owned()];
    let mut wanted = Vec::new();
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(argument) = parser.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("kernel") => kernel = parser.value()?.string()?,
            Long("case") => case = parser.value()?.string()?,
            Long("capture") => capture = parser.value()?.string()?,
            Long("runs") => runs = parser.value()?.parse()?,
            Long("peer") => peers = vec![parser.value()?.string()?],
            Long("marginal") => marginal = true,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            Value(name) => wanted.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    build(root)?;
    let setup = Setup {
        mortis: target_dir(root).join("release/mortis"),
        vmcore: mortis_lab::dump(&kernel, &case, &capture),
        vmlinux: mortis_lab::vmlinux(&kernel),
        scripts: root.join("benches/drgn"),
        runs,
        marginal,
    };
    let what = if marginal { "one more in an open session" } else { "open to exit" };
    println!("{kernel} {case} {capture}: {what}, median of {runs} pairs after a warm-up");
    println!(
        "{:<12} {:<16} {:>9} {:>8}   {:<6} {:>9} {:>8}   {:>7}",
        "command", "mortis with", "seconds", "MiB", "peer", "seconds", "MiB", "ratio"
    );
    for question in QUESTIONS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == question.name) {
            continue;
        }
        for peer in &peers {
            // drgn has no such commands: what it is asked is a script for each, where there is one.
            if peer == "drgn" && !setup.drgn_script(question).exists() {
                continue;
            }
            for with_vmlinux in [true, false] {
                row(&setup, question, peer, with_vmlinux)?;
            }
        }
    }
    Ok(())
}

fn build(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--package", "mortis"])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// One program's figures of one run.
#[derive(Clone, Copy)]
struct Figures {
    wall: Duration,
    /// KiB.
    peak: u64,
}

fn row(setup: &Setup, question: &Question, peer: &str, with_vmlinux: bool) -> Result<()> {
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for round in 0..=setup.runs {
        let mortis = measure(setup, &|times| setup.mortis_command(question, with_vmlinux, times))?;
        let other = measure(setup, &|times| setup.peer_command(question, peer, times))?;
        // The first round warms caches up.
        if round > 0 {
            ours.push(mortis);
            theirs.push(other);
        }
    }
    let seconds = |figures: &[Figures]| {
        median(figures.iter().map(|figures| figures.wall.as_secs_f64()).collect())
    };
    let mebibytes =
        |figures: &[Figures]| figures.iter().map(|figures| figures.peak).max().unwrap_or(0) / 1024;
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(mortis, other)| other.wall.as_secs_f64() / mortis.wall.as_secs_f64().max(1e-6));
    println!(
        "{:<12} {:<16} {:>9.4} {:>8}   {:<6} {:>9.4} {:>8}   {:>6.1}x",
        question.name,
        if with_vmlinux { "vmlinux" } else { "the dump alone" },
        seconds(&ours),
        mebibytes(&ours),
        peer,
        seconds(&theirs),
        mebibytes(&theirs),
        median(ratios.collect()),
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Times a program that asks its question once, or what a further time costs.
fn measure(setup: &Setup, command: &dyn Fn(u32) -> Result<Command>) -> Result<Figures> {
    let once = timed(command(1)?)?;
    if !setup.marginal {
        return Ok(once);
    }
    let more = timed(command(1 + FURTHER)?)?;
    Ok(Figures { wall: more.wall.saturating_sub(once.wall) / FURTHER, peak: more.peak })
}

fn timed(mut command: Command) -> Result<Figures> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let used = child.wait4().context("cannot wait for a program")?;
    let wall = start.elapsed();
    if !used.status.success() {
        bail!("{} failed: {}", command.get_program().display(), used.status);
    }
    Ok(Figures { wall, peak: used.rusage.maxrss / 1024 })
}

impl Setup {
    fn drgn_script(&self, question: &Question) -> PathBuf {
        self.scripts.join(format!("{}.py", question.name))
    }

    fn mortis_command(
        &self,
        question: &Question,
        with_vmlinux: bool,
        times: u32,
    ) -> Result<Command> {
        let mut command = Command::new(&self.mortis);
        command.arg("-s");
        if with_vmlinux {
            command.arg(&self.vmlinux);
        }
        command.arg(&self.vmcore);
        for _ in 0..times {
            command.args(["-c", question.mortis]);
        }
        Ok(command)
    }

    fn peer_command(&self, question: &Question, peer: &str, times: u32) -> Result<Command> {
        let program = mortis_lab::peer(peer)
            .with_context(|| format!("{peer} is not there; run `cargo xtask lab peers`"))?;
        let mut command = Command::new(program);
        let scratch = std::env::temp_dir().join(format!("mortis-bench-{peer}"));
        if peer == "crash" {
            let lines = format!("{}\n", question.crash).repeat(times as usize);
            std::fs::write(&scratch, lines + "q\n").context("cannot write crash's input")?;
            command.arg("-s").arg(&self.vmlinux).arg(&self.vmcore).arg("-i").arg(&scratch);
        } else {
            let script = self.drgn_script(question);
            let text = std::fs::read_to_string(&script)
                .with_context(|| format!("cannot read {}", script.display()))?;
            std::fs::write(&scratch, format!("{text}\n").repeat(times as usize))
                .context("cannot write drgn's script")?;
            command.arg("-q").arg("-c").arg(&self.vmcore).arg("-s").arg(&self.vmlinux);
            command.arg(&scratch);
        }
        Ok(command)
    }
}
