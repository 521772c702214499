//! Paths: the names from the root of all mounts down to a file.

use super::dentry::{Dentry, DentryStruct};
use super::mounts::{MountStruct, VfsMount};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::VirtAddr;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

layout! {
    /// An open file: include/linux/fs.h.
    pub struct FileStruct = "file" {
        dentry: "f_path.dentry",
        mount: "f_path.mnt",
    }
}

/// Directories below each other and mounts on each other: PATH_MAX is 4096.
const MAX_STEPS: usize = 4096;

/// Paths that are remembered. More are found anew each time.
const MAX_REMEMBERED: usize = 1 << 16;

/// A place in the tree of all mounts: a `struct vfsmount` and a `struct dentry` in it.
pub type Place = (VirtAddr, VirtAddr);

/// Finds paths, and remembers those of directories that it has been through. It can be asked from
/// many threads.
pub struct Paths<'k> {
    kernel: &'k Kernel,
    dentries: Arc<DentryStruct>,
    vfs_mounts: Arc<VfsMount>,
    mounts: Arc<MountStruct>,
    known: Mutex<FxHashMap<Place, Result<Arc<str>>>>,
}

/// Where one step up leads.
enum Above {
    /// To the directory or the mount that it is in.
    Place(Place),
    /// Nowhere: this is where paths begin.
    Root,
    /// Nowhere: it is in no directory, such as a socket.
    Nothing,
}

impl<'k> Paths<'k> {
    /// Paths in `kernel`.
    ///
    /// # Errors
    /// When the types do not tell what a mount is.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        Ok(Self {
            kernel,
            dentries: kernel.layout()?,
            vfs_mounts: kernel.layout()?,
            mounts: kernel.layout()?,
            known: Mutex::default(),
        })
    }

    /// The directory entry at `address`.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn dentry(&self, address: VirtAddr) -> Result<Dentry> {
        self.dentries.read(self.kernel, address)
    }

    /// The path of `place` from the root of all mounts. What is in no directory has its bare name,
    /// without a slash before it; a pipe has none.
    ///
    /// # Errors
    /// When something on the way is not in the dump, or the directories go around in a circle.
    pub fn path(&self, place: Place) -> Result<Arc<str>> {
        self.path_from(place, None)
    }

    /// The same for a directory entry that was read already.
    ///
    /// # Errors
    /// As [`Paths::path`].
    pub fn path_of(&self, mount: VirtAddr, dentry: &Dentry) -> Result<Arc<str>> {
        self.path_from((mount, dentry.address), Some(dentry))
    }

    fn path_from(&self, place: Place, read: Option<&Dentry>) -> Result<Arc<str>> {
        if let Some(known) = self.remembered(place) {
            return known;
        }
        let path = self.find(place, read);
        self.remember(place, path.clone());
        path
    }

    fn find(&self, place: Place, read: Option<&Dentry>) -> Result<Arc<str>> {
        // The names on the way up, each with its place.
        let mut names: Vec<(Place, String)> = Vec::new();
        let mut here = place;
        let mut milestone = None;
        let mut path: Arc<str> = loop {
            if here != place
                && let Some(known) = self.remembered(here)
            {
                break known?;
            }
            let dentry = match read.filter(|dentry| here == place && dentry.address == here.1) {
                Some(dentry) => dentry.clone(),
                None => self.dentry(here.1)?,
            };
            let (name, above) = self.step(here, dentry)?;
            match above {
                Above::Root => break "/".into(),
                Above::Nothing => {
                    let name: Arc<str> = name.unwrap_or_default().into();
                    self.remember(here, Ok(Arc::clone(&name)));
                    break name;
                }
                Above::Place(next) => {
                    names.push((here, name.unwrap_or_default()));
                    here = next;
                }
            }
            let looped = milestone == Some(here);
            if names.len().is_power_of_two() {
                milestone = Some(here);
            }
            if looped || names.len() > MAX_STEPS {
                let problem = if looped { "directories loop" } else { "directories do not end" };
                return Err(KernelError::DamagedList { list: "path", problem, at: here.1 });
            }
        };
        while let Some((place, name)) = names.pop() {
            if !name.is_empty() {
                let slash = if path.ends_with('/') { "" } else { "/" };
                path = format!("{path}{slash}{name}").into();
            }
            if !names.is_empty() {
                self.remember(place, Ok(Arc::clone(&path)));
            }
        }
        Ok(path)
    }

    /// The name that `dentry` adds to the path, and what is above it.
    fn step(&self, (mount, address): Place, dentry: Dentry) -> Result<(Option<String>, Above)> {
        let kernel = self.kernel;
        let is_mounted = self.vfs_mounts.root.pointer(kernel, mount)? == address;
        if !is_mounted && !dentry.is_topmost() {
            let parent = dentry.parent;
            return Ok((Some(dentry.name?), Above::Place((mount, parent))));
        }
        let point = self.mounts.mount.container(mount)?;
        let parent = self.mounts.parent.pointer(kernel, point)?;
        if parent != point {
            let mountpoint = self.mounts.mountpoint.pointer(kernel, point)?;
            let name = if is_mounted { None } else { Some(dentry.name?) };
            return Ok((name, Above::Place((self.mounts.mount.address(parent)?, mountpoint))));
        }
        match dentry.name {
            Ok(name) if name == "/" => Ok((None, Above::Root)),
            _ if is_mounted => Ok((None, Above::Root)),
            name => Ok((Some(name?), Above::Nothing)),
        }
    }

    fn remembered(&self, place: Place) -> Option<Result<Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned()
    }

    fn remember(&self, place: Place, path: Result<Arc<str>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_REMEMBERED {
            known.insert(place, path);
        }
    }
}

