//! `fuser`: which tasks use a file.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::{Output, Render, Stop, Style};
use crate::session::Session;
use crate::task_header::TaskHeader;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::scan;
use mortis_kernel::task_reader::TaskReader;
use mortis_kernel::tasks::Task;
use mortis_kernel::vfs::open_files::{OpenFile, OpenFilesReader};
use mortis_memory::VirtAddr;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// `fuser`.
pub const COMMAND: Command = Command {
    name: "fuser",
    aliases: &[],
    summary: "tasks that use a file",
    synopsis: "[pathname | inode]...",
    options: &[],
    help: "\
A file is given by its full path or by the address of its struct inode (struct dentry and struct file
do as well). A task uses it as its root directory (root), as its working directory (cwd), behind a
descriptor (fd), or mapped into its memory (mmap).

Examples:
  fuser /dev/console
  fuser ffff8f190a4e0000",
    run,
};

/// What is looked for.
struct Target {
    /// As it was typed, without `0x`.
    text: String,
    path: Option<String>,
    address: Option<VirtAddr>,
}

impl Target {
    fn parse(word: &str) -> Result<Self, CommandError> {
        if word.starts_with('/') {
            let path = match word.trim_end_matches('/') {
                "" => "/",
                path => path,
            };
            let path = Some(path.to_owned());
            return Ok(Self { text: word.to_owned(), path, address: None });
        }
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        // Addresses of the kernel have the topmost bit set.
        let address = u64::from_str_radix(digits, 16).ok().filter(|address| address >> 63 != 0);
        match address {
            Some(address) => {
                let address = Some(VirtAddr(address));
                Ok(Self { text: digits.to_owned(), path: None, address })
            }
            None => Err(CommandError::Message(format!("invalid argument: {word}"))),
        }
    }

    fn is_path(&self, path: &Result<Arc<str>, KernelError>) -> bool {
        self.path.is_some() && path.as_ref().ok().map(|path| &**path) == self.path.as_deref()
    }

    fn is_address(&self, address: &Result<VirtAddr, KernelError>) -> bool {
        self.address.is_some() && address.as_ref().ok() == self.address.as_ref()
    }

    fn is_file(&self, file: &OpenFile) -> bool {
        let addresses = [&Ok(file.file), &file.dentry, &file.inode];
        self.is_path(&file.path) || addresses.into_iter().any(|address| self.is_address(address))
    }
}

/// How a task uses a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Usage {
    Root,
    Cwd,
    Fd,
    Mmap,
}

impl Usage {
    const fn name(self) -> &'static str {
        match self {
            Usage::Root => "root",
            Usage::Cwd => "cwd",
            Usage::Fd => "fd",
            Usage::Mmap => "mmap",
        }
    }
}

/// A task that uses a file.
#[derive(Serialize)]
struct User<'t> {
    /// The file, as it was asked for.
    file: &'t str,
    #[serde(flatten)]
    task: TaskHeader,
    usage: Vec<Usage>,
}

const HEADING: &str = " PID         TASK        COMM             USAGE\n";

/// Columns of a command name with its quotes.
const NAME_WIDTH: usize = 15;

impl Render for User<'_> {
    fn render(&self, out: &mut String, _: Style) {
        // crash cuts a long name off, its closing quote first.
        let name = format!("\"{}\"", self.task.command);
        let name: String = name.chars().take(NAME_WIDTH).collect();
        let usage: String = self.usage.iter().map(|usage| format!("{} ", usage.name())).collect();
        out.push_str(&format!(
            "{:>5}  {:>16x}  {name:<16} {usage}\n",
            self.task.pid, self.task.task.0
        ));
    }
}

/// Process memories that are remembered.
const MAX_REMEMBERED: usize = 1 << 14;

/// Looks at what tasks use.
struct Search<'s> {
    kernel: &'s Kernel,
    tasks: TaskReader<'s>,
    files: OpenFilesReader<'s>,
    targets: Vec<Target>,
    /// Which targets each `struct mm_struct` maps: threads share theirs.
    mapped: Mutex<FxHashMap<VirtAddr, Arc<Mapped>>>,
}

/// What a process has mapped.
struct Mapped {
    /// By target.
    targets: Vec<bool>,
    damage: Option<KernelError>,
}

/// What was found of one task.
struct Found {
    task: Task,
    /// By target.
    usage: Vec<Vec<Usage>>,
    damage: Option<KernelError>,
}

