//! The suite's own compiler, and what it compiles for a kernel: the module
//! `mortis_lab` and the static program that guests run.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::process::{command, run};
use super::{apt, fnv, host, progress};
use crate::manifest::Manifest;
use crate::store::Store;
use crate::table::Kernel;

const SOURCES: &[(&str, &str)] = &[
    ("module/Kbuild", include_str!("../../module/Kbuild")),
    ("module/mortis_lab.c", include_str!("../../module/mortis_lab.c")),
    ("guest/guest.h", include_str!("../../guest/guest.h")),
    ("guest/main.c", include_str!("../../guest/main.c")),
    ("guest/life.c", include_str!("../../guest/life.c")),
    ("guest/services.c", include_str!("../../guest/services.c")),
    ("guest/truth.c", include_str!("../../guest/truth.c")),
];

/// What compiling needs; their dependencies come along.
const PACKAGES: &[&str] =
    &["gcc", "libc6-dev", "make", "dash", "coreutils", "sed", "grep", "mawk", "findutils"];

/// Besides, the first name of each that the suite has.
const RENAMED: &[&[&str]] = &[
    // Of its own since bookworm.
    &["pahole", "dwarves"],
    // Renamed when time_t became 64 bits wide (trixie).
    &["libssl3t64", "libssl3", "libssl1.1"],
];

/// Dependencies that nothing here runs.
const UNUSED: &[&str] =
    &["libasan", "libtsan", "libubsan", "liblsan", "libhwasan", "libitm", "debconf", "perl"];

/// Changes with the sources.
pub fn sources_stamp() -> u64 {
    SOURCES.iter().fold(0, |stamp, (name, text)| stamp.rotate_left(7) ^ fnv(name) ^ fnv(text))
}

/// Compiles for the kernel unless that is done.
pub fn ensure(store: &Store, kernel: &Kernel) -> Result<()> {
    let stamp = format!("{:016x}", sources_stamp());
    let built = store.built(kernel.key);
    if Manifest::read(&built).is_some_and(|manifest| manifest.get("stamp") == Some(&stamp)) {
        return Ok(());
    }
    let release = store.release(kernel.key).context("the kernel is not there")?;
    install(store, kernel, &release)?;
    progress(format_args!("{}: compiling the module and the guest's program", kernel.key));
    let root = store.toolchain(kernel.key);
    let build = root.join("build");
    crate::store::remove(&build)?;
    for (name, text) in SOURCES {
        let path = build.join(name);
        fs::create_dir_all(path.parent().context("a source without folder")?)?;
        fs::write(path, text)?;
    }
    // With vmlinux at hand the module gets its BTF too, as a distribution's modules have.
    // (bookworm's build system leaves out the program that this takes.)
    let headers = root.join(format!("usr/src/linux-headers-{release}"));
    let vmlinux = headers.join("vmlinux");
    let ids = headers.join("tools/bpf/resolve_btfids/resolve_btfids");
    if !vmlinux.exists() && ids.exists() {
        fs::hard_link(store.kernel(kernel.key).join("vmlinux"), &vmlinux)
            .with_context(|| vmlinux.display().to_string())?;
    }
    let script = format!(
        "set -e; make -C /usr/src/linux-headers-{release} M=/build/module modules 2>&1; \
         gcc -static -O1 -DBPF_ATOMIC=0xc0 -g -Wall -o /build/guest/guest /build/guest/*.c -lpthread 2>&1; \
         gcc --version > /build/gcc-version"
    );
    run(&mut chroot(&root, &script)?).context("compiling in the chroot")?;
    let work = store.temporary("built")?;
    fs::copy(build.join("module/mortis_lab.ko"), work.join("mortis_lab.ko"))?;
    fs::copy(build.join("guest/guest"), work.join("guest"))?;
    let mut manifest = Manifest::default();
    let version = fs::read_to_string(build.join("gcc-version"))?;
    manifest.set("compiler", version.lines().next().unwrap_or_default());
    manifest.set("stamp", stamp);
    manifest.write(&work)?;
    store.place(&work, &built)
}

/// Unpacks compiler, kernel headers and kbuild into a root of their own.
fn install(store: &Store, kernel: &Kernel, release: &str) -> Result<()> {
    let root = store.toolchain(kernel.key);
    if Manifest::read(&root).is_some() {
        return Ok(());
    }
    let archive = apt::Apt::open(store, kernel.suite)?;
    progress(format_args!("{}: fetching the compiler of {}", kernel.key, kernel.suite));
    let work = store.temporary("toolchain")?;
    let product = work.join("product");
    unpack(&archive, kernel.suite, &[], headers(&archive, kernel, release)?.into(), &product)?;
    store.place(&product, &root)?;
    crate::store::remove(&work)
}

/// Unpacks compiler, `more` with all that it depends on, and just `besides` into `root`.
pub fn unpack(
    archive: &apt::Apt,
    suite: &str,
    more: &[&str],
    besides: Vec<String>,
    root: &Path,
) -> Result<()> {
    let mut wanted = [PACKAGES, more].concat();
    for names in RENAMED {
        for name in *names {
            if archive.has(name)? {
                wanted.push(name);
                break;
            }
        }
    }
    let mut packages = archive.closure(&wanted)?;
    packages.retain(|name| !UNUSED.iter().any(|unused| name.starts_with(unused)));
    packages.extend(besides);
    let debs = root.with_file_name("debs");
    let files = archive.download(&packages, &debs)?;
    apt::unpack(&files, root)?;
    crate::store::remove(&debs)?;
    let link = |target: &str, name: &str| {
        let link = root.join(name);
        if link.symlink_metadata().is_ok() {
            return Ok(());
        }
        std::os::unix::fs::symlink(target, &link)
            .with_context(|| format!("linking {}", link.display()))
    };
    // What the packages' own scripts would have done.
    link("mawk", "usr/bin/awk")?;
    link("dash", "usr/bin/sh")?;
    for dir in ["dev", "tmp", "proc"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let mut manifest = Manifest::default();
    manifest.set("suite", suite);
    manifest.set("packages", packages.join(" "));
    manifest.write(root)
}

/// The packages of the kernel's headers and of its build system.
fn headers(archive: &apt::Apt, kernel: &Kernel, release: &str) -> Result<[String; 3]> {
    let version = release.strip_suffix(&format!("-{}", kernel.flavour)).unwrap_or(release);
    let common = if kernel.flavour.starts_with("rt-") { "common-rt" } else { "common" };
    // Up to bookworm one package serves all releases of a series.
    let mut kbuild = format!("linux-kbuild-{version}");
    if !archive.has(&kbuild)? {
        kbuild = format!("linux-kbuild-{}", kernel.series.trim_end_matches('.'));
    }
    let headers = format!("linux-headers-{release}");
    Ok([headers, format!("linux-headers-{version}-{common}"), kbuild])
}

/// A shell script inside `root`, with or without being root.
pub fn chroot(root: &Path, script: &str) -> Result<Command> {
    let null = root.join("dev/null");
    if !null.exists() {
        fs::write(&null, "")?;
    }
    // In mounts of its own: the compiler needs /dev/null, objtool needs /proc.
    let mounts = "mount --bind /dev/null \"$0/dev/null\" && mount --rbind /proc \"$0/proc\" && \
                  exec chroot \"$0\" \"$@\"";
    let mut command = command("unshare");
    if !host::is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", mounts]).arg(root);
    command.args(["/usr/bin/env", "PATH=/usr/bin:/usr/sbin", "/usr/bin/sh", "-c", script]);
    Ok(command)
}
