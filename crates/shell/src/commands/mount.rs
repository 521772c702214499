//! `mount`: what is mounted where.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::vfs::mounts::Mount;
use mortis_kernel::vfs::path::Paths;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `mount`.
pub const COMMAND: Command = Command {
    name: "mount",
    aliases: &[],
    summary: "mounted file systems",
    synopsis: "[-f] [-i] [-n pid|task] [mount | vfsmount | superblock | dev | dir | dentry | inode]...",
    options: &[
        value('n', "pid|task", "what this task sees, instead of init"),
        flag('f', "open files by file system; only before Linux 3.13"),
        flag('i', "changed inodes by file system; only before Linux 2.6.32"),
    ],
    help: "\
Shown are the address of the struct mount, of the struct super_block, the type of file system, what
was mounted, and where. Words choose mounts: by one of these, by the struct vfsmount in the mount, or
by the address of a struct dentry or struct inode of the file system.

Examples:
  mount
  mount -n 194
  mount /proc ext4
  mount ffff8f1901f85000",
    run,
};

/// A mount.
#[derive(Serialize)]
struct MountReport {
    mount: Hex,
    vfsmount: Known<Hex>,
    super_block: Known<Hex>,
    #[serde(rename = "type")]
    file_system: Known<String>,
    device: Known<String>,
    directory: Known<String>,
    id: Known<u64>,
    /// The mount that it is on; its own for the topmost one.
    parent: Known<Hex>,
}

const HEADING: &str = "     MOUNT           SUPERBLK     TYPE   DEVNAME   DIRNAME\n";

impl MountReport {
    fn read(kernel: &Kernel, paths: &Paths<'_>, address: VirtAddr) -> (Self, Option<KernelError>) {
        let mount = kernel.mount(paths, address);
        let problem = match &mount {
            Ok(mount) => mount.directory.as_ref().err().cloned(),
            Err(error) => Some(error.clone()),
        };
        let field = |read: fn(&Mount) -> VirtAddr| match &mount {
            Ok(mount) => Known::Value(Hex(read(mount).0)),
            Err(error) => Known::Unavailable(why(error)),
        };
        let report = Self {
            mount: Hex(address.0),
            vfsmount: field(|mount| mount.vfs_mount),
            super_block: field(|mount| mount.super_block),
            parent: field(|mount| mount.parent),
            file_system: mount.clone().and_then(|mount| mount.file_system).into(),
            device: mount.clone().and_then(|mount| mount.device).into(),
            id: mount.clone().and_then(|mount| mount.id).into(),
            directory: mount
                .and_then(|mount| mount.directory)
                .map(|directory| directory.to_string())
                .into(),
        };
        (report, problem)
    }

    /// Whether one of its columns, or its `struct vfsmount`, is `word`.
    fn is(&self, word: &str) -> bool {
        let address = address(word).map(Hex);
        let addresses = [Some(&self.mount), self.vfsmount.value(), self.super_block.value()];
        let is_text = |text: &Known<String>| {
            text.value().is_some_and(|text| without_slash(text) == without_slash(word))
        };
        addresses.into_iter().flatten().any(|column| Some(*column) == address)
            || [&self.file_system, &self.device, &self.directory].into_iter().any(is_text)
    }
}

/// A path without the slash at its end.
fn without_slash(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => path,
        path => path,
    }
}

fn address(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    u64::from_str_radix(digits, 16).ok()
}

impl Render for MountReport {
    fn render(&self, out: &mut String, _: Style) {
        let super_block = super::files::digits(&self.super_block);
        let mut names =
            format!("{:<6} {:<9} ", self.file_system.to_string(), self.device.to_string());
        // A longer name takes its room from the blanks behind it.
        while names.len() > 17 && names.ends_with("  ") {
            names.pop();
        }
        let directory = self.directory.to_string();
        out.push_str(&format!("{:>16x} {super_block:>16} {names}{directory:<10}\n", self.mount.0));
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    for (letter, list) in [('f', "s_files"), ('i', "s_dirty")] {
        if arguments.has(letter) {
            return Err(CommandError::Message(format!(
                "the super_block.{list} linked list does not exist in this kernel\n\
                 mount: -{letter} option not supported or applicable on this architecture or kernel"
            )));
        }
    }
    let kernel = &*session.kernel;
    let namespace = match arguments.value('n') {
        Some(word) => kernel.mount_namespace(session.task(word)?),
        None => kernel.first_mount_namespace(),
    };
    let nowhere = || CommandError::message("cannot determine mount list location!");
    let namespace = namespace?;
    if namespace.is_null() {
        return Err(nowhere());
    }
    let list = kernel.mounts(namespace)?;
    let paths = Paths::new(kernel)?;
    let mut reports = Vec::new();
    let (mut problems, mut first) = (0, None);
    for address in &list.mounts {
        out.check()?;
        let (report, problem) = MountReport::read(kernel, &paths, *address);
        if let Some(problem) = problem {
            problems += 1;
            first.get_or_insert(problem);
        }
        reports.push(report);
    }
    let missing = show(kernel, &reports, &arguments.words, out)?;
    if let Some(damage) = list.damage {
        if reports.is_empty() {
            return Err(damage.into());
        }
        out.warn(format!("there may be more mounts: {damage}"));
    }
    if let Some(first) = first {
        out.warn(format!("{problems} mounts cannot be told in full, the first: {first}"));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(CommandError::Message(format!("not mounted: {}", missing.join(", ")))),
    }
}

/// Shows what the words choose; gives the words that choose nothing.
fn show<'w>(
    kernel: &Kernel,
    reports: &[MountReport],
    words: &'w [String],
    out: &mut Output,
) -> Result<Vec<&'w str>, CommandError> {
    let mut missing = Vec::new();
    let mut heading = HEADING;
    let mut emit = |report: &MountReport, out: &mut Output| -> Result<(), CommandError> {
        out.layout(std::mem::take(&mut heading))?;
        Ok(out.emit(report)?)
    };
    if words.is_empty() {
        for report in reports {
            emit(report, out)?;
        }
    }
    for word in words {
        let mut chosen: Vec<_> = reports.iter().filter(|report| report.is(word)).collect();
        if chosen.is_empty() {
            let holder = address(word)
                .and_then(|address| file_system_of(kernel, VirtAddr(address), reports));
            chosen = reports
                .iter()
                .filter(|report| holder.is_some() && report.super_block.value().copied() == holder)
                .collect();
        }
        if chosen.is_empty() {
            missing.push(word.as_str());
        }
        for report in chosen {
            emit(report, out)?;
        }
    }
    Ok(missing)
}

/// The super block that the inode or directory entry at `address` names, if it is one of those.
fn file_system_of(kernel: &Kernel, address: VirtAddr, reports: &[MountReport]) -> Option<Hex> {
    let of_inode = kernel.inode(address).ok().map(|inode| inode.super_block);
    let of_dentry = kernel.dentry(address).ok().map(|dentry| dentry.super_block);
    [of_inode, of_dentry]
        .into_iter()
        .flatten()
        .map(|super_block| Hex(super_block.0))
        .find(|named| reports.iter().any(|report| report.super_block.value() == Some(named)))
}
