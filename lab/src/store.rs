//! The cache folder:
//!
//! ```text
//! kernels/RELEASE/   vmlinuz vmlinux System.map config modules/ debug/   (kernels/KEY links to it)
//! built/RELEASE/     mortis_lab.ko guest
//! dumps/RELEASE/CASE/  one file per capture, truth/, console.log
//! peers/             bin/ root/ drgn/
//! qemu/              a newer QEMU than the machine's
//! apt/SUITE/         the archive's index
//! toolchains/RELEASE/  compiler and headers
//! ```
//!
//! Each product is made under a temporary name and renamed into place.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The cache folder and the names in it.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The folder that the environment names. It need not exist.
    pub fn find() -> Result<Store> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let root = if let Some(dir) = set("MORTIS_LAB_DIR") {
            PathBuf::from(dir)
        } else if let Some(cache) = set("XDG_CACHE_HOME") {
            Path::new(&cache).join("mortis/lab")
        } else if let Some(home) = set("HOME") {
            Path::new(&home).join(".cache/mortis/lab")
        } else {
            bail!("no place for the lab: set MORTIS_LAB_DIR to a folder for its files");
        };
        Ok(Store { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The release that `key` stands for, once the lab has fetched it.
    pub fn release(&self, key: &str) -> Option<String> {
        let target = fs::read_link(self.root.join("kernels").join(key)).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    /// Makes `key` stand for `release`.
    pub fn set_release(&self, key: &str, release: &str) -> Result<()> {
        let link = self.root.join("kernels").join(key);
        let temporary = self.temporary("link")?.join("link");
        std::os::unix::fs::symlink(release, &temporary)?;
        fs::rename(&temporary, &link).with_context(|| link.display().to_string())
    }

    /// The kernel's files, by key.
    pub fn kernel(&self, key: &str) -> PathBuf {
        self.root.join("kernels").join(key)
    }

    fn of_release(&self, kind: &str, key: &str) -> PathBuf {
        let release = self.release(key).unwrap_or_else(|| key.to_owned());
        self.root.join(kind).join(release)
    }

    /// What the lab compiled for the kernel.
    pub fn built(&self, key: &str) -> PathBuf {
        self.of_release("built", key)
    }

    /// Compiler and headers for the kernel.
    pub fn toolchain(&self, key: &str) -> PathBuf {
        self.of_release("toolchains", key)
    }

    /// The guest's dumps.
    pub fn dump(&self, key: &str, case: &str) -> PathBuf {
        self.of_release("dumps", key).join(case)
    }

    /// Programs to compare with.
    pub fn peers(&self) -> PathBuf {
        self.root.join("peers")
    }

    /// A private state folder for apt.
    pub fn apt(&self, suite: &str) -> PathBuf {
        self.root.join("apt").join(suite)
    }

    /// A new, empty folder to make something in.
    pub fn temporary(&self, what: &str) -> Result<PathBuf> {
        let dir = self.root.join("tmp").join(what);
        remove(&dir)?;
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    /// Puts the finished folder `from` in the place of `to`.
    pub fn place(&self, from: &Path, to: &Path) -> Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let old = self.root.join("tmp").join("old");
        remove(&old)?;
        if to.exists() {
            fs::rename(to, &old)?;
        }
        fs::rename(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        remove(&old)
    }

    /// Keeps every other lab out until the result is dropped.
    pub fn lock(&self) -> Result<File> {
        fs::create_dir_all(self.root.join("kernels"))
            .with_context(|| format!("the lab's folder {}", self.root.display()))?;
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        if file.try_lock().is_err() {
            eprintln!("lab: waiting for another `cargo xtask lab` to finish");
            file.lock()?;
        }
        Ok(file)
    }
}

/// Removes a folder with all that is in it; there may be none.
pub fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}