impl Search<'_> {
    fn look(&self, task: Task) -> Found {
        let mut found = Found { task, usage: vec![Vec::new(); self.targets.len()], damage: None };
        let copy = self.tasks.read(task);
        let shared = copy.directories().and_then(|fs| Ok((fs, copy.open_files()?)));
        match shared {
            Ok((directories, files)) => {
                let open = self.files.read(directories, files);
                for (target, usage) in self.targets.iter().zip(&mut found.usage) {
                    if let Some(directories) = &open.directories {
                        let (root, working) = (&directories.root, &directories.working);
                        if target.is_path(root) || target.is_address(&directories.root_inode) {
                            usage.push(Usage::Root);
                        }
                        if target.is_path(working) || target.is_address(&directories.working_inode)
                        {
                            usage.push(Usage::Cwd);
                        }
                    }
                    if open.files.iter().any(|file| target.is_file(file)) {
                        usage.push(Usage::Fd);
                    }
                }
                found.damage = open.damage.clone();
            }
            Err(error) => found.damage = Some(error),
        }
        let mm = match copy.mm() {
            Ok(mm) if mm.is_null() => return found,
            Ok(mm) => mm,
            Err(error) => {
                found.damage.get_or_insert(error);
                return found;
            }
        };
        let mapped = self.mapped(mm);
        for (usage, _) in found.usage.iter_mut().zip(&mapped.targets).filter(|(_, is)| **is) {
            usage.push(Usage::Mmap);
        }
        found.damage = found.damage.or_else(|| mapped.damage.clone());
        found
    }

    fn mapped(&self, mm: VirtAddr) -> Arc<Mapped> {
        if let Some(known) = self.mapped.lock().unwrap_or_else(PoisonError::into_inner).get(&mm) {
            return Arc::clone(known);
        }
        let mut targets = vec![false; self.targets.len()];
        let (areas, damage) = self.kernel.areas(mm);
        for file in areas.into_iter().filter_map(|area| area.file.ok()) {
            if file.is_null() {
                continue;
            }
            let file = self.files.file(file);
            for (is, target) in targets.iter_mut().zip(&self.targets) {
                *is |= target.is_file(&file);
            }
        }
        let mapped = Arc::new(Mapped { targets, damage });
        let mut known = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_REMEMBERED {
            known.insert(mm, Arc::clone(&mapped));
        }
        mapped
    }
}

/// Tasks that one core looks at at a time.
const BATCH: usize = 64;

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.words.is_empty() {
        return Err(CommandError::Usage(format!("Usage: {} {}", COMMAND.name, COMMAND.synopsis)));
    }
    let targets = arguments.words.iter().map(|word| Target::parse(word));
    let kernel = &*session.kernel;
    let search = Search {
        kernel,
        tasks: TaskReader::new(kernel)?,
        files: OpenFilesReader::new(kernel)?,
        targets: targets.collect::<Result<_, _>>()?,
        mapped: Mutex::default(),
    };
    let mut users: Vec<Vec<(Task, Vec<Usage>)>> = vec![Vec::new(); search.targets.len()];
    let (mut damaged, mut first) = (0u64, None);
    let all = &kernel.tasks().tasks;
    let progress = out.progress("fuser");
    progress.expect(all.len() as u64);
    scan::in_order(
        all.chunks(BATCH),
        |batch| batch.iter().map(|task| search.look(*task)).collect::<Vec<_>>(),
        |found| -> Result<(), KernelError> {
            progress.advance(found.len() as u64)?;
            for found in found {
                let with_users = users.iter_mut().zip(found.usage);
                for (users, usage) in with_users.filter(|(_, usage)| !usage.is_empty()) {
                    users.push((found.task, usage));
                }
                if let Some(error) = found.damage {
                    damaged += 1;
                    first.get_or_insert(format!("task {:x}: {error}", found.task.address));
                }
            }
            Ok(())
        },
    )?;
    drop(progress);
    for (target, users) in search.targets.iter().zip(users) {
        show(&search, target, users, out)?;
    }
    if let Some(first) = first {
        out.warn(format!("not all that {damaged} tasks use can be told, the first: {first}"));
    }
    Ok(())
}

fn show(
    search: &Search<'_>,
    target: &Target,
    users: Vec<(Task, Vec<Usage>)>,
    out: &mut Output,
) -> Result<(), Stop> {
    if users.is_empty() {
        return out.layout(&format!("No users of {} found\n", target.text));
    }
    out.layout(HEADING)?;
    for (task, usage) in users {
        let task = TaskHeader::of(&search.tasks.read(task));
        out.emit(&User { file: &target.text, task, usage })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::Known;
    use crate::task_header::Hex;

    #[test]
    fn a_file_is_a_path_or_an_address_of_the_kernel() {
        let path = Target::parse("/tmp/").expect("a path");
        assert!(path.is_path(&Ok("/tmp".into())) && !path.is_path(&Ok("/tmp/x".into())));
        let address = Target::parse("0xffff888000001000").expect("an address");
        assert!(address.is_address(&Ok(VirtAddr(0xffff_8880_0000_1000))));
        assert_eq!(address.text, "ffff888000001000");
        assert!(Target::parse("1234").is_err() && Target::parse("locked").is_err());
    }

    #[test]
    fn a_long_name_loses_its_quote() {
        let task = TaskHeader {
            pid: 192,
            task: Hex(0xff3f_f619_c18a_8000),
            cpu: Known::Value(0),
            command: Known::Value("life-nanosleep".to_owned()),
        };
        let user = User { file: "/dev/console", task, usage: vec![Usage::Fd, Usage::Mmap] };
        let mut text = String::new();
        user.render(&mut text, Style::default());
        assert_eq!(text, "  192  ff3ff619c18a8000  \"life-nanosleep  fd mmap \n");
    }
}
