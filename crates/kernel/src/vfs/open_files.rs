//! What a task has open: its root and working directory, and the files behind its descriptors.

use super::inode::{AddressSpaceStruct, FileType, InodeStruct};
use super::path::{FileStruct, Paths};
use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::layout::Field;
use mortis_memory::{VirtAddr, VirtualMemory};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

layout! {
    /// A task's directories: include/linux/fs_struct.h.
    pub struct FsStruct = "fs_struct" {
        root_dentry: "root.dentry",
        root_mount: "root.mnt",
        working_dentry: "pwd.dentry",
        working_mount: "pwd.mnt",
    }
}

layout! {
    /// A task's open files: include/linux/fdtable.h.
    pub struct FilesStruct = "files_struct" {
        table: "fdt",
    }
}

layout! {
    /// The table of descriptors: include/linux/fdtable.h.
    pub struct FdTable = "fdtable" {
        size: "max_fds",
        files: "fd",
        open: "open_fds",
    }
}

/// No table is larger, unless the user allows it (`sysctl_nr_open`, fs/file.c).
const DEFAULT_MAX_DESCRIPTORS: u64 = 1 << 20;

/// What the user can allow at most.
const MAX_DESCRIPTORS: u64 = 1 << 30;

/// Files that are read of one table, however many bits of its bitmap are set.
const MAX_FILES: usize = 1 << 20;

/// Descriptors that a word of the table's bitmap is about.
const WORD_BITS: u64 = 64;

/// Words of the bitmap that are read at a time.
const CHUNK_WORDS: u64 = 512;

/// Tables that are remembered, and descriptors in all of them together. More are read anew.
const MAX_REMEMBERED: usize = 1 << 12;
const MAX_REMEMBERED_FILES: usize = 1 << 16;

/// A file behind a descriptor.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// The descriptor.
    pub fd: u64,
    /// The `struct file`.
    pub file: VirtAddr,
    /// Its `struct dentry`, which may be null.
    pub dentry: Result<VirtAddr>,
    /// Its inode; null for a name without a file.
    pub inode: Result<VirtAddr>,
    /// What kind of file; `None` where there is no inode.
    pub file_type: Result<Option<FileType>>,
    /// The file system's `struct super_block`.
    pub super_block: Result<VirtAddr>,
    /// The inode's number.
    pub number: Result<u64>,
    /// The `struct address_space` of its pages.
    pub mapping: Result<VirtAddr>,
    /// How many pages that has.
    pub page_count: Result<u64>,
    /// See [`Paths::path`].
    pub path: Result<Arc<str>>,
    /// Whether the name was taken out of its directory.
    pub is_deleted: bool,
}

/// What a task has open.
#[derive(Clone, Debug, Default)]
pub struct OpenFiles {
    /// Its root and working directory; `None` for a task that has exited.
    pub directories: Option<Directories>,
    /// By descriptor.
    pub files: Vec<OpenFile>,
    /// What was in the way of finding more.
    pub damage: Option<KernelError>,
}

/// A task's directories.
#[derive(Clone, Debug)]
pub struct Directories {
    /// The root directory's path.
    pub root: Result<Arc<str>>,
    /// Its inode.
    pub root_inode: Result<VirtAddr>,
    /// The working directory's path.
    pub working: Result<Arc<str>>,
    /// Its inode.
    pub working_inode: Result<VirtAddr>,
}

/// Reads what tasks have open. Threads share their tables, so each is read once; the reader can be
/// asked from many threads.
pub struct OpenFilesReader<'k> {
    kernel: &'k Kernel,
    paths: Paths<'k>,
    directories: Arc<FsStruct>,
    files: Arc<FilesStruct>,
    table: Arc<FdTable>,
    file: Arc<FileStruct>,
    inode: Arc<InodeStruct>,
    mapping: Arc<AddressSpaceStruct>,
    max_descriptors: u64,
    known: Mutex<Remembered>,
    file_systems: Mutex<FxHashMap<VirtAddr, Result<Arc<str>>>>,
}

#[derive(Default)]
struct Remembered {
    tables: FxHashMap<(VirtAddr, VirtAddr), Arc<OpenFiles>>,
    files: usize,
}

