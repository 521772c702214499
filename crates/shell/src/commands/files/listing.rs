//! What one task has open.

use super::reference::Reference;
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Face, Output, Render, Stop, Style};
use crate::session::Session;
use crate::task_facts::{FactsReader, SharedWith};
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::error::KernelError;
use mortis_kernel::tasks::Task;
use mortis_kernel::vfs::open_files::{OpenFile, OpenFiles, OpenFilesReader};
use serde::ser::{Serialize, Serializer};
use std::sync::Arc;

/// Which columns are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    /// The file, its name and its inode.
    Structures,
    /// `-c`: how much of it is in memory.
    Pages,
}

impl Columns {
    fn heading(self) -> &'static str {
        match self {
            Columns::Structures => {
                " FD       FILE            DENTRY           INODE       TYPE PATH\n"
            }
            Columns::Pages => " FD      INODE          I_MAPPING     NRPAGES TYPE PATH\n",
        }
    }
}

/// Lists what tasks have open.
pub(super) struct Lister<'s> {
    tasks: FactsReader<'s>,
    files: OpenFilesReader<'s>,
    columns: Columns,
    reference: Option<Reference>,
    face: Face,
}

impl<'s> Lister<'s> {
    /// One that will list `tasks`.
    pub(super) fn new(
        session: &'s Session,
        tasks: &[Task],
        arguments: &Arguments,
        out: &Output,
    ) -> Result<Self, CommandError> {
        if arguments.count('R') > 1 {
            return Err(CommandError::message("only one -R option allowed"));
        }
        Ok(Self {
            tasks: FactsReader::new(session, tasks, out)?,
            files: OpenFilesReader::new(&session.kernel)?,
            columns: if arguments.has('c') { Columns::Pages } else { Columns::Structures },
            reference: arguments.value('R').map(Reference::parse),
            face: out.face(),
        })
    }

    /// Whether only what refers to something is shown.
    pub(super) fn is_searching(&self) -> bool {
        self.reference.is_some()
    }

    /// Lists what each of `tasks` has open. Threads of a process follow one another and share all
    /// of it.
    pub(super) fn list(&self, tasks: &[Task]) -> Vec<Listing<'_>> {
        let mut listings: Vec<Listing<'_>> = Vec::with_capacity(tasks.len());
        for &task in tasks {
            let task = self.tasks.read(task);
            let place = (task.directories.clone(), task.open_files.clone());
            let before = listings.last().filter(|before| before.open.place == place);
            let open = match before {
                Some(before) => Arc::clone(&before.open),
                None => Arc::new(self.open(place)),
            };
            listings.push(Listing { lister: self, header: task.header(), open });
        }
        listings
    }

    fn open(&self, place: (SharedWith, SharedWith)) -> Open {
        let files = match &place {
            (Ok(directories), Ok(files)) => Ok(self.files.read(*directories, *files)),
            (Err(error), _) | (_, Err(error)) => Err((**error).clone()),
        };
        let found = match (&self.reference, &files) {
            (Some(reference), Ok(open)) => Some(Found {
                directories: open.directories.as_ref().is_some_and(|d| reference.is_directory(d)),
                files: (0..open.files.len())
                    .filter(|&at| reference.is_file(&open.files[at]))
                    .collect(),
            }),
            _ => None,
        };
        let mut open = Open { place, files, found, text: String::new() };
        if self.face == Face::Text {
            open.text = open.render(self.columns);
        }
        open
    }
}

/// What a reference was found in.
struct Found {
    directories: bool,
    /// Indices of files.
    files: Vec<usize>,
}

/// What tasks have open that share it.
struct Open {
    /// Where their directories and their table are.
    place: (SharedWith, SharedWith),
    files: Result<Arc<OpenFiles>, KernelError>,
    /// With `-R` what it was found in.
    found: Option<Found>,
    /// What stands under the heading of each of the tasks.
    text: String,
}

/// What one task has open.
pub(super) struct Listing<'l> {
    lister: &'l Lister<'l>,
    header: TaskHeader,
    open: Arc<Open>,
}

impl Listing<'_> {
    /// Shows it, unless `-R` found nothing.
    pub(super) fn show(&self, out: &mut Output, troubles: &mut Troubles) -> Result<(), Stop> {
        troubles.note(self);
        match &self.open.found {
            Some(found) if found.files.is_empty() && !found.directories => Ok(()),
            None if self.lister.is_searching() => Ok(()),
            None => out.emit(self),
            Some(_) => {
                out.emit(self)?;
                out.layout("\n")
            }
        }
    }
}

impl Open {
    /// The files that are shown.
    fn files(&self) -> impl Iterator<Item = &OpenFile> {
        let all = self.files.as_ref().map_or(&[][..], |open| &open.files);
        let found = self.found.as_ref();
        let count = found.map_or(all.len(), |found| found.files.len());
        (0..count).filter_map(move |at| match found {
            None => all.get(at),
            Some(found) => all.get(*found.files.get(at)?),
        })
    }

    /// What was in the way of finding all.
    fn damage(&self) -> Option<&KernelError> {
        match &self.files {
            Ok(open) => open.damage.as_ref(),
            Err(error) => Some(error),
        }
    }