/// What is above a directory entry in its file system.
struct Ancestors {
    /// From the entry itself to the topmost one.
    entries: Vec<Dentry>,
}

impl Ancestors {
    fn read(kernel: &Kernel, dentry: VirtAddr) -> Result<Self> {
        let mut entries: Vec<Dentry> = Vec::new();
        let mut next = dentry;
        let mut milestone = dentry;
        loop {
            let entry = kernel.dentry(next)?;
            let is_topmost = entry.is_topmost();
            next = entry.parent;
            entries.push(entry);
            if is_topmost {
                return Ok(Self { entries });
            }
            if next == milestone || entries.len() > MAX_STEPS {
                let problem = "directories loop";
                return Err(KernelError::DamagedList { list: "path", problem, at: next });
            }
            if entries.len().is_power_of_two() {
                milestone = next;
            }
        }
    }

    /// The path in the file system.
    fn path(self) -> Result<String> {
        let mut path = String::new();
        for entry in self.entries.into_iter().rev() {
            let name = entry.name?;
            let slash = if path.is_empty() || path.ends_with('/') { "" } else { "/" };
            path.push_str(slash);
            path.push_str(&name);
        }
        Ok(path)
    }
}

impl Kernel {
    /// The path of the `struct file` at `file`, from the root of all mounts; see [`Paths::path`].
    ///
    /// # Errors
    /// When something on the way is not in the dump.
    pub fn file_path(&self, file: VirtAddr) -> Result<String> {
        let layout = self.layout::<FileStruct>()?;
        let place = (layout.mount.pointer(self, file)?, layout.dentry.pointer(self, file)?);
        Ok(Paths::new(self)?.path(place)?.to_string())
    }

    /// The path of the `struct dentry` at `dentry` from the root of its file system.
    ///
    /// # Errors
    /// When something on the way is not in the dump.
    pub fn path_within(&self, dentry: VirtAddr) -> Result<String> {
        Ancestors::read(self, dentry)?.path()
    }

    /// The path of the `struct dentry` at `dentry` by the mounts that init sees, the last of those
    /// that have it; in its file system alone where none has.
    ///
    /// # Errors
    /// When something on the way is not in the dump.
    pub fn dentry_path(&self, dentry: VirtAddr) -> Result<String> {
        let ancestors = Ancestors::read(self, dentry)?;
        let super_block = ancestors.entries.first().map(|entry| entry.super_block);
        let layout = self.layout::<MountStruct>()?;
        let namespace = self.first_mount_namespace()?;
        let mounts = self.mounts(namespace)?.mounts;
        let has = |mount: &VirtAddr| {
            layout.super_block.pointer(self, *mount).ok() == super_block
                && layout
                    .root
                    .pointer(self, *mount)
                    .is_ok_and(|root| ancestors.entries.iter().any(|entry| entry.address == root))
        };
        match mounts.into_iter().rfind(has) {
            Some(mount) => {
                let place = (layout.mount.address(mount)?, dentry);
                Ok(Paths::new(self)?.path(place)?.to_string())
            }
            None => ancestors.path(),
        }
    }
}
