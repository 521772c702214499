//! A newer QEMU than the machine's, started through its own dynamic linker: it writes forms
//! that older ones do not know.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;

use super::{apt, progress};
use crate::manifest::Manifest;
use crate::store::Store;

const SUITE: &str = "trixie";

/// Unpacks it unless it is there, and gives the program to start it with.
pub fn ensure(store: &Store) -> Result<PathBuf> {
    let qemu = store.root().join("qemu");
    let program = qemu.join("qemu-system-x86_64");
    if Manifest::read(&qemu).is_some() {
        return Ok(program);
    }
    let archive = apt::Apt::open(store, SUITE)?;
    progress(format_args!("fetching QEMU of {SUITE}"));
    let packages = archive.closure(&["qemu-system-x86"])?;
    let work = store.temporary("qemu")?;
    let files = archive.download(&packages, &work.join("debs"))?;
    let product = work.join("product");
    apt::unpack(&files, &product.join("root"))?;
    let script = "#!/bin/sh\n\
         root=$(dirname \"$(readlink -f \"$0\")\")/root\n\
         lib=$root/usr/lib/x86_64-linux-gnu\n\
         export QEMU_MODULE_DIR=\"$lib/qemu\"\n\
         exec \"$lib/ld-linux-x86-64.so.2\" --library-path \"$lib\" \
         \"$root/usr/bin/qemu-system-x86_64\" \
         -L \"$root/usr/share/seabios\" -L \"$root/usr/share/qemu\" \"$@\"\n";
    let inside = product.join("qemu-system-x86_64");
    fs::write(&inside, script)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    let mut manifest = Manifest::default();
    manifest.set("suite", SUITE);
    manifest.set("packages", packages.join(" "));
    manifest.write(&product)?;
    store.place(&product, &qemu)?;
    crate::store::remove(&work)?;
    Ok(program)
}
