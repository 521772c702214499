//! `pagecache`: files that are in memory, and what they hold.

mod contents;
mod inventory;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, value};
use crate::output::Output;
use crate::session::Session;
use mortis_memory::VirtAddr;

/// `pagecache`.
pub const COMMAND: Command = Command {
    name: "pagecache",
    aliases: &[],
    summary: "files that are in memory, and what they hold",
    synopsis: "[-s superblock | dev | dir] | [-w file] inode | path",
    options: &[
        value('s', "superblock|dev|dir", "only files of this file system"),
        value('w', "file", "write what the kernel's file holds into this one"),
    ],
    help: "\
Without an argument, all files with pages in memory are listed, the largest first: their struct inode,
how many pages, the length in bytes, the type and the path. Files of file systems that init does not
see have the kind of file system in front of their path.

With a file, by its path or the address of its struct inode, the stretches of it that are in memory
are listed, in pages. -w writes them out; for pages that are not in memory, or not in the dump, there
are zeroes, and a warning says which. A dump must have been written with page cache (without -d 4 and
-d 8 of makedumpfile).

Examples:
  pagecache
  pagecache -s /lab
  pagecache /lab/truth/version
  pagecache -w version /lab/truth/version",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let Some(word) = arguments.first() else {
        if arguments.has('w') {
            return Err(CommandError::message("-w needs an inode or a path"));
        }
        return inventory::run(kernel, arguments.value('s'), out);
    };
    if let Some(more) = arguments.words.get(1) {
        return Err(CommandError::Message(format!("one file at a time, not also {more}")));
    }
    let (inode, path) = match word.starts_with('/') {
        true => (inventory::find(kernel, word, out)?, Some(word.to_owned())),
        false => (super::files::hexadecimal(word)?, None),
    };
    contents::run(kernel, inode, path, arguments.value('w'), out)
}

/// The path of the first name of an inode.
fn path_of(kernel: &mortis_kernel::Kernel, inode: VirtAddr) -> Option<String> {
    let names = kernel.inode_names(inode).ok()?;
    kernel.dentry_path(*names.first()?).ok()
}
