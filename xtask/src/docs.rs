//! `cargo xtask docs`: what follows from the tables of commands and flags. The answers to the
//! examples of `help`, manual pages, and completions for bash, zsh and fish.
//!
//! The tables are asked of the program itself, in JSON, and the examples are run by it on the
//! sample. What they print is kept in the repository, and `--check` fails when it would change.

mod completions;
mod examples;
mod man;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A flag of the command line, as `mortis --json --help` tells it.
#[derive(Deserialize)]
struct Flag {
    short: Option<char>,
    long: String,
    value: Option<String>,
    help: String,
    group: String,
}

/// A subcommand, as `mortis help --json` tells it.
#[derive(Deserialize)]
struct Subcommand {
    name: String,
    usage: String,
    summary: String,
    about: String,
    flags: Vec<Flag>,
}

/// A command of the shell, as `help all` tells it in JSON.
#[derive(Deserialize)]
struct Command {
    name: String,
    aliases: Vec<String>,
    summary: String,
    synopsis: String,
    options: Vec<Opt>,
    help: String,
    examples: Vec<String>,
}

#[derive(Deserialize)]
struct Opt {
    letter: char,
    value: Option<String>,
    help: String,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Command>,
}

/// The program, and the dump that it is asked about.
struct Mortis {
    program: PathBuf,
    /// A folder with a file `vmcore` in it, where examples run: no path of this machine shows.
    folder: PathBuf,
}

impl Mortis {
    fn build(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Process::new(cargo)
            .current_dir(root)
            .args(["build", "--quiet", "-p", "mortis", "--message-format", "json"])
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo build: {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        let program = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next_back()
            .context("cargo does not say where the program is")?;
        let folder = program.with_file_name("docs-examples");
        std::fs::create_dir_all(&folder)?;
        let sample = root.join("samples/null-dereference-6.12.vmcore");
        std::fs::copy(&sample, folder.join("vmcore"))
            .with_context(|| format!("cannot copy {}", sample.display()))?;
        Ok(Self { program, folder })
    }

    /// What the program prints, and whether all went well.
    fn run(&self, arguments: &[&str]) -> Result<(String, bool)> {
        let output = Process::new(&self.program)
            .current_dir(&self.folder)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .env("COLUMNS", "100")
            .output()
            .context("cannot run mortis")?;
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
    }
}

/// Makes the files, or with `--check` compares them.
///
/// # Errors
/// Names the files that are out of date.
pub fn run(words: Vec<OsString>) -> Result<()> {
    let check = match &words[..] {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("cargo xtask docs [--check]"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mortis = Mortis::build(root)?;
    let (flags, _) = mortis.run(&["--json", "--help"])?;
    let flags: Vec<Flag> = serde_json::from_str(&flags).context("the table of flags")?;
    let (subcommands, _) = mortis.run(&["help", "--json"])?;
    let subcommands: Vec<Subcommand> =
        serde_json::from_str(&subcommands).context("the table of subcommands")?;
    let (commands, _) = mortis.run(&["--json", "-s", "--no-rc", "vmcore", "-c", "help all"])?;
    let Answer { items: commands } =
        serde_json::from_str(&commands).context("the table of commands")?;
    let answers = examples::answers(&mortis, &commands)?;
    let files = [
        ("crates/shell/src/commands/help/examples.txt", examples::text(&answers)),
        ("docs/man/mortis.1", man::program(&flags, &subcommands)),
        ("docs/man/mortis-commands.7", man::commands(&commands, &answers)),
        ("completions/mortis.bash", completions::bash(&flags, &subcommands, &commands)),
        ("completions/_mortis", completions::zsh(&flags, &subcommands, &commands)),
        ("completions/mortis.fish", completions::fish(&flags, &subcommands, &commands)),
    ];
    let mut old = Vec::new();
    for (name, text) in files {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        old.push(name);
        if !check {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, text).with_context(|| format!("cannot write {name}"))?;
        }
    }
    match (check, old.is_empty()) {
        (true, false) => bail!("out of date: {}; run 'cargo xtask docs'", old.join(", ")),
        (false, false) => println!("written: {}", old.join(", ")),
        (_, true) => println!("up to date"),
    }
    Ok(())
}
