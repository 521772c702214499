//! Developer commands of Mortis: `cargo xtask help`.

mod bench;
mod docs;
mod lab;
mod licences;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask lab [...]    real crash dumps: `cargo xtask lab help`
cargo xtask bench [...]  mortis against its peers: `cargo xtask bench --help`
cargo xtask docs         examples in the help, manual pages and completions; --check compares
cargo xtask licences     every dependency's licence is one that deny.toml allows
cargo xtask test [...]   the dumps that the tests need, then `cargo test --workspace ...`
";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut words: Vec<OsString>) -> Result<()> {
    let command = if words.is_empty() { OsString::from("help") } else { words.remove(0) };
    match command.to_str() {
        Some("lab") => lab::run(words),
        Some("docs") => docs::run(words),
        Some("licences") => licences::run(),
        Some("test") => test::run(words),
        Some("bench") => bench::run(words),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("no command {}; there are:\n{HELP}", command.display()),
    }
}
