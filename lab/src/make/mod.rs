//! Making what the table names, step by step: packages, compiler, guest, dumps.

mod apt;
mod cpio;
mod guest;
mod harvest;
mod host;
mod kernel;
mod libvirt;
mod newer;
mod outside;
mod peers;
mod process;
mod qmp;
mod sample;
mod source;
mod toolchain;

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::manifest::Manifest;
use crate::store::Store;
use crate::table::{self, Case, Kernel, RECIPE_VERSION, RECIPES};

pub use host::install_tools;
pub use sample::sample;

/// Which recipes to make.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Also what is not made by default.
    pub all: bool,
    /// Only this kernel.
    pub kernel: Option<String>,
    /// Only this case (made also when it is not made by default).
    pub case: Option<String>,
}

/// Says what is going on.
fn progress(text: impl std::fmt::Display) {
    eprintln!("lab: {text}");
}

/// Makes what is wanted and missing.
pub fn make(wanted: &Wanted) -> Result<()> {
    if let Some(key) = &wanted.kernel
        && table::kernel(key).is_none()
    {
        let known: Vec<_> = table::KERNELS.iter().map(|kernel| kernel.key).collect();
        bail!("no kernel {key:?} in the table: there are {}", known.join(", "));
    }
    if let Some(name) = &wanted.case
        && table::case(name).is_none()
    {
        let known: Vec<_> = table::CASES.iter().map(|case| case.name).collect();
        bail!("no case {name:?} in the table: there are {}", known.join(", "));
    }
    let store = Store::find()?;
    let _lock = store.lock()?;
    let mut met = false;
    for recipe in RECIPES {
        if wanted.kernel.as_deref().is_some_and(|key| key != recipe.kernel)
            || wanted.case.as_deref().is_some_and(|name| name != recipe.case)
        {
            continue;
        }
        met = true;
        let named = wanted.case.is_some() && recipe.default.is_empty();
        let captures = recipe.captures(wanted.all || named);
        if captures.is_empty() {
            continue;
        }
        if recipe.case == table::LIBVIRT && !libvirt::is_there() {
            progress("libvirt is not installed: its files are not made");
            continue;
        }
        let kernel = table::kernel(recipe.kernel).context("a recipe names an unknown kernel")?;
        let case = table::case(recipe.case).context("a recipe names an unknown case")?;
        one(&store, kernel, case, captures)
            .with_context(|| format!("making {} {}", kernel.key, case.name))?;
    }
    if !met {
        bail!("the table has no recipe for that kernel and case: see `cargo xtask lab list`");
    }
    Ok(())
}

/// Makes one guest's dumps unless they are there.
fn one(store: &Store, kernel: &Kernel, case: &Case, captures: &[&str]) -> Result<()> {
    kernel::ensure(store, kernel)?;
    let dir = store.dump(kernel.key, case.name);
    let stamp = stamp(case);
    if let Some(manifest) = Manifest::read(&dir)
        && manifest.get("stamp") == Some(&stamp)
        && captures.iter().all(|name| dir.join(name).exists())
    {
        return Ok(());
    }
    host::check()?;
    toolchain::ensure(store, kernel)?;
    peers::ensure(store)?;
    let start = Instant::now();
    let run = attempts(store, kernel, case, captures)?;
    harvest::truth(&run)?;
    match table::outside(case.name) {
        None => harvest::captures(&run, captures)?,
        Some(_) => outside::truth(&run)?,
    }
    let mut manifest = Manifest::default();
    manifest.set("kernel", kernel.key);
    manifest.set("release", store.release(kernel.key).unwrap_or_default());
    manifest.set("case", case.name);
    manifest.set("crash", case.crash.word());
    manifest.set("paging", format!("{:?}", case.paging));
    manifest.set("command", run.command.clone());
    let qemu = if table::is_newer(case.name) { newer::ensure(store)? } else { guest::QEMU.into() };
    manifest.set("qemu", host::version(&qemu));
    manifest.set("makedumpfile", peers::makedumpfile_version(store));
    manifest.set("recipe-version", RECIPE_VERSION.to_string());
    manifest.set("stamp", stamp);
    manifest.write(&run.product)?;
    store.place(&run.product, &dir)?;
    crate::store::remove(&run.dir)?;
    let seconds = start.elapsed().as_secs();
    progress(format_args!("{} {}: done in {seconds} s", kernel.key, case.name));
    Ok(())
}

/// Runs the guest, again if need be: emulated CPUs of which one patches code that
/// another one runs sometimes bring a kernel down before its time.
fn attempts(store: &Store, kernel: &Kernel, case: &Case, captures: &[&str]) -> Result<guest::Run> {
    const ATTEMPTS: u32 = 3;
    let mut attempt = 1;
    loop {
        progress(format_args!("{} {}: booting the guest", kernel.key, case.name));
        let result = match table::outside(case.name) {
            None => guest::run(store, kernel, case, captures),
            Some(outside) if case.name == table::LIBVIRT => {
                libvirt::run(store, kernel, case, outside, captures)
            }
            Some(outside) => outside::run(store, kernel, case, outside, captures),
        };
        match result {
            Err(error) if attempt < ATTEMPTS => {
                progress(format_args!("attempt {attempt} of {ATTEMPTS} failed: {error:#}"));
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Installs the programs to compare with.
pub fn peers() -> Result<()> {
    let store = Store::find()?;
    let _lock = store.lock()?;
    peers::ensure(&store)?;
    peers::ensure_drgn(&store)
}

/// Forgets which point releases the kernels stand for, so that the next run
/// takes the newest. What was made of the old ones is removed.
pub fn refresh() -> Result<()> {
    let store = Store::find()?;
    let _lock = store.lock()?;
    for kind in ["kernels", "built", "dumps", "toolchains", "apt", "peers", "qemu", "tmp"] {
        crate::store::remove(&store.root().join(kind))?;
    }
    Ok(())
}

/// Whether the dumps of this kernel and case are as the code here would make them.
pub fn is_current(kernel: &str, case: &Case) -> Option<bool> {
    let dir = Store::find().ok()?.dump(kernel, case.name);
    let manifest = Manifest::read(&dir)?;
    Some(manifest.get("stamp") == Some(&stamp(case)))
}

/// Changes when a dump of this case would come out differently.
fn stamp(case: &Case) -> String {
    let name = case.name;
    let case = format!("{RECIPE_VERSION} {case:?} {:?}", table::MODULES);
    let mut parts =
        vec![toolchain::sources_stamp(), fnv(guest::INIT), fnv(guest::CAPTURE), fnv(&case)];
    if let Some(outside) = table::outside(name) {
        parts.extend([fnv(outside::SCRIPT), fnv(&format!("{outside:?}"))]);
    }
    let text: Vec<_> = parts.iter().map(|part| format!("{part:016x}")).collect();
    format!("{:016x}", fnv(&text.join(" ")))
}

/// FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
