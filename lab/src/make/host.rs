//! What this machine must have.

use anyhow::{Result, bail};

use super::process::{command, exists, output, run};
use super::progress;

/// A program and Debian's package that has it.
const TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("xz", "xz-utils"),
    ("dpkg-deb", "dpkg"),
    ("apt-get", "apt"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> =
        TOOLS.iter().filter(|(program, _)| !exists(program)).map(|&(_, package)| package).collect();
    packages.dedup();
    packages
}

/// Succeeds when every tool is there; as root in a CI job it installs them.
pub fn check() -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    if is_root() && std::env::var("CI").is_ok_and(|value| value == "true") {
        return install_tools();
    }
    bail!(
        "the lab needs programs that are not installed; run `apt-get install {}` \
         or, as root, `cargo xtask lab --install-tools`",
        packages.join(" ")
    )
}

/// Installs the programs that are missing (needs root).
pub fn install_tools() -> Result<()> {
    let mut packages = missing();
    if !python_can_venv() {
        packages.push("python3-venv");
    }
    if packages.is_empty() {
        progress("every tool is there");
        return Ok(());
    }
    if !is_root() {
        bail!("run as root: apt-get install {}", packages.join(" "));
    }
    progress(format_args!("installing {}", packages.join(" ")));
    run(command("apt-get").arg("update"))?;
    run(command("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(&packages))
}

/// Whether `python3 -m venv` works here.
pub fn python_can_venv() -> bool {
    run(command("python3").args(["-c", "import venv, ensurepip"])).is_ok()
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    output(command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// The first line of a program's `--version`.
pub fn version(program: &std::path::Path) -> String {
    let text = output(command(program).arg("--version")).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
