//! Finding the object files of modules.
//!
//! They are looked for below the directory of `--mod`, and where distributions put them: below `/usr/lib/debug/lib/modules/RELEASE`,
//! beside the vmlinux and below it, and below `/lib/modules/RELEASE`; or below a directory that the
//! user names.

use crate::output::{Interrupt, Stop};
use crate::session::Session;
use mortis_kernel::module_file::{ModuleFile, ModuleFileError};
use mortis_kernel::modules::Module;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of modules by the modules' names, in the order they were found.
#[derive(Default)]
pub(crate) struct ModuleFiles(HashMap<String, Vec<PathBuf>>);

/// A distribution has some 10,000 modules in a few hundred directories; a tree of more entries is
/// no tree of modules.
const MAX_ENTRIES: usize = 200_000;

/// A tree of modules is not as deep.
const MAX_DEPTH: usize = 16;

impl ModuleFiles {
    /// Looks below `directory`, or below the usual places.
    ///
    /// # Errors
    /// [`Stop`] after Ctrl-C.
    pub fn find(
        session: &Session,
        directory: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<Self, Stop> {
        let mut found = Self::default();
        let mut entries = 0;
        for place in places(session, directory) {
            found.look_below(&place, 0, &mut entries, interrupt)?;
        }
        Ok(found)
    }

    fn look_below(
        &mut self,
        directory: &Path,
        depth: usize,
        entries: &mut usize,
        interrupt: &Interrupt,
    ) -> Result<(), Stop> {
        let Ok(listing) = fs::read_dir(directory) else { return Ok(()) };
        let mut paths: Vec<(PathBuf, bool)> = Vec::new();
        for entry in listing.flatten() {
            *entries += 1;
            if *entries > MAX_ENTRIES {
                return Ok(());
            }
            // A link to a directory may lead back up.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            paths.push((entry.path(), is_directory));
        }
        paths.sort();
        for (path, is_directory) in paths {
            interrupt.check()?;
            if is_directory {
                if depth < MAX_DEPTH {
                    self.look_below(&path, depth + 1, entries, interrupt)?;
                }
            } else if let Some(name) = module_name(&path) {
                let known = self.0.entry(name).or_default();
                if !known.contains(&path) {
                    known.push(path);
                }
            }
        }
        Ok(())
    }

    /// Opens the best file of `module`: one with DWARF if there is one. The error is that of the
    /// last file of that name; `None` where there is no file of that name.
    pub fn open(
        &self,
        session: &Session,
        module: &Module,
    ) -> Result<Option<ModuleFile>, ModuleFileError> {
        let mut plain = None;
        let mut failure = None;
        for path in self.0.get(&module.name).into_iter().flatten() {
            match ModuleFile::open(&session.kernel, module, path) {
                Ok(file) if file.dwarf().is_ok() => return Ok(Some(file)),
                Ok(file) => plain = plain.or(Some(file)),
                Err(error) => failure = Some(error),
            }
        }
        match (plain, failure) {
            (None, Some(error)) => Err(error),
            (plain, _) => Ok(plain),
        }
    }
}

/// Where to look.
fn places(session: &Session, directory: Option<&Path>) -> Vec<PathBuf> {
    if let Some(directory) = directory {
        return vec![directory.to_owned()];
    }
    let mut places: Vec<PathBuf> = session.settings.modules.iter().cloned().collect();
    // What a damaged dump calls its release is not to lead elsewhere.
    let release = session.kernel.name().map(|name| name.release).unwrap_or_default();
    let release = Some(release).filter(|name| !name.is_empty() && !name.contains(['/', '\0']));
    if let Some(release) = &release {
        places.push(Path::new("/usr/lib/debug/lib/modules").join(release));
    }
    let vmlinux = session.files.vmlinux.as_ref().and_then(|path| fs::canonicalize(path).ok());
    if let Some(beside) = vmlinux.as_deref().and_then(Path::parent) {
        places.push(beside.to_owned());
    }
    if let Some(release) = &release {
        places.push(Path::new("/lib/modules").join(release));
    }
    places.dedup();
    places
}

/// The name of the module that a file is of, by the file's name: `virtio_net` of `virtio-net.ko`
/// and of `virtio-net.ko.debug`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let file = file.strip_suffix(".debug").unwrap_or(file);
    Some(file.strip_suffix(".ko")?.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_modules_more_or_less() {
        let name = |path| module_name(Path::new(path));
        assert_eq!(name("/a/virtio-net.ko"), Some("virtio_net".into()));
        assert_eq!(name("virtio_net.ko.debug"), Some("virtio_net".into()));
        assert_eq!(name("vmlinux.debug"), None);
        assert_eq!(name("a.ko.xz"), None);
    }
}
