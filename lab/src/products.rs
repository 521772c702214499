//! What tests and benchmarks ask for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::store::Store;
use crate::table;

/// A dump that the lab has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// [`table::Kernel::key`].
    pub kernel: String,
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
    /// [`table::Case::name`].
    pub case: String,
    /// [`table::Capture::name`] or [`table::Form::name`].
    pub capture: String,
    /// The file.
    pub path: PathBuf,
    /// Its length (its disk use may be less: raw dumps have holes).
    pub bytes: u64,
}

fn store() -> Store {
    match Store::find() {
        Ok(store) => store,
        Err(error) => panic!("{error:#}"),
    }
}

fn expect(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "the lab has not made {}: run `cargo xtask lab` (or `cargo xtask lab make --all`)",
        path.display()
    );
    path
}

fn text(path: PathBuf) -> String {
    let path = expect(path);
    match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The lab's folder: `$MORTIS_LAB_DIR`, `$XDG_CACHE_HOME/mortis/lab` or `~/.cache/mortis/lab`.
pub fn root() -> PathBuf {
    store().root().to_path_buf()
}

/// The dump of `kernel` in `case`, written as `capture`: `dump("6.12", "null", "c31")`.
pub fn dump(kernel: &str, case: &str, capture: &str) -> PathBuf {
    expect(store().dump(kernel, case).join(capture))
}

/// The vmlinux with DWARF of `kernel`.
pub fn vmlinux(kernel: &str) -> PathBuf {
    expect(store().kernel(kernel).join("vmlinux"))
}

/// A file of the kernel's packages: `vmlinuz`, `System.map` or `config`.
pub fn boot_file(kernel: &str, name: &str) -> PathBuf {
    expect(store().kernel(kernel).join(name))
}

/// The module `name` as the guests loaded it. `mortis_lab` has debug information.
pub fn module(kernel: &str, name: &str) -> PathBuf {
    let store = store();
    let file = format!("{name}.ko");
    let built = store.built(kernel).join(&file);
    if built.exists() {
        return built;
    }
    expect(store.kernel(kernel).join("modules").join(file))
}

/// The debug information of the module `name`.
pub fn module_debug(kernel: &str, name: &str) -> PathBuf {
    let store = store();
    let file = format!("{name}.ko");
    let built = store.built(kernel).join(&file);
    if built.exists() {
        return built;
    }
    expect(store.kernel(kernel).join("debug").join(file))
}

/// The kernel's release, as `uname -r` says it.
pub fn release(kernel: &str) -> String {
    let store = store();
    match store.release(kernel) {
        Some(release) => release,
        None => panic!("the lab has no kernel {kernel}: run `cargo xtask lab`"),
    }
}

/// What the guest said about itself just before it died, by the name of the
/// `/proc` file (`slabinfo`, `net/tcp`, `task/stat`, `process/maps`, …).
pub fn truth(kernel: &str, case: &str, name: &str) -> String {
    text(store().dump(kernel, case).join("truth").join(name))
}

/// The names that [`truth`] knows for this guest, sorted.
pub fn truth_names(kernel: &str, case: &str) -> Vec<String> {
    fn collect(dir: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), names);
            } else {
                names.push(name);
            }
        }
    }
    let mut names = Vec::new();
    let dir = expect(store().dump(kernel, case).join("truth"));
    collect(&dir, "", &mut names);
    names.sort();
    names
}

/// The guest's serial console: its boot, its oops, and the capture.
pub fn console(kernel: &str, case: &str) -> String {
    text(store().dump(kernel, case).join("console.log"))
}

/// The log at the moment of death, as makedumpfile reads it out of the dump.
/// Some oopses (a double fault's) are only here and never reached the console.
pub fn dmesg(kernel: &str, case: &str) -> String {
    text(store().dump(kernel, case).join("dmesg"))
}

/// Every dump there is, in the order of the table.
pub fn available() -> Vec<Product> {
    let store = store();
    let mut products = Vec::new();
    for kernel in table::KERNELS {
        let Some(release) = store.release(kernel.key) else {
            continue;
        };
        for case in table::CASES {
            let dir = store.dump(kernel.key, case.name);
            if Manifest::read(&dir).is_none() {
                continue;
            }
            let captures = table::CAPTURES.iter().map(|capture| capture.name);
            let forms = table::FORMS.iter().map(|form| form.name);
            for capture in captures.chain(forms) {
                let path = dir.join(capture);
                let Ok(metadata) = fs::metadata(&path) else {
                    continue;
                };
                products.push(Product {
                    kernel: kernel.key.into(),
                    release: release.clone(),
                    case: case.name.into(),
                    capture: capture.into(),
                    path,
                    bytes: metadata.len(),
                });
            }
        }
    }
    products
}

/// A program to compare with (`crash`, `makedumpfile`, `drgn`), if
/// `cargo xtask lab peers` has installed it.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = store().peers().join("bin").join(name);
    path.exists().then_some(path)
}
