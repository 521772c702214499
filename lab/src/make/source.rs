//! A kernel that the lab compiles, from Debian's package of its source.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::process::{command, run};
use super::{apt, host, progress, toolchain};
use crate::manifest::Manifest;
use crate::store::Store;
use crate::table::{Kernel, Source};

/// What compiling a kernel needs besides what a module needs.
const PACKAGES: &[&str] = &["flex", "bison", "bc", "gzip", "diffutils", "libelf-dev", "zlib1g-dev"];

/// Compiles the kernel unless it is there. Source, objects and compiler become its toolchain.
pub fn ensure(store: &Store, kernel: &Kernel, source: &Source) -> Result<()> {
    let stamp = format!("{:016x}", super::fnv(source.config));
    let there = Manifest::read(&store.kernel(kernel.key));
    if there.is_some_and(|manifest| manifest.get("config") == Some(&stamp)) {
        return Ok(());
    }
    host::check()?;
    let archive = apt::Apt::open(store, kernel.suite)?;
    let work = store.temporary("source")?;
    let root = work.join("root");
    progress(format_args!("{}: fetching {} and a compiler", kernel.key, source.package));
    toolchain::unpack(&archive, kernel.suite, PACKAGES, vec![source.package.to_owned()], &root)?;
    progress(format_args!("{}: compiling, which takes its time", kernel.key));
    let sources = root.join("usr/src");
    let archive = sources.join(format!("{}.tar.xz", source.package));
    run(command("tar").arg("-C").arg(&sources).arg("-xJf").arg(&archive))?;
    fs::remove_file(archive)?;
    fs::create_dir_all(sources.join("objects"))?;
    fs::write(sources.join("objects/wanted"), source.config)?;
    let script = format!(
        "set -e; cd /usr/src/{}; \
         make ARCH=x86_64 O=/usr/src/objects KCONFIG_ALLCONFIG=/usr/src/objects/wanted allnoconfig; \
         make -s O=/usr/src/objects kernelrelease > /usr/src/objects/release",
        source.package
    );
    run(&mut toolchain::chroot(&root, &script)?).context("configuring in the chroot")?;
    let objects = sources.join("objects");
    configured(&objects, source.config)?;
    let release = fs::read_to_string(objects.join("release"))?.trim().to_owned();
    // Where a distribution's headers are, so that modules are compiled as against those.
    let headers = format!("linux-headers-{release}");
    fs::rename(objects, sources.join(&headers))?;
    let script = format!(
        "set -e; cd /usr/src/{}; make O=/usr/src/{headers} -j$(nproc) bzImage modules 2>&1",
        source.package
    );
    run(&mut toolchain::chroot(&root, &script)?).context("compiling in the chroot")?;
    let product = work.join("product");
    files(&root, &format!("usr/src/{headers}"), &product)?;
    let mut manifest = Manifest::default();
    manifest.set("kernel", kernel.key);
    manifest.set("release", &release);
    manifest.set("suite", kernel.suite);
    manifest.set("config", stamp);
    manifest.write(&product)?;
    let objects = sources.join(&headers);
    run(command("find").arg(objects).args(["-name", "*.[oa]", "-delete"]))?;
    for unused in ["Documentation", "drivers", "sound", "samples"] {
        crate::store::remove(&sources.join(source.package).join(unused))?;
    }
    store.place(&product, &store.root().join("kernels").join(&release))?;
    store.set_release(kernel.key, &release)?;
    store.place(&root, &store.toolchain(kernel.key))?;
    crate::store::remove(&work)
}

/// Whether everything asked for came out so.
fn configured(objects: &Path, wanted: &str) -> Result<()> {
    let config = fs::read_to_string(objects.join(".config"))?;
    let lines: Vec<&str> = config.lines().collect();
    for line in wanted.lines().filter(|line| line.starts_with("CONFIG_")) {
        if !lines.contains(&line) {
            bail!("this kernel cannot be configured with {line}");
        }
    }
    Ok(())
}

/// Copies what other kernels' packages have.
fn files(root: &Path, objects: &str, product: &Path) -> Result<()> {
    for dir in ["modules", "debug"] {
        fs::create_dir_all(product.join(dir))?;
    }
    for (from, to) in [
        ("vmlinux", "vmlinux"),
        ("arch/x86/boot/bzImage", "vmlinuz"),
        ("System.map", "System.map"),
        (".config", "config"),
    ] {
        let from = root.join(objects).join(from);
        fs::copy(&from, product.join(to)).with_context(|| from.display().to_string())?;
    }
    for dir in ["drivers", "net"] {
        modules(&root.join(objects).join(dir), &product.join("debug"))?;
    }
    for entry in fs::read_dir(product.join("debug"))? {
        let module = entry?;
        let to = product.join("modules").join(module.file_name());
        let stripped = root.join("tmp/stripped.ko");
        fs::copy(module.path(), &stripped)?;
        let script = "strip --strip-debug /tmp/stripped.ko";
        run(&mut toolchain::chroot(root, script)?)?;
        fs::copy(&stripped, to)?;
    }
    Ok(())
}

/// Copies the modules in `dir` and below.
fn modules(dir: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            modules(&path, to)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            fs::copy(&path, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
