//! A kernel's files, from its packages.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

use super::process::{command, run};
use super::{apt, host, progress, source};
use crate::manifest::Manifest;
use crate::store::Store;
use crate::table::{self, FW_CFG, Kernel, Layout, MODULES, RECIPES, SERVICE_MODULES};

/// Fetches the kernel unless it is there.
pub fn ensure(store: &Store, kernel: &Kernel) -> Result<()> {
    if let Layout::Source(source) = &kernel.layout {
        return source::ensure(store, kernel, source);
    }
    let there = Manifest::read(&store.kernel(kernel.key));
    if there.is_some_and(|manifest| manifest.get("modules") == Some(&module_names(kernel))) {
        return Ok(());
    }
    host::check()?;
    let archive = apt::Apt::open(store, kernel.suite)?;
    let release = archive.newest_release(kernel.series, kernel.flavour)?;
    let work = store.temporary("kernel")?;
    progress(format_args!("{}: fetching {release} and its debug information", kernel.key));
    let image = match kernel.layout {
        Layout::Whole | Layout::Source(_) => vec![format!("linux-image-{release}")],
        Layout::Split => {
            let part = |part| format!("linux-{part}-{release}");
            vec![part("binary"), part("modules"), part("base")]
        }
    };
    let debug = vec![format!("linux-image-{release}-dbg")];
    let product = work.join("product");
    fs::create_dir_all(product.join("modules"))?;
    fs::create_dir_all(product.join("debug"))?;
    thread::scope(|scope| {
        let symbols = scope.spawn(|| {
            let files = archive.download(&debug, &work.join("dbg"))?;
            debug_files(&files[0], &work.join("debug"), &product, kernel, &release)
        });
        let files = archive.download(&image, &work.join("image"))?;
        apt::unpack(&files, &work.join("root"))?;
        image_files(&work.join("root"), &product, kernel, &release)?;
        symbols.join().unwrap_or_else(|_| anyhow::bail!("unpacking panicked"))
    })?;
    let mut manifest = Manifest::default();
    manifest.set("kernel", kernel.key);
    manifest.set("release", &release);
    manifest.set("suite", kernel.suite);
    manifest.set("modules", module_names(kernel));
    manifest.write(&product)?;
    store.place(&product, &store.root().join("kernels").join(&release))?;
    store.set_release(kernel.key, &release)?;
    crate::store::remove(&work)
}

/// vmlinuz, System.map, config and the modules that guests load.
fn image_files(root: &Path, product: &Path, kernel: &Kernel, release: &str) -> Result<()> {
    // Packages from before the merge of /usr have them in /lib.
    let merged = root.join("usr/lib/modules").join(release);
    let modules = if merged.exists() { merged } else { root.join("lib/modules").join(release) };
    for name in ["vmlinuz", "System.map", "config"] {
        let to = product.join(name);
        // Beside the modules in newer packages, in /boot in older ones.
        if fs::rename(modules.join(name), &to).is_err() {
            let from = root.join("boot").join(format!("{name}-{release}"));
            fs::rename(&from, &to).with_context(|| format!("no {}", from.display()))?;
        }
    }
    for module in modules_wanted(kernel) {
        // None: built in, or this kernel does not have it.
        let Some(path) = find(&modules.join("kernel"), &format!("{module}.ko"))? else {
            continue;
        };
        let to = product.join("modules").join(format!("{module}.ko"));
        let packed = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        match packed.as_str() {
            "ko" => fs::copy(&path, &to).map(drop)?,
            "xz" => {
                let file = fs::File::create(&to)?;
                let mut xz = command("xz");
                let status = xz.arg("-dc").arg(&path).stdout(file).status()?;
                anyhow::ensure!(status.success(), "xz -dc {}: {status}", path.display());
            }
            other => anyhow::bail!("{}: modules packed as .{other}", path.display()),
        }
    }
    Ok(())
}

/// vmlinux and the modules' debug information.
fn debug_files(
    package: &Path,
    work: &Path,
    product: &Path,
    kernel: &Kernel,
    release: &str,
) -> Result<()> {
    fs::create_dir_all(work)?;
    // Which of two places is the file and which the link differs between packages.
    let mut patterns = vec!["./usr/lib/debug/*/vmlinux*".to_owned()];
    patterns.extend(modules_wanted(kernel).map(|module| format!("./usr/lib/debug/*/{module}.ko")));
    apt::unpack_members(package, work, &patterns)?;
    let debug = work.join("usr/lib/debug");
    let inside = debug.join("lib/modules").join(release);
    let places = [debug.join("boot").join(format!("vmlinux-{release}")), inside.join("vmlinux")];
    let vmlinux = places.iter().find(|path| path.symlink_metadata().is_ok_and(|m| m.is_file()));
    let vmlinux = vmlinux.with_context(|| format!("no vmlinux in {}", package.display()))?;
    whole(vmlinux)?;
    fs::rename(vmlinux, product.join("vmlinux"))?;
    for module in modules_wanted(kernel) {
        let name = format!("{module}.ko");
        if let Some(path) = find(&inside, &name)? {
            fs::rename(path, product.join("debug").join(&name))?;
        }
    }
    run(command("rm").arg("-rf").arg(work).arg(package))
}

/// Whether the ELF file is as long as it says: its section headers come last.
fn whole(path: &Path) -> Result<()> {
    let mut header = [0; 64];
    let mut file = fs::File::open(path)?;
    file.read_exact(&mut header)?;
    let mut offset = [0; 8];
    offset.copy_from_slice(&header[0x28..0x30]);
    let (have, start) = (file.metadata()?.len(), u64::from_le_bytes(offset));
    anyhow::ensure!(have > start, "{} has {have} bytes and lacks the rest", path.display());
    Ok(())
}

/// The modules that some guest loads.
fn modules_wanted(kernel: &Kernel) -> impl Iterator<Item = &'static str> {
    let tells = |recipe: &table::Recipe| {
        recipe.kernel == kernel.key
            && table::outside(recipe.case).is_some_and(|outside| outside.vmcoreinfo)
    };
    let outside: &[&str] = if RECIPES.iter().any(tells) { &[FW_CFG] } else { &[] };
    MODULES.iter().chain(SERVICE_MODULES).chain(kernel.first).chain(outside).copied()
}

/// Their names, to tell whether a kernel unpacked earlier has them all.
fn module_names(kernel: &Kernel) -> String {
    modules_wanted(kernel).collect::<Vec<_>>().join(" ")
}

/// The file in `dir` or below whose name starts with `name`.
fn find(dir: &Path, name: &str) -> Result<Option<std::path::PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), name)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with(name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
