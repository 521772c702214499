//! `cargo xtask licences`: every dependency's licence is one that deny.toml allows.
//!
//! `cargo deny check` does this and more; this needs nothing installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Checks the licence of every package in the dependency graph.
///
/// # Errors
/// Names the packages whose licence deny.toml does not allow.
pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let allowed = allowed(root)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["tree", "--workspace", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}\t{l}"])
        .output()
        .context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut packages: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    packages.sort_unstable();
    packages.dedup();
    let mut refused = Vec::new();
    for line in &packages {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        // A repeated subtree is marked behind the licence.
        let licence = licence.trim_end_matches(" (*)");
        if !is_allowed(licence, &allowed) {
            refused.push(format!("{package}: {licence}"));
        }
    }
    if !refused.is_empty() {
        bail!("licences that deny.toml does not allow:\n{}", refused.join("\n"));
    }
    println!("{} packages, all under licences that deny.toml allows", packages.len());
    Ok(())
}

/// The identifiers in `licenses.allow` of deny.toml.
fn allowed(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    let list = text
        .split_once("allow = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .context("deny.toml has no `allow` list")?
        .0;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Whether an SPDX expression is satisfied by the licences allowed: one of alternatives, all of
/// what is joined by AND.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let one = |licence: &str| allowed.iter().any(|known| known == licence.trim());
    !expression.trim().is_empty()
        && expression.split(" AND ").all(|part| part.split(" OR ").any(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
        assert!(is_allowed("MIT OR GPL-2.0", &allowed));
        assert!(is_allowed("Unlicense/MIT", &allowed));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(!is_allowed("LGPL-2.1-or-later", &allowed));
        assert!(!is_allowed("MIT AND GPL-2.0", &allowed));
        assert!(!is_allowed("", &allowed));
    }
}