    fn render(&self, columns: Columns) -> String {
        let mut out = String::new();
        // crash has a blank behind the line where it looks for something.
        let end = if self.found.is_some() { " \n" } else { "\n" };
        match &self.files {
            Ok(open) => {
                if let Some(directories) = &open.directories {
                    let (root, working) = (path(&directories.root), path(&directories.working));
                    out.push_str(&format!("ROOT: {root}    CWD: {working}{end}"));
                }
            }
            Err(error) => {
                let unknown = Known::<String>::Unavailable(why(error));
                out.push_str(&format!("ROOT: {unknown}    CWD: {unknown}{end}"));
            }
        }
        let mut any = false;
        for file in self.files() {
            if !any {
                out.push_str(columns.heading());
                any = true;
            }
            render_file(&mut out, columns, file);
        }
        if let Some(error) = self.damage() {
            out.push_str(&format!("    {}\n", Known::<String>::Unavailable(why(error))));
        } else if !any && self.found.is_none() {
            out.push_str("No open files\n");
        }
        out
    }
}

impl Render for Listing<'_> {
    fn render(&self, out: &mut String, style: Style) {
        self.header.render(out, style);
        out.push_str(&self.open.text);
    }
}

fn path(path: &Result<Arc<str>, KernelError>) -> Known<&str> {
    match path {
        Ok(path) => Known::Value(path),
        Err(error) => Known::Unavailable(why(error)),
    }
}

fn render_file(out: &mut String, columns: Columns, file: &OpenFile) {
    let fd = file.fd;
    let cell = |address: &Result<mortis_memory::VirtAddr, KernelError>| match address {
        Ok(address) if address.is_null() => format!("{:016x}", 0),
        Ok(address) => format!("{:>16}", format!("{address:x}")),
        Err(error) => format!("{:>16}", Known::<String>::Unavailable(why(error)).to_string()),
    };
    let no_inode = matches!(file.file_type, Ok(None));
    if no_inode {
        let inode = match &file.dentry {
            Ok(dentry) if dentry.is_null() => format!("{:^16}", "?"),
            _ => cell(&file.inode),
        };
        let (file, dentry) = (cell(&Ok(file.file)), cell(&file.dentry));
        out.push_str(&format!("{fd:>3} {file} {dentry} {inode} ?    ?\n"));
        return;
    }
    let kind = match &file.file_type {
        Ok(kind) => kind.map_or("?", |kind| kind.code()).to_owned(),
        Err(error) => Known::<String>::Unavailable(why(error)).to_string(),
    };
    let path = path(&file.path);
    match columns {
        Columns::Structures => out.push_str(&format!(
            "{fd:>3} {} {} {} {kind:<4} {path}\n",
            cell(&Ok(file.file)),
            cell(&file.dentry),
            cell(&file.inode)
        )),
        Columns::Pages => {
            let pages = Known::from(file.page_count.clone()).to_string();
            out.push_str(&format!(
                "{fd:>3} {} {} {pages:>7} {kind:<4} {path}\n",
                cell(&file.inode),
                cell(&file.mapping)
            ));
        }
    }
}

/// One file as JSON.
#[derive(serde::Serialize)]
struct FileItem<'a> {
    fd: u64,
    file: Hex,
    dentry: Known<Hex>,
    inode: Known<Hex>,
    inode_number: Known<u64>,
    mapping: Known<Hex>,
    pages: Known<u64>,
    #[serde(rename = "type")]
    kind: Known<Option<&'static str>>,
    path: Known<&'a str>,
    deleted: bool,
    link: Known<String>,
}

/// A task as JSON.
#[derive(serde::Serialize)]
struct TaskItem<'a> {
    #[serde(flatten)]
    task: &'a TaskHeader,
    root: Option<Known<&'a str>>,
    cwd: Option<Known<&'a str>>,
    files: Vec<FileItem<'a>>,
    problem: Option<String>,
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = |address: &Result<mortis_memory::VirtAddr, KernelError>| {
            Known::from(address.clone().map(|address| Hex(address.0)))
        };
        let directories = self.open.files.as_ref().ok().and_then(|open| open.directories.as_ref());
        let files = self.open.files().map(|file| FileItem {
            fd: file.fd,
            file: Hex(file.file.0),
            dentry: hex(&file.dentry),
            inode: hex(&file.inode),
            inode_number: file.number.clone().into(),
            mapping: hex(&file.mapping),
            pages: file.page_count.clone().into(),
            kind: file.file_type.clone().map(|kind| kind.map(|kind| kind.code())).into(),
            path: path(&file.path),
            deleted: file.is_deleted,
            link: self.lister.files.link(file).into(),
        });
        TaskItem {
            task: &self.header,
            root: directories.map(|directories| path(&directories.root)),
            cwd: directories.map(|directories| path(&directories.working)),
            files: files.collect(),
            problem: self.open.damage().map(ToString::to_string),
        }
        .serialize(serializer)
    }
}

/// What could not be shown, told once at the end.
#[derive(Default)]
pub(super) struct Troubles {
    tasks: u64,
    paths: u64,
    first: Option<String>,
}

impl Troubles {
    fn note(&mut self, listing: &Listing<'_>) {
        let task = listing.header.task.0;
        if let Some(error) = listing.open.damage() {
            self.tasks += 1;
            self.first.get_or_insert_with(|| format!("task {task:x}: {error}"));
        }
        for file in listing.open.files() {
            if let Err(error) = &file.path
                && !matches!(file.file_type, Ok(None))
            {
                self.paths += 1;
                self.first.get_or_insert_with(|| {
                    format!("task {task:x}, descriptor {}: {error}", file.fd)
                });
            }
        }
    }

    pub(super) fn report(&self, out: &mut Output) {
        let Some(first) = &self.first else { return };
        let (tasks, paths) = (self.tasks, self.paths);
        out.warn(match (tasks, paths) {
            (0, _) => format!("{paths} files cannot be told in full, the first: {first}"),
            (_, 0) => format!("not all files of {tasks} tasks can be told, the first: {first}"),
            _ => format!(
                "not all files of {tasks} tasks can be told, nor {paths} others in full, the first: \
                 {first}"
            ),
        });
    }
}