impl<'k> OpenFilesReader<'k> {
    /// A reader of what `kernel`'s tasks have open.
    ///
    /// # Errors
    /// When the types do not tell.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        let allowed = kernel.read_symbol::<4>("sysctl_nr_open").unwrap_or(0);
        Ok(Self {
            kernel,
            paths: Paths::new(kernel)?,
            directories: kernel.layout()?,
            files: kernel.layout()?,
            table: kernel.layout()?,
            file: kernel.layout()?,
            inode: kernel.layout()?,
            mapping: kernel.layout()?,
            max_descriptors: allowed.clamp(DEFAULT_MAX_DESCRIPTORS, MAX_DESCRIPTORS),
            known: Mutex::default(),
            file_systems: Mutex::default(),
        })
    }

    /// The paths it has found.
    pub fn paths(&self) -> &Paths<'k> {
        &self.paths
    }

    /// What a task has open whose `struct fs_struct` and `struct files_struct` are these; null
    /// where it has exited. What is wrong with them is in the answer.
    pub fn read(&self, directories: VirtAddr, files: VirtAddr) -> Arc<OpenFiles> {
        let key = (directories, files);
        if let Some(known) =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).tables.get(&key)
        {
            return Arc::clone(known);
        }
        let mut open = OpenFiles::default();
        if !directories.is_null() {
            open.directories = Some(self.directories(directories));
        }
        if !files.is_null()
            && let Err(error) = self.read_table(files, &mut open.files)
        {
            open.damage = Some(error);
        }
        let open = Arc::new(open);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.tables.len() < MAX_REMEMBERED && known.files < MAX_REMEMBERED_FILES {
            known.files += open.files.len();
            known.tables.insert(key, Arc::clone(&open));
        }
        open
    }

    /// What the kernel says in `/proc/PID/fd`: the path from the root of all mounts, or as
    /// `pipe:[544]`, `anon_inode:[eventfd]`, what it is.
    ///
    /// # Errors
    /// When something that it says is not in the dump.
    pub fn link(&self, file: &OpenFile) -> Result<String> {
        let path = file.path.clone()?;
        let number = || file.number.clone();
        // pipefs_dname(), sockfs_dname(), anon_inodefs_dname(), simple_dname() of shmem.
        Ok(match &*self.file_system(file.super_block.clone()?)? {
            "pipefs" => format!("pipe:[{}]", number()?),
            "sockfs" => format!("socket:[{}]", number()?),
            "anon_inodefs" | "pidfs" => format!("anon_inode:{path}"),
            _ if !path.starts_with('/') => format!("/{path} (deleted)"),
            _ if file.is_deleted => format!("{path} (deleted)"),
            _ => path.to_string(),
        })
    }

    fn file_system(&self, super_block: VirtAddr) -> Result<Arc<str>> {
        let mut known = self.file_systems.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(&super_block) {
            return name.clone();
        }
        let name = self.kernel.file_system_name(super_block).map(Arc::from);
        if known.len() < MAX_REMEMBERED {
            known.insert(super_block, name.clone());
        }
        name
    }

    fn directories(&self, address: VirtAddr) -> Directories {
        let kernel = self.kernel;
        let layout = &self.directories;
        let place = |mount: &Field, dentry: &Field| {
            let place = (mount.pointer(kernel, address)?, dentry.pointer(kernel, address)?);
            Ok::<_, KernelError>(place)
        };
        let root = place(&layout.root_mount, &layout.root_dentry);
        let working = place(&layout.working_mount, &layout.working_dentry);
        let inode = |place: (VirtAddr, VirtAddr)| Ok(self.paths.dentry(place.1)?.inode);
        Directories {
            root_inode: root.clone().and_then(inode),
            root: root.and_then(|place| self.paths.path(place)),
            working_inode: working.clone().and_then(inode),
            working: working.and_then(|place| self.paths.path(place)),
        }
    }

    /// Adds the files in the table of the `struct files_struct` at `files`.
    fn read_table(&self, files: VirtAddr, found: &mut Vec<OpenFile>) -> Result<()> {
        let kernel = self.kernel;
        let table = self.files.table.pointer(kernel, files)?;
        if table.is_null() {
            return Ok(());
        }
        let size = self.table.size.u64(kernel, table)?;
        if size > self.max_descriptors {
            let problem = "impossible number of descriptors";
            return Err(KernelError::DamagedList { list: "table of files", problem, at: table });
        }
        let slots = self.table.files.pointer(kernel, table)?;
        let bitmap = self.table.open.pointer(kernel, table)?;
        if slots.is_null() || bitmap.is_null() {
            return Ok(());
        }
        let words = size.div_ceil(WORD_BITS);
        for first in (0..words).step_by(CHUNK_WORDS as usize) {
            let count = (words - first).min(CHUNK_WORDS);
            let bytes = kernel.read_bytes(bitmap.offset(first * 8), count * 8)?;
            let (chunk, _) = bytes.as_chunks::<8>();
            for (word, open) in (first..).zip(chunk.iter().map(|word| u64::from_le_bytes(*word))) {
                if found.len() > MAX_FILES {
                    let problem = "more files than anybody has open";
                    return Err(KernelError::DamagedList {
                        list: "table of files",
                        problem,
                        at: table,
                    });
                }
                if open != 0 {
                    self.read_slots(slots, word * WORD_BITS, open, size, found)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the files of the descriptors from `first` on that have a bit set in `open`.
    fn read_slots(
        &self,
        slots: VirtAddr,
        first: u64,
        open: u64,
        size: u64,
        found: &mut Vec<OpenFile>,
    ) -> Result<()> {
        let bits = (0..WORD_BITS).filter(|bit| open >> bit & 1 != 0 && first + bit < size);
        for fd in bits.map(|bit| first + bit) {
            let file = self.kernel.read_pointer(slots.offset(fd * 8))?;
            // A descriptor is taken a moment before its file is there (get_unused_fd_flags()).
            if !file.is_null() {
                found.push(self.open_file(fd, file));
            }
        }
        Ok(())
    }

    /// The `struct file` at `file`, which is behind no descriptor: one that is mapped.
    pub fn file(&self, file: VirtAddr) -> OpenFile {
        self.open_file(0, file)
    }

    fn open_file(&self, fd: u64, file: VirtAddr) -> OpenFile {
        let kernel = self.kernel;
        let place = || -> Result<(VirtAddr, VirtAddr)> {
            let (mount, dentry) = (&self.file.mount, &self.file.dentry);
            Ok((mount.pointer(kernel, file)?, dentry.pointer(kernel, file)?))
        };
        let (mount, address) = match place() {
            Ok(place) => place,
            Err(error) => return OpenFile::unreadable(fd, file, error),
        };
        if address.is_null() {
            return OpenFile::without_inode(fd, file, address);
        }
        let dentry = match self.paths.dentry(address) {
            Ok(dentry) => dentry,
            Err(error) => {
                let unreadable = OpenFile::unreadable(fd, file, error);
                return OpenFile { dentry: Ok(address), ..unreadable };
            }
        };
        if dentry.inode.is_null() {
            return OpenFile::without_inode(fd, file, address);
        }
        let inode = self.inode.read(kernel, dentry.inode);
        let member = |member: fn(&super::inode::Inode) -> u64| {
            inode.as_ref().map(member).map_err(Clone::clone)
        };
        let mapping = member(|inode| inode.mapping.0).map(VirtAddr);
        OpenFile {
            fd,
            file,
            dentry: Ok(address),
            inode: Ok(dentry.inode),
            file_type: inode.as_ref().map(|inode| Some(inode.file_type)).map_err(Clone::clone),
            super_block: member(|inode| inode.super_block.0).map(VirtAddr),
            number: member(|inode| inode.number),
            page_count: mapping
                .clone()
                .and_then(|mapping| self.mapping.page_count.u64(kernel, mapping)),
            mapping,
            path: self.paths.path_of(mount, &dentry),
            is_deleted: dentry.is_deleted(),
        }
    }
}

impl OpenFile {
    /// One whose `struct file` or `struct dentry` is out of reach.
    fn unreadable(fd: u64, file: VirtAddr, error: KernelError) -> Self {
        Self {
            fd,
            file,
            dentry: Err(error.clone()),
            inode: Err(error.clone()),
            file_type: Err(error.clone()),
            super_block: Err(error.clone()),
            number: Err(error.clone()),
            mapping: Err(error.clone()),
            page_count: Err(error.clone()),
            path: Err(error),
            is_deleted: false,
        }
    }

    fn without_inode(fd: u64, file: VirtAddr, dentry: VirtAddr) -> Self {
        let null = VirtAddr(0);
        let nothing = KernelError::Unsupported("no inode".to_owned());
        Self {
            dentry: Ok(dentry),
            inode: Ok(null),
            file_type: Ok(None),
            ..Self::unreadable(fd, file, nothing)
        }
    }
}
