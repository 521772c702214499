//! `cargo xtask test`.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};
use mortis_lab::make::{Wanted, make};

/// Makes the default dumps, then runs every test with the arguments given.
pub fn run(arguments: Vec<OsString>) -> Result<()> {
    make(&Wanted::default())?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--workspace"])
        .args(arguments)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo test: {status}");
    }
    Ok(())
}
