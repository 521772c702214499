//! Programs to compare with: crash and makedumpfile from sid, started through
//! their own dynamic linker so that they run on an older host, and drgn.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::process::{command, output, run};
use super::{apt, host, progress};
use crate::manifest::Manifest;
use crate::store::Store;

const SUITE: &str = "sid";
const PACKAGES: &[&str] = &["crash", "makedumpfile"];
/// The version that the numbers in this project's documents were measured with.
const DRGN: &str = "drgn==0.3.0";
const LIBRARIES: &str = "root/usr/lib/x86_64-linux-gnu";

/// Installs crash and makedumpfile unless they are there.
pub fn ensure(store: &Store) -> Result<()> {
    let peers = store.peers();
    if Manifest::read(&peers).is_some() {
        return Ok(());
    }
    host::check()?;
    let archive = apt::Apt::open(store, SUITE)?;
    progress(format_args!("fetching {} of {SUITE}", PACKAGES.join(" and ")));
    let mut packages = archive.closure(PACKAGES)?;
    packages.retain(|name| !name.starts_with("perl") && !name.starts_with("libperl"));
    let work = store.temporary("peers")?;
    let files = archive.download(&packages, &work.join("debs"))?;
    let product = work.join("product");
    apt::unpack(&files, &product.join("root"))?;
    fs::create_dir_all(product.join("bin"))?;
    for program in PACKAGES {
        let script = format!(
            "#!/bin/sh\n\
             here=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")\n\
             lib=$here/{LIBRARIES}\n\
             exec \"$lib/ld-linux-x86-64.so.2\" --library-path \"$lib\" \
             \"$here/root/usr/bin/{program}\" \"$@\"\n"
        );
        executable(&product.join("bin").join(program), &script)?;
    }
    let mut manifest = Manifest::default();
    manifest.set("suite", SUITE);
    manifest.set("packages", packages.join(" "));
    manifest.write(&product)?;
    store.place(&product, &peers)?;
    crate::store::remove(&work)?;
    // Fails here rather than in a guest.
    makedumpfile_libraries(store).map(drop)
}

/// Installs drgn unless it is there.
pub fn ensure_drgn(store: &Store) -> Result<()> {
    let program = store.peers().join("bin/drgn");
    if program.exists() {
        return Ok(());
    }
    if !host::python_can_venv() {
        anyhow::bail!("drgn needs Python's venv: apt-get install python3-venv");
    }
    progress(format_args!("installing {DRGN}"));
    // A virtual environment knows its own path: it is made where it stays.
    let venv = store.peers().join("drgn");
    crate::store::remove(&venv)?;
    run(command("python3").args(["-m", "venv"]).arg(&venv))?;
    run(command(venv.join("bin/pip")).args(["install", "--quiet", DRGN]))?;
    let script = "#!/bin/sh\n\
         exec \"$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")/drgn/bin/drgn\" \"$@\"\n";
    executable(&program, script)
}

fn executable(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// makedumpfile itself.
pub fn makedumpfile(store: &Store) -> PathBuf {
    store.peers().join("root/usr/bin/makedumpfile")
}

/// The version it says it has.
pub fn makedumpfile_version(store: &Store) -> String {
    let text = output(command(store.peers().join("bin/makedumpfile")).arg("-v"));
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Its dynamic linker and every library it loads.
pub fn makedumpfile_libraries(store: &Store) -> Result<Vec<PathBuf>> {
    let dir = store.peers().join(LIBRARIES);
    let linker = dir.join("ld-linux-x86-64.so.2");
    let list = output(
        command(&linker).arg("--library-path").arg(&dir).arg("--list").arg(makedumpfile(store)),
    )?;
    let mut libraries = vec![linker];
    for line in list.lines() {
        if let Some((_, target)) = line.split_once(" => ") {
            let path = target.split(" (").next().unwrap_or_default();
            libraries.push(PathBuf::from(path.trim()));
        }
    }
    Ok(libraries)
}
