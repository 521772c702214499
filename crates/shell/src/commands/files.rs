//! `files`: what tasks have open, and which pages of files are in memory.

mod dentry;
mod listing;
mod pages;
mod reference;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::output::Output;
use crate::session::Session;
use crate::task_header::Hex;
use listing::{Lister, Troubles};
use mortis_kernel::scan;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;

/// `files`.
pub const COMMAND: Command = Command {
    name: "files",
    aliases: &[],
    summary: "open files of tasks, and pages of files in memory",
    synopsis: "[-d dentry | -p inode | -n inode] | [-c] [-R reference] [pid | task]...",
    options: &[
        flag('c', "each file's inode, its mapping, and how many of its pages are in memory"),
        value('R', "reference", "only files with this descriptor, address, type or part of a path"),
        value('d', "dentry", "the inode, super block, type and path of a directory entry"),
        value('p', "inode", "the pages of a file that are in memory"),
        value('n', "inode", "on which NUMA nodes the pages of a file are that are in memory"),
    ],
    help: "\
Without arguments the task in focus is meant. Shown are its root and working directory and, for each
descriptor, the addresses of its struct file, struct dentry and struct inode, the type of file (REG,
DIR, CHR, BLK, FIFO, SOCK, LNK, or UNKN for eventfd and its like), and the path. Files in no directory
have their bare name, pipes none. As JSON, link is what /proc/PID/fd said.

What files hold: see pagecache.

Examples:
  files
  files -c 1
  files -R /dev/console 1
  files -d ffff8f1901446a80
  foreach files -R ffff8f190a4e0000",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if let Some(address) = arguments.value('d') {
        return dentry::run(&session.kernel, hexadecimal(address)?, out);
    }
    if let Some(address) = arguments.value('p') {
        return pages::run(&session.kernel, hexadecimal(address)?, pages::Shown::Pages, out);
    }
    if let Some(address) = arguments.value('n') {
        return pages::run(&session.kernel, hexadecimal(address)?, pages::Shown::Nodes, out);
    }
    let lister = Lister::new(session, &[], arguments, out)?;
    let mut troubles = Troubles::default();
    if arguments.words.is_empty() {
        for listing in lister.list(&[session.context()?]) {
            listing.show(out, &mut troubles)?;
        }
    }
    let mut invalid = Vec::new();
    for (index, word) in arguments.words.iter().enumerate() {
        let Ok((tasks, by_pid)) = named_tasks(session, word) else {
            invalid.push(word.as_str());
            continue;
        };
        for listing in lister.list(&tasks) {
            if index > 0 && !lister.is_searching() {
                out.layout("\n")?;
            }
            listing.show(out, &mut troubles)?;
            if by_pid {
                out.layout("\n")?;
            }
        }
    }
    troubles.report(out);
    match invalid.is_empty() {
        true => Ok(()),
        false => {
            let invalid = invalid.join(", ");
            Err(CommandError::Message(format!("invalid task or pid value: {invalid}")))
        }
    }
}

/// The tasks that a word names, and whether by their process id, which idle tasks share.
fn named_tasks(session: &Session, word: &str) -> Result<(Vec<Task>, bool), CommandError> {
    let task = session.task(word)?;
    let digits = word.strip_prefix("0x").unwrap_or(word);
    if u64::from_str_radix(digits, 16) == Ok(task.address.0) {
        return Ok((vec![task], false));
    }
    let tasks = &session.kernel.tasks().tasks;
    Ok((tasks.iter().filter(|other| other.pid == task.pid).copied().collect(), true))
}

/// An address, which needs no `0x`.
pub(super) fn hexadecimal(word: &str) -> Result<VirtAddr, CommandError> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    let invalid = |_| CommandError::Message(format!("invalid input: \"{word}\""));
    u64::from_str_radix(digits, 16).map(VirtAddr).map_err(invalid)
}

/// Tasks that one core lists at a time.
const BATCH: usize = 64;

/// For `foreach`: what each of `tasks` has open. Of `arguments`, `-c` and `-R` are looked at.
///
/// # Errors
/// When it was called wrongly. What is wrong with one task stands in its answer.
pub fn run_for(
    session: &Session,
    tasks: &[Task],
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    if arguments.has('p') {
        return Err(CommandError::message("files command does not support -p option"));
    }
    let lister = Lister::new(session, tasks, arguments, out)?;
    let mut troubles = Troubles::default();
    let mut separate = false;
    let progress = out.progress("files");
    progress.expect(tasks.len() as u64);
    scan::in_order(
        tasks.chunks(BATCH),
        |batch| lister.list(batch),
        |listings| -> Result<(), CommandError> {
            progress.advance(listings.len() as u64)?;
            for listing in listings {
                if separate && !lister.is_searching() {
                    out.layout("\n")?;
                }
                separate = true;
                listing.show(out, &mut troubles)?;
            }
            Ok(())
        },
    )?;
    drop(progress);
    troubles.report(out);
    Ok(())
}

/// An address's digits, or why there are none.
pub(super) fn digits(value: &Known<Hex>) -> String {
    match value.value() {
        Some(value) => format!("{:x}", value.0),
        None => value.clone().map(|_| "").to_string(),
    }
}
