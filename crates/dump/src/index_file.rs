//! What took a pass over a whole file, kept for the next time.
//!
//! A file's index is found by the file's identity: device, inode, length and time of change. It
//! lies in [`OpenOptions::index_folder`](crate::OpenOptions), may be deleted at any time, and one
//! that is damaged or of another version is made anew. A new file is written beside the old one
//! and takes its place when it is complete. Files that nobody used for a month are removed.

use crate::open::Opening;
use crate::source::Source;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const MAGIC: &[u8; 8] = b"MORTISIX";
/// After so long without use a file goes.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The place of one index.
pub(crate) struct IndexFile {
    path: PathBuf,
    /// Stands at the start of the file: what it is an index of.
    header: Vec<u8>,
}

impl IndexFile {
    /// The place for an index of `source`; `what` names the kind of index and its version. `None`
    /// where there is no folder, or the source has no identity.
    pub(crate) fn of(opening: &Opening<'_>, source: &dyn Source, what: &str) -> Option<Self> {
        let folder = opening.options.index_folder.as_ref()?;
        let identity = format!("{what} {}", source.identity()?);
        let mut header = MAGIC.to_vec();
        header.extend((identity.len() as u32).to_le_bytes());
        header.extend(identity.as_bytes());
        let mut hasher = rustc_hash::FxHasher::default();
        identity.hash(&mut hasher);
        let kind = what.split(' ').next().unwrap_or(what);
        Some(Self { path: folder.join(format!("{kind}-{:016x}", hasher.finish())), header })
    }

    /// Where the file is, or would be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes of the file are not the index itself but say what it is of.
    pub(crate) fn header_len(&self) -> u64 {
        self.header.len() as u64
    }

    /// Opens the index for reading, behind its header, if it is there and of this very source.
    pub(crate) fn open(&self) -> Option<File> {
        let mut file = File::open(&self.path).ok()?;
        let mut header = vec![0; self.header.len()];
        file.read_exact(&mut header).ok()?;
        if header != self.header {
            return None;
        }
        // Used today: the time of change is what the clearing goes by.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// Reads all of the index, if it is there and of this very source.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Writes the index by `write`, which is handed the file behind its header.
    pub(crate) fn write(&self, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        clear(folder);
        let temporary = self.path.with_extension(format!("{}.part", std::process::id()));
        let written = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(&self.header)?;
                write(&mut file)
            })
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// Removes what nobody used for long.
fn clear(folder: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > UNUSED)
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_old) {
        let _ = fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::OpenOptions;
    use crate::source::FileSource;

    #[test]
    fn an_index_is_that_of_its_file_alone() {
        let folder = std::env::temp_dir().join(format!("mortis-index-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let dump = folder.join("dump");
        fs::write(&dump, b"first").expect("a file");
        let options =
            OpenOptions { index_folder: Some(folder.join("index")), ..Default::default() };
        let opening = Opening::new(&dump, &options);
        let index = || {
            let source = FileSource::open(&dump).expect("it opens");
            IndexFile::of(&opening, &source, "test 1").expect("a folder and an identity")
        };
        assert_eq!(index().read(), None);
        index().write(|file| file.write_all(b"where all is")).expect("it is written");
        assert_eq!(index().read().as_deref(), Some(&b"where all is"[..]));
        let failed = index().write(|_| Err(io::ErrorKind::StorageFull.into()));
        assert!(failed.is_err());
        assert_eq!(index().read().as_deref(), Some(&b"where all is"[..]));
        fs::write(&dump, b"another one").expect("a file");
        assert_eq!(index().read(), None);
        fs::remove_dir_all(&folder).expect("the folder");
    }
}
